"""Mask selection on every backend: this file also runs with KERAS_BACKEND=jax and torch."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfinit.errors import InputError
from tfinit.pruning.in_training.patterns import block_mask, n_m_mask
from tfinit.pruning.in_training.selection import keep_count, top_masks, top_masks_of_each
from tfinit.pruning.in_training.shards import top_masks_of_each_in_shards, top_masks_of_shards
from tfinit.pruning.scoring.masks import top_mask

pytestmark = pytest.mark.backends
BACKEND = keras.backend.backend()
DTYPES = ["float32", "float16", "bfloat16"] + ["float64"] * (BACKEND != "jax")
# JAX compiles every operation for every shape, for seconds.
ANOTHER_SHAPE = pytest.mark.skipif(BACKEND == "jax", reason="one shape is enough, in `jit` more")
# Each new signature is compiled, so the shapes are few and the values many.
POOLS = [[(1,)], [(2, 5)], [(3, 4), (1,), (2, 2, 2)], [(9001,)]]


def array(tensor):
    return np.array(ops.convert_to_numpy(tensor))


def tensors(arrays, dtype="float32"):
    exact = "float64" if dtype == "float64" else "float32"
    return [ops.cast(ops.convert_to_tensor(a.astype(exact)), dtype) for a in arrays]


def exact(tensor):
    """The values that a tensor holds, as float64."""
    if keras.backend.standardize_dtype(tensor.dtype) != "float64":
        tensor = ops.cast(tensor, "float32")
    return array(tensor).astype("float64")


def expected(arrays, keep):
    """`masks.top_mask` of all arrays together, for which NaN has to be a number below -inf."""
    pool = np.maximum(np.concatenate([a.ravel() for a in arrays]), -1e308)
    mask = top_mask(np.where(np.isnan(pool), -np.inf, pool), keep)
    parts = np.split(mask, np.cumsum([a.size for a in arrays])[:-1])
    return [part.reshape(a.shape) for part, a in zip(parts, arrays, strict=True)]


def check(values, keep, select=top_masks, **kwargs):
    masks = [array(m) for m in select(values, keep, **kwargs)]
    scores = [np.abs(exact(v)) if kwargs.get("absolute") else exact(v) for v in values]
    assert sum(m.sum() for m in masks) == keep
    for mask, right in zip(masks, expected(scores, keep), strict=True):
        assert mask.dtype == bool and mask.shape == right.shape
        np.testing.assert_array_equal(mask, right)


# -- several at once -------------------------------------------------------------------------------

EACH = [(1,), (2, 5), (3, 341), (4, 256), (5, 205), (40, 61), (600, 512)]  # around rows of 1024


def drawn_for_each(rng, kind):
    arrays = [rng.normal(size=shape).astype("float32") for shape in EACH]
    if kind == "ties":
        arrays = [np.round(a) for a in arrays]
    if kind == "odd":
        for a in arrays:
            a[rng.random(a.shape) < 0.3] = np.nan
            a[rng.random(a.shape) < 0.3] = -np.inf
            a[rng.random(a.shape) < 0.1] = np.inf
            a[rng.random(a.shape) < 0.1] = -0.0
    return arrays


@pytest.mark.parametrize("kind", ["distinct", "ties", "odd"])
@pytest.mark.parametrize("absolute", [False, True])
def test_the_masks_of_each_of_several_are_those_of_each_alone(kind, absolute):
    rng = np.random.default_rng(4)
    for fraction in (0.0, 0.05, 0.5, 0.97, 1.0):
        arrays = drawn_for_each(rng, kind)
        keeps = [round(fraction * a.size) for a in arrays]
        masks = top_masks_of_each(tensors(arrays), keeps, absolute)
        for a, keep, mask in zip(arrays, keeps, masks, strict=True):
            scores = a.astype("float64")
            [right] = expected([np.abs(scores) if absolute else scores], keep)
            assert array(mask).sum() == keep
            np.testing.assert_array_equal(array(mask), right)


# -- keep_count ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "sparsity", "count"),
    [
        (1, 0.0, 1),
        (1, 0.99, 1),
        (1, 1.0, 1),
        (2, 0.0, 2),
        (2, 0.99, 1),
        (2, 1.0, 1),
        (10, 0.0, 10),
        (10, 0.99, 1),
        (10, 1.0, 1),
        (10, 0.75, 2),  # 2.5, to the even number
        (10, 0.65, 4),  # 3.5, or a little more in float32
        (1000, 0.9, 100),
        (2**24 + 3, 0.0, 2**24 + 3),  # float32 has no such number, and rounds it up
        (2_359_296, 0.9, 235_930),
        (0, 0.5, 0),
    ],
)
def test_keep_count(size, sparsity, count):
    kept = keep_count(size, ops.convert_to_tensor(sparsity, "float32"))
    assert keras.backend.standardize_dtype(kept.dtype) == "int32"
    assert int(kept) == int(keep_count(size, sparsity)) == count


# -- top_masks -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "keep", "mask"),
    [
        ([1.0, 3.0, 3.0, 3.0], 2, [0, 1, 1, 0]),
        ([1.0, 3.0, 3.0, 3.0], 0, [0, 0, 0, 0]),
        ([1.0, 3.0, 3.0, 3.0], 4, [1, 1, 1, 1]),
        ([-1.0, -2.0, -3.0, 0.5], 2, [1, 0, 0, 1]),
        ([0.0, -0.0, 0.0, -0.0], 2, [1, 1, 0, 0]),
        ([-0.0, 0.0, 1.0, -1.0], 2, [1, 0, 1, 0]),
        ([-np.inf, 1.0, -np.inf, -3.4e38], 2, [0, 1, 0, 1]),
        ([-np.inf, 1.0, -np.inf, np.inf], 3, [1, 1, 0, 1]),
        ([np.nan, -np.inf, np.nan, 0.0], 2, [0, 1, 0, 1]),
        ([-np.nan, np.nan, 2.0, -np.nan], 2, [1, 0, 1, 0]),
    ],
)
def test_top_masks_by_hand(scores, keep, mask):
    for count in (keep, np.int64(keep), ops.convert_to_tensor(keep, "int32")):
        [found] = top_masks([ops.convert_to_tensor(scores, "float32")], count)
        np.testing.assert_array_equal(array(found), np.array(mask, bool))


def test_the_earlier_tensor_wins_a_tie():
    masks = top_masks([ops.ones((2,)), ops.ones((2, 2)), 2 * ops.ones((1,))], 4)
    assert [array(m).astype(int).tolist() for m in masks] == [[1, 1], [[1, 0], [0, 0]], [1]]


def test_absolute_ranks_magnitudes():
    scores = ops.array([-3.0, 1.0, -np.inf, 2.0, -np.nan, -0.0], "float32")
    [mask] = top_masks([scores], 3, absolute=True)
    assert array(mask).astype(int).tolist() == [1, 0, 1, 1, 0, 0]


def values_of(kind, shape, rng):
    x = rng.standard_normal(shape)
    return {
        "distinct": x,
        "many ties": np.round(x),
        "all equal": np.full(shape, 0.25),
        "zeros of both signs": np.copysign(0.0, x),
        "mostly -inf": np.where(x > 1, x, -np.inf),
        "mostly zero": np.where(x > 1, x, 0.0),
        "NaN": np.where(x > 0, np.where(x > 1, np.nan, -np.nan), x),
        "two scales": np.where(x > 0, x * 1e-6, x * 1e6),
        "subnormal": x * 1e-39,
        "sorted": np.sort(x.ravel()).reshape(shape),
        "one channel": x * (np.arange(shape[-1]) % 8 == 0),
    }[kind]


KINDS = [
    "distinct",
    "many ties",
    "all equal",
    "zeros of both signs",
    "mostly -inf",
    "mostly zero",
    "NaN",
    "two scales",
    "subnormal",
    "sorted",
    "one channel",
]


@pytest.mark.parametrize(
    ("dtype", "absolute"),
    [*((dtype, False) for dtype in DTYPES), ("float32", True), ("bfloat16", True)],
)
def test_top_masks_are_those_of_numpy(dtype, absolute, rng):
    for shapes in POOLS if dtype == "float32" else POOLS[2:]:
        for kind in KINDS:
            values = tensors([values_of(kind, s, rng) for s in shapes], dtype)
            total = sum(int(np.prod(s)) for s in shapes)
            ends = {0, total} if kind == "distinct" else set()
            for keep in sorted({1, total // 2, total - 1} | ends):
                check(values, keep, absolute=absolute)


@pytest.mark.skipif(BACKEND != "jax", reason="no other puts parts of a weight on devices")
@pytest.mark.parametrize("absolute", [False, True])
def test_where_the_tensors_lie_they_are_ranked_as_side_by_side(absolute, rng):
    shapes = [(3, 4), (1,), (2, 2, 2)]
    for kind in KINDS:
        values = tensors([values_of(kind, s, rng) for s in shapes])
        for keep in (0, 1, 10, 20, 21):
            check(values, keep, top_masks_of_shards, absolute=absolute)
        found = top_masks_of_each_in_shards(values, [5, 1, 0], absolute)
        right = [top_masks([v], n, absolute) for v, n in zip(values, [5, 1, 0], strict=True)]
        for mask, [alone] in zip(found, right, strict=True):
            np.testing.assert_array_equal(array(mask), array(alone))


@settings(max_examples=30)
@given(st.data())
def test_top_masks_of_any_values(data):
    dtype = data.draw(st.sampled_from(DTYPES))
    shapes = data.draw(st.sampled_from(POOLS[:3]))
    sizes = [int(np.prod(s)) for s in shapes]
    numbers = data.draw(
        st.lists(st.floats(width=32), min_size=sum(sizes), max_size=sum(sizes)), label="scores"
    )
    arrays = np.split(np.array(numbers, "float32"), np.cumsum(sizes)[:-1])
    values = tensors([a.reshape(s) for a, s in zip(arrays, shapes, strict=True)], dtype)
    keep = data.draw(st.integers(0, sum(sizes)))
    check(values, keep, absolute=data.draw(st.booleans()))


def test_mixed_dtypes_are_ranked_together():
    values = [ops.array([1.0, 3.0], "bfloat16"), ops.array([2.0, 4.0], "float32")]
    assert [array(m).tolist() for m in top_masks(values, 2)] == [[False, True], [False, True]]


def test_no_entries():
    [mask] = top_masks([ops.zeros((0, 3))], 0)
    assert array(mask).shape == (0, 3)


@pytest.mark.parametrize(
    ("scores", "keep", "words"),
    [
        ([], 0, "`scores` is empty"),
        ([np.ones(3, "float32")], 4, r"`keep` must be in 0\.\.3, received 4"),
        ([np.ones(3, "float32")], -1, "received -1"),
        ([np.ones(3, "int32")], 1, "must be of .*'float32'.*received int32"),
    ],
)
def test_top_masks_says_what_is_wrong(scores, keep, words):
    with pytest.raises(InputError, match=words):
        top_masks(scores, keep)


@pytest.mark.skipif(BACKEND != "jax", reason="what JAX compiles")
def test_in_jax_jit(rng):
    import jax

    scores = rng.standard_normal((30, 40)).astype("float32")

    @jax.jit
    def step(scores, sparsity):
        new = top_masks([scores], keep_count(1200, sparsity), absolute=True)[0]
        return jax.lax.cond(sparsity > 0, lambda: new, lambda: ops.ones_like(new))

    for sparsity in (0.0, 0.5, 0.999):
        right = top_mask(np.abs(scores), int(keep_count(1200, sparsity)))
        np.testing.assert_array_equal(step(scores, sparsity), right)
    blocks = jax.jit(lambda x: block_mask(x, 0.5, (3, 7)))(np.abs(scores))
    np.testing.assert_array_equal(blocks, array(block_mask(np.abs(scores), 0.5, (3, 7))))
    groups = jax.jit(lambda x: n_m_mask(x, 2, 4))(scores)
    np.testing.assert_array_equal(groups, array(n_m_mask(scores, 2, 4)))


# -- blocks ----------------------------------------------------------------------------------

MATRIX = [[9.0, 0.0, 1.0, 1.0, 3.0], [0.0, 0.0, 1.0, 1.0, 0.0], [4.0, 4.0, 0.0, 8.0, 0.0]]


@pytest.mark.parametrize(
    ("size", "pooling", "sparsity", "mask"),
    [
        # Rows 3 = 2 + 1, columns 5 = 2 + 2 + 1: the last blocks are cut.
        ((2, 2), "AVG", 0.5, ["11000", "11000", "11110"]),
        ((2, 2), "MAX", 0.67, ["11000", "11000", "00110"]),
        *(
            pytest.param(*case, marks=ANOTHER_SHAPE)
            for case in (
                ((1, 5), "AVG", 0.67, ["00000", "00000", "11111"]),
                ((1, 2), "AVG", 0.6, ["11001", "00000", "11110"]),
                # Columns 5 in windows of 4: three are missing, one before the first window.
                ((3, 4), "MAX", 0.5, ["11110", "11110", "11110"]),
                ((1, 1), "AVG", 0.8, ["10000", "00000", "10010"]),
                ((5, 9), "AVG", 1.0, ["11111", "11111", "11111"]),
            )
        ),
    ],
)
def test_blocks_by_hand(size, pooling, sparsity, mask):
    found = array(block_mask(ops.array(MATRIX), sparsity, size, pooling))
    assert ["".join(map(str, row)) for row in found.astype(int)] == mask


def test_blocks_of_a_convolution_compete_with_each_other(rng):
    scores = np.abs(rng.standard_normal((3, 3, 8, 6))).astype("float32")
    mask = array(block_mask(scores, 0.75, (4, 3)))
    blocks = mask.reshape(9, 2, 4, 2, 3)
    assert (blocks.all(axis=(2, 4)) == blocks.any(axis=(2, 4))).all()
    pooled = scores.reshape(9, 2, 4, 2, 3).mean(axis=(2, 4))
    np.testing.assert_array_equal(blocks.all(axis=(2, 4)), top_mask(pooled, 9))


def test_a_1x1_convolution_is_its_matrix(rng):
    scores = np.abs(rng.standard_normal((7, 10))).astype("float32")
    matrix = array(block_mask(scores, 0.6, (2, 4)))
    np.testing.assert_array_equal(array(block_mask(scores[None, None], 0.6, (2, 4)))[0, 0], matrix)


def test_tied_blocks_are_counted_exactly():
    mask = array(block_mask(ops.ones((8, 8)), 0.75, (2, 2)))
    np.testing.assert_array_equal(mask.any(axis=1), [1, 1, 0, 0, 0, 0, 0, 0])
    assert mask.sum() == 16


@pytest.mark.parametrize(
    ("shape", "size", "pooling", "words"),
    [
        ((4,), (2, 2), "AVG", r"two axes or more.*\(4,\)"),
        ((4, 4), (0, 2), "AVG", "1 or more each way"),
        ((4, 4), (2.0, 2), "AVG", "two integers"),
        ((4, 4), 2, "AVG", "`block_size` must be two integers, received 2"),
        ((4, 4), (2, 2), "avg", '"AVG" or "MAX", received \'avg\''),
    ],
)
def test_block_mask_says_what_is_wrong(shape, size, pooling, words):
    with pytest.raises(InputError, match=words):
        block_mask(ops.ones(shape), 0.5, size, pooling)


# -- m zeros in n ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "m", "n", "mask"),
    [
        ([3, 1, 2, 4], 2, 4, [1, 0, 0, 1]),
        ([1, 1, 1, 1], 2, 4, [1, 1, 0, 0]),
        ([np.nan, 1, -np.inf, 2], 2, 4, [0, 1, 0, 1]),
        ([3, 1, 2, 4, 1, 2, 3], 2, 4, [1, 0, 0, 1, 0, 1, 1]),
        *(
            pytest.param(*case, marks=ANOTHER_SHAPE)
            for case in (
                ([3, 1, 2, 4, 1], 2, 4, [1, 0, 0, 1, 1]),
                ([-1, -2, -3, -4, -5], 3, 4, [1, 0, 0, 0, 1]),
                ([0, 0, 5, 0, 0, 0], 1, 3, [1, 0, 1, 1, 1, 0]),
                ([3, 1, 2, 4], 0, 1, [1, 1, 1, 1]),
                ([3, 1], 1, 16, [1, 1]),
            )
        ),
    ],
)
def test_n_m_by_hand(scores, m, n, mask):
    found = n_m_mask(ops.convert_to_tensor(scores, "float32"), m, n)
    np.testing.assert_array_equal(array(found), np.array(mask, bool))


@pytest.mark.parametrize("shape", [(9,), (8, 5), (2, 2, 2, 7, 3)])
def test_n_m_groups_lie_along_the_axis(shape, rng):
    scores = rng.standard_normal(shape).astype("float32")
    for axis in (None, 0, -1):
        mask = array(n_m_mask(scores, 1, 3, axis))
        along = (-2 if len(shape) > 1 else -1) if axis is None else axis
        lines = np.moveaxis(mask, along, -1).reshape(-1, shape[along])
        numbers = np.moveaxis(scores, along, -1).reshape(-1, shape[along])
        for i in range(0, shape[along], 3):
            for line, number in zip(lines[:, i : i + 3], numbers[:, i : i + 3], strict=True):
                np.testing.assert_array_equal(line, top_mask(number, min(2, line.size)))


@pytest.mark.parametrize(
    ("m", "n", "axis", "words"),
    [
        (4, 4, None, r"0\.\.n - 1, received \(4, 4\)"),
        (-1, 4, None, "received"),
        (2.0, 4, None, "two integers"),
        (2, 4, 2, "`axis` must be one of the 2 axes"),
    ],
)
def test_n_m_says_what_is_wrong(m, n, axis, words):
    with pytest.raises(InputError, match=words):
        n_m_mask(ops.ones((4, 4)), m, n, axis)
