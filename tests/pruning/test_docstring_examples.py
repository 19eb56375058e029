"""The classes that docstrings show how to write or make, in one compiled fit, on every backend."""

import doctest

import keras
import numpy as np
import pytest
from keras import ops

import tfinit
import tfinit.variables
from tfinit import pruning

NAMES = [name for name in pruning.__all__ if name != "TfmotPruner"]  # that needs TensorFlow
# Every class of the package that a training takes and that has an example.
TAKEN = {
    pruning.ConstantSparsity,
    pruning.PolynomialDecay,
    pruning.PruningSchedule,
    pruning.PruningPolicy,
    pruning.PruneForLatencyOnXNNPack,
    pruning.PrunableLayer,
    pruning.SparseOptimizer,
}
KINDS = (
    pruning.PruningSchedule,
    pruning.PruningPolicy,
    pruning.PrunableLayer,
    keras.optimizers.Optimizer,
    keras.callbacks.Callback,
    keras.layers.Layer,
)


def example(cls):
    """What the names of a docstring's example are after it ran, with the output that it shows."""
    names = {
        "keras": keras,
        "np": np,
        "ops": ops,
        "tfinit": tfinit,
        **{name: getattr(pruning, name) for name in NAMES},
    }
    test = doctest.DocTestParser().get_doctest(cls.__doc__, names, cls.__name__, None, 0)
    result = doctest.DocTestRunner(verbose=False).run(test, clear_globs=False)
    assert result.attempted and not result.failed, cls
    return test.globs


@pytest.mark.backends
def test_what_the_examples_of_classes_make_trains():
    public = [getattr(pruning, name) for name in NAMES]
    shown = {c for c in public if isinstance(c, type) and issubclass(c, KINDS) and c.__doc__}
    assert {c for c in shown if ">>>" in c.__doc__} == TAKEN
    made = {cls: example(cls) for cls in TAKEN}
    schedules = {
        "constant": pruning.ConstantSparsity(0.5, begin_step=10, frequency=5),
        "polynomial": made[pruning.PolynomialDecay]["schedule"],
        "linear": made[pruning.PruningSchedule]["Linear"](50),
    }
    policies = {
        "own": made[pruning.PruningPolicy]["OnlyDense"](),
        "xnnpack": made[pruning.PruneForLatencyOnXNNPack]["policy"],
    }
    scaled = made[pruning.PrunableLayer]["Scaled"]
    layers = keras.layers
    inputs = keras.Input((6, 6, 3))
    body = [  # the smallest network that XNNPACK's policy takes
        layers.ZeroPadding2D(1),
        layers.Conv2D(4, 3, 2, name="stem"),
        layers.Conv2D(20, 1, name="pointwise"),
        layers.GlobalAveragePooling2D(),
    ]
    x = inputs
    for layer in body:
        x = layer(x)
    convolutions = keras.Model(inputs, x, name="convolutions")
    dense = keras.Sequential([keras.Input((20,)), layers.Dense(10, name="policy")], name="dense")
    heads = [scaled(10, name=name) for name in schedules]
    x = convolutions(inputs)
    model = keras.Model(inputs, layers.Add()([dense(x), *(head(x) for head in heads)]))
    rules = [
        pruning.PruningRule(schedule, [head])
        for schedule, head in zip(schedules.values(), heads, strict=True)
    ]
    half = pruning.ConstantSparsity(0.5, 1)
    rules += [
        pruning.PruningRule(half, dense, policies["own"]),
        pruning.PruningRule(half, convolutions, policies["xnnpack"]),
    ]
    model.compile(pruning.SparseOptimizer("adam", rules=rules), "mse")
    model.optimizer.build(model.trainable_variables)
    x = np.random.default_rng(0).normal(size=(100, 6, 6, 3)).astype("float32")
    y = np.ones((100, 10), "float32")
    model.fit(x, y, batch_size=2, verbose=0)
    zeros = {
        "/".join(v.path.split("/")[-2:]): int(np.sum(ops.convert_to_numpy(v) == 0))
        for v in model.trainable_variables
    }
    assert {path: n for path, n in zeros.items() if "stem" not in path and n} == {
        "pointwise/kernel": 40,
        "policy/kernel": 100,
        "constant/kernel": 100,
        "constant/bias": 5,
        "polynomial/kernel": 140,  # 0.8 * (1 - 0.5**3) at step 50
        "polynomial/bias": 7,
        "linear/kernel": 180,
        "linear/bias": 9,
    }
