"""`compact` on KerasHub's backbones, small and with random weights, a third of their units zero.

    python scripts/compact_keras_hub.py [NAME ...]

A line for each: parameters before and after, the class of the new model, and by how much its
outputs differ from the given one's, relative to the largest. Ends with 1 if that is above 1e-5.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "shared"))

from keras_hub_backbones import BACKBONES, batch_for

from tfinit.pruning import compact


def prune(model: Any) -> None:
    """Set a third of what each kernel makes to zero."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) >= 2:
            value = keras.ops.convert_to_numpy(variable).copy()
            value[..., rng.random(value.shape[-1]) < 1 / 3] = 0
            variable.assign(value)


def difference(model: Any, new: Any, given: Any) -> float:
    """The largest difference of the outputs of two models, relative to the largest output."""
    pairs = zip(*(keras.tree.flatten(m(given, training=False)) for m in (model, new)), strict=True)
    arrays = [[keras.ops.convert_to_numpy(x) for x in pair] for pair in pairs]
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in arrays)


def main(names: list[str]) -> int:
    """Check the backbones of these names; 1 if the outputs of one differ."""
    worst = 0.0
    for name in names or BACKBONES:
        for pruned in False, True:
            model = BACKBONES[name](keras_hub.models)
            if pruned:
                prune(model)
            result = compact(model)
            off = difference(model, result.model, batch_for(model, rows=2))
            worst = max(worst, off)
            print(
                f"{name:10} {'pruned' if pruned else 'fresh':6} {result.parameters_before:>8,} → "
                f"{result.parameters:>8,}  {type(result.model).__name__:18} {off:.1e}",
                flush=True,
            )
    return int(not worst <= 1e-5)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BACKBONES))
    sys.exit(main(parser.parse_args().names))
