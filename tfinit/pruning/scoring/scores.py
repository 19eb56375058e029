"""Scores: how important each weight is. The registry of those that have a name.

Larger survives. With weights w (w_f after training), initial weights wᵢ, mean loss L over the data,
g = ∂L/∂w and H its Hessian; b: before training, s: in a step of `SparseOptimizer`, a: after
training, which is what the lottery ranks by; c: on calibration data, by `prune_after_training`::

    magnitude       b s a c |w|                          ("large final", where w is w_f)
    random          b s a c U(0, 1), a stream for each weight
    wanda                 c |w| · ‖x‖₂                   x: all that the input of w is
    snip            b s     |g · w|                      what a weight does to the loss
    grasp           b       w · (H g)                    what removing it takes from ‖g‖²
    synflow         b       ∂R/∂|w| · |w|,  R = Σ outputs for an input of ones through |weights|
    movement          s     Σ −w·g over the steps        what moves away from zero
    distance            a   |w_f − wᵢ|

and those of Zhou et al. (2019), after training: `tfinit.pruning.scoring.initial_and_final`.

Nothing here imports Keras or NumPy: configurations and the command line have the names from here.
A formula written with Python's operators does for NumPy's arrays and the tensors of every backend.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from tfinit.arguments import one_of, refused, shown
from tfinit.errors import InputError
from tfinit.pruning.scoring import initial_and_final as trained

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "AFTER",
    "BEFORE",
    "CALIBRATED",
    "SCORES",
    "STEP",
    "AnyScore",
    "Formula",
    "Score",
    "check_score",
    "names",
    "register",
]

BEFORE, STEP, AFTER = "before training", "in a training step", "after training"
CALIBRATED = "on calibration data"
# What a formula may ask for, by the names of its parameters, and where there is that.
PROVIDED = {
    BEFORE: ("weights", "gradients", "curvature", "random", "generator"),
    STEP: ("weights", "gradients", "state", "random"),
    AFTER: ("weights", "initial", "random", "generator"),
    CALIBRATED: ("weights", "input_norms", "random", "generator"),
}
_ASKED = tuple(dict.fromkeys(name for names in PROVIDED.values() for name in names))


class _Optimizer(Protocol):
    """What a score's state is made with."""

    def add_variable_from_reference(self, reference_variable: Any, name: Any) -> Any:
        """A variable of zeros like another one."""


class Score:
    """How important each weight is, larger survives: derive from it for a score of your own.

    ``__call__`` is the formula of one weight, an array of the weight's shape. Its parameters name
    what it needs, among

    ===============  ======================  ===================================================
    ``weights``      everywhere              the weights, zero where pruned
    ``gradients``    before training, steps  ∂L/∂w: of the data; of the batch of the step
    ``curvature``    before training         H·∂L/∂w, the Hessian times the gradient
    ``initial``      after training          the weights that training began with
    ``input_norms``  on calibration data     ‖x‖₂ of the input that each weight multiplies
    ``state``        steps                   what `update` made of every step so far
    ``random``       everywhere              numbers from U(0, 1) of the weight's shape
    ``generator``    before, after training  a `numpy.random.Generator` of this weight's own
    ===============  ======================  ===================================================

    and so say where it can be used: it is refused where one of them is missing. In a step it gets
    and returns tensors, compiled as the step is: write it with operators and `keras.ops`. Before
    and after training it gets NumPy's arrays, after training flat ones of the surviving weights.

    A score that needs ``state`` makes it in `new_state` and changes it in `update`. One of whole
    models, as SynFlow is, defines `of_model` in place of the formula, for use before training.

    A function of those parameters is a score, too. What is saved with a model must be registered
    with ``@keras.saving.register_keras_serializable()``; a score with arguments has ``get_config``.

    Attributes:
        name: What results and errors call it; the class's name, unless it says another.
        label: What legends call it.
        absolute: Whether it is |weights| and nothing else, so that a step can rank by the weights
            themselves, without writing the score to memory.
        rounds: In how many rounds `prune_at_initialization` prunes by it, unless it is told.
        allocation: How `prune_at_initialization` allocates by it, unless it is told.
        by_output: Whether `prune_after_training` ranks the weights of each output by themselves.

    Example:
        >>> @keras.saving.register_keras_serializable("example")
        ... class Lamp(Score):
        ...     name = "lamp"
        ...
        ...     def __call__(self, weights):
        ...         squares = ops.reshape(weights, (-1,)) ** 2
        ...         order = ops.argsort(squares)
        ...         ranked = ops.take(squares, order)
        ...         total = ops.flip(ops.cumsum(ops.flip(ranked)))
        ...         return ops.reshape(ops.take(ranked / total, ops.argsort(order)), weights.shape)
        >>> Lamp().places
        ('before training', 'in a training step', 'after training', 'on calibration data')
    """

    name: str = "score"
    label: str = "score"
    absolute: bool = False
    rounds: int = 1
    allocation: str = "global"
    by_output: bool = False

    __call__: Callable[..., Any]

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        cls.name = vars(cls).get("name", cls.__name__)
        cls.label = vars(cls).get("label", cls.name)

    @property
    def needs(self) -> tuple[str, ...]:
        """The parameters of the formula; ``("model",)`` for a score of whole models.

        Raises:
            InputError: it has no formula, or one with a parameter that is not known.
        """
        if type(self).of_model is not Score.of_model:
            return ("model",)
        if not callable(self):
            raise InputError(f"`score` {self!r} has no formula. Define `__call__`, or `of_model`.")
        return _needed(self, self)

    @property
    def places(self) -> tuple[str, ...]:
        """Where it can be used: before training, in a training step, after training, on data."""
        needs = self.needs
        if needs == ("model",):
            return (BEFORE,)
        return tuple(place for place, there in PROVIDED.items() if set(needs) <= set(there))

    @property
    def needs_steps(self) -> bool:
        """Whether it ranks by what only training steps give, and nothing before the first."""
        return not {"gradients", "state"}.isdisjoint(self.needs)

    def evaluate(self, given: Mapping[str, Callable[[], Any]]) -> Any:
        """The formula, of what it needs: name of each parameter → what gives its value."""
        return self(**{name: given[name]() for name in self.needs})

    def new_state(self, optimizer: _Optimizer, variable: Any) -> Any:
        """The variable that remembers something of a weight; zeros, unless this is overridden.

        Args:
            optimizer: What keeps it, and saves it.
            variable: The weight.
        """
        return optimizer.add_variable_from_reference(variable, self.name)

    def update(self, state: Any, weights: Any, gradients: Any) -> Any:
        """The state after a step, from the weights before it and their gradients, not masked."""
        raise NotImplementedError

    def of_model(self, model: Any, x: Any, masks: Mapping[str, "np.ndarray"] | None) -> Any:
        """The scores of a whole model: key → array, for `tfinit.variables.prunable_weights`.

        Args:
            model: A built Keras 3 model.
            x: The data that `prune_at_initialization` got, or None.
            masks: Key → mask; what it prunes counts as zero. None: nothing.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this score again."""
        return {}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Score":
        """Make the score that `get_config` described."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash(type(self))  # a configuration may hold what cannot be hashed

    def __repr__(self) -> str:
        return repr(self.name)


class Formula(Score):
    """A function as a score.

    Args:
        function: Of parameters that `Score` names.
        name: What results and errors call it; None: the function's own name.
        places: Where it can be used; None: wherever there is what it needs.
        attributes: The attributes of `Score`.

    Example:
        >>> squared = Formula(lambda weights: weights**2, "squared")
        >>> squared(np.array([1.0, -3.0])).tolist()
        [1.0, 9.0]
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        places: tuple[str, ...] | None = None,
        **attributes: Any,
    ) -> None:
        self.function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.label = self.name
        self._places = places
        for key, value in attributes.items():
            setattr(self, key, value)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """The function of what it needs."""
        return self.function(*arguments, **named)

    @property
    def needs(self) -> tuple[str, ...]:
        """The parameters of the function."""
        needed = _needed(self, self.function)
        if "state" in needed:
            raise InputError(
                f"`score` {self!r} is a function that needs `state`, which a class derived from "
                "tfinit.pruning.Score keeps, in its method `update`."
            )
        return needed

    @property
    def places(self) -> tuple[str, ...]:
        """Where it can be used."""
        return super().places if self._places is None else self._places

    def get_config(self) -> dict[str, Any]:
        """The function and its name."""
        return {"function": self.function, "name": self.name}


def _needed(score: Score, formula: Callable[..., Any]) -> tuple[str, ...]:
    """The parameters of a score's formula, if all of them are known."""
    needed = _parameters(formula)
    if not needed or any(name not in _ASKED for name in needed):
        raise InputError(
            f"`score` {score!r} is a function of ({', '.join(needed)}). Its parameters must "
            f"be named as what it needs, among {', '.join(_ASKED)}."
        )
    return needed


class _Movement(Score):
    """Σ −w·∂w over the steps (Sanh et al. 2020): what moves away from zero survives."""

    name = "movement"

    def __call__(self, state: Any) -> Any:
        return state

    def update(self, state: Any, weights: Any, gradients: Any) -> Any:
        return state - weights * gradients


class _SynFlow(Score):
    """The flow of ones through absolute weights (Tanaka et al. 2020), pruned in 100 rounds."""

    name, label, rounds = "synflow", "SynFlow", 100

    def of_model(self, model: Any, x: Any, masks: Mapping[str, "np.ndarray"] | None) -> Any:
        from tfinit.pruning.scoring.before_training import synflow

        return synflow(model, x, masks=masks)


AnyScore = str | Score | Callable[..., Any]
"""What a user may give as ``score``."""

SCORES: dict[str, Score] = {}
"""Name → score: the names wherever a score can be chosen. `register` adds one."""


def register(score: Score) -> Score:
    """Let a score be chosen by its name, wherever it can be used.

    Raises:
        InputError: the name is taken.

    Example:
        >>> register(Formula(lambda weights: weights**2, "energy")).places
        ('before training', 'in a training step', 'after training', 'on calibration data')
        >>> del SCORES["energy"]
    """
    if score.name in SCORES:
        raise InputError(f"There is a score {score.name!r} already. The names are {list(SCORES)}.")
    SCORES[score.name] = score
    return score


for _score in (
    Formula(lambda weights: abs(weights), "magnitude", absolute=True),
    *(Formula(formula, name, (AFTER,)) for name, formula in trained.FORMULAS.items()),
    Formula(lambda random: random, "random", allocation="erk"),
    _Movement(),
    Formula(lambda weights, gradients: abs(weights * gradients), "snip", label="SNIP"),
    Formula(lambda weights, curvature: weights * curvature, "grasp", label="GraSP"),
    _SynFlow(),
    Formula(
        lambda weights, input_norms: abs(weights) * input_norms,
        "wanda",
        label="Wanda",
        by_output=True,
    ),
):
    register(_score)


def names(place: str) -> tuple[str, ...]:
    """The names of the scores that can be used in a place.

    Example:
        >>> names(STEP)
        ('magnitude', 'random', 'movement', 'snip')
    """
    return tuple(name for name, score in SCORES.items() if place in score.places)


def check_score(value: Any, place: str) -> Score:
    """The score of a name, a `Score` or a function; or what is wrong with it.

    Args:
        value: What the user gave as ``score``.
        place: Where it is to be used: `BEFORE`, `STEP` or `AFTER`.

    Raises:
        InputError: it is no score, or cannot be used there.

    Example:
        >>> check_score("snip", BEFORE).needs
        ('weights', 'gradients')
    """
    if isinstance(value, str) and value in SCORES and place not in SCORES[value].places:
        there = ", ".join(SCORES[value].places)
        one_of("score", value, names(place), cure=f"{value!r} is one {there}.")
    if isinstance(value, str):
        return SCORES[one_of("score", value, names(place))]
    if isinstance(value, type) or not (isinstance(value, Score) or callable(value)):
        mro = value.__mro__ if isinstance(value, type) else ()
        usable = Score in mro or any("__call__" in vars(c) for c in mro)
        cure = f"Make one: {value.__name__}()." if usable else ""
        wanted = f"one of {', '.join(names(place))}, a tfinit.pruning.Score or a function"
        raise refused("score", wanted, value, cure)
    score = value if isinstance(value, Score) else Formula(value)
    if place not in score.places:
        missing = [name for name in score.needs if name not in PROVIDED[place]]
        raise InputError(
            f"`score` {score!r} needs {' and '.join(f'`{name}`' for name in missing)}, which there "
            f"is not {place}. It can be used {' and '.join(score.places) or 'nowhere'}; {place} "
            f"there are {', '.join(names(place))}."
        )
    if "state" in score.needs and type(score).update is Score.update:
        raise InputError(f"`score` {score!r} needs `state`. Define its method `update`.")
    return score


def check_values(
    score: Score, values: Any, shape: tuple[int, ...], method: str = "__call__"
) -> Any:
    """The array or tensor that a score returned, if it has real numbers in the weight's shape.

    Raises:
        InputError: it has not; ``method`` is what returned it.
    """
    found = values
    if not hasattr(values, "dtype"):
        import numpy as np

        try:
            found = np.asarray(values)
        except ValueError:  # lists of several lengths
            found = np.empty((), object)
    # NumPy's, and those of every backend: "float32", "torch.bfloat16", "bool".
    real = re.search("float|int|bool", str(getattr(found.dtype, "name", found.dtype)))
    if tuple(found.shape) != tuple(shape) or not real:
        of = "" if method == "__call__" else f"`{method}` of "
        raise InputError(
            f"{of}`score` {score!r} must return one number for each weight, of shape "
            f"{tuple(shape)}; it returned {shown(values)}."
        )
    return found


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # what is written in C may not tell
        return ("?",)
    # It is called by the names. Of those that cannot be, what they are written with makes a name
    # that is not known.
    marks = {inspect.Parameter.VAR_POSITIONAL: "*{}", inspect.Parameter.VAR_KEYWORD: "**{}"}
    marks[inspect.Parameter.POSITIONAL_ONLY] = "{}, /"
    return tuple(marks.get(p.kind, "{}").format(p.name) for p in found if p.default is p.empty)
