"""Channels set to zero in a network, and the same network without them."""

import keras
import numpy as np

from tfinit.graph.channels import coupled_groups, follow
from tfinit.pruning.compaction.liveness import Liveness
from tfinit.pruning.compaction.rebuilding import Rebuilder
from tfinit.variables import all_weights


def fill(model, seed=0):
    """Random numbers in every weight, none of them zero."""
    rng = np.random.default_rng(seed)
    for key, weight in all_weights(model).items():
        if "float" in str(weight.dtype):
            drawn = rng.uniform(0.5, 1.5, weight.shape)
            sign = 1.0 if key.endswith("variance") else rng.choice([-1.0, 1.0], weight.shape)
            fan = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 1
            weight.assign(sign * drawn / np.sqrt(fan))


def free_groups(model):
    """The groups of channels that may go."""
    return [group for group in coupled_groups(follow(model)) if not group.held and group.spots]


def masked_and_cut(model, share=0.5, normalized=False, seed=0):
    """Set some channels of each group to zero in the model; a smaller model without them.

    Args:
        model: The model, whose weights are changed.
        share: How many channels of each group.
        normalized: Of groups that are normalized over, too, which are not the same then.
        seed: Of the choice.

    Returns:
        The smaller model, and for each group how many channels went.
    """
    rng = np.random.default_rng(seed)
    gone, dead = [], []
    for group in free_groups(model):
        count = int(group.size * share)
        if group.normalized and not normalized:
            count = 0
        chosen = rng.permutation(group.size)[:count]
        gone.append(count)
        dead.extend(group.classes[chosen].tolist())
        for spot in group.spots:
            variable = all_weights(spot.layer)[spot.key]
            array = np.array(keras.ops.convert_to_numpy(variable))
            np.moveaxis(array, spot.axis, 0)[np.isin(spot.entries, chosen)] = 0
            variable.assign(array)
    channels = follow(model)
    representatives = channels.representatives()
    live = np.ones(len(representatives), dtype=bool)
    live[dead] = False
    return Rebuilder(channels, Liveness(representatives, live, {})).model(model), gone


def outputs(model, seed=0, rows=3):
    """What a model makes of noise, or of small whole numbers where it takes such."""
    rng = np.random.default_rng(seed)

    def part(tensor):
        shape = [rows, *(size or 5 for size in tensor.shape[1:])]
        if "int" in str(tensor.dtype):
            return rng.integers(1, 7, shape)
        return rng.normal(size=shape).astype(tensor.dtype)

    given = keras.tree.map_structure(part, model.input)
    made = keras.tree.flatten(model(given, training=False))
    return [keras.ops.convert_to_numpy(tensor) for tensor in made]


def check_same(model, new, tolerance=1e-5):
    """Both make the same of the same, and it is not the same for every input."""
    for one, other in zip(outputs(model), outputs(new), strict=True):
        assert one.shape == other.shape and np.isfinite(one).all() and np.ptp(one, axis=0).max() > 0
        assert np.abs(one - other).max() <= tolerance * np.abs(one).max()
