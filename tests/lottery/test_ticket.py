import doctest
import io
import json
import os
import tracemalloc
from pathlib import Path

import keras
import ml_dtypes
import numpy as np
import pytest
from hostile_files import TICKETS, Place
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import tfinit.lottery.ticket as module
from tfinit.errors import InputError, WorkError
from tfinit.lottery import LevelResult
from tfinit.lottery.ticket import Ticket
from tfinit.pruning import SparseOptimizer, get_masks
from tfinit.training import METRICS, Metrics
from tfinit.variables import all_weights, prunable_weights, read_weights

L = keras.layers


def bits(array):
    return array.dtype, array.shape, np.ascontiguousarray(array).tobytes()


def assert_same(back, ticket):
    """Bit for bit, but for what the mask prunes, which is +0 now."""
    assert back.mask.keys() == ticket.mask.keys()
    assert list(back.rewind) == list(ticket.rewind)
    for key, mask in ticket.mask.items():
        assert bits(back.mask[key]) == bits(mask)
    for key, weight in ticket.weights.items():
        # The byte order is the machine's.
        native = weight.astype(weight.dtype.newbyteorder("="))
        assert bits(back.rewind[key]) == bits(native)
    assert (back.step, back.about) == (ticket.step, ticket.about)


def small(**kwargs):
    rng = np.random.default_rng(0)
    rewind = {
        "a/kernel": rng.normal(size=(8, 5)).astype("f4"),
        "a/bias": rng.normal(size=5).astype("f4"),
        "b/kernel": rng.normal(size=(5, 3)).astype("f4"),
        "b/bias": np.zeros(3, "f4"),
    }
    mask = {key: rng.random(w.shape) < 0.4 for key, w in rewind.items() if w.ndim == 2}
    return Ticket(mask, rewind, **kwargs)


def built(units=3):
    return keras.Sequential(
        [
            keras.Input((8,)),
            L.Dense(5, "relu", name="a"),
            L.Dense(units, name="b"),
        ]
    )


# -- the file ----------------------------------------------------------------------------------

TYPES = st.sampled_from(["f2", "f4", "f8", ">f4", "i4", "u1", "c8", "?"])


@st.composite
def tickets(draw):
    mask, rewind = {}, {}
    for i in range(draw(st.integers(1, 4))):
        shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
        rewind[f"w{i}"] = draw(hnp.arrays(np.dtype(draw(TYPES)), shape))
        if i == 0 or draw(st.booleans()):
            mask[f"w{i}"] = draw(st.just(np.zeros(shape, bool)) | hnp.arrays(bool, shape))
    about = draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2))
    return Ticket(mask, rewind, draw(st.integers(0, 10**6)), about)


@given(tickets())
def test_what_is_saved_comes_back_bit_for_bit(tmp_path_factory, ticket):
    path = tmp_path_factory.getbasetemp() / "ticket.npz"
    ticket.save(path)
    assert_same(Ticket.load(path), ticket)


def test_loaded_weights_equal_mask_times_rewind(tmp_path):
    ticket = small(step=500, about={"dataset": "mnist"})
    ticket.save(tmp_path / "t.npz")
    back = Ticket.load(tmp_path / "t.npz")
    assert_same(back, ticket)
    for key, mask in ticket.mask.items():
        np.testing.assert_array_equal(back.rewind[key], mask * ticket.rewind[key])
        assert not np.signbit(back.rewind[key][~mask]).any()
    assert back.rewind["a/kernel"].flags.writeable


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn"])
def test_types_that_keras_adds_come_back(tmp_path, name):
    weight = np.array([1.5, -2, 0.25, 8], getattr(ml_dtypes, name))
    ticket = Ticket({"w": np.array([1, 0, 1, 1])}, {"w": weight, "b": weight})
    ticket.save(tmp_path / "t")
    assert_same(Ticket.load(tmp_path / "t"), ticket)


def test_the_size_of_lenet_at_3_6_percent(tmp_path):
    """At most 50 KB, though every value is random and no bias is zero."""
    rng = np.random.default_rng(0)
    mask, rewind = {}, {}
    for name, shape in (("fc1", (784, 300)), ("fc2", (300, 100)), ("output", (100, 10))):
        rewind[f"{name}/kernel"] = rng.normal(0, shape[0] ** -0.5, shape).astype("f4")
        rewind[f"{name}/bias"] = rng.normal(0, 0.01, shape[1]).astype("f4")
        mask[f"{name}/kernel"] = rng.random(shape) < 0.036
    ticket = Ticket(mask, rewind)
    assert sum(m.size for m in mask.values()) == 266_200
    assert 0.035 < ticket.density < 0.037
    ticket.save(tmp_path / "t.npz")
    assert (tmp_path / "t.npz").stat().st_size <= 50_000


def test_the_same_ticket_gives_the_same_bytes(tmp_path):
    small().save(tmp_path / "one")
    small().save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_any_flipped_bit_is_noticed_or_harmless(tmp_path):
    """What the checksum does not cover (dates in the archive) must not alter the ticket."""
    ticket, path = small(about={"seed": "1"}), tmp_path / "t.npz"
    ticket.save(path)
    content = path.read_bytes()
    noticed = 0
    for at in range(0, len(content), 3):
        path.write_bytes(content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :])
        try:
            assert_same(Ticket.load(path), ticket)
        except InputError as error:
            assert str(path) in str(error)
            noticed += 1
    assert noticed > len(content) / 6


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_damaged(tmp_path, share):
    path = tmp_path / "t.npz"
    small().save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"t\.npz is damaged: .*Copy it again"):
        Ticket.load(path)


def archive(path, **members):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **members)
    path.write_bytes(buffer.getvalue())


def rewritten(path, **changes):
    with np.load(path) as file:
        members = {name: file[name] for name in file.files}
    header = json.loads(members["header"].tobytes()) | changes
    members["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    archive(path, **members)


def test_another_checksum_is_damage(tmp_path):
    path = tmp_path / "t.npz"
    small().save(path)
    rewritten(path, step=7)  # a whole archive, with the checksum of step 0
    with pytest.raises(InputError, match="damaged: the checksum differs"):
        Ticket.load(path)


def test_a_newer_format_asks_for_a_newer_tfinit(tmp_path):
    path = tmp_path / "t.npz"
    small().save(path)
    rewritten(path, version=2)
    with pytest.raises(InputError, match=r"t\.npz is a ticket of format 2, .* up to format 1\. In"):
        Ticket.load(path)


def test_files_that_are_no_tickets(tmp_path):
    path = tmp_path / "t.npz"
    for content in (b"", b"years of work", b"\x89HDF\r\n"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"t\.npz is not a ticket. Pass a file that"):
            Ticket.load(path)
    archive(path, kernel=np.ones(3))
    with pytest.raises(InputError, match="is not a ticket"):
        Ticket.load(path)
    archive(path, header=np.frombuffer(b'{"format": "another"}', np.uint8))
    with pytest.raises(InputError, match="is not a ticket"):
        Ticket.load(path)
    with pytest.raises(InputError, match=r"cannot be read: No such file"):
        Ticket.load(tmp_path / "nowhere.npz")


def test_a_pickle_in_the_file_is_not_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "boom"),))

    archive(tmp_path / "t.npz", header=np.array([Bomb()], object))
    with pytest.raises(InputError, match="damaged"):
        Ticket.load(tmp_path / "t.npz")
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("kind", TICKETS)
def test_a_hostile_ticket_is_refused_before_it_takes_memory(kind, tmp_path):
    place = Place(tmp_path)
    TICKETS[kind](tmp_path / "t.npz", place)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"t\.npz is damaged: .*Copy it again") as raised:
        Ticket.load(tmp_path / "t.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500
    assert peak < 16 * 2**20
    assert not place.ran.exists()


def test_the_sparsest_ticket_is_not_taken_for_a_hostile_one(tmp_path):
    """A million weights, none of which survives, in 2 KB: deflate makes of them what it can."""
    ticket = Ticket({"w": np.zeros((1000, 1000))}, {"w": np.ones((1000, 1000))})
    ticket.save(tmp_path / "t.npz")
    assert (tmp_path / "t.npz").stat().st_size < 2000
    assert_same(Ticket.load(tmp_path / "t.npz"), ticket)


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "t.npz"
    small().save(path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkError, match=r"cannot write the ticket .*t\.npz: No space left"):
        small(step=1).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["t.npz"]


def test_a_pipe_is_not_read_and_a_link_not_written_through(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot be read: it is something else than a file"):
        Ticket.load(tmp_path / "pipe")
    (tmp_path / "victim").write_text("years of work")
    (tmp_path / "t.npz").symlink_to(tmp_path / "victim")
    small().save(tmp_path / "t.npz")
    assert (tmp_path / "victim").read_text() == "years of work"
    assert Ticket.load(tmp_path / "t.npz").step == small().step
    small().save(tmp_path / ("n" * 251 + ".npz"))


def test_a_save_over_a_directory_is_refused(tmp_path):
    (tmp_path / "t").mkdir()
    with pytest.raises(WorkError, match="cannot write"):
        small().save(tmp_path / "t")
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


# -- the ticket --------------------------------------------------------------------------------


def test_density_survivors_and_text():
    ticket = Ticket(
        {"a/kernel": np.array([[1, 0], [0, 0]]), "b": np.zeros(4)},
        {"a/kernel": np.ones((2, 2)), "b": np.ones(4), "bias": np.ones(2)},
        step=500,
        about={"seed": "3"},
    )
    assert ticket.survivors == 1
    assert ticket.density == 1 / 8
    assert str(ticket).splitlines() == [
        "ticket: 1 of 8 weights (12.50%), rewinds to step 500, seed 3",
        "  a/kernel  1 of 4 (25.00%)",
        "  b         0 of 4 (0.00%)",
    ]


def test_pruned_weights_start_at_plus_zero_even_where_they_are_not_numbers():
    ticket = Ticket({"w": np.array([0, 0, 1])}, {"w": np.array([np.nan, -1, -2], "f4")})
    assert ticket.weights["w"].tobytes() == np.array([0, 0, -2], "f4").tobytes()


def test_the_ticket_of_a_level():
    ticket = small()
    metrics = Metrics(np.array([0]), {name: np.zeros(1) for name in METRICS})
    later = {key: w + 1 for key, w in ticket.rewind.items()}
    result = LevelResult(
        seed=2,
        branch="ticket",
        level=7,
        initial=ticket.rewind,
        rewind=later,
        mask=ticket.mask,
        final=ticket.rewind,
        metrics=metrics,
    )
    made = Ticket.of(result, step=100, about={"dataset": "mnist"})
    assert made.step == 100
    assert made.about == {"seed": "2", "branch": "ticket", "level": "7", "dataset": "mnist"}
    assert all(made.rewind[key] is later[key] for key in later)
    assert all(np.array_equal(made.mask[key], m) for key, m in result.mask.items())


K = {"k": np.ones((2, 1))}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({}, K), "`mask` is empty"),
        (({"v": np.ones(2)}, K), r"`mask` names \['v'\], which `rewind` lacks; it has \['k'\]"),
        (({"k": np.ones(2)}, K), r"mask of 'k' has shape \(2,\), the weight has \(2, 1\)"),
        (({"k": np.full((2, 1), 0.5)}, K), "other than 0 and 1"),
        (({"k": np.array(["1"])}, {"k": np.array(["a"])}), "must be an array of numbers"),
        ((K, K, -1), r"`step` must be a whole number of at least 0, received -1. 0 is init"),
        ((K, K, 1.0), "`step` must be a whole number .* received 1.0"),
        ((K, K, 0, {"seed": 1}), "`about` must be a dictionary of text to text"),
    ],
)
def test_a_ticket_says_what_is_wrong(arguments, message):
    with pytest.raises(InputError, match=message):
        Ticket(*arguments)


# -- the model ---------------------------------------------------------------------------------


def weights_of(model):
    return read_weights(all_weights(model))


def test_apply_writes_the_weights_of_a_model_that_is_not_compiled():
    model, ticket = built(), small()
    ticket.apply(model)
    for key, weight in weights_of(model).items():
        assert bits(weight) == bits(ticket.weights[key])
    assert getattr(model, "optimizer", None) is None


@pytest.mark.parametrize("wrap", [False, True])
def test_a_compiled_model_trains_sparse(wrap):
    model, ticket = built(), small()
    optimizer = keras.optimizers.Adam(0.01)
    model.compile(SparseOptimizer(optimizer) if wrap else optimizer, "mse")
    ticket.apply(model)
    for key, weight in weights_of(model).items():
        assert bits(weight) == bits(ticket.weights[key])
    for key, mask in get_masks(model).items():
        np.testing.assert_array_equal(mask, ticket.mask[key])
    rng = np.random.default_rng(0)
    model.fit(rng.normal(size=(16, 8)), rng.normal(size=(16, 3)), verbose=0)
    after = weights_of(model)
    for key, mask in ticket.mask.items():
        assert not after[key][~mask].any()
        assert (after[key] != ticket.weights[key]).any()


def test_a_ticket_applies_after_the_model_was_trained():
    model, ticket = built(), small()
    model.compile("sgd", "mse")
    x, y = np.ones((4, 8)), np.ones((4, 3))
    model.fit(x, y, verbose=0)
    ticket.apply(model)
    model.fit(x, y, verbose=0)
    after = weights_of(model)
    assert all(not after[key][~mask].any() for key, mask in ticket.mask.items())


def test_a_file_carries_a_ticket_to_another_model(tmp_path):
    ticket = small()
    ticket.save(tmp_path / "t.npz")
    one, two = built(), built()
    ticket.apply(one)
    Ticket.load(tmp_path / "t.npz").apply(two)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        assert bits(a) == bits(b)


def more_layers():
    return keras.Sequential([keras.Input((8,)), *built().layers, L.Dense(2, name="c")])


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: built(units=4), r"`rewind\['b/kernel'\]` has shape \(5, 3\).*\(5, 4\)"),
        (more_layers, r"`rewind` does not fit the model: missing \['c/bias', 'c/kernel'\]"),
        (
            lambda: keras.Sequential([keras.Input((8,)), L.Dense(5, name="a")]),
            r"unknown \['b/bias', 'b/kernel'\]",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_left_alone(make, message, compiled):
    model = make()
    if compiled:
        model.compile("sgd", "mse")
    before, optimizer = weights_of(model), getattr(model, "optimizer", None)
    with pytest.raises(InputError, match=message):
        small().apply(model)
    for key, weight in weights_of(model).items():
        assert bits(weight) == bits(before[key])
    assert getattr(model, "optimizer", None) is optimizer


def test_masks_are_checked_both_ways():
    ticket = small()
    fewer = Ticket({"a/kernel": ticket.mask["a/kernel"]}, ticket.rewind)
    with pytest.raises(InputError, match=r"`mask` does not fit the model: missing \['b/kernel'\]"):
        fewer.apply(built())
    more = Ticket({**ticket.mask, "a/bias": np.ones(5)}, ticket.rewind)
    with pytest.raises(InputError, match=r"unknown \['a/bias'\]"):
        more.apply(built())


def test_an_optimizer_without_a_place_for_a_mask_changes_no_weight():
    model = built()
    model.compile(SparseOptimizer(keras.optimizers.SGD(), scope=model.layers[0]), "mse")
    before = weights_of(model)
    with pytest.raises(InputError, match="carries no mask in this optimizer"):
        small().apply(model)
    for key, weight in weights_of(model).items():
        assert bits(weight) == bits(before[key])


def test_models_that_are_no_keras_3_models():
    tf_keras = pytest.importorskip("tf_keras")
    legacy = tf_keras.Sequential([tf_keras.Input((8,)), tf_keras.layers.Dense(3)])
    with pytest.raises(InputError, match=r"received one of tf_keras.*TfmotPruner"):
        small().apply(legacy)
    with pytest.raises(InputError, match="`model` must be a Keras layer or model, received 1"):
        small().apply(1)
    with pytest.raises(InputError, match="not built"):
        small().apply(keras.Sequential([L.Dense(3)]))


def test_the_ticket_of_a_model_with_normalization(tmp_path):
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), L.Conv2D(4, 3), L.BatchNormalization(), L.Flatten(), L.Dense(2)]
    )
    rng = np.random.default_rng(0)
    rewind = {key: rng.random(w.shape).astype("f4") for key, w in weights_of(model).items()}
    mask = {key: rng.random(w.shape) < 0.5 for key, w in prunable_weights(model).items()}
    ticket = Ticket(mask, rewind)
    ticket.save(tmp_path / "t")
    Ticket.load(tmp_path / "t").apply(model)
    for key, weight in weights_of(model).items():
        assert bits(weight) == bits(ticket.weights[key])
    assert len(rewind) == 8


def test_examples(tmp_path):
    names = {"keras": keras, "Path": Path, "tmp": tmp_path}
    failed, tried = doctest.testmod(module, extraglobs=names)
    assert tried > 0
    assert failed == 0
