"""The channels that training with masks of whole channels left nothing of."""

from typing import Any

import keras
import numpy as np

from tfinit.graph.channels import follow
from tfinit.graph.layer_kinds import axes_of
from tfinit.pruning.channels.groups import find_groups, weights_with_channels
from tfinit.pruning.channels.plan import ChannelPlan


def removing_zeros(plan: ChannelPlan, model: Any) -> ChannelPlan:
    """The plan that removes, of the groups of another, the channels whose kernels are all zero.

    Args:
        plan: The groups.
        model: A model of the same layers, after its training.
    """
    channels = follow(model, reads=False)
    weights = list(weights_with_channels(channels))
    speaks = channels.representatives()
    alive = np.zeros(len(speaks), dtype=bool)
    for weight in weights:
        kernel = axes_of(weight.owner, weight.name)
        if kernel is None or not kernel.prunable:
            continue
        used = keras.ops.convert_to_numpy(weight.variable) != 0
        for axis, value in enumerate(weight.axes):
            if value is not None:
                others = tuple(other for other in range(used.ndim) if other != axis)
                alive[speaks[value.classes[used.any(axis=others)]]] = True
    dead = {
        group.name: np.flatnonzero(~alive[group.classes])
        for group in find_groups(channels, weights)
    }
    for group in plan.groups:
        plan = plan.removing(group.name, dead[group.name].tolist())
    return plan
