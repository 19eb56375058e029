"""Scores of a user's own in `SparseOptimizer`, against the same training in NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from tfinit.errors import InputError
from tfinit.pruning import (
    ConstantSparsity,
    PruningRule,
    Score,
    SparseOptimizer,
    get_masks,
    prune_low_magnitude,
)

pytestmark = pytest.mark.backends

RATE, HALF = 0.05, ConstantSparsity(0.5, 3, frequency=2)


@keras.saving.register_keras_serializable("tests")
class SmoothedGradient(Score):
    """|w| · an average of |∂w|, which decays."""

    def __init__(self, decay=0.5):
        self.decay = decay

    def __call__(self, weights, state):
        return abs(weights) * state

    def update(self, state, weights, gradients):
        return self.decay * state + (1 - self.decay) * ops.abs(gradients)

    def get_config(self):
        return {"decay": self.decay}


@keras.saving.register_keras_serializable("tests")
def relative(weights, gradients):
    return ops.square(gradients) * ops.abs(weights)


class ByNumPy:
    """SGD on a linear model with the mean squared error, pruned after steps 2, 4, ... by a score.

    Args:
        score: (weights, gradients, state) → scores.
        update: (state, gradients) → state.
        every: Gradients that make one change of the weights.
    """

    def __init__(self, weights, score, update=None, every=1):
        self.weights, self.score, self.update, self.every = weights.copy(), score, update, every
        self.mask, self.state = np.ones(weights.shape, bool), np.zeros_like(weights)
        self.step, self.gathered = 0, np.zeros_like(weights)

    def __call__(self, x, y):
        gradient = 2 * x.T @ (x @ self.weights - y) / y.size
        if self.update:
            self.state = self.update(self.state, gradient)
        self.step += 1
        self.gathered += gradient * self.mask / self.every
        if self.step % self.every == 0:
            self.weights = self.mask * (self.weights - RATE * self.gathered)
            self.gathered[:] = 0
        if self.step >= 2 and self.step % 2 == 0:
            scores = self.score(self.weights, gradient, self.state)
            kept = np.argsort(-scores.ravel(), kind="stable")[: scores.size // 2]
            self.mask = np.isin(np.arange(scores.size), kept).reshape(scores.shape)
            self.weights = self.weights * self.mask


def smoothed(weights, gradient, state):
    return np.abs(weights) * state


OWN = {
    "a function": (relative, lambda w, g, state: g**2 * np.abs(w), None, 1),
    "a state": (
        SmoothedGradient(0.25),
        smoothed,
        lambda state, g: 0.25 * state + 0.75 * np.abs(g),
        1,
    ),
    "accumulated": (
        SmoothedGradient(),
        smoothed,
        lambda state, g: 0.5 * state + 0.5 * np.abs(g),
        2,
    ),
}


def linear(score, every=1):
    weights = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, use_bias=False, name="fc")])
    model.layers[0].kernel.assign(weights)
    more = {"gradient_accumulation_steps": every} if every > 1 else {}
    sgd = keras.optimizers.SGD(RATE, **more)
    model.compile(SparseOptimizer(sgd, HALF, scope=model, score=score), "mse")
    return model, weights


def batches(n):
    rng = np.random.default_rng(1)
    x, target = rng.normal(size=(n, 8, 6)), rng.normal(size=(6, 4))
    return x.astype("float32"), (x @ target).astype("float32")


@pytest.mark.parametrize("name", OWN)
def test_masks_and_weights_are_those_of_numpy_in_a_compiled_fit(name):
    score, by_numpy, update, every = OWN[name]
    model, weights = linear(score, every)
    x, y = batches(6)
    expected = ByNumPy(weights.astype("float64"), by_numpy, update, every)
    for xs, ys in zip(x, y, strict=True):
        expected(xs.astype("float64"), ys.astype("float64"))
    model.fit(x.reshape(-1, 6), y.reshape(-1, 4), batch_size=8, shuffle=False, verbose=0)
    assert expected.mask.sum() == 12
    np.testing.assert_array_equal(get_masks(model)["fc/kernel"], expected.mask)
    kernel = ops.convert_to_numpy(model.layers[0].kernel)
    np.testing.assert_allclose(kernel, expected.weights, rtol=2e-4, atol=1e-5)


def test_a_saved_model_brings_its_score_and_what_that_remembers(tmp_path):
    x, y = (part.reshape(-1, part.shape[-1]) for part in batches(8))
    whole, _ = linear(SmoothedGradient(0.25))
    whole.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    model, _ = linear(SmoothedGradient(0.25))
    model.fit(x[:24], y[:24], batch_size=8, shuffle=False, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.rules[0].score == SmoothedGradient(0.25) != SmoothedGradient(0.5)
    loaded.fit(x[24:], y[24:], batch_size=8, shuffle=False, verbose=0)
    np.testing.assert_array_equal(get_masks(loaded)["fc/kernel"], get_masks(whole)["fc/kernel"])
    np.testing.assert_array_equal(*(m.layers[0].get_weights()[0] for m in (loaded, whole)))


def test_functions_are_saved_by_their_registered_name_and_names_as_they_are():
    rule = PruningRule(HALF, score=relative)
    assert PruningRule.from_config(rule.get_config()).score is relative
    assert PruningRule(HALF, score="snip").get_config()["score"] == "snip"
    with pytest.raises(InputError, match=r"`score` .*cannot be saved.*register_keras_serializable"):
        PruningRule(HALF, score=lambda weights: -weights).get_config()


def test_what_a_score_remembers_goes_to_the_optimizer_that_goes_on_with_the_same():
    weight = keras.Variable(np.array([[1.0, -2.0], [3.0, 4.0]], "float32"), name="kernel")
    gradient = ops.convert_to_tensor(np.array([[4.0, 1.0], [2.0, -3.0]], "float32"))
    late = ConstantSparsity(0.5, 5, frequency=1)
    before = SparseOptimizer("sgd", late, score=SmoothedGradient(0.5))
    before.build([weight])
    before.apply([gradient], [weight])
    for score, remembered in ((SmoothedGradient(0.5), 0.5), (SmoothedGradient(0.25), 0.0)):
        after = SparseOptimizer("sgd", late, score=score)
        after.continue_from(before)
        after.build([weight])
        [(_, state)] = after.progress().states.values()
        np.testing.assert_allclose(
            ops.convert_to_numpy(state), remembered * np.abs([[4, 1], [2, -3]])
        )


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda weights, initial: weights, r"`score` '<lambda>' needs `initial`.*training step"),
        (lambda w: w, r"is a function of \(w\)\. Its parameters must be named.*weights, gradients"),
        (lambda *values: 1, r"is a function of \(\*values\)"),
        (lambda state: state, "needs `state`, which a class derived from tfinit.pruning.Score"),
        (
            type("Own", (Score,), {}),
            r"`score` must be one of magnitude, random, .*Make one: Own\(\)",
        ),
        (type("Own", (Score,), {})(), "`score` 'Own' has no formula. Define `__call__`"),
        (type("Own", (Score,), {"__call__": lambda self, state: state})(), "method `update`"),
        ("synflow", "`score` must be one of magnitude, random, movement, snip, .*before training"),
        (7, "`score` must be one of magnitude, .* or a function, received 7"),
    ],
)
def test_what_is_no_score_of_a_step_is_refused(score, message):
    with pytest.raises(InputError, match=message):
        PruningRule(HALF, score=score)


def test_scores_of_gradients_begin_after_the_first_step():
    with pytest.raises(InputError, match=r"`score` 'relative' ranks by gradients.*begin_step=2"):
        PruningRule(ConstantSparsity(0.5, 1), score=relative)


def test_a_score_of_another_shape_is_refused():
    optimizer = SparseOptimizer(
        "sgd", ConstantSparsity(0.5, 1), score=lambda weights: ops.sum(weights, axis=0)
    )
    weight = keras.Variable(np.ones((3, 2), "float32"), name="kernel")
    with pytest.raises(InputError, match=r"one number for each weight, of shape \(3, 2\)"):
        optimizer.build([weight])


def test_what_an_update_returns_is_told_as_the_updates():
    own = type("Own", (Score,), {"__call__": lambda self, state: state, "update": lambda *_: None})
    optimizer = SparseOptimizer("sgd", HALF, score=own())
    weight = keras.Variable(np.ones((3, 2), "float32"), name="kernel")
    optimizer.build([weight])
    with pytest.raises(InputError, match=r"`update` of `score` 'Own' must .*it returned None"):
        optimizer.apply([ops.ones((3, 2))], [weight])


def test_a_score_called_as_one_of_tfinit_is_ones_own():
    class Smallest(Score):
        name = "magnitude"

        def __call__(self, weights):
            return -abs(weights)

    weight = keras.Variable(np.array([[1.0, -2.0], [3.0, -4.0]], "float32"), name="kernel")
    optimizer = SparseOptimizer("sgd", ConstantSparsity(0.5, 1), score=Smallest())
    optimizer.build([weight])
    np.testing.assert_array_equal(ops.convert_to_numpy(weight), [[1, -2], [0, 0]])
    with pytest.raises(InputError, match="`score` 'magnitude' cannot be saved"):
        optimizer.get_config()


def test_what_is_no_schedule_is_told_by_the_name_of_its_argument():
    for make in (lambda: SparseOptimizer("sgd", [HALF]), lambda: PruningRule([HALF])):
        with pytest.raises(InputError, match=r"^`schedule` must be a PruningSchedule"):
            make()
    layer = keras.layers.Dense(2)
    with pytest.raises(InputError, match=r"^`pruning_schedule` must be a PruningSchedule"):
        prune_low_magnitude(layer, [HALF])
