"""Passes on PyTorch: eagerly, with hooks on tensors."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch

from tfinit.graph.passes import Passed, Programs, See, Work
from tfinit.graph.snapshot import Snapshot


def forward_and_backward(
    snapshot: Snapshot, work: Work, value: See, gradient: See, kept: Programs | None = None
) -> Passed:
    """`tfinit.graph.passes.forward_and_backward`."""
    first = snapshot.differentiable(work.weights)
    with torch.enable_grad(), work.probe(value, gradient):
        outputs, number = work.compute(work.x, work.y)
        # A layer may have assigned to a weight on the way: from there on that is what it is.
        now = [snapshot.get_current_value(weight) for weight in work.weights]
        leaves = [t for t in {id(t): t for t in (*first, *now)}.values() if t.requires_grad]
        found: dict[int, Any] = {}
        if leaves and number.requires_grad:
            taken = torch.autograd.grad(number * work.scale, leaves, allow_unused=True)
            found = dict(zip(map(id, leaves), taken, strict=True))
    by_weight: dict[int, Any] = {}
    for weight, *held in zip(work.weights, first, now, strict=True):
        parts = [found.get(key) for key in dict.fromkeys(map(id, held))]
        known = [part for part in parts if part is not None]
        by_weight[id(weight)] = sum(known[1:], known[0]) if known else None
    gradients = [by_weight.get(id(variable)) for variable in work.asked]
    return Passed(_detached(outputs), number.detach(), gradients)


def _detached(outputs: Any) -> Any:
    return keras.tree.map_structure(
        lambda part: part.detach() if isinstance(part, torch.Tensor) else part, outputs
    )


def here() -> Any:
    """Of a probe that is opened here: eager tensors are the same everywhere."""
    return None


def shown(tensor: Any, level: Any) -> Any:
    """A copy of the tensor, which stays as it is if somebody writes into its memory later."""
    if not isinstance(tensor, torch.Tensor) or tensor.is_meta or torch.compiler.is_compiling():
        return None
    return tensor.detach().clone()


def tapped(tensor: Any, level: Any, gradient: Callable[[Any], None]) -> Any:
    """The same tensor, which hands over its gradient on the way back."""
    if not tensor.requires_grad:
        return tensor
    # Another one, for a layer may give back what it was given: that has a gradient of its own.
    tap = tensor.view_as(tensor)

    def back(upstream: Any) -> None:
        gradient(upstream.detach().clone())

    tap.register_hook(back)
    return tap


def array(tensor: Any) -> np.ndarray:
    """Its numbers, which are not to be written: Keras would copy them."""
    if isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
        bare = tensor.detach()
        return bare.numpy() if bare.dtype != torch.bfloat16 else bare.float().numpy()
    return keras.ops.convert_to_numpy(tensor)
