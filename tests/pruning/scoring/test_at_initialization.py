"""Pruning before training, on small nets of every kind."""

import keras
import numpy as np
import pytest

from tfinit.errors import InputError
from tfinit.pruning import ConstantSparsity, Score, SparseOptimizer, get_masks, set_masks
from tfinit.pruning.scoring import before_training as scores
from tfinit.pruning.scoring.at_initialization import prune_at_initialization, select
from tfinit.pruning.scoring.scores import BEFORE, names
from tfinit.variables import prunable_weights

L = keras.layers
X = np.random.default_rng(0).normal(size=(20, 8)).astype("float32")
Y = np.random.default_rng(1).integers(0, 3, 20)
SIZES = {"a/kernel": 8 * 16, "b/kernel": 16 * 12, "c/kernel": 12 * 3}
TOTAL = sum(SIZES.values())
SCORES = names(BEFORE)


def built():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((8,)),
            L.Dense(16, "relu", name="a"),
            L.BatchNormalization(name="bn"),
            L.Dense(12, "relu", name="b"),
            L.Dropout(0.5),
            L.Dense(3, name="c"),
        ]
    )


def compiled(optimizer="sgd"):
    model = built()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def counts(masks):
    return {key: int(np.count_nonzero(mask)) for key, mask in masks.items()}


def state(model):
    return [np.array(v) for v in [*model.variables, *model.optimizer.variables]]


# -- what is pruned ----------------------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("allocation", ["global", "erk", "uniform"])
@pytest.mark.parametrize("sparsity", [0.93])
def test_counts_are_exact_and_survivors_are_as_they_were(score, allocation, sparsity):
    model = compiled()
    before = {key: np.array(w) for key, w in prunable_weights(model).items()}
    report = prune_at_initialization(
        model, sparsity, score, X, Y, allocation=allocation, iterations=2
    )
    kept = counts(report.masks)
    if allocation == "uniform":
        assert kept == {key: round(n * (1 - sparsity)) for key, n in SIZES.items()}
    if allocation != "erk":
        # A global mask has as many zeros as the uniform one.
        assert sum(kept.values()) == sum(round(n * (1 - sparsity)) for n in SIZES.values())
    assert abs(sum(kept.values()) - TOTAL * (1 - sparsity)) <= len(SIZES) / 2 + 0.01
    for key, weight in prunable_weights(model).items():
        np.testing.assert_array_equal(weight, before[key] * report.masks[key])
        np.testing.assert_array_equal(get_masks(model)[key], report.masks[key])


@pytest.mark.parametrize("score", SCORES)
def test_sparsity_zero_changes_nothing(score):
    model = compiled()
    before = model.get_weights()
    report = prune_at_initialization(model, 0.0, score, X, Y, iterations=1)
    assert counts(report.masks) == SIZES
    for then, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(then, now)


@pytest.mark.parametrize("score", ["magnitude", "snip", "grasp", "synflow"])
def test_the_survivors_are_the_largest_of_the_scores(score):
    model = compiled()
    arguments = (X, Y) if score in ("snip", "grasp") else ()
    found = getattr(scores, score)(model, *arguments)
    report = prune_at_initialization(model, 0.8, score, X, Y, iterations=1)
    pooled = np.concatenate([found[key].ravel() for key in found])
    masks = np.concatenate([mask.ravel() for mask in report.masks.values()])
    assert pooled[masks].min() >= pooled[~masks].max()


class FirstRows(Score):
    """Of whole models: the earlier a row is, the better."""

    rounds = 2

    def of_model(self, model, x, masks):
        shapes = {key: tuple(w.shape) for key, w in prunable_weights(model).items()}
        return {key: np.repeat(-np.arange(n), m).reshape(n, m) for key, (n, m) in shapes.items()}


class Scored:
    """No `Score`, but callable; with a state that is its own affair."""

    def __init__(self, factor=-1.0):
        self.factor = factor

    def __call__(self, weights):
        return self.factor * weights


def test_the_survivors_are_the_largest_of_a_score_of_ones_own():
    gradients = scores.snip(compiled(), X, Y)
    for score, found in (
        (lambda weights: -abs(weights), lambda key, w: -np.abs(w)),
        (lambda weights, gradients: (weights * gradients) ** 2, lambda key, w: gradients[key] ** 2),
        (lambda generator, weights: generator.random(weights.shape) + 9 * (weights > 0), None),
        (FirstRows(), lambda key, w: -np.indices(w.shape)[0]),
        (Scored(), lambda key, w: -w),
    ):
        model = compiled()
        before = {key: np.array(w) for key, w in prunable_weights(model).items()}
        report = prune_at_initialization(model, 0.6, score, X, Y, allocation="uniform")
        assert report.score == (getattr(score, "__name__", type(score).__name__))
        for key, mask in report.masks.items():
            values = before[key] > 0 if found is None else found(key, before[key])
            assert mask.sum() == round(0.4 * mask.size)
            assert values[mask].min() >= values[~mask].max()


def test_former_names_are_taken_with_a_warning():
    with pytest.warns(DeprecationWarning, match="`method` is now `score`"):
        report = prune_at_initialization(compiled(), 0.5, method="magnitude")
    with pytest.warns(DeprecationWarning, match="`method` is now `score`"):
        assert report.method == report.score == "magnitude"


def test_a_sparse_optimizer_is_used_and_another_one_is_wrapped():
    model = compiled(keras.optimizers.Adam(0.01))
    adam = model.optimizer
    model.fit(X, Y, verbose=0)
    prune_at_initialization(model, 0.5, "magnitude")
    assert model.optimizer.inner_optimizer is adam
    sparse = model.optimizer
    prune_at_initialization(model, 0.75, "magnitude")
    assert model.optimizer is sparse
    assert sum(counts(get_masks(model)).values()) == sum(round(n / 4) for n in SIZES.values())
    assert model.metrics_names == ["loss", "compile_metrics"]


def test_the_default_allocation():
    kept = counts(prune_at_initialization(compiled(), 0.9, "random").masks)
    assert kept == counts(
        prune_at_initialization(compiled(), 0.9, "magnitude", allocation="erk").masks
    )
    joint = prune_at_initialization(compiled(), 0.9, "magnitude").masks
    assert counts(joint) != kept


@pytest.mark.backends
def test_masks_hold_in_training_on_every_backend():
    """Those of one score; the scores themselves are tested on every backend where they are made."""
    model = compiled("adam")
    report = prune_at_initialization(model, 0.9, "snip", X, Y, iterations=2)
    model.fit(X, Y, epochs=2, verbose=0)
    for key, weight in prunable_weights(model).items():
        values = keras.ops.convert_to_numpy(weight)
        np.testing.assert_array_equal(values[~report.masks[key]], 0)
        assert (values[report.masks[key]] != 0).all()


def test_masks_are_saved_with_the_model(tmp_path):
    model = compiled()
    report = prune_at_initialization(model, 0.8, "snip", X, Y)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for key, mask in get_masks(loaded).items():
        np.testing.assert_array_equal(mask, report.masks[key])


def test_a_mapping_and_a_callable():
    report = prune_at_initialization(
        compiled(), 0.9, "synflow", allocation={"a/kernel": 0.5, "b/kernel": 0.75}, iterations=5
    )
    assert counts(report.masks) == {"a/kernel": 64, "b/kernel": 48, "c/kernel": 36}
    report = prune_at_initialization(
        compiled(), 0.5, "snip", X, Y, allocation=lambda key, shape, s: s if shape[0] > 8 else 0.0
    )
    assert counts(report.masks) == {"a/kernel": 128, "b/kernel": 96, "c/kernel": 18}


def test_rounds_prune_inside_what_the_rounds_before_left():
    model = compiled()
    expected = None
    shapes = {key: tuple(w.shape) for key, w in prunable_weights(model).items()}
    for k in (1, 2, 3):
        density = (1 - 0.9) ** (k / 3)
        found = scores.synflow(model, masks=expected)
        masks = select(found, "global", 1 - density, shapes, expected)
        if expected is not None:
            assert all((expected[key] | ~masks[key]).all() for key in masks)
        expected = masks
    report = prune_at_initialization(model, 0.9, "synflow", iterations=3)
    for key, mask in report.masks.items():
        np.testing.assert_array_equal(mask, expected[key])


def test_rounds_decide_what_survives():
    one = prune_at_initialization(compiled(), 0.9, "snip", X, Y, iterations=1)
    ten = prune_at_initialization(compiled(), 0.9, "snip", X, Y, iterations=10)
    assert sum(counts(one.masks).values()) == sum(counts(ten.masks).values())
    assert any((one.masks[key] != ten.masks[key]).any() for key in one.masks)


def test_seeds():
    def masks(seed):
        return prune_at_initialization(compiled(), 0.5, "random", seed=seed).masks["b/kernel"]

    np.testing.assert_array_equal(masks(3), masks(3))
    assert (masks(3) != masks(4)).any()


def test_a_dataset():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(7)
    one = prune_at_initialization(compiled(), 0.9, "snip", dataset)
    two = prune_at_initialization(compiled(), 0.9, "snip", X, Y)
    assert sum((one.masks[k] != two.masks[k]).sum() for k in SIZES) <= 2


# -- SynFlow does not collapse, others may -------------------------------------------------------


def uneven():
    """The middle layer has small weights: magnitude prunes all of it."""
    model = keras.Sequential([keras.Input((6,)), *[L.Dense(6, name=n) for n in "abc"]])
    middle = model.get_layer("b").kernel
    middle.assign(middle * 1e-3)
    model.compile("sgd", "mse")
    return model


def test_magnitude_collapses_a_layer_and_the_report_says_so():
    report = prune_at_initialization(uneven(), 0.8, "magnitude")
    assert report.collapsed == ("b/kernel",)
    assert "WARNING: nothing is left of b/kernel." in str(report)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kept", [21, 3])
def test_synflow_keeps_a_path(kept, seed):
    """Down to one weight a layer, the least that a path needs."""
    keras.utils.set_random_seed(seed)
    report = prune_at_initialization(uneven(), 1 - kept / 108, "synflow")
    assert sum(counts(report.masks).values()) == kept
    assert report.collapsed == ()
    path = np.ones(6)
    for mask in report.masks.values():
        path = path @ mask
    assert path.any()


# -- the report ----------------------------------------------------------------------------------


def test_the_table():
    model = compiled()
    report = prune_at_initialization(model, 0.75, "magnitude", allocation="uniform")
    assert str(report) == (
        "magnitude at initialization\n"
        "weight    shape  weights  kept  sparsity\n"
        "a/kernel  8×16       128    32    75.00%\n"
        "b/kernel  16×12      192    48    75.00%\n"
        "c/kernel  12×3        36     9    75.00%\n"
        "total                356    89    75.00%"
    )
    assert report.sparsity == 0.75 and report.collapsed == () and report.target == 0.75


# -- models of every kind ------------------------------------------------------------------------


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.backbone = keras.Sequential([L.Dense(9, "relu"), L.BatchNormalization()])
        self.head = L.Dense(3)

    def call(self, x, training=None):
        return self.head(self.backbone(x, training=training))


def subclassed():
    model = Subclassed()
    model(X)
    return model


def nested_with_a_shared_layer():
    backbone = keras.Sequential([keras.Input((8,)), L.Dense(9, "relu"), L.Dropout(0.2)])
    left, right = keras.Input((8,)), keras.Input((8,))
    return keras.Model([left, right], L.Dense(3)(L.Add()([backbone(left), backbone(right)])))


@pytest.mark.parametrize(
    ("build", "score"),
    [(subclassed, score) for score in ("snip", "synflow")]
    + [(nested_with_a_shared_layer, score) for score in SCORES],
)
def test_nested_subclassed_and_shared(build, score):
    model = build()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = X if build is subclassed else [X, X[::-1].copy()]
    report = prune_at_initialization(model, 0.75, score, x, Y, iterations=3)
    assert sum(counts(report.masks).values()) in (24, 25)  # 72 and 27 weights, a quarter of each
    model.fit(x, Y, verbose=0)
    for key, weight in prunable_weights(model).items():
        np.testing.assert_array_equal(np.array(weight)[~report.masks[key]], 0)


# -- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"`sparsity` must be a number .*received 1\.0.*fraction of zeros"),
        ({"sparsity": -0.1}, "received -0.1"),
        ({"sparsity": float("nan")}, "received nan"),
        ({"sparsity": "half"}, "received 'half'"),
        ({"sparsity": True}, "received True"),
        ({"score": "SNIP"}, r"`score` must be one of magnitude, .*received 'SNIP'"),
        ({"score": "movement"}, r"`score` must be one of .*in a training step"),
        (
            {"score": lambda initial: initial},
            r"`score` '<lambda>' needs `initial`.*before training",
        ),
        ({"score": lambda weights: 1}, r"return one number for each weight, of shape \(8, 16\)"),
        ({"score": lambda weights: weights * np.nan}, "`score` '<lambda>' has NaN for 'a/kernel'"),
        ({"score": lambda weights: weights * 1j}, r"one number .*type complex64\."),
        ({"score": lambda weights: weights.astype(str)}, r"one number .*type str"),
        ({"score": lambda weights: None}, r"one number .*it returned None\."),
        ({"score": lambda weights: [[1.0], [2.0, 3.0]]}, r"one number .*it returned \[\[1"),
        ({"score": lambda weights, /: weights}, r"is a function of \(weights, /\)\. Its param"),
        ({"score": Scored}, r"received the class Scored\. Make one: Scored\(\)\."),
        ({"score": Scored(float("nan"))}, "`score` 'Scored' has NaN for 'a/kernel'"),
        ({"allocation": lambda key: 0.5}, r"or a function \(key, shape, sparsity\) -> sparsity"),
        ({"allocation": "local"}, "`allocation` must be one of"),
        ({"allocation": {"d/kernel": 0.5}}, r"names \['d/kernel'\]. The keys are \['a/kernel'"),
        ({"allocation": lambda key, shape, s: 2.0}, "received 2.0"),
        ({"iterations": 0}, "`iterations` must be a whole number of at least 1, received 0"),
        ({"seed": 0.5}, r"`seed` must be a whole number, received 0\.5"),
        ({"batch_size": -1}, "`batch_size` must be a whole number of at least 1"),
        ({"x": None}, "'snip' needs data"),
        ({"y": None}, "needs the targets"),
        ({"x": np.where(X > 2, np.nan, X)}, "`x` has NaN"),
        ({"x": X[:, :5]}, "cannot be called on inputs"),
        ({"loss": "no loss"}, "`loss` must be a Keras loss"),
    ],
)
def test_errors_leave_the_model(arguments, message):
    model = compiled()
    before, optimizer = state(model), model.optimizer
    with pytest.raises(InputError, match=message):
        prune_at_initialization(model, **{"sparsity": 0.5, "x": X, "y": Y} | arguments)
    assert model.optimizer is optimizer
    for then, now in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(then, now)


def test_a_model_that_is_not_compiled():
    with pytest.raises(InputError, match=r"has no optimizer.*model\.compile\(optimizer, loss\)"):
        prune_at_initialization(built(), 0.5, "magnitude")


def test_a_model_that_prunes_on_a_schedule_of_its_own():
    model = compiled(SparseOptimizer(keras.optimizers.SGD(), ConstantSparsity(0.5, 1)))
    with pytest.raises(InputError, match="on a schedule of its own"):
        prune_at_initialization(model, 0.5, "magnitude")


def test_masks_set_by_hand_are_replaced():
    model = compiled(SparseOptimizer(keras.optimizers.SGD()))
    set_masks(model, {k: np.ones(tuple(w.shape)) for k, w in prunable_weights(model).items()})
    report = prune_at_initialization(model, 0.5, "random", allocation="uniform")
    assert counts(get_masks(model)) == counts(report.masks)
