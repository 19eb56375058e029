import inspect
import warnings
from dataclasses import dataclass, fields, replace

import pytest

from tfinit.errors import InputError, TfinitDeprecationWarning
from tfinit.renamed import renamed


@renamed(("model", "method", "data"), method="score", data=("x", "y"))
def prune(model, score="snip", *, x=None, y=None):
    return model, score, x, y


@renamed(criterion="score")
@dataclass(frozen=True)
class Config:
    score: str = "magnitude"
    levels: int = 1


CALLS = [
    (lambda: prune(0, method="grasp"), (0, "grasp", None, None), "prune: `method` is now `score`"),
    (lambda: prune(0, data=(1, 2)), (0, "snip", 1, 2), "prune: `data` is now `x` and `y`"),
    (lambda: prune(0, data=None), (0, "snip", None, None), "`data` is now `x` and `y`"),
    (lambda: prune(0, "a", (1, 2)), (0, "a", 1, 2), "prune: `data` by position; give them by name"),
    (lambda: Config(criterion="random"), Config("random"), "Config: `criterion` is now `score`"),
    (lambda: Config("random").criterion, "random", "Config: `criterion` is now `score`"),
]


@pytest.mark.parametrize("call, result, said", CALLS)
def test_former_names_and_orders_are_taken_with_a_warning_at_the_line_that_uses_them(
    call, result, said
):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert call() == result
    assert said in str(seen[0].message)
    assert {(one.category, one.filename) for one in seen} == {(TfinitDeprecationWarning, __file__)}


def test_names_of_today_are_taken_without_a_warning_and_are_what_tools_see():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prune(0, "grasp", x=1, y=2) == (0, "grasp", 1, 2)
        assert replace(Config("random"), levels=2) == Config("random", 2)
    assert list(inspect.signature(prune).parameters) == ["model", "score", "x", "y"]
    assert list(inspect.signature(Config).parameters) == ["score", "levels"]
    assert [field.name for field in fields(Config)] == ["score", "levels"]


REFUSED = [
    (lambda: prune(0, score="a", method="b"), InputError, "prune was given `score` twice"),
    (lambda: prune(0, x=1, data=(1, 2)), InputError, "prune was given `x` twice"),
    (lambda: prune(0, data=1), InputError, r"`data` must be \(x, y\), received int"),
    (lambda: prune(0, "a", method="b"), TypeError, "multiple values for argument 'score'"),
    (lambda: prune(0, how="b"), TypeError, "unexpected keyword argument 'how'"),
    (lambda: prune(0, "a", 1, 2), TypeError, "2 positional arguments but 4 were given"),
]


@pytest.mark.parametrize("call, error, said", REFUSED)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_given_twice_or_was_never_a_name_is_refused(call, error, said):
    with pytest.raises(error, match=said):
        call()
