"""Schedules on every backend: this file also runs with KERAS_BACKEND=jax and torch."""

import doctest
import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from tfinit.errors import InputError
from tfinit.pruning import PruningRule, SparseOptimizer
from tfinit.pruning.in_training.schedule_checks import check_schedule
from tfinit.pruning.in_training.schedules import (
    ConstantSparsity,
    PolynomialDecay,
    PruningSchedule,
)

pytestmark = pytest.mark.backends


def at(schedule, step):
    update, sparsity = schedule(step)
    assert keras.backend.standardize_dtype(update.dtype) == "bool"
    assert keras.backend.standardize_dtype(sparsity.dtype) == "float32"
    return bool(update), float(sparsity)


@keras.saving.register_keras_serializable("test_schedules")
class Step(PruningSchedule):
    """As users write them for TFMOT, down to the nested configuration."""

    def __init__(self, sparsity, begin_step, frequency=10):
        self.sparsity = sparsity
        self.begin_step = begin_step
        self.frequency = frequency
        self._validate_step(begin_step, -1, frequency, True)
        self._validate_sparsity(sparsity, "sparsity")

    def __call__(self, step):
        late = ops.cast(ops.convert_to_tensor(step) >= 2 * self.begin_step, "float32")
        update = self._should_prune_in_step(step, self.begin_step, -1, self.frequency)
        return update, self.sparsity * late

    def get_config(self):
        config = {"sparsity": self.sparsity, "begin_step": self.begin_step}
        return {"class_name": "Step", "config": config | {"frequency": self.frequency}}


class PythonBranch(Step):
    """Takes one step at a time only."""

    def __call__(self, step):
        step = int(step)
        return ops.convert_to_tensor(step == 17), ops.convert_to_tensor(0.5)


# -- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        (ConstantSparsity(0.5, 3, 9, 3), [3, 6, 9]),
        (ConstantSparsity(0.5, 3, 8, 3), [3, 6]),
        (ConstantSparsity(0.5, 0, 0), [0]),
        (ConstantSparsity(0.5, 8, frequency=4), [8, 12, 16, 20]),
        (PolynomialDecay(0.1, 0.9, 2, 12, frequency=5), [2, 7, 12]),
        (PolynomialDecay(0.1, 0.9, 5, 5, frequency=1), [5]),
        (PolynomialDecay(0.1, 0.9, 0, 7), [0]),
    ],
)
def test_steps_that_update(schedule, steps):
    assert [step for step in range(21) if at(schedule, step)[0]] == steps


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (ConstantSparsity(0.75, 2), {0: 0.75, 2: 0.75, 1000: 0.75}),
        (
            PolynomialDecay(0.0, 0.8, 100, 200),
            {0: 0.0, 100: 0.0, 150: 0.7, 175: 0.7875, 200: 0.8, 201: 0.8, 10**9: 0.8},
        ),
        (PolynomialDecay(0.5, 0.9, 0, 10, power=1), {0: 0.5, 5: 0.7, 10: 0.9}),
        (PolynomialDecay(0.9, 0.5, 0, 4, power=2), {0: 0.9, 2: 0.6, 4: 0.5}),
        (PolynomialDecay(0.5, 1.0, 0, 4, power=0.5), {0: 0.5, 3: 0.75, 4: 1.0}),
        (PolynomialDecay(0.2, 0.8, 5, 5), {4: 0.2, 5: 0.8, 6: 0.8}),
    ],
)
def test_sparsities(schedule, values):
    assert {step: at(schedule, step)[1] for step in values} == pytest.approx(values, abs=2e-7)
    assert schedule.last_sparsity == pytest.approx(list(values.values())[-1])


@pytest.mark.parametrize("schedule", [ConstantSparsity(0.5, 2, 4, 2), PolynomialDecay(0, 1, 2, 4)])
def test_a_step_may_be_anything_integer(schedule):
    right = at(schedule, 2)
    steps = [np.int64(2), np.int32(2), ops.convert_to_tensor(2, "int32")]
    steps += [keras.Variable(2, dtype="int32", trainable=False)]
    if keras.backend.backend() != "jax":  # which has 32 bits by default
        steps += [
            ops.convert_to_tensor(2, "int64"),
            keras.Variable(2, dtype="int64", trainable=False),
        ]
    for step in steps:
        assert at(schedule, step) == right


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="32 bits by default")
def test_steps_of_64_bits():
    far = 2**40
    for step in (far, np.int64(far), ops.convert_to_tensor(far, "int64")):
        assert at(ConstantSparsity(0.5, 0, frequency=2**20), step) == (True, 0.5)
        assert at(ConstantSparsity(0.5, 1, frequency=2**20), step) == (False, 0.5)
        assert at(PolynomialDecay(0.0, 0.5, far - 1, far + 1, 1, 1), step) == (True, 0.25)


def test_a_vector_of_steps():
    update, sparsity = PolynomialDecay(0.0, 0.8, 1, 3, 1, 2)(np.arange(5))
    assert ops.convert_to_numpy(update).tolist() == [False, True, False, True, False]
    assert ops.convert_to_numpy(sparsity).tolist() == pytest.approx([0, 0, 0.4, 0.8, 0.8])


# -- the first step --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "first"),
    [
        (ConstantSparsity(0.5, 0), 100),
        (ConstantSparsity(0.5, 1), 1),
        (ConstantSparsity(0.5, 7, frequency=3), 7),
        (ConstantSparsity(0.5, 0, 99), None),
        (ConstantSparsity(0.0, 5), None),
        (PolynomialDecay(0.0, 0.8, 0, 1000), 100),
        (PolynomialDecay(0.0, 0.8, 5, 1000), 105),
        (PolynomialDecay(0.3, 0.8, 5, 1000), 5),
        (PolynomialDecay(0.3, 0.8, 0, 1000, frequency=7), 7),
        (PolynomialDecay(0.0, 0.8, 5, 104), None),
        (PolynomialDecay(0.0, 0.8, 5, 5), 5),
        (PolynomialDecay(0.3, 0.0, 0, 100), None),
        (PolynomialDecay(0.3, 0.0, 5, 5), None),
        (PolynomialDecay(0.3, 0.0, 5, 6), 5),
        (PolynomialDecay(0.0, 0.0, 5, 60, frequency=1), None),
        (Step(0.5, 4), 14),
        (Step(0.5, 9_000), None),
        (PythonBranch(0.5, 4), 17),
    ],
)
def test_first_step(schedule, first):
    assert schedule.first_step() == first


@settings(max_examples=30)
@given(
    st.tuples(*[st.sampled_from([0.0, 0.3, 1.0])] * 2),
    st.integers(0, 20),
    st.integers(0, 60),
    st.integers(1, 30),
)
def test_first_step_is_what_a_search_finds(ends, begin, length, frequency):
    for schedule in (
        PolynomialDecay(*ends, begin, begin + length, 3, frequency),
        ConstantSparsity(ends[0], begin, begin + length, frequency),
    ):
        assert schedule.first_step() == PruningSchedule.first_step(schedule)


# -- configuration ---------------------------------------------------------------------------

SCHEDULES = [
    ConstantSparsity(0.5, 0),
    ConstantSparsity(np.float32(0.9), np.int64(2), np.int32(20), 5.0),
    PolynomialDecay(0.1, 0.9, 5, 50, power=2.5, frequency=7),
    Step(0.5, 4),
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_survives_keras(schedule):
    text = json.dumps(keras.saving.serialize_keras_object(schedule))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert again == schedule and hash(again) == hash(schedule)
    assert (again == SCHEDULES[0]) == (schedule is SCHEDULES[0])


def test_attributes_are_readable():
    schedule = PolynomialDecay(0.1, 0.9, 5, 50, power=2.5, frequency=7)
    assert vars(schedule) == schedule.get_config()
    assert repr(ConstantSparsity(0.5, 0)) == (
        "ConstantSparsity(target_sparsity=0.5, begin_step=0, end_step=-1, frequency=100)"
    )
    assert ConstantSparsity(0.5, 0) != PolynomialDecay(0.5, 0.5, 0, 1)


def test_the_nested_configuration_of_tfmot_loads():
    config = {"target_sparsity": 0.5, "begin_step": 3, "end_step": -1, "frequency": 9}
    nested = {"class_name": "ConstantSparsity", "config": config}
    assert ConstantSparsity.from_config(nested) == ConstantSparsity(0.5, 3, -1, 9)


# -- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ConstantSparsity(1.01, 0), "`target_sparsity` .* from 0 to 1, received 1.01"),
        (lambda: ConstantSparsity(-0.1, 0), "received -0.1"),
        (lambda: ConstantSparsity(float("nan"), 0), "received nan"),
        (lambda: ConstantSparsity("0.5", 0), "`target_sparsity` must be a number"),
        (lambda: ConstantSparsity(0.5, -1), "`begin_step` must be a whole number of at least 0"),
        (lambda: ConstantSparsity(0.5, 5, 4), r"5, or more, or -1 for no end; received 4"),
        (lambda: ConstantSparsity(0.5, 0, -2), "received -2"),
        (lambda: ConstantSparsity(0.5, 0, frequency=0), "`frequency` .* of at least 1"),
        (lambda: ConstantSparsity(0.5, 0.5), "`begin_step` must be a whole number of steps"),
        (lambda: ConstantSparsity(0.5, True), "whole number"),
        (lambda: PolynomialDecay(0, 0.9, 0, -1), "so needs one"),
        (lambda: PolynomialDecay(0, 0.9, 5, 4), "`begin_step`, 5, or more; received 4"),
        (lambda: PolynomialDecay(0, 1.9, 0, 4), "`final_sparsity`"),
        (lambda: PolynomialDecay(2, 0.9, 0, 4), "`initial_sparsity`"),
        (lambda: PolynomialDecay(0, 0.9, 0, 4, power=0), "`power` must be a positive number"),
    ],
)
def test_what_is_out_of_range_is_named(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        # A schedule's place taken by the whole dict of arguments, tensorflow issue 59679.
        ({"pruning_schedule": SCHEDULES[0]}, r"a dict with the keys \['pruning_schedule'\].*\*\*"),
        ({"class_name": "ConstantSparsity", "config": {}}, "deserialize_keras_object"),
        (0.5, r"received 0\.5\. .*ConstantSparsity\(0\.5, begin_step=0\)"),
        (1, "received 1"),
        (np.float32(0.5), "received .*0.5"),
        (PolynomialDecay, r"the class PolynomialDecay itself. Make one"),
        (None, "builtins.NoneType"),
        (lambda step: (True, 0.5), "derive from"),
    ],
)
def test_what_is_no_schedule_is_diagnosed(value, words):
    with pytest.raises(InputError, match=f"`pruning_schedule` must be a PruningSchedule.*{words}"):
        check_schedule(value)
    with pytest.raises(InputError, match="`other` must be"):
        check_schedule(value, "other")


def test_a_schedule_is_returned():
    for schedule in SCHEDULES:
        assert check_schedule(schedule) is schedule


# -- schedules of users ----------------------------------------------------------------------------


def example():
    """The class of PruningSchedule's docstring."""
    names = {"keras": keras, "ops": ops, "PruningSchedule": PruningSchedule}
    for part in doctest.DocTestParser().get_examples(PruningSchedule.__doc__):
        exec(part.source, names)
    return names["Linear"]


def test_the_docstrings_schedule_prunes_in_a_compiled_fit_however_the_rest_is_set():
    """At steps 10 and 20, at 0.45 and 0.9. All settings in one network, so in one compilation."""
    rows = {  # settings; how many of 8 * 20 weights are zero from step 10 and from step 20 on
        "uniform": ({}, 72, 144),
        "erk": ({"allocation": "erk"}, 72, 144),
        "global": ({"allocation": "global"}, 72, 144),
        "mapping": ({"allocation": {"mapping/kernel": 0.5}}, 40, 80),
        "function": ({"allocation": lambda key, shape, s: s / 2}, 36, 72),
        "blocks": ({"block_size": (2, 2)}, 72, 144),
        "monotone": ({"monotone": True}, 72, 144),
        "set": ({"regrow": "set"}, 72, 144),
        "rigl": ({"regrow": "rigl"}, 72, 144),
        "random": ({"score": "random"}, 72, 144),
        "movement": ({"score": "movement"}, 72, 144),
    }
    schedule = example()(20)
    inputs = keras.Input((8,))
    layers = [keras.layers.Dense(20, name=name) for name in rows]
    model = keras.Model(inputs, keras.layers.Add()([layer(inputs) for layer in layers]))
    rules = [
        PruningRule(schedule, [layer], **settings)
        for layer, (settings, *_) in zip(layers, rows.values(), strict=True)
    ]
    model.compile(SparseOptimizer(keras.optimizers.SGD(1e-3, momentum=0.9), rules=rules), "mse")
    model.optimizer.build(model.trainable_variables)
    x = np.random.default_rng(0).normal(size=(20, 8)).astype("float32")
    for column in (1, 2):
        model.fit(x, np.ones((20, 20)), batch_size=2, verbose=0)
        zeros = {
            layer.name: int(np.sum(ops.convert_to_numpy(layer.kernel) == 0)) for layer in layers
        }
        assert zeros == {name: row[column] for name, row in rows.items()}


class Own(PruningSchedule):
    def __init__(self, sparsity, update):
        self.sparsity, self.update = sparsity, update

    def __call__(self, step):
        step = ops.convert_to_tensor(step)
        return self.update(step), self.sparsity(ops.cast(step, "float32"))

    def get_config(self):
        return {}


@pytest.mark.parametrize(
    ("schedule", "last"),
    [
        (Own(lambda s: s / 1000, lambda s: s <= 700), 0.7),
        (Own(lambda s: s / 1000, lambda s: (s % 64 == 0) & (s <= 300)), 0.256),
        (Own(lambda s: 0.9 - s / 4e6, lambda s: s == 3_000_000), 0.15),  # begins late
        (Own(lambda s: ops.minimum(s / 1000, 0.8), lambda s: s % 100 == 0), 0.8),  # never ends
        (Own(lambda s: 0.5, lambda s: s == 1), 0.5),  # a number
        (PythonBranch(0.9, 10), 0.5),  # takes scalars only
    ],
)
def test_the_last_sparsity_of_a_schedule_is_that_of_its_last_update(schedule, last):
    assert schedule.last_sparsity == pytest.approx(last, abs=1e-6)


def test_a_schedule_without_a_last_sparsity_has_no_shares_of_a_mapping():
    endless = Own(lambda s: s / 1000, lambda s: s % 10 == 0)
    kernel = keras.Variable(np.ones((2, 2), "float32"), name="kernel")
    with pytest.raises(InputError, match="define its property `last_sparsity`"):
        SparseOptimizer("sgd", endless, allocation={"kernel": 0.5}).build([kernel])


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="nothing is traced there")
def test_a_schedule_that_cannot_be_compiled_is_told_how_it_can():
    """Not, on JAX, that 'NoneType' object is not callable."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    kernel = [model.layers[0]]
    rule = PruningRule(Own(lambda s: s / 10, lambda s: bool(s > 2)), kernel)
    model.compile(SparseOptimizer("sgd", rules=[rule]), "mse")
    model.optimizer.build(model.trainable_variables)
    with pytest.raises(InputError, match=r"The schedule Own failed .*`ops.where` in place"):
        model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)


def test_the_error_of_a_training_step_is_seen():
    """On JAX, masking the weights in the end hid it."""

    class Fails(keras.layers.Layer):
        def call(self, x, training=False):
            if training:
                raise ZeroDivisionError("mine")
            return x

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), Fails()])
    model.compile(SparseOptimizer("sgd"), "mse")
    model.optimizer.build(model.trainable_variables)
    with pytest.raises(ZeroDivisionError, match="mine"):
        model.fit(np.ones((8, 4)), np.ones((8, 3)), verbose=0)
