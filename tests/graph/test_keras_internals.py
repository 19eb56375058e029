"""Keras has what `tfinit.graph.keras_internals` takes from it, and nothing else in tfinit does."""

import ast
import importlib
from pathlib import Path

import keras
import numpy as np
import pytest

import tfinit
from tfinit.graph import keras_internals

PACKAGE = Path(tfinit.__file__).parent
INTERNALS = PACKAGE / "graph" / "keras_internals.py"


def _compiled() -> keras.Model:
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dropout(0.5, name="drop")]
    )
    model.compile(keras.optimizers.SGD(use_ema=True), loss="mse", metrics=["mae"])
    model.fit(np.zeros((1, 4)), np.zeros((1, 2)), verbose=0)
    return model


@pytest.fixture(scope="module")
def objects():
    tf_keras = pytest.importorskip("tf_keras")
    model = _compiled()
    legacy = tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(4,))])
    legacy.compile(loss="mse")
    dense = model.layers[0]
    attention = keras.layers.MultiHeadAttention(1, 2)
    attention.build((None, 3, 2), (None, 3, 2))
    return {
        "Sequential": model,
        "Functional": model._functional,
        "tensor": model.outputs[0],
        "probabilities": keras.activations.softmax(keras.ops.ones((1, 2))),
        "layer": dense,
        "dropout": model.get_layer("drop"),
        "attention": attention,
        "lambda": keras.layers.Lambda(lambda x: x, output_shape=(1,)),
        "variable": dense.kernel,
        "losses": model._compile_loss,
        "metrics": model._compile_metrics,
        "metric": model._compile_metrics.metrics[0],
        "optimizer": model.optimizer,
        "tf_keras layer": legacy.layers[0],
        "tf_keras model": legacy,
        "tf_keras tensor": legacy.outputs[0],
    }


TAKEN = [
    ("Sequential", "_functional"),
    ("Functional", "_nodes_by_depth"),
    ("Functional", "_inputs_struct"),
    ("Functional", "_outputs_struct"),
    ("Functional", "_inputs"),
    ("tensor", "_keras_history"),
    ("tensor", "_dtype"),
    ("tensor", "_sparse"),
    ("probabilities", "_keras_logits"),
    ("layer", "_inbound_nodes"),
    ("layer", "_outbound_nodes"),
    ("layer", "_losses"),
    ("layer", "_loss_ids"),
    ("layer", "_called"),
    ("layer", "_auto_config"),
    ("layer", "_flatten_layers"),
    ("layer", "_trainable_variables"),
    ("layer", "_non_trainable_variables"),
    ("layer", "_dtype_policy"),
    ("attention", "_output_dense"),
    ("attention", "_query_dense"),
    ("attention", "_key_dense"),
    ("lambda", "_output_shape"),
    ("dropout", "_seed_generators"),
    ("variable", "_value"),
    ("variable", "_direct_assign"),
    ("variable", "_layout"),
    ("Sequential", "_compile_loss"),
    ("Sequential", "_compile_metrics"),
    ("Sequential", "_compile_config"),
    ("losses", "_user_loss"),
    ("losses", "_user_loss_weights"),
    ("metrics", "_user_metrics"),
    ("metrics", "_user_weighted_metrics"),
    ("metrics", "_flat_metrics"),
    ("metrics", "_flat_weighted_metrics"),
    ("metric", "_direction"),
    ("optimizer", "_model_variables_moving_average"),
    ("optimizer", "_variables"),
    ("optimizer", "_trainable_variables"),
    ("optimizer", "_learning_rate"),
    ("tf_keras layer", "_flatten_layers"),
    ("tf_keras layer", "_trainable_weights"),
    ("tf_keras layer", "_non_trainable_weights"),
    ("tf_keras layer", "_inbound_nodes"),
    ("tf_keras model", "_steps_per_execution"),
    ("tf_keras model", "_compile_config"),
    ("tf_keras tensor", "_keras_history"),
]


@pytest.mark.parametrize(("owner", "attribute"), TAKEN)
def test_keras_has_what_is_taken_from_it(objects, owner, attribute):
    assert hasattr(objects[owner], attribute)


@pytest.mark.parametrize("module", ["keras.src.backend.common.global_state", "keras.src.ops.numpy"])
def test_keras_has_the_modules(module):
    importlib.import_module(module)


def test_the_functions_find_what_they_name(objects):
    model, dense = objects["Sequential"], objects["layer"]
    (first, second) = keras_internals.calls_in(model)
    assert [first.operation.name, second.operation.name] == [dense.name, "drop"]
    assert keras_internals.call_of(model.outputs[0]) is second
    assert keras_internals.producer_of(model.outputs[0]) is model.get_layer("drop")
    assert len(keras_internals.calls_in(model, inputs=True)) == 3
    assert keras_internals.given_losses(model) == ("mse", None)
    assert keras_internals.given_metrics(model) == (["mae"], None)
    given = keras_internals.compiled_with(model)
    assert (given["loss"], given["metrics"]) == ("mse", ["mae"])
    assert keras_internals.compiled_with(objects["tf_keras model"])["loss"] == "mse"
    assert keras_internals.schedule_of(model.optimizer) is None
    falling = keras.optimizers.schedules.CosineDecay(0.1, 10)
    later = keras.optimizers.schedules.CosineDecay(0.2, 10)
    follows = keras.optimizers.SGD(falling)
    assert keras_internals.schedule_of(follows) is falling
    keras_internals.set_schedule(follows, later)
    assert float(follows.learning_rate) == pytest.approx(0.2)
    assert len(keras_internals.moving_averages(model.optimizer)) == 2
    assert len(keras_internals.seed_generators_of(model.get_layer("drop"))) == 1
    assert keras_internals.attention_output(dense) is None
    assert [w.name for w in keras_internals.own_variables(dense)] == ["kernel", "bias"]
    frozen = keras.layers.Dense(2, trainable=False)
    frozen.build((1, 3))
    assert [w.name for w in keras_internals.weights_that_train(frozen)] == ["kernel", "bias"]
    assert keras_internals.is_from_keras_3(type(dense))
    drop = keras_internals.constructor_arguments(model.get_layer("drop"))
    assert drop["rate"] == 0.5 and "name" not in drop
    new = keras.Input((2,))
    assert keras_internals.arguments_with(second, {id(first.outputs[0]): new})[0][0] is new


def _private(path: Path) -> set[str]:
    """Attributes with an underscore that a file asks of other objects, and modules of keras.src."""
    tree = ast.parse(path.read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not (
            isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        ):
            found.add(node.attr)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update({node.value} if "\n" not in node.value else ())
        if isinstance(node, ast.ImportFrom | ast.Import):
            found.update([getattr(node, "module", None) or "", *(a.name for a in node.names)])
    return {
        name
        for name in found
        if "keras.src" in name
        or (name.startswith("_") and name.strip("_") and not name.startswith("__"))
    }


def test_nothing_else_in_tfinit_takes_any_of_it():
    taken = {attribute for _, attribute in TAKEN}
    # What is asked for here is checked above.
    assert {name for name in _private(INTERNALS) if not name.startswith("keras.")} - {
        "tf_keras.src.initializers"
    } <= taken
    elsewhere = {
        str(path.relative_to(PACKAGE)): sorted(
            name for name in _private(path) if name in taken or "keras.src" in name
        )
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != INTERNALS
    }
    assert {path: names for path, names in elsewhere.items() if names} == {}
