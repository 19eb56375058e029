"""The cures of findings applied to a program: lines of code, or what it must say otherwise."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

import tfinit

ROUNDS = 3  # of diagnosis and cure


def mended(model: Any, x: Any, y: Any, diagnosed: Any) -> tuple[Any, Any, Any, str] | None:
    """The program after the cures of its severe findings, and the error of one; None without any.

    ``diagnosed`` gives the findings of (model, x, y); what it finds of the mended program is mended
    too, three times at most, as somebody would who reads and does what is said.
    """
    scope = {"model": model, "x": x, "y": y, "keras": keras, "np": np, "tfinit": tfinit}
    done: set[Any] = set()
    for _ in range(ROUNDS):
        findings = diagnosed(scope["model"], scope["x"], scope["y"])
        severe = [f for f in findings if f.severity == "severe"]
        changes = [c for f in severe if not f.code for c in f.changes if str(c) not in done]
        codes = [c for c in dict.fromkeys(f.code for f in severe) if c and c not in done]
        if not changes and not codes:
            break
        done |= {*map(str, changes), *codes}
        try:
            if changes:
                scope["model"] = changed(scope["model"], changes)
            for code in codes:
                exec(code, scope)
        except Exception as error:  # whatever a cure of ours raises is what is looked for
            return scope["model"], scope["x"], scope["y"], f"{changes} {codes}: {error!r}"
    return (scope["model"], scope["x"], scope["y"], "") if done else None


def changed(model: Any, changes: Sequence[Any]) -> Any:
    """The model built and compiled anew with other arguments, as somebody who edits the program."""
    config = model.get_config()
    said = {"loss": model.loss, "optimizer": model.optimizer}
    for of, argument, value in changes:
        if of == "model.compile":
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
