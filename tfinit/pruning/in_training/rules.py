"""What is pruned, when and how: the settings of SparseOptimizer, and the weights they choose."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfinit import arguments
from tfinit.arguments import flag, is_whole, number, one_of, wholes
from tfinit.block_sizes import BLOCK_SIZES
from tfinit.errors import InputError
from tfinit.graph.keras_internals import is_symbolic
from tfinit.pruning.in_training.channel_targets import sparsities_for
from tfinit.pruning.in_training.schedule_checks import check_schedule
from tfinit.pruning.in_training.schedules import PruningSchedule
from tfinit.pruning.in_training.whole_channels import ChannelGroups, MaskedGroup, groups_of, placed
from tfinit.pruning.scoring.allocation import check_allocation, check_min_density
from tfinit.pruning.scoring.configured import (
    allocation_config,
    allocation_from_config,
    score_config,
    score_from_config,
)
from tfinit.pruning.scoring.scores import STEP, AnyScore, Score, check_score, names
from tfinit.pruning.tfmot_api.policy import PruningPolicy
from tfinit.variables import (
    find_prunable,
    keras_of,
    prunable_weights,
)

REGROWTHS = ("set", "rigl")
STARTS = ("random", "magnitude")
STRUCTURES = ("weights", "channels")
_OF_CHANNELS = ("uniform", "global")  # allocations
# Settings that mean nothing without a schedule, and what they are then.
_OF_A_SCHEDULE = {
    "allocation": "uniform",
    "score": "magnitude",
    "block_size": (1, 1),
    "monotone": False,
    "structure": "weights",
}


@keras.saving.register_keras_serializable("tfinit")
class PruningRule:
    """Some weights, and how `SparseOptimizer` prunes them while it trains.

    Args:
        schedule: A `PruningSchedule`: at which training steps the masks are taken anew, and at
            what sparsity. None: masks change only when they are set by hand.
        scope: Which weights. A built model or layer, or a list of layers: their
            `tfinit.variables.prunable_weights`. A function of a `keras.Variable` to a bool. A list
            of variable paths. None: every kernel and embedding of rank 2 or more that the
            optimizer trains, by name (a depthwise kernel is called kernel too: pass the model to
            leave those out); without a schedule every variable of rank 2 or more.
        policy: A `PruningPolicy` that chooses among the layers of ``scope``, a model then.
        allocation: How much of it each weight gets: ``"uniform"``, ``"global"`` (the lowest scores
            of all weights together), ``"erk"``, a mapping from key or path to sparsity, or a
            function; see `tfinit.pruning.scoring.allocation`.
        min_density: With ``"global"``: the fraction of each weight that survives at least, so that
            none is emptied: its max(1, round(min_density·size)) best are kept first, then the best
            of all others, up to the same number in all. Where the overall density is lower than
            this, it takes its place. Above 0, a weight keeps one entry at least.
        score: What survives: ``"magnitude"`` |w|, ``"movement"`` Σ −w·∂w (Sanh et al. 2020),
            ``"snip"`` |w·∂w| on the batch of the update (Lee et al. 2019), or ``"random"``; a
            `tfinit.pruning.Score`; or a function of what it needs, by name, as
            ``lambda weights, gradients: abs(weights * gradients)``. With ``structure="channels"``
            also those of `tfinit.pruning.prune_channels`: ``"l2"``, ``"l1"``, ``"taylor"``,
            ``"batchnorm"``.
        structure: ``"weights"``, each by itself, or ``"channels"``: whole units, filters and heads,
            in all weights of ``scope`` that they are on (kernels that make or read them, biases,
            scales of normalizations), so that nothing of them comes through, and
            `tfinit.pruning.compact` removes them in the end. ``scope`` is the whole model then, a
            Sequential or functional one. The sparsity is the fraction of channels that go: of each
            group of channels that stand or fall together (``allocation="uniform"``), or of all, by
            score over the mean of the group (``"global"``, of which ``min_density`` of each group
            stays, and one channel at least), or a mapping of layers to sparsities, reached in the
            end, where the others keep all. The score of a channel is the sum of those of its
            weights; the formulas are in `tfinit.pruning.channels.scoring`. What LayerNormalization
            and its like normalize over keeps its channels, and so do groups of which a kernel is
            frozen or not allowed by ``policy``.
        target: With ``structure="channels"``: what is left in the end, ``{"macs": 0.5}`` of the
            multiply-adds, or of ``"params"`` or ``"channels"``, as for
            `tfinit.pruning.prune_channels`. How many channels of each group that takes is chosen
            now, by ``allocation``; which they are, while it trains. The schedule says how fast: at
            its last sparsity, whatever that is, they are gone.
        block_size: (height, width) of the blocks in which weights go together, or ``"litert"``:
            (4, 1), which LiteRT's sparse kernel for Dense layers skips; see `tfinit.export`.
        block_pooling_type: ``"AVG"`` or ``"MAX"``: the score of a block.
        sparsity_m_by_n: (m, n): m zeros in every n weights along the inputs. As in TFMOT the mask
            is taken before the first step and the schedule is not asked.
        monotone: What is pruned stays pruned, also where the sparsity falls or a score returns.
        keep_zeros: What is zero when training starts stays zero, as what is pruned then does: to
            prune on what is sparse already. Otherwise, as in TFMOT, zeros train until they are
            pruned.
        regrow: ``"set"`` or ``"rigl"``: start from a random mask; at each update drop the smallest
            survivors and grow as many, at random (Mocanu et al. 2018) or where the gradient is
            largest (Evci et al. 2020). What grows begins at zero, and so do the inner optimizer's
            momentum and second moments of it.
        drop_fraction: α: of the survivors, α/2·(1 + cos(π·step/end_step)) are dropped in an
            update with ``regrow``; α where the schedule has no end.
        start: The first mask with ``regrow``: ``"random"``, as in the papers, which is for fresh
            weights, or ``"magnitude"``, which keeps the largest, for trained ones. None: random,
            with a warning where the weights are not those that the layers' initializers drew, or
            where that cannot be seen.
        seed: Seed of what is random; every weight has a stream of its own.

    Raises:
        InputError: an argument is not one of those above, or two exclude each other.
    """

    SETTINGS = frozenset(
        (
            "allocation",
            "min_density",
            "score",
            "structure",
            "block_size",
            "block_pooling_type",
            "sparsity_m_by_n",
            "monotone",
            "keep_zeros",
            "regrow",
            "drop_fraction",
            "start",
            "seed",
        )
    )
    ARGUMENTS = SETTINGS | {"target"}

    def __init__(
        self,
        schedule: PruningSchedule | None = None,
        scope: Any = None,
        policy: PruningPolicy | None = None,
        *,
        allocation: Any = "uniform",
        min_density: float = 0.0,
        score: AnyScore = "magnitude",
        structure: str | ChannelGroups = "weights",
        target: Mapping[str, float] | None = None,
        block_size: Sequence[int] | str = (1, 1),
        block_pooling_type: str = "AVG",
        sparsity_m_by_n: Sequence[int] | None = None,
        monotone: bool = False,
        keep_zeros: bool = False,
        regrow: str | None = None,
        drop_fraction: float = 0.3,
        start: str | None = None,
        seed: int = 0,
    ) -> None:
        self.schedule = None if schedule is None else check_schedule(schedule, "schedule")
        self.scope = _checked_scope(scope)
        self.policy = policy
        self.allocation = check_allocation(allocation)
        self.min_density = check_min_density(min_density, self.allocation)
        self.structure = structure
        if not isinstance(structure, ChannelGroups):  # as a saved rule has
            self.structure = one_of("structure", structure, STRUCTURES)
        self.score = score
        self.scoring = _check_channel_score(score) if self.channels else check_score(score, STEP)
        self.block_size = block_size_of(block_size)
        self.block_pooling_type = one_of("block_pooling_type", block_pooling_type, ("AVG", "MAX"))
        self.sparsity_m_by_n = None
        if sparsity_m_by_n is not None:
            self.sparsity_m_by_n = _pair("sparsity_m_by_n", sparsity_m_by_n)
            if self.sparsity_m_by_n[0] >= self.sparsity_m_by_n[1]:
                raise InputError(
                    "`sparsity_m_by_n` must be m zeros in n weights with m < n, received "
                    f"{tuple(sparsity_m_by_n)}. 2 zeros in 4 are (2, 4)."
                )
        self.keep_zeros = flag("keep_zeros", keep_zeros)
        self.monotone = flag("monotone", monotone) or (
            self.keep_zeros and self.schedule is not None
        )
        self.regrow = None if regrow is None else one_of("regrow", regrow, REGROWTHS)
        self.drop_fraction = number("drop_fraction", drop_fraction, least=0, most=1)
        self.start = None if start is None else one_of("start", start, STARTS)
        self.seed = arguments.seed("seed", seed)
        self._check_together()
        if target is not None:
            self.allocation = self._for_target(target)

    def _for_target(self, target: Mapping[str, float]) -> dict[str, float]:
        """The allocation that leaves so much of the model; it stands for the target from now on."""
        if self.structure != "channels" or isinstance(self.allocation, Mapping) or self.min_density:
            raise InputError(
                "`target` says what is left of whole channels: it goes with structure='channels', "
                "scope=model, and an `allocation` by name without `min_density`."
            )
        return sparsities_for(
            target, self.scope, self.groups()[0], self.score, str(self.allocation)
        )

    def _check_together(self) -> None:
        if self.policy is not None and not (
            hasattr(self.policy, "allow_pruning")
            and hasattr(self.policy, "ensure_model_supports_pruning")
        ):
            raise InputError(
                f"`policy` must be a PruningPolicy, received {type(self.policy).__name__}."
            )
        if self.policy is not None and not isinstance(self.scope, keras.layers.Layer):
            raise InputError(
                "`policy` chooses layers, so it needs `scope=model`. Received "
                f"scope={type(self.scope).__name__}."
            )
        if self.channels:
            self._check_channels()
        patterns = {
            "sparsity_m_by_n": self.sparsity_m_by_n is not None,
            "block_size": self.block_size != (1, 1),
            "allocation='global'": self.allocation == "global",
            "regrow": self.regrow is not None,
        }
        used = [name for name, is_used in patterns.items() if is_used]
        if len(used) > 1:
            raise InputError(f"{' and '.join(f'`{n}`' for n in used)} exclude each other.")
        if self.start and not self.regrow:
            raise InputError(
                "`start` is the first mask of a rule with `regrow`, and there is none."
            )
        idle = [name for name in _OF_A_SCHEDULE if not self.prunes and self._is_set(name)]
        if idle:
            raise InputError(
                f"{' and '.join(f'`{n}`' for n in idle)} without a `schedule` would prune nothing. "
                "Give one, such as ConstantSparsity(0.5, 1)."
            )
        if self.regrow and (self.monotone or self.schedule is None):
            raise InputError(
                "`regrow` needs a `schedule`, and cannot be `monotone` or `keep_zeros`."
            )
        if self.regrow and self.score != "magnitude":
            raise InputError(
                f"`regrow` drops the smallest weights, and does not ask `score`, {self.scoring!r}. "
                "Leave one of them out."
            )
        if self.sparsity_m_by_n is not None and self.allocation != "uniform":
            raise InputError(
                "`sparsity_m_by_n` prunes m in every n weights everywhere, and does not ask "
                f"`allocation`, {self.allocation!r}. Leave one of them out."
            )
        if self.scoring.needs_steps and self.first_step() == 1:
            told = f"`score` {self.scoring!r} ranks by gradients, and there is none before step 1"
            if self.sparsity_m_by_n is not None:
                raise InputError(f"{told}, when `sparsity_m_by_n` is taken. Leave `score` out.")
            raise InputError(f"{told}. Let the `schedule` begin later: begin_step=2 or more.")

    def _check_channels(self) -> None:
        if self.structure == "channels" and not isinstance(self.scope, keras.Model):
            raise InputError(
                "`structure='channels'` follows channels through a whole model, so it needs "
                f"`scope=model`. Received scope={type(self.scope).__name__}."
            )
        if not isinstance(self.allocation, Mapping) and self.allocation not in _OF_CHANNELS:
            raise InputError(
                "`structure='channels'` takes the allocations 'uniform' and 'global', or a mapping "
                f"of layers to sparsities, received {self.allocation!r}."
            )
        others = {
            "block_size": self.block_size != (1, 1),
            "sparsity_m_by_n": self.sparsity_m_by_n is not None,
            "regrow": self.regrow is not None,
            "keep_zeros": self.keep_zeros,
        }
        used = [name for name, is_used in others.items() if is_used]
        if used:
            raise InputError(
                f"`structure='channels'` and `{used[0]}` exclude each other. Leave one of them out."
            )

    def _is_set(self, name: str) -> bool:
        return getattr(self, name) != _OF_A_SCHEDULE[name]

    @property
    def channels(self) -> bool:
        """Whether whole channels are pruned."""
        return self.structure != "weights"

    @property
    def prunes(self) -> bool:
        """Whether masks change by themselves during training."""
        return self.schedule is not None or self.sparsity_m_by_n is not None

    def first_step(self) -> int | None:
        """The first training step, counted from 1, that runs with zeros; None if none does."""
        if self.sparsity_m_by_n is not None or self.regrow:
            return 1
        return None if self.schedule is None else self.schedule.first_step()

    def with_scope(self, scope: Any, **changes: Any) -> "PruningRule":
        """The same settings, but for ``changes``, for other weights, without the policy."""
        settings = {name: getattr(self, name) for name in self.SETTINGS} | changes
        return PruningRule(self.schedule, scope, **settings)

    def with_paths(self, paths: Sequence[str]) -> "PruningRule":
        """The same rule; a scope that is places among variables, as in a file, becomes paths."""
        if not isinstance(self.scope, list) or not all(isinstance(s, int) for s in self.scope):
            return self
        allocation = self.allocation
        if isinstance(allocation, Mapping) and not self.channels:
            allocation = {paths[int(place)]: value for place, value in allocation.items()}
        return self.with_scope([paths[i] for i in self.scope], allocation=allocation)

    def get_config(self) -> dict[str, Any]:
        """The settings; a scope that is a model becomes the paths of its weights."""
        scope, structure = self.scope, self.structure
        if structure == "channels":
            structure, scope = self._listed()
        elif is_layers(scope):
            scope = [v.path for v in weights_of(scope, self.policy).values()]
        elif callable(scope):
            raise InputError(
                "A `scope` that is a function cannot be saved before the optimizer is built."
            )
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "scope": None if scope is None else list(scope),
            "allocation": allocation_config(self.allocation),
            "min_density": self.min_density,
            "score": score_config(self.score),
            "structure": (
                structure.get_config() if isinstance(structure, ChannelGroups) else structure
            ),
            "block_size": list(self.block_size),
            "block_pooling_type": self.block_pooling_type,
            "sparsity_m_by_n": None if self.sparsity_m_by_n is None else list(self.sparsity_m_by_n),
            "monotone": self.monotone,
            "keep_zeros": self.keep_zeros,
            "regrow": self.regrow,
            "drop_fraction": self.drop_fraction,
            "start": self.start,
            "seed": self.seed,
        }

    def groups(self) -> tuple[list[MaskedGroup], dict[int, Any]]:
        """The groups of channels of the model that is the scope: see `groups_of`."""
        # Here, as Keras registers these rules, in the middle of importing that.
        from tfinit.pruning.channels.scoring import weights_that_count

        return groups_of(self.scope, weights_that_count(self.scoring))

    def _listed(self) -> tuple[ChannelGroups, list[str]]:
        """The groups of the model that is the scope, with weights by their places in a list."""
        groups, variables = self.groups()
        places = {key: place for place, key in enumerate(variables)}
        return ChannelGroups(placed(groups, places)), [v.path for v in variables.values()]

    @classmethod
    def from_config(
        cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None
    ) -> "PruningRule":
        """Make the rule that `get_config` described."""
        config = dict(config)
        # What was without effect once, and is refused now.
        if config.get("regrow"):
            config["score"] = "magnitude"
        if config.get("sparsity_m_by_n") is not None:
            config["allocation"] = "uniform"
        elif config["schedule"] is None:
            config |= _OF_A_SCHEDULE
        config["schedule"] = keras.saving.deserialize_keras_object(
            config["schedule"], custom_objects=custom_objects
        )
        config["allocation"] = allocation_from_config(config["allocation"], custom_objects)
        config["score"] = score_from_config(config["score"], custom_objects)
        if not isinstance(config.get("structure", ""), str):
            config["structure"] = ChannelGroups.from_config(config["structure"])
        return cls(**config)


def weights_of(scope: Any, policy: PruningPolicy | None) -> dict[str, Any]:
    """Key → variable of what can be pruned in a model, a layer or a list of layers."""
    allow = None
    if policy is not None:
        policy.ensure_model_supports_pruning(scope)
        allow = policy.allow_pruning
    if isinstance(scope, keras.layers.Layer):
        return prunable_weights(scope, allow)
    found: dict[str, Any] = {}
    for layer in scope:
        # A list may hold layers without weights. Two of it may have a key in common, "kernel" say.
        if layer.built:
            found |= {v.path: v for v in find_prunable(layer, allow).values()}
    return found


def _check_channel_score(score: AnyScore) -> Score:
    """The score of channels, by a name of `prune_channels`, or as for weights."""
    # Here, as in `PruningRule.groups`.
    from tfinit.pruning.channels.scoring import SCORES as CHANNEL_SCORES

    if isinstance(score, str) and score not in CHANNEL_SCORES:
        one_of("score", score, dict.fromkeys((*CHANNEL_SCORES, *names(STEP))))
    if isinstance(score, str) and score in CHANNEL_SCORES:
        return CHANNEL_SCORES[score][0]
    return check_score(score, STEP)


def is_layers(scope: Any) -> bool:
    """Whether a scope is a layer, a model or a list of layers."""
    return isinstance(scope, keras.layers.Layer) or (
        isinstance(scope, list) and bool(scope) and isinstance(scope[0], keras.layers.Layer)
    )


def _checked_scope(scope: Any) -> Any:
    if keras_of(scope) == "tf_keras":
        raise InputError(
            "`scope` is of tf_keras, and this optimizer is for Keras 3. Use prune_low_magnitude, "
            "which hands tf_keras models to TFMOT."
        )
    if scope is None or isinstance(scope, keras.layers.Layer):
        return scope
    if isinstance(scope, str) or is_symbolic(scope):
        raise InputError(
            "`scope` must be a model, a layer, a list of layers or of variable paths, or a "
            f"function of a variable; received {scope!r}. Put it in a list, or pass the layer "
            "itself, not its output."
        )
    if callable(scope) and not isinstance(scope, type):
        return scope
    try:
        parts = [None] if isinstance(scope, bytes | Mapping) else list(scope)
    except TypeError:
        parts = [None]
    paths: list[Any] = [p.path if isinstance(p, keras.Variable) else p for p in parts]
    if all(isinstance(p, keras.layers.Layer) for p in parts):
        return parts
    if all(isinstance(p, str) or is_whole(p) for p in paths):
        return [p if isinstance(p, str) else int(p) for p in paths]
    raise InputError(
        "`scope` must be a model, a layer, a list of layers or of variable paths, or a function "
        f"of a variable; received {type(scope).__name__} of "
        f"{sorted({type(p).__name__ for p in parts})}."
    )


def block_size_of(value: Sequence[int] | str) -> tuple[int, int]:
    """Height and width of a block, from the two numbers or a name in `BLOCK_SIZES`."""
    if not isinstance(value, str):
        return _pair("block_size", value)
    if value not in BLOCK_SIZES:
        raise InputError(
            f"`block_size` must be two positive integers or one of {list(BLOCK_SIZES)}, received "
            f"{value!r}."
        )
    return BLOCK_SIZES[value]


def _pair(name: str, value: Any) -> tuple[int, int]:
    first, second = wholes(name, value, 1, length=2)
    return first, second
