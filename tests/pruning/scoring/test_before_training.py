"""Scores against formulas in NumPy, and what cannot be scored."""

import keras
import numpy as np
import pytest
from scored_networks import normal

from tfinit.errors import InputError
from tfinit.pruning.scoring import before_training as scores
from tfinit.variables import prunable_weights

L = keras.layers


# -- two linear layers, by hand ----------------------------------------------------------------


def linear_net(a, b, **compile_arguments):
    model = keras.Sequential(
        [
            keras.Input((a.shape[0],)),
            L.Dense(a.shape[1], use_bias=False, name="a"),
            L.Dense(b.shape[1], use_bias=False, name="b"),
        ]
    )
    model.set_weights([a, b])
    model.compile(loss="mse", **compile_arguments)
    return model


A, B, X, Y = (normal(*s, seed=i) for i, s in enumerate([(4, 3), (3, 2), (10, 4), (10, 2)]))


def gradients_by_hand(a, b):
    """Of L = mean (x a b - y)²: with r = x a b - y, ∂L/∂a = 2/n xᵀ r bᵀ, ∂L/∂b = 2/n (x a)ᵀ r."""
    a, b, x, y = (array.astype("float64") for array in (a, b, X, Y))
    r = 2 * (x @ a @ b - y) / y.size
    return x.T @ r @ b.T, (x @ a).T @ r


def hessian_times_gradient(a, b):
    """Of the same L: the derivative of the gradient along itself, by the product rule."""
    a, b, x, y = (array.astype("float64") for array in (a, b, X, Y))
    va, vb = gradients_by_hand(a, b)
    r = 2 * (x @ a @ b - y) / y.size
    dr = 2 * (x @ va @ b + x @ a @ vb) / y.size
    return x.T @ (dr @ b.T + r @ vb.T), (x @ va).T @ r + (x @ a).T @ dr


@pytest.mark.backends
@pytest.mark.parametrize("batch_size", [100, 10, 3])
def test_snip_by_hand(batch_size):
    model = linear_net(A, B)
    found = scores.snip(model, X, Y, batch_size=batch_size)
    ga, gb = gradients_by_hand(A, B)
    np.testing.assert_allclose(found["a/kernel"], abs(ga * A), rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(found["b/kernel"], abs(gb * B), rtol=2e-5, atol=1e-7)


@pytest.mark.backends
@pytest.mark.parametrize("batch_size", [100, 10, 3])
def test_grasp_by_hand(batch_size):
    model = linear_net(A, B)
    found = scores.grasp(model, X, Y, batch_size=batch_size)
    ha, hb = hessian_times_gradient(A, B)
    np.testing.assert_allclose(found["a/kernel"], A * ha, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["b/kernel"], B * hb, rtol=1e-4, atol=1e-6)


def test_grasp_keeps_what_the_gradient_loses_most_without():
    """Its sign: half of what ‖g‖² loses, to first order, when a weight goes a little way to 0."""

    def squared_norm(a, b):
        return sum(np.sum(g**2) for g in gradients_by_hand(a, b))

    found = scores.grasp(linear_net(A, B), X, Y)["a/kernel"]
    for index in np.ndindex(A.shape):
        less, step = A.astype("float64"), 1e-5
        less[index] *= 1 - step
        lost = (squared_norm(A, B) - squared_norm(less, B)) / step / 2
        assert found[index] == pytest.approx(lost, rel=1e-2, abs=1e-3)


@pytest.mark.backends
def test_synflow_by_hand():
    """R = 1ᵀ |a| |b| 1, so the score of a_ij is |a_ij| · Σ_k |b_jk|."""
    found = scores.synflow(linear_net(A, B))
    a, b = abs(A), abs(B)
    np.testing.assert_allclose(found["a/kernel"], a * b.sum(1), rtol=1e-5)
    np.testing.assert_allclose(found["b/kernel"], b * a.sum(0)[:, None], rtol=1e-5)


@pytest.mark.backends
def test_magnitude():
    np.testing.assert_array_equal(scores.magnitude(linear_net(A, B))["a/kernel"], abs(A))


@pytest.mark.backends
@pytest.mark.parametrize("method", ["magnitude", "snip", "grasp", "synflow"])
def test_with_masks_the_scores_are_those_of_the_pruned_model(method, rng):
    masks = {"a/kernel": rng.random(A.shape) < 0.5, "b/kernel": rng.random(B.shape) < 0.5}
    arguments = (X, Y) if method in ("snip", "grasp") else ()
    function = getattr(scores, method)
    found = function(linear_net(A, B), *arguments, masks=masks)
    pruned = function(linear_net(A * masks["a/kernel"], B * masks["b/kernel"]), *arguments)
    for key in masks:
        np.testing.assert_array_equal(found[key], pruned[key])
        assert not found[key][~masks[key]].any()


@pytest.mark.backends
def test_a_loss_that_is_given_needs_no_compiled_model():
    model = linear_net(A, B)
    expected = scores.snip(model, X, Y)
    model = keras.Sequential([keras.Input((4,)), *model.layers])
    for loss in ("mse", keras.losses.MeanSquaredError(), lambda y, z: (y - z) ** 2):
        found = scores.snip(model, X, Y, loss=loss)
        np.testing.assert_allclose(found["a/kernel"], expected["a/kernel"], rtol=1e-5)


@pytest.mark.backends
def test_the_compiled_loss_has_its_regularizers():
    model = keras.Sequential(
        [keras.Input((1,)), L.Dense(1, use_bias=False, kernel_regularizer="l2", name="a")]
    )
    model.set_weights([np.array([[2.0]])])
    model.compile(loss="mse")
    # (2 - 2)² + 0.01 · 2²: only the regularizer has a gradient, 0.04.
    found = scores.snip(model, np.ones((1, 1)), np.full((1, 1), 2.0))
    assert found["a/kernel"].item() == pytest.approx(0.08)


def test_a_dataset_gives_what_arrays_give():
    import tensorflow as tf

    model = linear_net(A, B)
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)
    for function in (scores.snip, scores.grasp):
        expected = function(model, X, Y)
        found = function(model, dataset)
        np.testing.assert_allclose(found["b/kernel"], expected["b/kernel"], rtol=1e-4, atol=1e-7)


# -- any data, any loss: against a step of Keras's own training ---------------------------------


def gradients_by_a_step(model, *data, **named):
    """Of training by plain gradient descent with a rate of 1: what the weights lost."""
    before = {key: w.numpy() for key, w in prunable_weights(model).items()}
    model.optimizer.learning_rate = 1.0
    model.train_on_batch(*data, **named)
    return {key: before[key] - w.numpy() for key, w in prunable_weights(model).items()}, before


def two_outputs():
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    joined = L.Dense(5, "tanh", name="a")(L.Concatenate()([left, right]))
    out = {"p": L.Dense(2, name="p")(joined), "q": L.Dense(3, name="q")(joined)}
    model = keras.Model({"left": left, "right": right}, out)
    losses = {"p": "mse", "q": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    model.compile("sgd", losses, loss_weights={"p": 0.3, "q": 2.0})
    x = {"left": X, "right": normal(10, 3, seed=4)}
    return model, x, {"p": Y, "q": np.arange(10) % 3}


@keras.saving.register_keras_serializable("tests")
class OwnLoss(keras.Model):
    """An autoencoder that needs no targets: its loss is its own."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = L.Dense(3, "tanh"), L.Dense(4)

    def call(self, x):
        out = self.outer(self.inner(x))
        self.add_loss(keras.ops.mean((out - x) ** 2))
        return out


def own_loss():
    model = OwnLoss()
    model.compile("sgd")
    model(X)
    return model, X, None


@pytest.mark.backends
@pytest.mark.parametrize("network", [two_outputs, own_loss])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_those_of_a_training_step(network, weighted):
    model, x, y = network()
    weights = None
    if weighted:
        weights = np.arange(10.0)
        weights = weights if y is None else {"p": weights, "q": weights[::-1].copy()}
    found = scores.snip(model, x, y, batch_size=4, sample_weight=weights)
    gradients, before = gradients_by_a_step(model, x, y, sample_weight=weights)
    for key, gradient in gradients.items():
        np.testing.assert_allclose(found[key], abs(gradient * before[key]), rtol=1e-4, atol=1e-6)
        assert found[key].any()


@pytest.mark.backends
@pytest.mark.parametrize("loss", [lambda y, z: (y - z) ** 2, keras.losses.MeanSquaredError()])
def test_sample_weights_of_a_loss_that_is_given(loss):
    weights = np.arange(10) % 3
    expected = scores.snip(linear_net(A, B), X, Y, sample_weight=weights)
    found = scores.snip(linear_net(A, B), X, Y, loss=loss, sample_weight=weights)
    np.testing.assert_allclose(found["a/kernel"], expected["a/kernel"], rtol=1e-5)
    with pytest.raises(InputError, match="`loss` returns one number for the batch"):
        scores.snip(
            linear_net(A, B), X, Y, sample_weight=weights, loss=lambda y, z: keras.ops.sum(y - z)
        )


class Batches(keras.utils.PyDataset):
    num_batches = 3

    def __getitem__(self, n):
        rows = slice(4 * n, 4 * n + 4)
        return X[rows], Y[rows], np.arange(10.0)[rows]


@pytest.mark.backends
def test_batches_of_a_dataset_with_sample_weights():
    expected = scores.grasp(linear_net(A, B), X, Y, sample_weight=np.arange(10.0))
    found = scores.grasp(linear_net(A, B), Batches())
    np.testing.assert_allclose(found["b/kernel"], expected["b/kernel"], rtol=1e-4, atol=1e-7)
    with pytest.raises(InputError, match="Leave the others out"):
        scores.snip(linear_net(A, B), Batches(), Y)


@pytest.mark.backends
def test_a_model_without_any_loss_needs_one():
    model = keras.Sequential([keras.Input((4,)), L.Dense(2, name="a")])
    model.compile("sgd")
    with pytest.raises(InputError, match="compiled without one and adds none"):
        scores.snip(model, X, Y)
    assert scores.snip(model, X, Y, loss="mse")["a/kernel"].any()


# -- random ------------------------------------------------------------------------------------


@pytest.mark.backends
def test_random_is_a_stream_for_each_key():
    model = linear_net(normal(3, 3), normal(3, 3, seed=1))
    first, again, other = (scores.random(model, seed=seed) for seed in (1, 1, 2))
    for key in first:
        np.testing.assert_array_equal(first[key], again[key])
        assert (first[key] != other[key]).all()
    assert (first["a/kernel"] != first["b/kernel"]).all()
    # The same bits in any process and version.
    assert scores.random(model, seed=0)["a/kernel"][0, :2].tolist() == [
        0.37420987994515,
        0.4784498326442149,
    ]


# -- errors ------------------------------------------------------------------------------------

NAN = np.where(np.arange(40).reshape(10, 4) == 5, np.nan, X)


@pytest.mark.backends
@pytest.mark.parametrize("method", ["snip", "grasp"])
@pytest.mark.parametrize(
    ("x", "y", "more", "message"),
    [
        (None, None, {}, "needs data: pass `x` and `y`"),
        (X, None, {}, "needs the targets"),
        (X, Y[:5], {}, r"the same number of examples.*\(10, 4\), \(5, 2\)"),
        (X[:0], Y[:0], {}, "at least one"),
        (3.0, Y, {}, "the same number of examples"),
        (NAN, Y, {}, "`x` has NaN"),
        (X, NAN[:, :2], {}, "`y` has NaN"),
        (X[:, :3], Y, {}, r"cannot be called on inputs of shape \[\(10, 3\)\]"),
        (X, np.ones((10, 7)), {}, "loss cannot be computed from `y`"),
        (X, Y, {"loss": "msee"}, "`loss` must be a Keras loss"),
        (X, Y, {"loss": lambda y, z: z * np.inf}, "The loss is"),
        (X, Y, {"batch_size": 0}, "`batch_size` must be a whole number of at least 1, received 0"),
        (X, Y, {"masks": {"a/kernel": np.ones(A.shape)}}, r"missing \['b/kernel'\]"),
    ],
)
def test_errors(method, x, y, more, message):
    model = linear_net(A, B)
    with pytest.raises(InputError, match=message):
        getattr(scores, method)(model, x, y, **more)
    np.testing.assert_array_equal(model.get_weights()[0], A)


@pytest.mark.backends
def test_a_model_that_is_not_compiled_needs_a_loss():
    with pytest.raises(InputError, match="is not compiled"):
        scores.snip(keras.Sequential([keras.Input((4,)), *linear_net(A, B).layers]), X, Y)


def test_a_dataset_without_end():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).repeat()
    with pytest.raises(InputError, match=r"Use x.take"):
        scores.snip(linear_net(A, B), dataset)
