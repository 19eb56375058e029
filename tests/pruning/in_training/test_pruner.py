"""What is said of when a schedule prunes, before a training prunes nothing or too little."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

from tfinit.errors import TfinitWarning
from tfinit.pruning import (
    ConstantSparsity,
    PolynomialDecay,
    PruningRule,
    PruningSchedule,
    SparseOptimizer,
)

pytestmark = pytest.mark.backends


class Late(PruningSchedule):
    """50% from a step on."""

    def __init__(self, begin):
        self.begin = begin

    def __call__(self, step):
        return ops.greater_equal(step, self.begin), ops.convert_to_tensor(0.5)

    def get_config(self):
        return {"begin": self.begin}


def variables(*names):
    return [keras.Variable(np.ones((4, 4), "float32"), name=name) for name in names]


def told(optimizer, trained=None):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer.build(variables("kernel") if trained is None else trained)
    return [str(w.message) for w in caught if w.category is TfinitWarning]


NEVER = "The schedule never prunes: "
BETWEEN = (
    "with `begin_step` 0 the first update comes at step 100, the `frequency`, and `end_step` is "
)
FIRST = "The first pruning comes before training step {}: shorter training prunes nothing."
SHORT = "The schedule ends at a sparsity of "


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (
            PolynomialDecay(0.25, 0.75, 0, 50),
            [f"{NEVER}{BETWEEN}50. Set a `frequency` of 50 or less."],
        ),
        (ConstantSparsity(0.5, 0, 99), [f"{NEVER}{BETWEEN}99. Set a `frequency` of 99 or less."]),
        (
            PolynomialDecay(0, 0.8, 0, 0),
            [f"{NEVER}{BETWEEN}0. Set a later `begin_step` and `end_step`."],
        ),
        (ConstantSparsity(0.0, 1), [f"{NEVER}its `target_sparsity` is 0."]),
        (
            PolynomialDecay(0, 0, 1, 5, frequency=1),
            [f"{NEVER}its `initial_sparsity` and `final_sparsity` are 0."],
        ),
        (
            PolynomialDecay(0.3, 0.0, 0, 100),
            [f"{NEVER}its only update, at `end_step`, 100, is to `final_sparsity`, 0."],
        ),
        (
            PolynomialDecay(0.0, 0.8, 5, 104),
            [
                f"{NEVER}its only update, at `begin_step`, 5, is to `initial_sparsity`, 0; the "
                "next would come `frequency`, 100, steps later, after `end_step`, 104. Set a "
                "`frequency` of 99 or less."
            ],
        ),
        (
            ConstantSparsity(0.5, 0),
            [f"{FIRST.format(100)} Give the schedule a smaller `frequency` to start sooner."],
        ),
        (
            ConstantSparsity(0.5, 50),
            [f"{FIRST.format(50)} Give the schedule an earlier `begin_step` to start sooner."],
        ),
        (
            PolynomialDecay(0, 0.5, 3, 403),
            [
                f"{FIRST.format(103)} Give the schedule an earlier `begin_step` or a smaller "
                "`frequency` to start sooner."
            ],
        ),
        (Late(20), [FIRST.format(20)]),
        (
            Late(20_000),
            [
                "The schedule prunes nothing in its first training steps, as far as was looked: up "
                "to step 1,000, or 10,000 if it takes a vector of steps."
            ],
        ),
        (
            PolynomialDecay(0.25, 0.75, 1, 50),
            [
                f"{SHORT}25.0%, not at its `final_sparsity`, 75.0%: the last update is at step 1, "
                "since `frequency`, 100, does not divide the 49 steps from `begin_step` to "
                "`end_step`. Set one that does, such as 49."
            ],
        ),
        # t = 9/12: 0.8 - 0.6·(1/4) = 0.65
        (
            PolynomialDecay(0.2, 0.8, 1, 13, power=1, frequency=9),
            [
                f"{SHORT}65.0%, not at its `final_sparsity`, 80.0%: the last update is at step 10, "
                "since `frequency`, 9, does not divide the 12 steps from `begin_step` to "
                "`end_step`. Set one that does, such as 6."
            ],
        ),
        (PolynomialDecay(0.2, 0.8, 1, 13, power=1, frequency=6), []),
        (PolynomialDecay(0.2, 0.8, 1, 13, frequency=5), []),  # within 0.3%
        (PolynomialDecay(0.2, 0.8, 4, 4), []),
        (ConstantSparsity(0.5, 10), []),
        (Late(10), []),
    ],
)
def test_what_a_schedule_does_is_said(schedule, said):
    assert told(SparseOptimizer("sgd", schedule)) == said


def test_a_rule_that_never_prunes_is_named_beside_one_that_does():
    rules = [
        PruningRule(ConstantSparsity(0.0, 1), scope=lambda v: v.name == "one"),
        PruningRule(ConstantSparsity(0.5, 1), scope=lambda v: v.name == "two"),
    ]
    said = told(SparseOptimizer("sgd", rules=rules), variables("one", "two"))
    assert said == [f"{NEVER}its `target_sparsity` is 0."]


def test_where_the_schedule_is_not_asked_nothing_is_said_of_it():
    schedule = ConstantSparsity(0.5, 0, 50)
    assert told(SparseOptimizer("sgd", schedule, sparsity_m_by_n=(2, 4))) == []
    [said] = told(SparseOptimizer("sgd", schedule, regrow="set", start="random"))
    assert said.startswith(f"With `regrow` the masks of step 1 stay. {NEVER}{BETWEEN}50.")


def test_a_step_is_a_batch_also_where_gradients_are_accumulated():
    """As in Keras's learning rate schedules: step 3 is the third batch, after one update."""
    [kernel] = variables("kernel")
    inner = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    optimizer = SparseOptimizer(inner, ConstantSparsity(0.75, 3))
    optimizer.build([kernel])
    alive = []
    for _ in range(4):
        optimizer.apply([ops.ones((4, 4))], [kernel])
        alive.append(int(np.count_nonzero(ops.convert_to_numpy(kernel))))
    assert alive == [16, 4, 4, 4]
