"""Passes on JAX: one program, compiled as a whole, which returns all that is seen in it.

A tensor that is looked at passes an identity of its own derivative, which notes the gradient when
backpropagation is traced through it: no second trace is needed to know the shapes.
"""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero

from tfinit.graph.passes import Passed, Programs, See, Work
from tfinit.graph.snapshot import Snapshot

# For XLA on a CPU: of MobileNetV2, it halves the time to compile and adds a fifth to that of a run.
_AT_ONCE: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}


def forward_and_backward(
    snapshot: Snapshot, work: Work, value: See, gradient: See, kept: Programs | None = None
) -> Passed:
    """`tfinit.graph.passes.forward_and_backward`."""
    programs = {} if kept is None else kept
    given = [held for _, held in snapshot.taken], work.x, work.y
    parts, structure = jax.tree.flatten(given)
    key = structure, tuple((tuple(p.shape), str(p.dtype)) for p in parts), work.scale
    program = programs.get(key)
    if program is None:
        variables = [variable for variable, _ in snapshot.taken]
        program = programs[key] = _Program(variables, work, given, once=kept is None)
    return program.run(given, value, gradient)


class _Program:
    """The two passes over one model, for inputs of one shape.

    Args:
        variables: All that the model reads, in the order of their values.
        work: What is run.
        given: The variables' values, inputs and targets, for their shapes.
        once: Whether it is run once, so that it takes longer to compile than to run.
    """

    def __init__(self, variables: list[Any], work: Work, given: Any, once: bool) -> None:
        self._variables, self._work = variables, work
        weights = {id(variable) for variable in work.weights}
        self._weights = [n for n, variable in enumerate(variables) if id(variable) in weights]
        # Where each tensor was seen that the program returns.
        self._seen: list[Any] = []
        self._felt: list[Any] = []
        options = _AT_ONCE if once and jax.default_backend() == "cpu" else None
        self._compiled = jax.jit(self._traced).lower(*given).compile(options)

    def run(self, given: tuple[Any, Any, Any], value: See, gradient: See) -> Passed:
        """Run it, then hand over what was seen."""
        outputs, number, seen, felt, by_place = self._compiled(*given)
        for point, tensor in zip(self._seen, seen, strict=True):
            value(point, tensor)
        for point, tensor in zip(self._felt, felt, strict=True):
            gradient(point, tensor)
        by_weight = {id(self._variables[place]): by_place[place] for place in by_place}
        return Passed(outputs, number, [by_weight.get(id(asked)) for asked in self._work.asked])

    def _traced(self, values: list[Any], x: Any, y: Any) -> Any:
        seen: list[tuple[Any, Any]] = []
        felt: list[tuple[Any, Any]] = []
        by_place: dict[int, Any] = {}

        def forward(weights: list[Any]) -> Any:
            held = list(values)
            for place, weight in zip(self._weights, weights, strict=True):
                note = by_place.__setitem__
                held[place] = tapped(weight, None, lambda g, at=place, note=note: note(at, g))
            pairs = list(zip(self._variables, held, strict=True))
            with (
                keras.StatelessScope(pairs, collect_losses=True, initialize_variables=False),
                self._work.probe(
                    lambda point, tensor: seen.append((point, tensor)),
                    lambda point, tensor: felt.append((point, tensor)),
                ),
            ):
                outputs, number = self._work.compute(x, y)
            return number * self._work.scale, (outputs, number)

        weights = [values[place] for place in self._weights]
        lifted, back, (outputs, number) = jax.vjp(forward, weights, has_aux=True)
        back(jax.numpy.ones_like(lifted))
        self._seen = [point for point, _ in seen]
        self._felt = [point for point, _ in felt]
        return outputs, number, [t for _, t in seen], [t for _, t in felt], by_place


def here() -> Any:
    """The transformation that a probe is opened in."""
    from jax.extend import core

    return core.get_opaque_trace_state()


def shown(tensor: Any, level: Any) -> Any:
    """The tensor without its derivatives; None of a program that is traced inside of the probe."""
    if not isinstance(tensor, jax.Array):
        return None
    bare = jax.lax.stop_gradient(tensor)
    return None if _is_traced(bare) and level != here() else bare


def tapped(tensor: Any, level: Any, gradient: Callable[[Any], None]) -> Any:
    """The same tensor, which hands over its gradient on the way back, if there is one."""
    traced = _is_traced(jax.lax.stop_gradient(tensor))

    @jax.custom_vjp
    def tap(value: Any) -> Any:
        return value

    def forward(value: Any) -> tuple[Any, None]:
        return value.value, None

    def back(_: None, upstream: Any) -> tuple[Any]:
        # Not if only the way back is traced, into a program that outlives the probe.
        if not isinstance(upstream, SymbolicZero) and (traced or not _is_traced(upstream)):
            gradient(upstream)
        return (upstream,)

    tap.defvjp(forward, back, symbolic_zeros=True)
    return tap(tensor)


def _is_traced(tensor: Any) -> bool:
    return isinstance(tensor, Tracer)


def array(tensor: Any) -> np.ndarray:
    """Its numbers, which are not to be written."""
    return np.asarray(tensor)
