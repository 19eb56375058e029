"""``--help``, ``--version`` and completion, as a newcomer meets them in 80 columns."""

import os
import shlex

import pytest

import tfinit
from tfinit.cli import commands, main
from tfinit.cli.flags import flags_of, help_of
from tfinit.cli.help import command_help
from tfinit.cli.parsing import parsed


def printed(capfd, monkeypatch, *arguments):
    """What a command line prints that ends well."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stopped:
        main([*arguments])
    out, err = capfd.readouterr()
    assert (stopped.value.code, err) == (0, "")
    return out


def test_the_version_names_what_computes(capfd, monkeypatch):
    import keras

    told = printed(capfd, monkeypatch, "--version")
    assert told.startswith(f"tfinit {tfinit.__version__}, Keras {keras.__version__}, ")
    assert told.count("\n") == 1


def test_all_commands_are_in_the_help_with_what_they_do(capfd, monkeypatch):
    told = printed(capfd, monkeypatch, "--help")
    assert told.startswith("usage: tfinit COMMAND ...\n")
    for word, command in commands().items():
        [line] = [line for line in told.splitlines() if line.startswith(f"  {word} ")]
        assert command.__doc__.startswith(line.split(None, 1)[1])


@pytest.mark.parametrize("word", commands())
def test_help_is_whole_and_80_columns_wide(capfd, monkeypatch, word):
    """Every flag is there once, with its choices and its default; in groups, and with examples."""
    told = printed(capfd, monkeypatch, word, "--help")
    assert max(map(len, told.splitlines())) <= 80
    assert "\x1b" not in told and "``" not in told
    words, texts = " ".join(told.split()), help_of(commands()[word])
    for flag in flags_of(commands()[word]):
        head = ", ".join(flag.names) or flag.shown
        lines = [line for line in told.splitlines() if f"{line} ".startswith(f"  {head} ")]
        assert len(lines) == 1, flag
        assert " ".join(texts[flag.name].split()) in words and texts[flag.name]
        assert all(choice in lines[0] for choice in flag.choices)
        assert not flag.default or f"(default: {flag.default})" in words or "Default:" in words
    assert "\nexamples:\n  tfinit " in told
    grouped = [name for names in commands()[word].groups.values() for name in names]
    assert len(grouped) == len(set(grouped))


@pytest.mark.parametrize("word", commands())
def test_the_examples_can_be_typed(capfd, monkeypatch, word):
    for line in commands()[word].command_lines:
        assert line in printed(capfd, monkeypatch, word, "--help")
        assert len(line) + 2 <= 80
        program, first, *rest = shlex.split(line)
        assert (program, first) == ("tfinit", word)
        assert isinstance(parsed(word, commands()[word], rest), commands()[word])


def test_help_as_wide_as_the_terminal(capfd, monkeypatch):
    wide = printed(capfd, monkeypatch, "diagnose", "--help")
    monkeypatch.setenv("COLUMNS", "60")
    narrow = command_help("diagnose", commands()["diagnose"])
    assert max(map(len, narrow.splitlines())) <= 60 and narrow.split() == wide.split()


def test_the_shell_completes_commands_and_flags(capfd, monkeypatch):
    for shell in ("bash", "zsh", "fish"):
        told = printed(capfd, monkeypatch, "--completion", shell)
        assert "tfinit" in told and "recommend" in told and "rewind-step" in told


def test_data_is_asked_for_by_one_flag_everywhere():
    for word, command in commands().items():
        names = [name for flag in flags_of(command) for name in flag.names]
        assert ("--data" in names) == (word not in ("demo", "sweep", "recommend")), word


def test_whoever_reads_may_leave(capfd, monkeypatch):
    """As with ``| head -1``."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone, pytest.raises(SystemExit) as stopped:
        monkeypatch.setattr("sys.stdout", gone)
        main(["--completion", "bash"])
    assert (stopped.value.code, capfd.readouterr().err) == (1, "")
