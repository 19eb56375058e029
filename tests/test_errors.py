"""Errors as one line."""

import doctest

import pytest

from tfinit import errors
from tfinit.errors import InputError, MissingPackage, WorkError, one_line, reason


@pytest.mark.parametrize(
    ("error", "code"),
    [(InputError("no"), 2), (WorkError("no"), 1), (MissingPackage("a", "b", "c"), 1)],
)
def test_an_error_of_ours_is_a_line_and_an_exit_code(capsys, error, code):
    with pytest.raises(SystemExit) as stopped, one_line():
        raise error
    assert stopped.value.code == code
    assert capsys.readouterr().err == f"tfinit: {error}\n"


def test_other_errors_go_on(capsys):
    with pytest.raises(ZeroDivisionError), one_line():
        1 / 0  # noqa: B018
    assert capsys.readouterr().err == ""


def test_examples():
    failed, tried = doctest.testmod(errors)
    assert not failed and tried


def test_the_reason_of_a_traced_function_is_without_its_frames():
    said = 'in user code:\n\n    File "nets.py", line 12, in f  *\n        raise E\n\n    E: no\n'
    assert reason(ValueError(said)) == "E: no"


@pytest.mark.parametrize(
    ("install", "command"),
    [
        ("torch", "pip install torch"),
        ("tfinit[demo]", "pip install 'tfinit[demo]'"),
        ("tensorflow tf-keras", "pip install tensorflow tf-keras"),
        ("tensorflow tf-keras>=2", "pip install tensorflow 'tf-keras>=2'"),
    ],
)
def test_what_pip_is_given_can_be_pasted_into_a_shell(install, command):
    assert str(MissingPackage("It", "more", install)) == f"It needs more: {command}"
