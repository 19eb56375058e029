"""Every public function, with values that it should refuse in place of each of its arguments.

Generated from ``__all__`` and the signatures: a new name needs a valid call in
tests/shared/public_calls.py, and a new argument is tried from then on.
"""

import json
import warnings

import numpy as np
import pytest
from public_calls import X, model, samples
from public_surface import MADE_HERE, NOT_CALLED, attempt, methods, odd_values, public, same_values

import tfinit
from tfinit import initializers, pruning
from tfinit.datasets import from_arrays
from tfinit.errors import InputError
from tfinit.lottery import LotteryConfig
from tfinit.pruning import ConstantSparsity, PolynomialDecay, PruningRule

Y = np.arange(8) % 3

# All of them are tried by scripts/_attack_surface.py.
TRIED = {
    *("None", "text", "True", "-1", "1.5", "2**63", "nan", "inf", "complex", "floats", "object"),
    *("array", "dict", "texts", "masked", "own-complex", "own-empty", "own-objects"),
}


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        # What a value is taken for a path of would be written here.
        patch.chdir(tmp_path_factory.mktemp("here"))
        yield samples(tmp_path_factory.mktemp("files"))


PASSED_ONCE = [
    (lambda: initializers.Identity(gain=np.inf), "`gain` must be .* received inf"),
    (lambda: PruningRule(monotone="no"), "`monotone` must be True or False, received 'no'"),
    (lambda: PruningRule(scope=True), "`scope` must be .* received bool"),
    (lambda: ConstantSparsity(0.5, 0, end_step=2**63), r"`end_step` .* below 2\*\*63"),
    (lambda: PolynomialDecay(0, 0.5, 0, 2**63), r"`end_step` .* below 2\*\*63"),
    (lambda: LotteryConfig(seeds=(1.5,)), r"`seeds` .* received \(1.5,\)"),
    (lambda: LotteryConfig(learning_rate=True), "`learning_rate` .* received True"),
    (lambda: from_arrays((X, Y + 2**32), (X, Y)), "labels .* beyond 2"),
    (lambda: from_arrays((X, Y + (2**63 - 9)), (X, Y)), "labels .* beyond 2"),
    (lambda: from_arrays((np.ma.array(X), Y), (X, Y)), "`train` is a masked array"),
    (lambda: from_arrays((X + 1j, Y), (X, Y)), "`train` has complex numbers"),
    (lambda: tfinit.initialize(model(), "lsuv", X[:0]), "`x` must have one example or more"),
    (lambda: tfinit.diagnose(model(), X[:0]), "`x` must have one example or more"),
    (lambda: tfinit.diagnose(None), "`model` must be .* received None"),
    (lambda: pruning.get_masks(None), "`model` must be .* received None"),
]


@pytest.mark.parametrize("call, message", PASSED_ONCE)
def test_what_passed_once_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_arrays_of_whole_numbers_are_taken_where_tuples_are():
    assert LotteryConfig(seeds=np.arange(3)).seeds == (0, 1, 2)
    assert LotteryConfig(seeds=np.arange(3)) == LotteryConfig(seeds=(0, 1, 2))
    assert PruningRule(ConstantSparsity(0.5, 1), block_size=np.array([4, 1])).block_size == (4, 1)
    assert PruningRule(scope=np.array([0, 2])).scope == [0, 2]
    config = PruningRule(
        ConstantSparsity(0.5, 1), block_size=np.array([4, 1]), seed=np.int64(3)
    ).get_config()
    assert json.loads(json.dumps(config))["block_size"] == [4, 1]


def test_every_public_name_has_a_valid_call(calls):
    things = public()
    tried = {name for name in things if name not in MADE_HERE | NOT_CALLED}
    tried |= {method for name, thing in things.items() for method in methods(name, thing)}
    assert tried - calls.keys() == set()
    assert (MADE_HERE | NOT_CALLED) - things.keys() == set()


def test_what_is_not_allowed_is_refused_by_name_and_changes_nothing(calls, tmp_path_factory):
    faults = []
    for name, sample in calls.items():
        given = sample.make()
        for argument in sample.arguments():
            base = {**given, **sample.also.get(argument, {})}
            for label, value in odd_values(base.get(argument)).items():
                if label not in TRIED or label in sample.right(argument):
                    continue
                went, fault = attempt(sample, {**base, argument: value}, {argument: label})
                faults += [f"{name}: {fault}"] if fault else []
                if went:
                    given = sample.make()
                    base = {**given, **sample.also.get(argument, {})}
    assert not faults, "\n".join(faults)


def test_valid_calls_work_with_numpys_numbers_too(calls):
    for name, sample in calls.items():
        if sample.costly:
            continue
        given = sample.make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sample.call(**given)
            for argument, value in given.items():
                for label, same in same_values(value).items():
                    try:
                        sample.call(**sample.make() | {argument: same})
                    except Exception as error:
                        raise AssertionError(f"{name}: {argument}, {label}") from error
