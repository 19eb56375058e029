"""What is measured is what Keras's own `evaluate` tells, on every backend and for either Keras."""

import importlib.util
from dataclasses import replace

import keras
import numpy as np
import pytest

from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.training import Diverged, FitLoop, trainer
from tfinit.training.compiled import CompiledLoop
from tfinit.training.evaluation import Evaluator

pytestmark = pytest.mark.backends
TF_KERAS = pytest.mark.skipif(not importlib.util.find_spec("tf_keras"), reason="needs tf_keras")
L = keras.layers
LOGITS = {"from_logits": True}


def examples(rows):
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows, 5)).astype("f4"), rng.integers(0, 3, rows).astype("i4")


def weighted(rows):
    return (*examples(rows), np.random.default_rng(rows).random(rows).astype("f4"))


def for_two(rows):
    x, y, weight = weighted(rows)
    return x, {"size": x[:, :1] + 1, "kind": np.eye(3, dtype="f4")[y]}, weight


def classifier(k=keras, kind=None, **compiling):
    model = (kind or k.Sequential)([k.layers.Input((5,)), k.layers.Dense(3)])
    compiling = {"loss": k.losses.SparseCategoricalCrossentropy(**LOGITS)} | compiling
    model.compile(k.optimizers.SGD(0.1), **compiling)
    return model


def two_outputs():
    x = L.Input((5,))
    outputs = {
        "size": L.Dense(1, name="size", kernel_regularizer="l2")(x),
        "kind": L.Dense(3, name="kind", activation="softmax")(x),
    }
    model = keras.Model(x, outputs)
    model.compile(
        "sgd",
        {"size": "mse", "kind": "categorical_crossentropy"},
        loss_weights={"size": 0.3, "kind": 1.0},
        metrics={"size": ["mae"], "kind": ["accuracy", keras.metrics.F1Score()]},
        weighted_metrics={"size": [keras.metrics.MeanAbsoluteError(name="mae")], "kind": []},
    )
    return model


class Penalized(L.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(x**2))
        return x


def without_a_loss():
    model = keras.Sequential([L.Input((5,)), L.Dense(2), Penalized()])
    model.compile("sgd", metrics=[keras.metrics.MeanSquaredError()])
    return model


class Doubled(keras.Sequential):
    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        return logs | {"twice": 2 * logs["mae"]}


def of_its_own():
    model = Doubled([L.Input((5,)), L.Dense(3)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


class Tested(keras.Sequential):
    def test_step(self, *args):
        found = super().test_step(*args)
        logs, *state = found if isinstance(found, tuple) else (found,)
        logs = logs | {"half": logs["loss"] / 2}
        return (logs, *state) if state else logs


TOP = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top")
CASES = {
    "classes": (lambda: classifier(metrics=["accuracy", TOP]), examples),
    "weights": (lambda: classifier(metrics=[TOP], weighted_metrics=["accuracy"]), weighted),
    "two outputs": (two_outputs, for_two),
    "only add_loss": (without_a_loss, lambda rows: (examples(rows)[0], examples(rows)[0][:, :2])),
    "own metrics": (of_its_own, lambda rows: (examples(rows)[0], examples(rows)[0][:, :3])),
    "own test_step": (lambda: classifier(kind=Tested, metrics=["accuracy"]), weighted),
}


def told(model, split):
    """What `evaluate` says, metrics of several numbers taken apart."""
    x, y, weight = (*split, None)[:3]
    logs = model.evaluate(x, y, sample_weight=weight, batch_size=650, verbose=0, return_dict=True)
    numbers = {}
    for name, value in logs.items():
        value = np.asarray(value)
        each = {f"{name}[{n}]": one for n, one in enumerate(value)} if value.ndim else {name: value}
        numbers |= each
    return numbers


@pytest.mark.parametrize("case", CASES)
def test_every_metric_under_the_name_and_with_the_value_of_evaluate(case):
    make, split = CASES[case]
    model = make()
    evaluator = Evaluator(model, Dataset("made up", split(7), None, split(1300), 3))
    row = dict(zip(evaluator.names, evaluator(), strict=True))
    expected = told(model, split(1300))
    assert set(row) == {f"test_{name}" for name in expected}
    for name, value in expected.items():
        np.testing.assert_allclose(row[f"test_{name}"], value, rtol=2e-5, err_msg=name)
    assert evaluator.names[0] == "test_loss" or case == "own test_step"
    assert evaluator.left_out == {}


def test_the_test_split_only_where_it_is_asked_for():
    model = classifier(metrics=[TOP])
    evaluator = Evaluator(model, Dataset("made up", None, examples(20), examples(30), 3))
    whole, part = evaluator(), evaluator(test=False)
    assert evaluator.names == tuple(
        f"{split}_{name}"
        for split in ("validation", "test")
        for name in ("loss", "accuracy", "top")
    )
    assert part[:3] == whole[:3]
    assert np.isnan(part[3:]).all()
    assert whole[3] == pytest.approx(told(model, examples(30))["loss"], rel=1e-5)


def test_accuracy_is_counted_as_it_always_was():
    model = classifier(metrics=["accuracy"])
    split = examples(1300)
    evaluator = Evaluator(model, Dataset("made up", split, None, split, 3))
    logits = keras.ops.convert_to_numpy(model(split[0]))
    assert evaluator()[1] == (logits.argmax(1) == split[1]).mean()
    assert evaluator.names == ("test_loss", "test_accuracy")


def test_what_the_metrics_of_a_model_have_counted_is_put_back():
    model = classifier(metrics=["accuracy", TOP])
    x, y = examples(30)
    model.evaluate(x, y, verbose=0)
    counted = [np.array(v).tolist() for v in model.metrics_variables]
    assert any(map(any, (np.atleast_1d(c) for c in counted)))
    evaluator = Evaluator(model, Dataset("made up", None, examples(20), examples(9), 3))
    evaluator()
    assert [np.array(v).tolist() for v in model.metrics_variables] == counted
    fresh = classifier(metrics=["accuracy", TOP])
    Evaluator(fresh, Dataset("made up", None, examples(20), None, 3))()
    assert not any(np.array(v).any() for v in fresh.metrics_variables)


def test_it_measures_the_present_weights_also_within_a_fit():
    model, seen = classifier(metrics=["accuracy", TOP]), []
    data = Dataset("made up", None, examples(20), None, 3)
    evaluator = Evaluator(model, data)

    def look(batch, logs):
        if hasattr(model, "jax_state_sync"):
            model.jax_state_sync()
        seen.append((evaluator(), dict(logs)))

    def fitted(callbacks):
        start = [np.ones(w.shape) / 9 for w in model.weights]
        model.set_weights(start)
        model.fit(*examples(32), 8, shuffle=False, verbose=0, callbacks=callbacks)
        return told(model, data.validation), [np.array(w) for w in model.weights]

    plain = fitted([])
    watched = fitted([keras.callbacks.LambdaCallback(on_train_batch_end=look)])
    assert len({row[0] for row, _ in seen}) == 4
    np.testing.assert_allclose(seen[-1][0][0], plain[0]["loss"], rtol=1e-5)
    for ours, theirs in zip(plain[1], watched[1], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert seen[-1][1]["loss"] > 0


def test_large_examples_are_measured_few_at_a_time(monkeypatch):
    split = examples(40)
    model = classifier(metrics=[TOP])
    data = Dataset("made up", None, split, None, 3)
    whole = Evaluator(model, data)()
    monkeypatch.setattr("tfinit.training.evaluation._BYTES", 400)
    few = Evaluator(model, data)
    assert len(few._splits["validation"]._parts) > 3
    np.testing.assert_allclose(few(), whole, rtol=1e-5)


def test_a_model_that_has_nothing_to_measure_says_so():
    model = classifier(loss=None)
    data = Dataset("made up", None, examples(20), None, 3)
    if keras.backend.backend() != "jax":  # where Keras says that such a loss is 0
        with pytest.raises(InputError, match=r"`data\.validation`: .*[Cc]ompile it with a loss"):
            Evaluator(model, data)
    with pytest.raises(InputError, match=r"`model` cannot be evaluated on `data\.validation`: "):
        Evaluator(
            classifier(), replace(data, validation=(np.zeros((4, 7), "f4"), np.zeros(4, int)))
        )


@TF_KERAS
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="needs TensorFlow")
def test_a_model_of_tf_keras_with_two_outputs():
    import tf_keras

    x = tf_keras.layers.Input((5,))
    size = tf_keras.layers.Dense(1, name="size", kernel_regularizer="l2")(x)
    kind = tf_keras.layers.Dense(3, name="kind", activation="softmax")(x)
    model = tf_keras.Model(x, {"size": size, "kind": kind})
    losses = {"size": "mse", "kind": "categorical_crossentropy"}
    model.compile("sgd", losses, metrics={"size": ["mae"], "kind": ["accuracy"]})
    evaluator = Evaluator(model, Dataset("made up", None, for_two(1300), None, 3))
    row = dict(zip(evaluator.names, evaluator(), strict=True))
    expected = told(model, for_two(1300))
    assert set(row) == {f"validation_{name}" for name in expected}
    for name, value in expected.items():
        np.testing.assert_allclose(row[f"validation_{name}"], value, rtol=2e-5, err_msg=name)


LOOPS = [FitLoop] if keras.backend.backend() == "torch" else [CompiledLoop, FitLoop]


@pytest.mark.parametrize("loop", LOOPS)
def test_the_test_split_where_a_result_tells_of_it_is_as_measured_everywhere(loop):
    x, y = examples(40)
    data = Dataset("made up", (x, y), examples(20), examples(30), 3)
    model = classifier(metrics=[TOP])
    rng, kept = np.random.default_rng(0), []
    start = [rng.normal(size=w.shape) for w in model.weights]  # bad, and labels teach nothing

    def train(test, **options):
        for weight, value in zip(model.weights, start, strict=True):
            weight.assign(value)
        made = loop(model, data, evaluate_test=test)
        made.reset()
        metrics = made(40, 8, seed=1, evaluate_every=4, **options)
        return metrics, [np.array(w).tobytes() for w in model.weights]

    trained = {test: train(test) for test in ("always", "needed")}
    (always, weights), (needed, same) = trained["always"], trained["needed"]
    assert same == weights
    best = always.early_stop
    assert needed.early_stop == best not in (0, 10)
    for name, column in always.values.items():
        told = range(11) if name.startswith("validation") else {0, best, 10}
        for row, value in enumerate(column):
            found = needed.values[name][row]
            assert found == value if row in told else np.isnan(found), (name, row)
    train("needed", checkpoint=lambda partial: kept.append(partial()))
    middle = next(partial for partial in kept if best * 4 < partial.step < 36)
    resumed, same = train("needed", resume=middle)
    assert same == weights
    for name, column in needed.values.items():
        np.testing.assert_array_equal(resumed.values[name], column)


@pytest.mark.parametrize("loop", LOOPS)
def test_of_a_training_that_diverges_the_last_evaluation_is_tested(loop):
    data = Dataset("made up", examples(40), examples(20), examples(30), 3)
    model = classifier()

    def lose():
        model.weights[0].assign(np.full((5, 3), np.nan))

    with pytest.raises(Diverged) as error:
        loop(model, data, evaluate_test="needed")(40, 8, seed=1, evaluate_every=4, at={10: lose})
    metrics = error.value.metrics
    assert metrics.step.tolist() == [0, 4, 8]
    assert np.isfinite(metrics.values["test_loss"][[0, -1]]).all()


def test_when_the_test_split_is_evaluated_is_one_of_two():
    with pytest.raises(InputError, match="`evaluate_test` must be one of always, needed"):
        trainer(classifier(), Dataset("made up", examples(9), examples(9), None, 3), None, "never")
