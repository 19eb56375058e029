import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.initializers import EdgeOfChaos, critical_point


def test_points_that_papers_print():
    # Xiao et al. 2018, section 4: (σ_w², σ_b²) = (1.05, 2.01e-5) is critical for tanh.
    assert critical_point("tanh", 2.01e-5).weight_variance == pytest.approx(1.05, abs=1e-4)
    # Schoenholz et al. 2017, figure 5: σ_w² = 1.76 with σ_b² = 0.05.
    assert critical_point("tanh", 0.05).weight_variance == pytest.approx(1.76, abs=5e-3)
    # He's initialization is the critical point of ReLU.
    assert critical_point("relu") == pytest.approx((2, 0, 1))
    assert critical_point("linear") == pytest.approx((1, 0, 1))
    # Without biases tanh and silu tend to 1/φ′(0)².
    assert critical_point("tanh").weight_variance == pytest.approx(1, abs=1e-6)
    assert critical_point("silu").weight_variance == pytest.approx(4, abs=1e-6)


@pytest.mark.parametrize(("activation", "bias_variance"), [("tanh", 0.05), ("silu", 0.1)])
def test_both_equations_hold_by_monte_carlo(activation, bias_variance):
    point = critical_point(activation, bias_variance)
    z = np.random.default_rng(0).standard_normal(2_000_000) * np.sqrt(point.length)
    phi = keras.activations.get(activation)
    step = 1e-4
    up, down = (np.asarray(phi(z + d)) for d in (step, -step))
    squares, slopes = np.asarray(phi(z)) ** 2, ((up - down) / (2 * step)) ** 2
    for samples, expected in (
        (slopes, 1 / point.weight_variance),
        (squares, (point.length - bias_variance) / point.weight_variance),
    ):
        assert samples.mean() == pytest.approx(expected, abs=4.5 * samples.std() / np.sqrt(len(z)))


def test_a_deep_critical_network_keeps_two_inputs_apart():
    edge = EdgeOfChaos("tanh", 0.05, seed=0)

    def last_cosine(initializer):
        layers = [
            keras.layers.Dense(
                300,
                "tanh",
                kernel_initializer=initializer,
                bias_initializer=initializer,
                name=f"fc{i}",
            )
            for i in range(30)
        ]
        x = np.random.default_rng(0).standard_normal((2, 300)).astype("float32")
        for layer in layers:
            x = np.asarray(layer(x))
        return x[0] @ x[1] / np.linalg.norm(x[0]) / np.linalg.norm(x[1])

    ordered = EdgeOfChaos("tanh", 0.05, weight_variance=0.8, seed=0)
    assert last_cosine(edge) < 0.95
    assert last_cosine(ordered) > 0.999


def test_kernels_and_biases_get_their_variances():
    edge = EdgeOfChaos("tanh", 0.05, seed=0)
    kernel, bias = np.asarray(edge((400, 300))), np.asarray(edge((100_000,)))
    assert kernel.var() * 400 == pytest.approx(edge.weight_variance, rel=4.5 * np.sqrt(2 / 120_000))
    assert bias.var() == pytest.approx(0.05, rel=4.5 * np.sqrt(2 / 100_000))
    assert not np.any(EdgeOfChaos("relu")((5,)))


def test_a_function_is_kept_as_its_variance():
    edge = EdgeOfChaos(np.tanh, 0.05, seed=0)
    copy = EdgeOfChaos.from_config(edge.get_config())
    assert np.array_equal(copy((4, 4)), edge((4, 4)))


def test_what_has_no_critical_point_is_refused():
    with pytest.raises(InputError, match=r"'relu' has no critical point with bias_variance=0.1"):
        EdgeOfChaos("relu", 0.1)
    with pytest.raises(
        InputError, match="`bias_variance` must be a number of at least 0, received -1"
    ):
        EdgeOfChaos("tanh", -1)
    with pytest.raises(InputError, match="`weight_variance` must be a number of at least 0"):
        EdgeOfChaos("tanh", weight_variance=-2.0)
    with pytest.raises(InputError, match="'rleu' is unknown"):
        EdgeOfChaos("rleu")
