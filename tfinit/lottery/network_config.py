"""What every experiment says of its network, its data and its training."""

import dataclasses
import hashlib
import inspect
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tfinit.arguments import check_fields, number, one_of, refused, seeds, text, whole, wholes
from tfinit.datasets import datasets_help
from tfinit.devices import KERASES
from tfinit.errors import InputError
from tfinit.flag_help import FlagHelp
from tfinit.lottery.own_parts import OwnPart, fingerprint
from tfinit.named_functions import is_own_model
from tfinit.networks import networks_help
from tfinit.optimizers import OPTIMIZERS, optimizers_help
from tfinit.training.judged import AUTO, DIRECTIONS, EVALUATE_TEST

# Beside the fields in config.json: see tfinit.origin, tfinit.lottery.subject and own_parts.
MADE_WITH, DESCRIBED, OWN_PARTS = "made_with", "described", "own_parts"
_A_NAME = (
    "It is a name, as 'lenet-300-100', 'mlp-3-relu' or 'resnet-20'; or where a network of your own "
    "is made, as 'nets.py:build', 'package.module:build' or 'net.keras'. A function goes to what "
    "runs the experiment, as its argument `build_model`."
)
# What a network of the user's own has by itself.
_OF_SHIPPED = ("optimizer", "learning_rate", "warmup_steps", "learning_rate_drops", "weight_decay")


_Config = TypeVar("_Config", bound="NetworkConfig")


def check_initialization(value: Any) -> None:
    """See that an initialization is one; whether its name is known, what builds the network says.

    Raises:
        InputError: it is no text, initializer or function of three arguments.
    """
    if isinstance(value, str):
        return
    wanted = "a name, an initializer of Keras or tfinit, or a function of (model, x, seed)"
    if isinstance(value, type) or not callable(value):
        cure = f"Make one: {value.__name__}()." if isinstance(value, type) else ""
        raise refused("initialization", wanted, value, cure)
    keras = sys.modules.get("keras")  # which has been imported where there is an initializer
    if keras is not None and isinstance(value, keras.initializers.Initializer):
        return
    try:
        inspect.signature(value).bind(None, None, 0)
    except TypeError as error:
        raise refused("initialization", wanted, value, f"It takes others: {error}.") from error
    except ValueError:  # it does not say what it takes
        return


@dataclass(frozen=True)
class NetworkConfig:
    """The network, its data and its training: what the experiments of this package share.

    An experiment is a subclass with fields of its own, and checks after those made here.

    Raises:
        InputError: a value is not allowed.
    """

    # What errors call the experiment.
    kind: ClassVar[str] = "network"
    # Of these a run may ask for more later: what it has then stays as it is.
    grows: ClassVar[tuple[str, ...]] = ("seeds",)
    # Fields that may be a function or an object of the user's.
    own: ClassVar[tuple[str, ...]] = ("initialization",)
    # Their fingerprints; and those of a file, which has what is registered too: None where there
    # was none.
    _held: ClassVar[dict[str, OwnPart]] = {}
    _noted: ClassVar[dict[str, OwnPart] | None] = None

    # Fields that a file has only where they are no defaults: without them it is as it was before.
    later: ClassVar[tuple[str, ...]] = ()

    dataset: str = field(default="digits", metadata=FlagHelp(datasets_help))
    """Data set: a name that `tfinit.datasets.load` knows, an .npz file, or file.py:load."""
    train_examples: int = 0
    """Train on so many of the training examples. 0: on all."""
    model: str = field(default="lenet-300-100", metadata=FlagHelp(networks_help))
    """Network: your own by its place, ``nets.py:build`` or ``net.keras``; or a name of tfinit's."""
    initialization: Any = "published"
    """published: as the network has it; or the name of a scheme or an initializer. In Python also
    an initializer, or a function of (model, x, seed) that sets the weights in place."""
    keras: str = "keras"
    """keras: Keras 3 with SparseOptimizer. tf_keras: legacy Keras with TFMOT."""
    steps: int = 1000
    """Training steps."""
    batch_size: int = 60
    """Examples a step."""
    optimizer: str = field(default="adam", metadata=FlagHelp(optimizers_help))
    """Optimizer: a name of `tfinit.optimizers.OPTIMIZERS`."""
    learning_rate: float = 1.2e-3
    """Learning rate, constant unless warmed up or dropped."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises from 0, in a line."""
    learning_rate_drops: tuple[int, ...] = ()
    """Steps at which the learning rate falls to a tenth."""
    weight_decay: float = 0.0
    """Weight decay, in the loss: half of this times the sum of the squared kernels."""
    augment: bool = False
    """Mirror and shift the training images at random, as for CIFAR."""
    evaluate_every: int = 20
    """Steps between evaluations on the validation and test split."""
    threads: int = 0
    """Train with so many threads of the processor, which decides the last bits. 0: one a core."""
    evaluate_test: str = "always"
    """always: every evaluation is on the test split too. needed: where a result tells of it."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One replicate each: its weights, and the order of its data."""
    # What is measured is the same whatever it is judged by: a run goes on, and tells of another.
    metric: str = field(default=AUTO, compare=False)
    """What results are judged by: loss, or a metric of the model. auto: accuracy, else the loss."""
    metric_direction: str = field(default=AUTO, compare=False)
    """max: the larger the better; min. auto: as Keras, or the metric's name, has it."""
    # Where the run is does not make it another experiment: the directory may be moved.
    run_dir: Path = field(default=Path("runs/network"), compare=False)
    """Directory of the run. An interrupted run that is started again goes on there."""

    def __post_init__(self) -> None:
        text(
            "dataset",
            self.dataset,
            cure="It is a name; data go to the function that runs it, as its argument `data`.",
        )
        text("model", self.model, cure=_A_NAME)
        check_fields(self)
        check_initialization(self.initialization)
        self._check_whole(("steps", "batch_size", "evaluate_every"), least=1)
        self._check_whole(("warmup_steps", "train_examples", "threads"), least=0)
        wholes("learning_rate_drops", self.learning_rate_drops, 1, empty=True)
        number("weight_decay", self.weight_decay, least=0)
        number("learning_rate", self.learning_rate, above=0)
        one_of("evaluate_test", self.evaluate_test, EVALUATE_TEST)
        one_of("keras", self.keras, KERASES)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        seeds("seeds", self.seeds)
        text("metric", self.metric, cure="Its name, or 'auto'.")
        one_of("metric_direction", self.metric_direction, DIRECTIONS)
        if self.own_network:
            self._check_own()
        if self.keras == "tf_keras":
            for name, value, without in self._keras_3_only():
                if value != without:
                    raise InputError(
                        f"`{name}` {value!r} needs keras 'keras': tf_keras trains plainly, and "
                        "TFMOT prunes, by magnitude, after training."
                    )

    @property
    def own_network(self) -> bool:
        """Whether the network is the user's own: compiled, with all that belongs to it."""
        return is_own_model(self.model)

    @property
    def other_seeds(self) -> tuple[int, ...]:
        """What is added to a replicate's seed for other weights that it needs."""
        return ()

    def _check_own(self) -> None:
        for name in _OF_SHIPPED:
            value = getattr(self, name)
            if value != _default(type(self), name):
                raise InputError(
                    f"`{name}` {value!r} is for tfinit's networks: your own, {self.model!r}, has "
                    "what it was compiled with. Leave it out, and set it in the model."
                )

    def _keras_3_only(self) -> list[tuple[str, Any, Any]]:
        """What tf_keras cannot do: field, its value, the value that does without."""
        return [("augment", self.augment, False), ("weight_decay", self.weight_decay, 0.0)]

    def _check_whole(self, names: Sequence[str], least: int) -> None:
        for name in names:
            whole(name, getattr(self, name), least)

    def to_json(self) -> str:
        """The configuration without its directory, as JSON that `from_json` reads back."""
        values = self._values()
        if parts := self.own_parts():
            values[OWN_PARTS] = {which: part.to_dict() for which, part in parts.items()}
        later = [n for n in self.later if values[n] == _default(type(self), n)]
        for name in ("run_dir", *later, *(_OF_SHIPPED if self.own_network else ())):
            del values[name]
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_json(cls: type[_Config], text: str, run_dir: Path, missing: bool = False) -> _Config:
        """The configuration that `to_json` wrote. Fields that it lacks have their defaults.

        A part that is a user's own is its name and fingerprint (`own_parts.OwnPart`), unless Keras
        has it registered.

        Args:
            text: What was written.
            run_dir: The directory of the experiment.
            missing: Whether what was registered may be missing: then it is such a name as well.

        Raises:
            InputError: the text is not such a configuration.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            for beside in (MADE_WITH, DESCRIBED):
                values.pop(beside, None)
            noted = {n: OwnPart.read(part) for n, part in values.pop(OWN_PARTS, {}).items()}
            # Any version wrote them: an object without is no configuration.
            values["seeds"] = tuple(values["seeds"])
            for f in dataclasses.fields(cls):
                if isinstance(f.default, tuple) and f.name in values:
                    values[f.name] = tuple(values[f.name])
            absent = cls._absent(values, noted, missing)
            config = cls(**cls._accepted(values), run_dir=run_dir)
            for name, value in {**absent, "_noted": noted}.items():
                object.__setattr__(config, name, value)
            return config
        # What is no configuration breaks anything: a list where an object was has no `items`.
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InputError(f"not a {cls.kind} configuration: {error}") from error

    def identity(self) -> str:
        """SHA-256 of the fields that are no defaults and may not grow: one for each experiment.

        A field that a later version adds changes nothing where it has its default.
        """
        values = self._values()
        told = {
            f.name: _plain(values[f.name])
            for f in dataclasses.fields(self)
            if f.compare and f.name not in self.grows
        }
        told = {name: v for name, v in told.items() if v != _plain(_default(type(self), name))}
        if self.own_network:  # which one, its fingerprint tells: its file may be moved
            told["model"] = "own"
        told = self._first_told(told)
        return hashlib.sha256(json.dumps([self.kind, told], sort_keys=True).encode()).hexdigest()

    def _values(self) -> dict[str, Any]:
        """Name of each field → its value, as JSON can have it."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if not isinstance(self.initialization, str):
            part = self.initialization
            part = part if isinstance(part, OwnPart) else self._held["initialization"]
            values["initialization"] = part.to_dict()
        return values

    def own_parts(self) -> dict[str, OwnPart]:
        """What is the user's own in this experiment → its name and fingerprint."""
        return dict(self._held) if self._noted is None else self._noted

    def check_parts(self) -> None:
        """See that all parts of the experiment are here.

        Raises:
            InputError: it was read from a directory, which has only the name of one.
        """
        for name in self.own:
            value = getattr(self, name)
            if isinstance(value, OwnPart):
                raise InputError(
                    f"`{name}` is {value!r}, of which the directory has no more. Give the part "
                    "itself, as when the experiment was begun."
                )

    def _hold(self) -> None:
        """Remember the fingerprints of own parts: they are those of the experiment from now on."""
        values = {name: getattr(self, name) for name in self.own}
        held = {name: fingerprint(v) for name, v in values.items() if not isinstance(v, str)}
        object.__setattr__(self, "_held", held)

    @classmethod
    def _absent(
        cls, values: dict[str, Any], noted: dict[str, OwnPart], missing: bool
    ) -> dict[str, Any]:
        """Fields of which the values are not here, taken out of ``values``."""
        return {
            name: OwnPart.read(values.pop(name))
            for name in cls.own
            if isinstance(values.get(name), dict) and "own" in values[name]
        }

    @classmethod
    def _first_told(cls, told: dict[str, Any]) -> dict[str, Any]:
        """Fields and values by the names that they had first: files hold the digest of those."""
        return told

    @classmethod
    def _accepted(cls, values: dict[str, Any]) -> dict[str, Any]:
        """What a file says, as this version says the same."""
        return values

    def differences(self, other: "NetworkConfig") -> dict[str, tuple[Any, Any]]:
        """Name of each field that makes the two different experiments → both values.

        Of parts that are a user's own the fingerprints are compared, as far as both are known.
        """
        mine, others = self.own_parts(), other.own_parts()
        found = {}
        for name in (f.name for f in dataclasses.fields(self) if f.compare):
            values = getattr(self, name), getattr(other, name)
            if name == "model" and self.own_network and other.own_network:
                continue  # whether they are one, their fingerprints tell
            parts = mine.get(name, values[0]), others.get(name, values[1])
            known = name in mine and name in others
            if parts[0] != parts[1] if known else values[0] != values[1]:
                found[name] = parts
        for which in mine.keys() & others.keys() - found.keys():
            if mine[which] != others[which]:
                found[which] = mine[which], others[which]
        return found

    def obstacles(self, larger: "NetworkConfig") -> dict[str, tuple[Any, Any]]:
        """Of the `differences`, those that a run of this experiment cannot grow into.

        It may grow by what `grows` names: more seeds, say, or levels, all that were there among
        them.
        """
        return {
            name: (old, new)
            for name, (old, new) in self.differences(larger).items()
            if name not in self.grows
            or (new < old if isinstance(new, int) else not set(old) <= set(new))
        }


def _default(cls: type[NetworkConfig], name: str) -> Any:
    (found,) = (f for f in dataclasses.fields(cls) if f.name == name)
    if found.default_factory is not dataclasses.MISSING:
        return found.default_factory()
    return found.default


def _plain(value: Any) -> Any:
    """A value as JSON, equal for equal values: 1 and 1.0, a tuple and a list."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return float(value) if isinstance(value, int | float) else value
