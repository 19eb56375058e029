"""``--help``: what a command is for, examples, and its flags in groups, as wide as the terminal."""

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tfinit.cli.flags import Flag, flags_of, help_of

_COLUMN = 24  # where the text begins
_WIDEST = 100
OPTIONS = {
    "--help": "This; after a command what it does and takes.",
    "--version": "The version, and those of what it computes with.",
    "--completion": "Of bash, zsh or fish: print what completes commands and flags there.",
}


def main_help(groups: Mapping[str, Mapping[str, Any]], examples: Iterable[str]) -> str:
    """What ``tfinit --help`` prints.

    Args:
        groups: Headings → the commands below them.
        examples: Some command lines.
    """
    lines = [
        "usage: tfinit COMMAND ...",
        "",
        "Weight initialization, pruning and lottery tickets for Keras networks.",
    ]
    for heading, commands in groups.items():
        lines += ["", f"{heading}:"]
        for word, command in commands.items():
            lines += _entry(word, _summary(command))
    lines += ["", "options:"]
    for option, text in OPTIONS.items():
        lines += _entry(option, text)
    return "\n".join([*lines, *_examples(examples), ""])


def command_help(word: str, command: Any) -> str:
    """What ``tfinit WORD --help`` prints."""
    flags = flags_of(command)
    of_name = {flag.name: flag for flag in flags}
    told = help_of(command)
    lines = [usage(word, flags), "", *_wrapped(_summary(command), 0)]
    places = [flag for flag in flags if not flag.names]
    if places:
        lines.append("")
    for flag in places:
        lines += _entry(flag.shown, _text(flag, told))
    rest = [flag for flag in flags if flag.names]
    for heading, names in command.groups.items():
        chosen = [of_name[name] for name in names]
        rest = [flag for flag in rest if flag not in chosen]
        lines += _group(heading, chosen, told)
    lines += _group("options", rest, told)
    lines += _entry("-h, --help", "This.")
    return "\n".join([*lines, *_examples(command.command_lines), ""])


def usage(word: str, flags: Iterable[Flag]) -> str:
    """The line that shows how a command is typed."""
    places = [
        flag.shown if flag.required else f"[{flag.shown}]" for flag in flags if not flag.names
    ]
    return " ".join(["usage: tfinit", word, *places, "[options]"])


def _summary(command: Any) -> str:
    return (command.__doc__ or "").partition("\n")[0]


def _group(heading: str, flags: Iterable[Flag], told: Mapping[str, str]) -> list[str]:
    lines = ["", f"{heading}:"]
    for flag in flags:
        lines += _entry(f"{', '.join(flag.names)} {flag.value}".rstrip(), _text(flag, told))
    return lines


def _text(flag: Flag, told: Mapping[str, str]) -> str:
    said = told[flag.name]
    if flag.default and "Default:" not in said:
        said = f"{said} (default: {flag.default})"
    return said


def _entry(name: str, text: str) -> Iterator[str]:
    """A name with what it means beside it, or below it where it is long."""
    lines = _wrapped(text, _COLUMN) or [""]
    start = f"  {name}"
    if len(start) + 2 > _COLUMN:
        yield start
    else:
        yield start.ljust(_COLUMN) + lines.pop(0)[_COLUMN:]
    yield from lines


def _wrapped(text: str, indent: int) -> list[str]:
    width = min(_WIDEST, max(40, shutil.get_terminal_size().columns))
    blank = " " * indent
    return textwrap.wrap(
        text,
        width,
        initial_indent=blank,
        subsequent_indent=blank,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _examples(examples: Iterable[str]) -> list[str]:
    shown = [f"  {line}" for line in examples]
    return ["", "examples:", *shown] if shown else []
