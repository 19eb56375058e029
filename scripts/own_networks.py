"""Ten networks that are not tfinit's through every tool, from Python and from the command line.

The networks are those of tests/shared/own_networks.py; the backend is that of KERAS_BACKEND. Each
network has a process of its own. Prints a table as it goes on; exit code 1 if a cell failed.
scripts/own_networks.py [--networks NAME ...] [--tools NAME ...] [--ways python command]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).resolve().parent
FILE = HERE.parent / "tests/shared/own_networks.py"
NAMES = (
    *("transformer", "tagger", "unet", "by_name", "two_outputs"),
    *("regression", "autoencoder", "vae", "resnet", "transfer"),
)
STEPS, EVERY, LEVELS = 12, 6, 3
CONTROLS = ("reinit", "one-shot", "snip")
SHORT = {"steps": STEPS, "batch_size": 16, "evaluate_every": EVERY, "seeds": (0,)}
_RESULT = "\x1e"  # before the line of a cell


@dataclass(frozen=True)
class Options:
    """Ten networks of users through every tool, as a table."""

    networks: tuple[str, ...] = NAMES
    """Which networks."""
    tools: tuple[str, ...] = ("run", "resume", "stability", "compare", "diagnose", "prune")
    """Which tools."""
    ways: tuple[str, ...] = ("python", "command")
    """From Python, on the command line."""
    minutes: float = 20
    """The longest that a network may take."""
    inner: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Do it in this process: what the script calls itself with."""


class Network:
    """One network by its name: what each way is given."""

    def __init__(self, name: str, directory: Path):
        self.name, self.directory = name, directory
        self.model, self.data = f"{FILE}:{name}", f"{FILE}:{name}_data"

    def objects(self) -> tuple[Callable[..., Any], Any]:
        """Builder and data, from Python."""
        sys.path.insert(0, str(FILE.parent))
        import own_networks

        return own_networks.NETWORKS[self.name], own_networks.DATA[self.name]()

    def lottery(self, where: str, **options: Any) -> Any:
        from tfinit.lottery import LotteryConfig, run

        build, data = self.objects()
        config = LotteryConfig(
            levels=LEVELS, controls=CONTROLS, run_dir=self.directory / where, **SHORT
        )
        return run(config, build_model=build, data=data, **{"progress": None, **options})


def command(*words: Any) -> int:
    """The exit code of `tfinit` with these words, in this process; its table goes nowhere."""
    import contextlib
    import io

    from tfinit.cli import main

    errors = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            main([str(word) for word in words])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
        if code not in (0, 3):
            last = errors.getvalue().strip().splitlines()[-1:] or ["no word"]
            raise RuntimeError(f"exit code {code}: {last[0]}") from None
        return code
    return 0


def experiment(kind: str, network: Network, where: str, *more: Any) -> None:
    """An experiment of the command line."""
    sizes = ["--steps", STEPS, "--batch-size", 16, "--evaluate-every", EVERY, "--seeds", 0]
    of = ["--model", network.model, "--dataset", network.data]
    command(kind, *of, *sizes, "--run-dir", network.directory / where, *more)


def files(directory: Path) -> dict[str, bytes]:
    """What a run leaves that has no time or version in it."""
    kinds = (".npz", ".csv", ".txt")
    found = (p for p in sorted(directory.rglob("*")) if p.suffix in kinds)
    return {str(p.relative_to(directory)): p.read_bytes() for p in found}


def tables(directory: Path) -> dict[str, bytes]:
    """Those files that are tables."""
    return {name: found for name, found in files(directory).items() if name.endswith(".csv")}


def run_python(network: Network) -> str:
    results = network.lottery("python")
    wanted = 1 + LEVELS * (1 + len(CONTROLS))
    if len(results) != wanted:
        raise RuntimeError(f"{len(results)} trainings, not {wanted}")
    for result in results:
        for key, mask in result.mask.items():
            pruned = result.final[key][~mask]
            if pruned.any():
                raise RuntimeError(f"{result}: pruned weights of {key} are not zero")
    return f"{results[-1].density:.0%} left"


def run_command(network: Network) -> str:
    experiment("lottery", network, "command", "--levels", LEVELS, "--controls", *CONTROLS)
    # The name of the network is another: in the files of weights, but not in the tables.
    here, there = (tables(network.directory / way) for way in ("command", "python"))
    if there and here != there:
        other = [name for name in {*here, *there} if here.get(name) != there.get(name)]
        raise RuntimeError(f"other tables than from Python: {', '.join(sorted(other))}")
    return "same tables" if there else ""


def resume_python(network: Network) -> str:
    left = [STEPS * 4 + STEPS // 2]  # inside the fifth training

    def interrupt(done: int) -> None:
        left[0] -= done
        if left[0] <= 0:
            raise KeyboardInterrupt

    try:
        network.lottery("resumed", progress=interrupt, checkpoint_every=0)
    except KeyboardInterrupt:
        pass
    else:
        raise RuntimeError("it was not interrupted")
    network.lottery("resumed", checkpoint_every=0)
    if not (whole := files(network.directory / "python")):
        network.lottery("python")
        whole = files(network.directory / "python")
    resumed = files(network.directory / "resumed")
    if resumed != whole:
        other = [n for n in {*whole, *resumed} if whole.get(n) != resumed.get(n)]
        raise RuntimeError(f"other bytes: {', '.join(sorted(other))}")
    return f"{len(whole)} files"


def stability_python(network: Network) -> str:
    from tfinit.lottery import StabilityConfig, stability

    build, data = network.objects()
    run_dir = network.directory / "stability"
    config = StabilityConfig(spawn_steps=(0, 6), points=3, run_dir=run_dir, **SHORT)
    results = stability(config, build_model=build, data=data, progress=None)
    return f"barrier {results[0].barrier('test'):.3g}"


def stability_command(network: Network) -> str:
    experiment("stability", network, "stability-c", "--spawn-steps", 0, 6, "--points", 3)
    return ""


def compare_python(network: Network) -> str:
    from tfinit import compare

    build, data = network.objects()
    found = compare(
        build, data, ["xavier", "he"], steps=STEPS, seeds=(0, 1), batch_size=16, progress=None
    )
    return f"best {found.best}"


def compare_command(network: Network) -> str:
    of = ["--model", network.model, "--dataset", network.data, "--schemes", "xavier", "he"]
    command("compare", *of, "--steps", STEPS, "--batch-size", 16, "--seeds", 0, 1)
    return ""


def diagnose_python(network: Network) -> str:
    import keras

    from tfinit import diagnose
    from tfinit.model_builders import builder_of

    build, ((x, y), _) = network.objects()
    x, y = keras.tree.map_structure(lambda a: None if a is None else a[:64], (x, y))
    found = diagnose(builder_of(build).model(0), x, y)
    return found.verdict.split(":")[0].split(".")[0][:30]


def diagnose_command(network: Network) -> str:
    code = command("diagnose", network.model, "--data", network.data, "--examples", 64)
    return f"exit code {code}"


def prune_python(network: Network) -> str:
    from tfinit.fine_tuning import PruneConfig, fine_tune

    network.objects()
    out = network.directory / "pruned.keras"
    found = fine_tune(
        PruneConfig(network.model, 0.5, network.data, epochs=2, batch_size=16, out=out),
        progress=None,
    )
    return f"{found.report.total.sparsity:.0%} zeros"


def prune_command(network: Network) -> str:
    out = network.directory / "pruned-c.keras"
    few = ["--epochs", 2, "--batch-size", 16, "--sparsity", 0.5]
    command("prune", network.model, "--data", network.data, *few, "--out", out)
    return ""


def cells(name: str, asked: Options) -> None:
    """All of one network, in this process."""
    import logging

    logging.getLogger("tfinit").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as root:
        network = Network(name, Path(root))
        for tool in asked.tools:
            for way in asked.ways:
                cell: Callable[[Network], str] | None = globals().get(f"{tool}_{way}")
                if cell is None:  # one way stands for both
                    continue
                began = time.perf_counter()
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        told, ok = cell(network), True
                except Exception as error:
                    line = next(iter(str(error).splitlines()), "")
                    told, ok = f"{type(error).__name__}: {line}", False
                    if type(error).__name__ not in ("InputError", "RuntimeError"):
                        traceback.print_exc()
                spent = time.perf_counter() - began
                print(_RESULT + json.dumps([tool, way, ok, told, round(spent, 1)]), flush=True)


def main() -> int:
    """Print the table."""
    asked = tyro.cli(Options, description=__doc__)
    if asked.inner:
        cells(asked.networks[0], asked)
        return 0
    print(f"backend: {os.environ.get('KERAS_BACKEND', 'tensorflow')}\n")
    print("| network | tool | way | | what came of it | seconds |", "| --- " * 6 + "|", sep="\n")
    failed = 0
    for name in asked.networks:
        words = ["--networks", name, "--tools", *asked.tools, "--ways", *asked.ways, "--inner"]
        try:
            ran = subprocess.run(
                [sys.executable, __file__, *words],
                stdout=subprocess.PIPE,
                text=True,
                timeout=60 * asked.minutes,
            )
            output, end = ran.stdout, "" if ran.returncode == 0 else f"exit code {ran.returncode}"
        except subprocess.TimeoutExpired as late:
            output = late.stdout.decode() if isinstance(late.stdout, bytes) else late.stdout or ""
            end = f"not done in {asked.minutes:g} minutes"
        for line in output.split("\n"):
            if line.startswith(_RESULT):
                tool, way, ok, told, spent = json.loads(line[1:])
                failed += not ok
                mark = "yes" if ok else "**no**"
                print(f"| {name} | {tool} | {way} | {mark} | {told} | {spent} |", flush=True)
        if end:
            failed += 1
            print(f"| {name} | | | **no** | {end} | |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
