"""What people do to programs: a function for each, with the faults that a person would name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from .program import Program

SPARSE, ONE_HOT = "sparse_categorical_crossentropy", "categorical_crossentropy"
BINARY = "binary_crossentropy"


@dataclass(frozen=True)
class Mutation:
    """A change of a program.

    Attributes:
        name: What is done.
        faults: The words of `tfinit`'s `FAULTS` that are right for it, its own kind first.
        apply: (program) → the mutant; None where it cannot be done to it.
    """

    name: str
    faults: tuple[str, ...]
    apply: Callable[[Program], Program | None]


MUTATIONS: list[Mutation] = []


def mutation(name: str, *faults: str) -> Callable[[Any], Any]:
    def declare(apply: Any) -> Any:
        MUTATIONS.append(Mutation(name, faults, apply))
        return apply

    return declare


# What a program is about.


def classes(p: Program) -> int:
    """How many classes it tells apart; 0 if it is about something else."""
    if p.task != "classes":
        return 0
    return p.y.shape[-1] if p.loss == ONE_HOT else int(p.y.max()) + 1


def each_example(p: Program) -> bool:
    """Whether it is about classes, one for each example."""
    return bool(classes(p)) and (p.loss == ONE_HOT or p.y.ndim == 1)


def hot(p: Program) -> np.ndarray:
    return p.y if p.loss == ONE_HOT else keras.utils.to_categorical(p.y, classes(p))


def numbers(p: Program) -> bool:
    return p.task == "numbers" and p.x is not p.y


def floats(p: Program) -> bool:
    return p.x.dtype.kind == "f"


def of_head(**changes: Any) -> Callable[[bool, dict[str, Any]], None]:
    def edit(is_head: bool, configuration: dict[str, Any]) -> None:
        if is_head:
            configuration.update({k: v for k, v in changes.items() if k in configuration})

    return edit


def of_hidden(**changes: Any) -> Callable[[bool, dict[str, Any]], None]:
    def edit(is_head: bool, configuration: dict[str, Any]) -> None:
        if not is_head:
            configuration.update({k: v for k, v in changes.items() if k in configuration})

    return edit


def of_all(**changes: Any) -> Callable[[bool, dict[str, Any]], None]:
    def edit(is_head: bool, configuration: dict[str, Any]) -> None:
        configuration.update({k: v for k, v in changes.items() if k in configuration})

    return edit


def activates(p: Program) -> bool:
    """Whether a hidden layer of it has an activation that one chooses (not that of a gate)."""
    return "lstm" not in p.name and "forecast" not in p.name and "tagger" not in p.name


def recurrent(p: Program) -> bool:
    return any(word in p.name for word in ("lstm", "gru", "forecast", "tagger"))


# The head.


def _head(activation: str | None, wanted: Callable[[Program], bool], *faults: str) -> None:
    @mutation(f"head: {activation or 'no activation'}, {wanted.__doc__}", *faults)
    def apply(p: Program) -> Program | None:
        return p.edited(of_head(activation=activation or "linear")) if wanted(p) else None


def _of_classes(p: Program) -> bool:
    """classes"""
    return bool(classes(p)) and not p.from_logits


def _of_one_unit(p: Program) -> bool:
    """one unit"""
    return p.task == "binary" and not p.from_logits


def _of_labels(p: Program) -> bool:
    """several labels"""
    return p.task == "labels"


def _of_numbers(p: Program) -> bool:
    """numbers"""
    return numbers(p)


for _name in ("sigmoid", "relu", "tanh", None):
    _head(_name, _of_classes, "head", "loss")
for _name in ("softmax", "relu", "tanh", None):
    _head(_name, _of_one_unit, "head", "loss")
for _name in ("softmax", "relu", None):
    _head(_name, _of_labels, "head", "loss")
for _name in ("sigmoid", "softmax", "relu", "tanh"):
    _head(_name, _of_numbers, "head", "targets")


@mutation("head: a unit too few", "head", "labels")
def _(p):
    return p.edited(of_head(units=classes(p) - 1)) if classes(p) and p.loss == SPARSE else None


@mutation("head: one unit for classes", "head", "loss", "labels")
def _(p):
    return p.edited(of_head(units=1)) if each_example(p) and p.loss == SPARSE else None


@mutation("head: five units too many", "head")
def _(p):
    return p.edited(of_head(units=classes(p) + 5)) if classes(p) and p.loss == SPARSE else None


@mutation("head: probabilities called logits", "head", "loss")
def _(p):
    fits = p.loss in (SPARSE, ONE_HOT, BINARY) and not p.from_logits
    return replace(p, from_logits=True) if fits else None


@mutation("head: logits called probabilities", "head", "loss")
def _(p):
    return replace(p, from_logits=False) if p.from_logits else None


# The loss.


@mutation("loss: mse for classes", "loss")
def _(p):
    return replace(p, loss="mse", y=hot(p), from_logits=False) if each_example(p) else None


@mutation("loss: mae for classes", "loss")
def _(p):
    return replace(p, loss="mae", y=hot(p), from_logits=False) if each_example(p) else None


@mutation("loss: mse of class numbers", "loss", "head", "labels")
def _(p):
    return (
        replace(p, loss="mse", y=p.y[:, None], from_logits=False)
        if each_example(p) and p.loss == SPARSE
        else None
    )


@mutation("loss: binary for one-hot classes", "loss", "head")
def _(p):
    if not each_example(p):
        return None
    return replace(p, loss=BINARY, y=hot(p))


@mutation("loss: categorical for one unit", "loss", "head")
def _(p):
    return replace(p, loss=ONE_HOT) if p.task == "binary" else None


@mutation("loss: categorical for several labels", "loss", "head")
def _(p):
    return replace(p, loss=ONE_HOT) if p.task == "labels" else None


@mutation("loss: binary for numbers", "loss", "head", "targets")
def _(p):
    return replace(p, loss=BINARY) if numbers(p) else None


@mutation("loss: categorical for numbers", "loss", "head")
def _(p):
    return replace(p, loss=ONE_HOT) if numbers(p) else None


@mutation("loss: mae for numbers", "loss")
def _(p):
    return replace(p, loss="mae") if numbers(p) else None


@mutation("loss: hinge for 0 and 1", "loss", "head", "labels")
def _(p):
    # Keras's hinge takes 0 and 1 for ±1, a sigmoid never gives -1.
    return replace(p, loss="hinge", from_logits=False) if p.task == "binary" else None


# Labels and targets.


def _labels(name: str, change: Callable[[Program], Any], *faults: str) -> None:
    @mutation(f"labels: {name}", *(faults or ("labels",)))
    def apply(p: Program) -> Program | None:
        changed = None if isinstance(p.y, dict) or p.x is p.y else change(p)
        return None if changed is None else replace(p, y=changed, truth=p.y)


def _integers(p):
    return bool(classes(p)) and p.loss == SPARSE


_labels("divided by 255", lambda p: (p.y / 255).astype("float32") if _integers(p) else None)
_labels("from 1 on", lambda p: p.y + 1 if _integers(p) else None, "labels", "head")
_labels("one of them negative", lambda p: p.y - 1 if _integers(p) else None)
_labels("all of one class", lambda p: np.repeat(p.y[:1], len(p.y), 0) if _integers(p) else None)
_labels("0 and 255", lambda p: p.y * 255 if p.task == "binary" else None, "labels", "loss")
_labels("1 and 2", lambda p: p.y + 1 if p.task == "binary" else None, "labels", "loss")
_labels("all 0", lambda p: 0 * p.y if p.task == "binary" else None)
_labels("shuffled", lambda p: p.y[np.random.default_rng(0).permutation(len(p.y))])


@mutation("labels: NaN", "labels", "targets")
def _(p):
    if p.task not in ("numbers", "binary") or p.x is p.y:
        return None
    y = p.y.copy()
    y[::37] = np.nan
    return replace(p, y=y, truth=p.y)


@mutation("labels: constant numbers", "labels", "targets")
def _(p):
    return replace(p, y=0 * p.y + 2, truth=p.y) if numbers(p) else None


def _targets(name: str, change: Callable[[Any], Any]) -> None:
    @mutation(f"targets: {name}", "targets")
    def apply(p: Program) -> Program | None:
        return replace(p, y=change(p.y)) if numbers(p) else None


_targets("times 1000", lambda y: 1000 * y)
_targets("5000 and ±1000", lambda y: 5000 + 1000 * y)
_targets("around 100", lambda y: 100 + y)
_targets("a thousandth", lambda y: y / 1000)


# Inputs.


def _inputs(name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    @mutation(f"inputs: {name}", "inputs")
    def apply(p: Program) -> Program | None:
        return replace(p, x=change(p.x).astype("float32")) if floats(p) and p.x is not p.y else None


_inputs("times 255", lambda x: 255 * x)
_inputs("times 10,000", lambda x: 1e4 * x)
_inputs("around 1000", lambda x: x + 1000)
_inputs("a ten thousandth", lambda x: x / 1e4)
_inputs("all 0", lambda x: 0 * x)
_inputs("all alike", lambda x: np.repeat(x[:1], len(x), 0))


@mutation("inputs: NaN", "inputs")
def _(p):
    if not floats(p) or p.x is p.y:
        return None
    x = p.x.copy()
    x[::37, 0] = np.nan
    return replace(p, x=x)


@mutation("inputs: ids as numbers", "inputs", "activation")
def _(p):
    if p.name != "text cnn":
        return None

    def build():
        return keras.Sequential(
            [
                keras.Input((16,)),
                keras.layers.Dense(16, "sigmoid"),
                keras.layers.Dense(1, "sigmoid", name="head"),
            ]
        )

    return replace(p, build=build, x=100 * p.x.astype("float32"))


# The optimizer.


def _rate(name: str, factor: float) -> None:
    @mutation(f"rate: {name}", "rate")
    def apply(p: Program) -> Program:
        return replace(p, rate=p.rate * factor)


for _name, _factor in {"times 10": 10, "times 100": 100, "times 1000": 1e3}.items():
    _rate(_name, _factor)
for _name, _factor in {"a thousandth": 1e-3, "a hundred thousandth": 1e-5}.items():
    _rate(_name, _factor)


def _options(name: str, **options: Any) -> None:
    @mutation(f"rate: {name}", "rate")
    def apply(p: Program) -> Program:
        return replace(p, options={**p.options, **options})


_options("weight decay of 100", weight_decay=100.0)
_options("weight decay of 1e-4", weight_decay=1e-4)
_options("clipped to a norm of 1e-8", clipnorm=1e-8)
_options("clipped to a norm of 10", clipnorm=10.0)


@mutation("rate: a penalty of 10", "rate", "loss")
def _(p):
    def edit(is_head, configuration):
        if "kernel_regularizer" in configuration:
            configuration["kernel_regularizer"] = keras.regularizers.L2(10.0)

    return p.edited(edit)


@mutation("rate: SGD at 1e-5", "rate")
def _(p):
    return replace(p, optimizer=keras.optimizers.SGD, options={}, rate=1e-5)


@mutation("rate: SGD at 10", "rate")
def _(p):
    return replace(p, optimizer=keras.optimizers.SGD, options={}, rate=10.0)


# Hidden activations, and what else lets no signal through.


def _hidden(activation: str) -> None:
    @mutation(f"activation: hidden {activation}", "activation")
    def apply(p: Program) -> Program | None:
        if not activates(p):
            return None

        def edit(is_head: bool, configuration: dict[str, Any]) -> None:
            if not is_head and configuration.get("activation", "linear") != "linear":
                configuration["activation"] = activation

        return p.edited(edit)


for _name in ("sigmoid", "softmax", "linear", "tanh", "elu", "hard_sigmoid", "exponential"):
    _hidden(_name)


@mutation("activation: recurrences of ReLU", "activation")
def _(p):
    return p.edited(of_hidden(activation="relu")) if recurrent(p) else None


@mutation("activation: dropout of 0.95", "activation")
def _(p):
    has = "Dropout" in {type(layer).__name__ for layer in p.build().layers}
    return p.edited(of_hidden(rate=0.95)) if has else None


@mutation("activation: all frozen", "activation", "rate", "initial")
def _(p):
    return p.edited(of_all(trainable=False))


@mutation("activation: all but the head frozen", "activation", "rate", "initial")
def _(p):
    return p.edited(of_hidden(trainable=False))


@mutation("activation: the head frozen", "activation", "head")
def _(p):
    return p.edited(of_head(trainable=False))


# Initial weights.


def _start(name: str, initializer: Callable[[], Any]) -> None:
    @mutation(f"initial: {name}", "initial")
    def apply(p: Program) -> Program:
        keys = ("kernel_initializer", "embeddings_initializer", "recurrent_initializer")

        def edit(is_head: bool, configuration: dict[str, Any]) -> None:
            configuration.update(
                {k: keras.initializers.serialize(initializer()) for k in keys if k in configuration}
            )

        return p.edited(edit)


_i = keras.initializers
_start("zeros", _i.Zeros)
_start("ones", _i.Ones)
_start("0.1 throughout", lambda: _i.Constant(0.1))
_start("normal, 10", lambda: _i.RandomNormal(stddev=10.0))
_start("normal, 1", lambda: _i.RandomNormal(stddev=1.0))
_start("normal, 1e-4", lambda: _i.RandomNormal(stddev=1e-4))
_start("normal, 1e-8", lambda: _i.RandomNormal(stddev=1e-8))
_start("He", lambda: _i.HeNormal())
_start("orthogonal", lambda: _i.Orthogonal())


def _bias(name: str, value: float) -> None:
    @mutation(f"initial: biases of {name}", "initial")
    def apply(p: Program) -> Program:
        start = keras.initializers.serialize(keras.initializers.Constant(value))
        return p.edited(of_hidden(bias_initializer=start))


_bias("-10", -10.0)
_bias("10", 10.0)
