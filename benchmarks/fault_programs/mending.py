"""The cures of findings done in a program: what it must say otherwise, or lines of code."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

import tfinit

ROUNDS = 4  # of diagnosis and cure, as `tfinit diagnose --fix` has


class Mended(NamedTuple):
    """A program after its cures.

    Attributes:
        model: The compiled model.
        x: The inputs.
        y: The targets.
        error: Of a cure that fails; "".
        done: What was done: changes, then lines of code.
    """

    model: Any
    x: Any
    y: Any
    error: str
    done: list[str]


def mended(
    make: Callable[[], Any], diagnosed: Callable[..., list[Any]], severities: Sequence[str]
) -> Mended | None:
    """The program after the cures of findings, as somebody edits it; None without any.

    Of a finding the changes are made, or else its line of code is put behind the compilation. The
    program so edited is built and diagnosed again, until nothing new is said. Rates come last: what
    rate does depends on the rest.

    Args:
        make: Builds the program: (model, x, y).
        diagnosed: The findings of (model, x, y).
        severities: Of which findings, as ``("severe",)``.
    """
    changes: dict[tuple[str, str], Any] = {}
    codes: list[str] = []
    model, x, y = make()
    for _ in range(ROUNDS):
        found = [f for f in diagnosed(model, x, y) if f.severity in severities]
        found = [f for f in found if f.fault != "rate"] or found
        before = dict(changes), list(codes)
        said: dict[tuple[str, str], Any] = {}
        for finding in found:
            asked = {tuple(change[:2]): change.value for change in finding.changes}
            if any(said.get(place, value) != value for place, value in asked.items()):
                continue  # another cure is about the same argument
            said |= asked
            if finding.code and not asked and finding.code not in codes:
                codes.append(finding.code)
        changes |= said
        if (changes, codes) == before:
            break
        model, x, y = make()
        scope = {"model": model, "x": x, "y": y, "keras": keras, "numpy": np, "tfinit": tfinit}
        done = [f"{of} {argument}={value!r}" for (of, argument), value in changes.items()] + codes
        try:
            if changes:
                scope["model"] = changed(model, changes)
            for code in codes:
                exec(code, scope)
        except Exception as error:  # whatever a cure of ours raises is what is looked for
            return Mended(scope["model"], scope["x"], scope["y"], f"{done}: {error!r}", done)
        model, x, y = scope["model"], scope["x"], scope["y"]
    return Mended(model, x, y, "", done) if changes or codes else None


def changed(model: Any, changes: dict[tuple[str, str], Any]) -> Any:
    """The model built and compiled anew with other arguments, as somebody who edits the program."""
    config = model.get_config()
    said = {"loss": model.loss, "optimizer": model.optimizer}
    for (of, argument), value in sorted(changes.items(), key=lambda item: item[0][0]):
        if of == "model.compile":  # before the arguments of what it is given
            said[argument] = value
        elif of in ("model.loss", "model.optimizer"):
            part = of.removeprefix("model.")
            said[part] = _with(said[part], part, argument, value)
        else:
            name = of.split("#")[0].rsplit("/", 1)[-1]
            _layer(config, name)[argument] = value
    keras.utils.set_random_seed(1)
    new = type(model).from_config(config)
    optimizer = said["optimizer"]
    if not isinstance(optimizer, str):  # it belongs to the other model
        optimizer = type(optimizer).from_config(optimizer.get_config())
    new.compile(optimizer, said["loss"])
    return new


def _layer(config: dict[str, Any], name: str) -> dict[str, Any]:
    return next(c["config"] for c in config["layers"] if c["config"].get("name") == name)


def _with(thing: Any, part: str, argument: str, value: Any) -> Any:
    """A loss or an optimizer with another argument."""
    of = keras.losses if part == "loss" else keras.optimizers
    thing = of.get(thing)
    if part == "loss" and not isinstance(thing, keras.losses.Loss):  # a function: its class
        thing = getattr(of, "".join(map(str.title, thing.__name__.split("_"))))()
    return type(thing).from_config({**thing.get_config(), argument: value})
