"""What was typed → a command: with suggestions, and one line for what cannot be read."""

import contextlib
import io
import re
from collections.abc import Iterator, Sequence

from tfinit.arguments import meant
from tfinit.cli.console import Command
from tfinit.cli.flags import Flag, by_typed, flags_of
from tfinit.cli.help import command_help, usage
from tfinit.errors import InputError, MissingPackage, WorkError

_HELP = ("-h", "--help")


def parsed(word: str, command: type[Command], arguments: Sequence[str]) -> Command:
    """The command that some arguments ask for. Of ``--help`` it prints the help, and exits.

    Raises:
        InputError: they cannot be read.
    """
    # Not at the top: while this is imported, for a third of a second, signals are heard already.
    import tyro

    if any(argument in _HELP for argument in arguments):
        print(command_help(word, command), end="")
        raise SystemExit(0)
    flags = flags_of(command)
    known = by_typed(flags)
    typed = [_name(argument) for argument in arguments if _is_flag(argument)]
    for name in typed:
        if name not in known:
            raise InputError(
                f"`tfinit {word}` has no flag {name!r}.{meant(name, known)} "
                f"`tfinit {word} --help` says which it has."
            )
    try:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            found = tyro.cli(
                command,
                prog=f"tfinit {word}",
                args=list(arguments),
                config=(tyro.conf.PositionalRequiredArgs,),
            )
    except SystemExit as stop:
        raise InputError(_reason(word, flags, said.getvalue(), arguments)) from stop
    object.__setattr__(found, "typed", frozenset(known[name].name for name in typed))
    object.__setattr__(found, "shown", {known[name].name: name for name in typed})
    return found


@contextlib.contextmanager
def said_by_flags(command: Command) -> Iterator[None]:
    """Errors of ours name arguments, in backticks; what leaves the block names flags."""
    try:
        yield
    except (InputError, WorkError) as error:
        raise type(error)(_by_flags(str(error), command)) from error
    except MissingPackage as error:
        error.msg = _by_flags(str(error), command)
        error.args = (error.msg,)
        raise


def _by_flags(text: str, command: Command) -> str:
    flags = flags_of(type(command))
    names = {**{flag.name: flag.shown for flag in flags}, **command.also, **command.shown}
    one = "|".join(map(re.escape, names))
    text = re.sub(rf"`({one})(\[[^`\]]*\])?(?:=True)?`", lambda m: names[m[1]] + (m[2] or ""), text)
    # Of several words, and so no word of a sentence; not in a path, nor in Python.
    several = "|".join(re.escape(name) for name in names if "_" in name)
    if several:
        text = re.sub(
            rf"(?<![\w./'\"`-])({several})(?![\w/'\"`=(-]|\.\w)", lambda m: names[m[1]], text
        )
    return text


def _is_flag(argument: str) -> bool:
    """Whether it is a flag: a negative number is a value."""
    return bool(re.match(r"--?[A-Za-z]", argument))


def _name(argument: str) -> str:
    return argument.partition("=")[0].replace("_", "-")


def _reason(word: str, flags: list[Flag], box: str, arguments: Sequence[str]) -> str:
    """Why tyro cannot read the arguments, in a line: of the box that it draws, what is on top."""
    inside = [line.strip("│ ") for line in box.splitlines()[1:]]
    rule = next((i for i, line in enumerate(inside) if line.startswith("─")), len(inside))
    said = " ".join(inside[:rule])
    shown = usage(word, flags).removeprefix("usage: ")
    if match := re.search(r"[Ee]rror parsing (--[\w-]+|\w+)", said):
        flag = by_typed(flags).get(match[1])
        if flag is not None:
            values = " ".join(_values(flag, arguments)) or "none"
            return f"{match[1]} must be {flag.wanted}, received {values}."
    if match := re.search(r"[Mm]issing value for argument '(--[\w-]+)'", said):
        return f"{match[1]} needs a value: {match[1]} {by_typed(flags)[match[1]].value}."
    if "issing from" in said:
        return f"Something is missing: `{shown}`."
    if match := re.search(r"Unrecognized options: (.*)", said):
        return f"{match[1]} is one word too many: `{shown}`."
    return f"{said} `tfinit {word} --help` says what it takes.".lstrip()


def _values(flag: Flag, arguments: Sequence[str]) -> list[str]:
    """What was typed for a flag, the last time."""
    found: list[str] = []
    of_it = False
    for argument in arguments:
        if _is_flag(argument):
            of_it = _name(argument) in flag.names
            if of_it:
                found = [argument.partition("=")[2]] if "=" in argument else []
        elif of_it:
            found.append(argument)
    return found
