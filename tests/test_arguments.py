"""What each check lets through, in which form, and what it says of the rest."""

import dataclasses
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfinit import arguments
from tfinit.errors import InputError


def refusal(check, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        check("it", *args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3), tf.constant(3)])
def test_whole_numbers_of_every_make_become_pythons(value):
    found = arguments.whole("it", value, 1)
    assert found == 3 and type(found) is int


@pytest.mark.parametrize(
    "value",
    [
        True,
        np.True_,
        1.5,
        2.0,
        float("nan"),
        3 + 0j,
        "3",
        b"3",
        None,
        [3],
        (),
        {},
        int,
        object(),
        np.array([3]),
        np.array(2.0),
        np.ma.array([3]),
        tf.constant(1.0),
        Fraction(3, 2),
        2**63,
        0,
    ],
)
def test_whole_refuses_what_is_none_or_out_of_range(value):
    assert refusal(arguments.whole, value, 1).startswith(
        "`it` must be a whole number of at least 1"
    )


def test_whole_says_its_range():
    assert refusal(arguments.whole, 5, 0, 4) == (
        "`it` must be a whole number from 0 to 4, received 5."
    )
    assert refusal(arguments.whole, "a", none=True) == (
        "`it` must be a whole number, or None, received 'a'."
    )
    assert "below 2**63, received 9223372036854775808" in refusal(arguments.whole, 2**63)
    assert arguments.whole("it", 2**63 - 1) == 2**63 - 1
    assert arguments.whole("it", None, none=True) is None


def test_whole_takes_what_ceil_returns_only_where_asked():
    assert arguments.whole("it", np.ceil(2.5), floats=True) == 3
    for value in (2.5, float("inf"), float("nan"), True):
        assert "whole number" in refusal(arguments.whole, value, floats=True)


@pytest.mark.parametrize(
    "value", [[0, 1, 2], (0, 1, 2), range(3), np.arange(3), tf.range(3), [np.int8(0), 1, 2]]
)
def test_wholes_of_every_make_become_a_tuple(value):
    found = arguments.wholes("it", value, 0, different=True)
    assert found == (0, 1, 2) and all(type(n) is int for n in found)


@pytest.mark.parametrize(
    "value",
    [
        (1.5,),
        "012",
        3,
        None,
        [],
        {0: 1},
        [0, 0],
        [True],
        [-1],
        np.ones((2, 2), int),
        np.ones(2),
        np.array(3),
        [None],
        [[1]],
        object(),
        2**63,
        [2**63],
    ],
)
def test_wholes_refuses_the_rest(value):
    assert refusal(arguments.wholes, value, 0, different=True).startswith(
        "`it` must be one or more different whole numbers of at least 0, received "
    )


@pytest.mark.parametrize(
    "value",
    [0.5, np.float32(0.5), np.float16(0.5), np.array(0.5), tf.constant(0.5), Fraction(1, 2)],
)
def test_numbers_of_every_make_become_pythons(value):
    found = arguments.number("it", value, above=0, most=1)
    assert found == 0.5 and type(found) is float


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        -float("inf"),
        True,
        "0.5",
        None,
        1j,
        np.complex64(1),
        [0.5],
        np.array([0.5]),
        {},
        object(),
        10**400,
        0,
        1.5,
    ],
)
def test_number_refuses_the_rest(value):
    assert refusal(arguments.number, value, above=0, most=1).startswith(
        "`it` must be a number above 0 and at most 1"
    )


def test_number_without_a_range_is_finite():
    assert refusal(arguments.number, np.inf) == "`it` must be a number, and finite, received inf."
    assert arguments.number("it", -1e300) == -1e300


def test_flag_takes_no_text_and_no_number():
    assert arguments.flag("it", np.True_) is True
    for value in ("no", 1, 0, None, [], np.array([True]), 1.0):
        assert refusal(arguments.flag, value).startswith("`it` must be True or False, received ")


def test_one_of_takes_what_is_allowed():
    assert arguments.one_of("it", "b", ("a", "b")) == "b"
    assert arguments.one_of("it", None, (None, "b")) is None
    assert refusal(arguments.one_of, "c", ("a", "b")) == "`it` must be one of a, b, received 'c'."
    for value in (None, 1, ["a"], {}, np.array(["a", "b"]), object()):
        assert refusal(arguments.one_of, value, ("a", "b")).startswith("`it` must be one of a, b,")


def test_path_makes_a_path():
    assert arguments.path("it", "a/b") == arguments.path("it", Path("a/b")) == Path("a/b")
    for value in ("", "\0", b"a", None, 3, ["a"], object()):
        assert refusal(arguments.path, value).startswith("`it` must be a path, received ")


def test_array_keeps_an_array_and_refuses_what_would_change():
    given = np.arange(3.0)
    assert arguments.array("it", given) is given
    assert arguments.array("it", [[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert arguments.array("it", tf.constant([1.0])).tolist() == [1.0]
    assert "masked array, and its mask" in refusal(arguments.array, np.ma.array([1, 2]))
    for value in (1j, np.array([1j]), [1j], [np.array(1j)], tf.constant([1j])):
        assert "it` has complex numbers" in refusal(arguments.array, value)
    for value in ("no", None, {}, object(), [[1], [1, 2]], np.array(["a"]), [None]):
        assert refusal(arguments.array, value).startswith("`it` must be an array of numbers,")
    assert "array of whole numbers" in refusal(arguments.array, [0.5], kinds="iu")


def test_errors_are_short_whatever_was_passed():
    for value in (np.zeros((1000, 1000)), "x" * 10_000, list(range(10_000)), b"y" * 10_000):
        assert len(refusal(arguments.whole, value)) < 200


@dataclasses.dataclass(frozen=True)
class Settings:
    steps: int = 1
    rate: float = 0.5
    fast: bool = False
    name: str | None = None
    where: Path = Path("a")
    seeds: tuple[int, ...] = (0,)
    names: tuple[str, ...] = ()
    shares: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        arguments.check_fields(self)


def test_fields_have_the_types_of_their_annotations():
    found = Settings(np.int8(2), 1, np.True_, "n", "b", range(2), ["x"], {"k": np.float32(0.5)})
    assert found == Settings(2, 1.0, True, "n", Path("b"), (0, 1), ("x",), {"k": 0.5})
    assert [type(v) for v in (found.steps, found.rate, found.fast)] == [int, float, bool]


@pytest.mark.parametrize(
    "name, value",
    [
        ("steps", True),
        ("steps", 1.5),
        ("rate", True),
        ("rate", np.inf),
        ("fast", "no"),
        ("name", 3),
        ("where", None),
        ("seeds", (1.5,)),
        ("seeds", 3),
        ("names", "ab"),
        ("names", (1,)),
        ("shares", [1]),
        ("shares", {1: 0.5}),
        ("shares", {"k": "a"}),
    ],
)
def test_a_field_of_another_type_is_named(name, value):
    with pytest.raises(InputError, match=f"^`{name}"):
        Settings(**{name: value})


def test_checking_arguments_imports_nothing_heavy():
    code = "import sys, tfinit.arguments; print('numpy' in sys.modules, 'keras' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
