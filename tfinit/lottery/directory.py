"""Which experiment a run directory holds, and whether another may begin or go on there.

But for `note_initializations` nothing here writes, so that it can be asked of several directories
before the first is touched.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfinit.errors import InputError, of_system
from tfinit.files import read_regular, why_not, write_whole
from tfinit.fingerprint import Fingerprint
from tfinit.lottery.config import LotteryConfig, StabilityConfig
from tfinit.lottery.network_config import DESCRIBED, MADE_WITH, NetworkConfig
from tfinit.lottery.stored_arrays import unpack
from tfinit.lottery.subject import Subject
from tfinit.origin import Origin, shown

_ELSEWHERE = "Choose another directory with --run-dir"
_WHOLE = "Give the directory of an experiment; what is damaged there, put back from a copy."


def config_file(directory: Path) -> Path:
    """Where a directory says which experiment it holds."""
    return directory / "config.json"


def network_file(directory: Path) -> Path:
    """Where a directory keeps the fingerprint of its network."""
    return directory / "network.json"


def told(config: NetworkConfig, origin: Origin | None, subject: Subject | None = None) -> bytes:
    """The content of that file."""
    values = json.loads(config.to_json())
    if subject is not None:
        values[DESCRIBED] = subject.to_dict()
    if origin is not None:
        values[MADE_WITH] = origin.to_dict()
    return f"{json.dumps(values, indent=2)}\n".encode()


def described(content: bytes) -> Subject | None:
    """What the file says for tables and figures; None if an earlier tfinit wrote it.

    Raises:
        ValueError: it is damaged.
    """
    values = json.loads(content).get(DESCRIBED)
    return None if values is None else Subject.read(values)


def config_of(directory: Path) -> tuple[NetworkConfig, Subject | None, Origin | None]:
    """What a directory says of its experiment, whichever it is.

    Returns:
        The experiment, of which parts may be missing that are not in this process; what its tables
        are about, and what it was made with, where an earlier tfinit did not say None.

    Raises:
        InputError: it cannot be read, or says something else.
    """
    path = config_file(directory)
    try:
        content = read_regular(path)
        values = json.loads(content)
        kind = StabilityConfig if "spawn_steps" in values else LotteryConfig
        config = kind.from_json(content.decode("utf-8"), directory, missing=True)
        made_with = values.get(MADE_WITH)
        origin = None if made_with is None else Origin.of(made_with)
        return config, described(content), origin
    except (OSError, ValueError, TypeError, RecursionError) as error:
        why = of_system(error) if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be read: {why}. {_WHOLE}") from error


def check_directory(config: NetworkConfig, origin: Origin | None) -> None:
    """See that an experiment can begin or go on in its directory.

    Raises:
        InputError: it holds another experiment or a larger one, one on other data, or something
            else; or is no directory.
    """
    try:
        if os.path.lexists(config_file(config.run_dir)):
            check_same(config, origin)
        elif config.run_dir.exists() and any(
            p.name != ".lock" and not _is_aside(p) for p in config.run_dir.iterdir()
        ):
            raise InputError(
                f"`run_dir` {config.run_dir} is not empty and holds no experiment. "
                "Choose another with --run-dir."
            )
    except OSError as error:
        raise unusable(config.run_dir, error) from error


def unusable(directory: Path, error: OSError) -> InputError:
    """The error for a directory that cannot be read or made."""
    return InputError(
        f"`run_dir` {directory} cannot be used: {why_not(error, directory)}. "
        "Choose another with --run-dir."
    )


def check_same(config: NetworkConfig, now: Origin | None) -> tuple[bytes, Origin | None]:
    """See that what a directory holds can grow into an experiment.

    Returns:
        The content of its file, and what it was made with; None if an earlier tfinit did not say.

    Raises:
        InputError: it holds another experiment, or one on other data.
    """
    path = config_file(config.run_dir)
    try:
        content = read_regular(path)
        there = type(config).from_json(content.decode("utf-8"), path.parent, missing=True)
        differing = there.obstacles(config)
        made_with = json.loads(content).get(MADE_WITH)
        origin = None if made_with is None else Origin.of(made_with)
        described(content)
    except (OSError, ValueError, TypeError) as error:  # an InputError is a ValueError
        why = of_system(error) if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be read: {why}. {_ELSEWHERE}.") from error
    if differing:
        fields = ", ".join(
            f"{name} (there {old!r}, asked {new!r})" for name, (old, new) in differing.items()
        )
        raise InputError(
            f"`run_dir` {path.parent} holds another experiment; differing: {fields}. "
            f"{_ELSEWHERE}, or ask for the same; of "
            f"{', '.join(config.grows)} also for more."
        )
    if origin is not None and now is not None and origin.data != now.data:
        raise InputError(
            f"`run_dir` {path.parent} holds an experiment on other data; differing: the bytes "
            f"of `dataset` {config.dataset!r}, or of `data` in its place (SHA-256 there "
            f"{shown(origin.data)}, now {shown(now.data)}). {_ELSEWHERE}, or put the data back."
        )
    return content, origin


def check_fingerprint(directory: Path, now: Fingerprint) -> bool:
    """See that a directory is one of the network of now, by the fingerprint that it keeps.

    Returns:
        Whether it keeps one.

    Raises:
        InputError: its network is another one, or the file cannot be read.
    """
    path = network_file(directory)
    if not os.path.lexists(path):
        return False
    try:
        there = Fingerprint.of(json.loads(read_regular(path)))
    except (OSError, ValueError) as error:
        why = of_system(error) if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be read: {why}. {_ELSEWHERE}.") from error
    differing = there.difference(now)
    if differing:
        raise InputError(
            f"`run_dir` {directory} holds an experiment of another network; differing: "
            f"{differing}. {_ELSEWHERE}, or put back the network, or the data that it is made for."
        )
    return True


def check_network(directory: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """See that the weights of a directory are of the network that its experiment has now.

    Data of other shapes or classes have another network. The digest does not know of classes of
    which there is no example, and a directory of an earlier tfinit has none.

    Args:
        directory: The run directory.
        shapes: Key of each prunable weight → its shape in the network of now.

    Raises:
        InputError: the weights have other shapes.
    """
    for path in sorted(directory.glob("seed-*/*/initial.npz")):
        try:
            there = unpack(read_regular(path))["initial"]
        except Exception:  # as wherever they are read: a damaged file is made again
            continue
        for key, shape in shapes.items():
            found = there[key].shape if key in there else None
            if found != shape:
                raise InputError(
                    f"`run_dir` {directory} holds an experiment on other data; differing: the "
                    f"network, whose {key} has the shape {found} there and {shape} with the data "
                    f"of now. {_ELSEWHERE}, or put the data back."
                )
        return


def _is_aside(path: Path) -> bool:
    """Whether it is what a process that was killed left of a file that it wrote."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _initializations_file(directory: Path) -> Path:
    """Where a comparison says which initializations it has, in their order."""
    return directory / "initializations.json"


def noted_initializations(directory: Path) -> list[str]:
    """The initializations of a comparison, in the order in which they were asked for.

    An earlier tfinit did not note them: then those that have a directory, by name.
    """
    there = sorted(path.parent.name for path in directory.glob("*/config.json"))
    try:
        noted = json.loads(read_regular(_initializations_file(directory)))["initializations"]
        noted = [name for name in noted if isinstance(name, str) and "/" not in name]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        noted = []
    return list(dict.fromkeys([*noted, *there]))


def note_initializations(directory: Path, names: Sequence[str]) -> None:
    """Let a comparison have these initializations, beside those that it has.

    Raises:
        WorkError: the file cannot be written.
    """
    there = noted_initializations(directory)
    content = json.dumps({"initializations": list(dict.fromkeys([*there, *names]))}) + "\n"
    path = _initializations_file(directory)
    if not path.exists() or path.read_text(errors="replace") != content:
        write_whole(path, content.encode())
