"""The changes that a cure asks for, in the calls of a program that made what they are about."""

import ast
from collections.abc import Sequence
from typing import Any

from tfinit.diagnostics.diagnosis import Diagnosis
from tfinit.diagnostics.fixing.call_sites import CallSites, call_at
from tfinit.diagnostics.fixing.source import Source, literal, name_of_keras
from tfinit.diagnostics.judging.findings import Change
from tfinit.graph.activations import activation_of
from tfinit.graph.keras_internals import given_losses
from tfinit.variables import walk_layers


def changed(
    source: Source, sites: CallSites, model: Any, diagnosis: Diagnosis, changes: Sequence[Change]
) -> bool:
    """Make the changes of one cure in a source; False where one of them cannot be.

    Args:
        source: The file.
        sites: Where it made the model.
        model: The model.
        diagnosis: Of it.
        changes: What must be said otherwise.
    """
    program = _Program(source, sites, model, diagnosis)
    loss = next((c for c in changes if c[:2] == ("model.compile", "loss")), None)
    of_loss = [c for c in changes if c.of == "model.loss"]
    done = []
    for change in changes:
        if change.of == "model.compile" and change is loss and of_loss:
            continue  # with its arguments, below
        if change.of == "model.compile":
            done.append(program.compile_with(change.argument, literal(change.value)))
        elif change.of == "model.optimizer":
            done.append(program.set_optimizer(change.argument, literal(change.value)))
        elif change.of != "model.loss":
            done.append(program.set_layer(change.of, change.argument, change.value))
    if of_loss:
        name = None if loss is None else str(loss.value)
        done.append(program.set_loss(name, {c.argument: literal(c.value) for c in of_loss}))
    return bool(done) and all(done)


class _Program:
    """A model, and the calls in a file that made it."""

    def __init__(self, source: Source, sites: CallSites, model: Any, diagnosis: Diagnosis) -> None:
        self._source, self._sites, self._model = source, sites, model
        self._diagnosis = diagnosis

    def set_layer(self, key: str, argument: str, value: Any) -> bool:
        """Another argument of the constructor of a layer, or of the activation behind it."""
        if argument == "activation":
            key = self._activation_of(key)
        layer = dict(walk_layers(self._model)).get(key.split("#")[0])
        call = self._call_of(layer)
        if call is None:
            return False
        cls = type(layer)
        if self._source.set_argument(call, cls, argument, literal(value)):
            return True
        if argument != "activation" or activation_of(layer) is None:
            return False
        new = f"{self._keras()}.layers.Activation({literal(value or 'linear')})"
        return self._source.replace_call(call, new)

    def compile_with(self, argument: str, value: str) -> bool:
        """Another argument of ``compile``."""
        call = self._compile()
        compiled = type(self._model).compile
        return call is not None and self._source.set_argument(call, compiled, argument, value)

    def set_optimizer(self, argument: str, value: str) -> bool:
        """Another argument of the optimizer, which ``compile`` may call by its name."""
        optimizer = getattr(self._model, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if optimizer is None:
            return False
        call = self._call_of(optimizer)
        if call is not None:
            return self._source.set_argument(call, type(optimizer), argument, value)
        if not self._names("optimizer"):
            return False
        kind = type(optimizer).__name__
        made = f"{self._keras()}.optimizers.{kind}({argument}={value})"
        return self.compile_with("optimizer", made)

    def set_loss(self, name: str | None, arguments: dict[str, str]) -> bool:
        """Other arguments of the loss, which ``compile`` may call by its name; or another loss."""
        import keras

        given, _ = given_losses(self._model)
        call = None if name is not None else self._call_of(given)
        if call is not None:
            cls = type(given)
            return all(
                self._source.set_argument(call, cls, argument, value)
                for argument, value in arguments.items()
            )
        if name is None:
            losses = {o.loss.name for o in self._diagnosis.measurement.outputs if o.loss}
            if len(losses) != 1 or not self._names("loss"):
                return False
            name = losses.pop()
        kind = "".join(part.capitalize() for part in name.split("_"))
        if not hasattr(keras.losses, kind):
            return False
        said = ", ".join(f"{argument}={value}" for argument, value in arguments.items())
        return self.compile_with("loss", f"{self._keras()}.losses.{kind}({said})")

    def _activation_of(self, key: str) -> str:
        """The layer that is the activation of a head, where that is not the head itself."""
        for output in self._diagnosis.measurement.outputs:
            behind = [part.key for part in output.applied if part.is_activation]
            if output.head == key and len(behind) == 1:
                return behind[0]
        return key

    def _call_of(self, thing: Any) -> ast.Call | None:
        """The call that made a layer or the like, and nothing else."""
        site = None if thing is None else self._sites.made(thing)
        if site is None or len(self._sites.made_at(site)) > 1:
            return None
        return call_at(self._source.tree, site, type(thing).__name__)

    def _compile(self) -> ast.Call | None:
        site = self._sites.compiled(self._model)
        return None if site is None else call_at(self._source.tree, site, "compile")

    def _names(self, argument: str) -> bool:
        """Whether ``compile`` is given a name, or a function of Keras's, and no object."""
        call = self._compile()
        if call is None:
            return False
        place = {"optimizer": 0, "loss": 1}[argument]
        given = next((k.value for k in call.keywords if k.arg == argument), None)
        if given is None and place < len(call.args):
            given = call.args[place]
        return isinstance(given, ast.Constant | ast.Attribute | ast.Name)

    def _keras(self) -> str:
        name = name_of_keras(self._source.tree)
        if name is None:
            self._source.add_import("keras")
        return name or "keras"
