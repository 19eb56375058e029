"""What `tfinit.diagnose` says, before training, of programs in which people found what is wrong.

    python benchmarks/faults.py                      # all: half an hour and more
    python benchmarks/faults.py --no-training        # without the check of the cures: a minute
    python benchmarks/faults.py 48385830 fourteen    # some, or a source, with findings in full
    python benchmarks/faults.py --only missed accused
    python benchmarks/faults.py --kept FILE          # go on where a run was interrupted

Each program of `fault_programs/` and its mended twin are diagnosed with their data. *Detected*: a
finding is severe. *Named*: a severe finding or a warning is of a fault that people found. *Wrong*:
a severe finding is of another fault. *Accused*: a finding of the twin is severe.

Then they are trained, all equally long: the faulty program, the same after the cures of its severe
findings (`fault_programs/mending.py`), and the twin. *Learned* is the part of what can be learned:
of classes (accuracy - commonest class) / (1 - commonest class), of numbers R². The *cured* program
must learn half as much as the twin. Where it does not, it is trained after the cures of warnings
too: *helped* if that does. Where the twin learns less than 0.5, or the faulty program half as much
as its twin, the program is *invalid*.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from fault_programs import APART, APART_AGAIN, SOURCES, programs
from fault_programs.mending import mended
from fault_programs.program import FAULTS, Program

import tfinit
from tfinit.errors import InputError
from tfinit.text_table import aligned

VERDICTS = (
    *("missed", "detected", "named", "wrong", "accused", "cured", "helped", "uncured", "invalid"),
)
SEVERE, WARNED = ("severe",), ("severe", "warning")

PEERS = """\
Published for 27 of these questions, each rebuilt by others: UMLAUT 27 detected and 10 named,
DeepLocalize 22 and 5, DeepFD 26 and 14, DEFault 27 and 21. They train the program first, several
of them in Keras 2.2; tfinit answers before. UMLAUT says "Missing Softmax" of 47 of 52 programs."""


class Learned(NamedTuple):
    """What was learned by a program, after its cures, and by its twin; None where there are none.

    Attributes:
        faulty: By the program as it is.
        cured: After the cures of severe findings.
        helped: After those of warnings too, where `cured` is not enough.
        twin: By the twin.
        done: The cures that were done last.
        broken: The error of a cure.
    """

    faulty: float
    cured: float | None
    helped: float | None
    twin: float
    done: list[str]
    broken: str

    def is_enough(self, part: float | None) -> bool:
        """Whether that is half of what the twin learned."""
        return part is not None and part >= self.twin / 2


class Told(NamedTuple):
    """What was said of a program and of its twin, and what training showed of both."""

    program: Program
    findings: list[Any]
    twin: list[Any]
    seconds: float
    learned: Learned | None = None

    @property
    def severe(self) -> list[Any]:
        return [f for f in self.findings if f.severity == "severe"]

    @property
    def warned(self) -> list[Any]:
        return [f for f in self.findings if f.severity == "warning"]

    @property
    def verdicts(self) -> list[str]:
        """The words of `VERDICTS` that hold."""
        people = set(self.program.faults)
        holds = {
            "missed": not self.severe,
            "detected": bool(self.severe),
            "named": any(f.fault in people for f in [*self.severe, *self.warned]),
            "wrong": any(f.fault not in people for f in self.severe),
            "accused": any(f.severity == "severe" for f in self.twin),
        }
        if part := self.learned:
            holds["cured"] = part.is_enough(part.cured)
            holds["helped"] = not holds["cured"] and part.is_enough(part.helped)
            holds["uncured"] = not (holds["cured"] or holds["helped"])
            holds["invalid"] = part.twin < 0.5 or part.is_enough(part.faulty)
        return [word for word in VERDICTS if holds.get(word)]


def diagnosed(model: Any, x: Any, y: Any) -> list[Any]:
    """The findings; where the data are not even accepted, none."""
    try:
        return tfinit.diagnose(model, x, y).findings
    except InputError as error:
        print(f"   diagnose: {error}")
        return []


def trained(program: Program, model: Any, x: Any, y: Any) -> np.ndarray | None:
    """What the program answers after its training; None if Keras refuses it."""
    keras.utils.set_random_seed(1)
    random = np.random.default_rng(0)
    # All epochs in a row as one: Keras takes longer to begin an epoch than these take to train.
    order = np.concatenate([random.permutation(len(y)) for _ in range(program.epochs)])
    try:
        model.fit(
            np.asarray(x)[order], np.asarray(y)[order], program.batch, shuffle=False, verbose=0
        )
    except Exception:  # as people met it
        return None
    return np.asarray(keras.ops.convert_to_numpy(model(x, training=False)), "float64")


def logits(model: Any) -> bool:
    return bool(getattr(model.loss, "from_logits", False))


def learned(answers: np.ndarray | None, own: Any, twin: Any, truth: Any, middle: float) -> float:
    """The part of what can be learned that was: 0 to 1.

    ``own`` are the targets that it was trained with, ``truth`` those of the twin, whose loss says
    what the task is; one output is of class 1 from ``middle`` on.
    """
    if answers is None or not np.isfinite(answers).all():
        return 0.0
    name, truth = str(getattr(twin.loss, "name", twin.loss)), np.asarray(truth)
    classes = "crossentropy" in name and np.array_equal(truth, np.rint(truth))
    if not classes:
        own = np.asarray(own, "float64")
        own = own.reshape(answers.shape) if own.size == answers.size else own
        return float(np.clip(1 - np.mean((answers - own) ** 2) / np.var(own), 0, 1))
    if "binary" in name and truth.shape[-1] > 1 and truth.ndim > 1:
        right, often = np.mean((answers > middle) == truth), truth.mean(0)
        base = np.mean(np.maximum(often, 1 - often))
    else:
        if truth.shape == (len(truth), *twin.output_shape[1:]) and truth.shape[-1] > 1:
            truth = truth.argmax(-1)
        elif truth.ndim > 1 and truth.shape[-1] == 1:
            truth = truth[..., 0]
        wide = answers.shape[-1] > 1
        chosen = answers.argmax(-1) if wide else answers[..., 0] > middle
        base = np.unique(truth, return_counts=True)[1].max() / truth.size
        truth = truth.reshape(*truth.shape, *[1] * (chosen.ndim - truth.ndim))
        right = np.mean(chosen == truth)
    return float(np.clip((right - base) / (1 - base), 0, 1))


def told(program: Program) -> Told:
    """What is said of a program and of its twin."""
    keras.utils.clear_session()
    model, x, y = program.make(False)
    start = time.perf_counter()
    findings = diagnosed(model, x, y)
    seconds = time.perf_counter() - start
    return Told(program, findings, diagnosed(*program.make(True)), seconds)


def after_training(program: Program) -> Learned:
    """What is learned by a program as it is, after its cures, and by its twin."""
    twin, *given = program.make(True)

    def part(model: Any, x: Any, y: Any) -> float:
        middle = 0.0 if logits(model) else 0.5
        return learned(trained(program, model, x, y), y, twin, given[1], middle)

    def make() -> Any:
        keras.utils.clear_session()  # so that layers are called as findings call them
        return program.make(False)

    result = Learned(part(*make()), None, None, part(twin, *given), [], "")
    for field, severities in (("cured", SEVERE), ("helped", WARNED)):
        after = mended(make, diagnosed, severities)
        if after is None or after.done == result.done:
            continue
        result = result._replace(done=after.done, broken=after.error)
        result = result._replace(**{field: part(after.model, after.x, after.y)})
        if result.is_enough(result.cured):
            break
    return result


def names(findings: Sequence[Any]) -> str:
    return ", ".join(dict.fromkeys(f"{f.rule} {f.fault or '?'}" for f in findings))


def row(one: Told) -> list[str]:
    cells = [one.program.id, " ".join(one.program.faults), names(one.severe), names(one.warned)]
    cells.append(" ".join(one.verdicts))
    if part := one.learned:
        words = "in words" if one.severe else "nothing"
        numbers = ("" if n is None else f"{n:.2f}" for n in (part.helped, part.twin))
        cells += [f"{part.faulty:.2f}", words if part.cured is None else f"{part.cured:.2f}"]
        cells += numbers
    else:
        cells += [""] * 4
    return [*cells, f"{one.seconds:.2f}"]


HEADING = (
    "program",
    "people found",
    "severe",
    "warnings",
    "verdict",
    "learns",
    "cured",
    "helped",
    "twin",
    "s",
)
WIDTHS = (15, 24, 26, 33, 21, 6, 8, 6, 4, 4)


def line(cells: Sequence[str]) -> str:
    """A row of the table, which is printed as it grows."""
    return "  ".join(map(str.ljust, cells, WIDTHS)).rstrip()


def totals(all_told: Sequence[Told]) -> list[str]:
    """A line for each source, and one for all that those who write rules know."""
    rows = [["source", "programs", *VERDICTS]]
    later = (*APART, *APART_AGAIN)
    known = [one for one in all_told if one.program.source not in later]
    unseen = [one for one in all_told if one.program.source in APART]
    groups = {source: [o for o in all_told if o.program.source == source] for source in SOURCES}
    for words, of_source in [
        *((words, groups[source]) for source, words in SOURCES.items() if source not in later),
        ("all", known),
        *((SOURCES[source], groups[source]) for source in APART),
        ("apart: all that nobody who wrote a rule had seen", unseen),
        *((SOURCES[source], groups[source]) for source in APART_AGAIN),
    ]:
        if of_source:
            counts = [sum(word in one.verdicts for one in of_source) for word in VERDICTS]
            rows.append([words, str(len(of_source)), *map(str, counts)])
    return aligned(rows, right=range(1, len(rows[0])))


def by_fault(all_told: Sequence[Told]) -> list[str]:
    """Of each fault: in how many programs people found it, and how often it is named there."""
    rows = [["fault", "found by people", "named", "severe elsewhere", "severe in a twin"]]
    for fault in FAULTS:
        theirs = [one for one in all_told if fault in one.program.faults]
        others = [one for one in all_told if fault not in one.program.faults]
        named = sum(any(f.fault == fault for f in one.severe + one.warned) for one in theirs)
        wrong = sum(any(f.fault == fault for f in one.severe) for one in others)
        twins = sum(
            any(f.fault == fault and f.severity == "severe" for f in one.twin) for one in all_told
        )
        rows.append([fault, *map(str, (len(theirs), named, wrong, twins))])
    return aligned(rows, right=range(1, 5))


def keep(path: str | None, known: dict[str, Learned]) -> None:
    """Write what is known of trainings, if there is a file for it."""
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({name: part._asdict() for name, part in known.items()}, file, indent=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("which", nargs="*", help="ids, or sources: " + ", ".join(SOURCES))
    parser.add_argument("--only", nargs="+", choices=VERDICTS, help="show only these programs")
    parser.add_argument("--no-training", action="store_true", help="do not check the cures")
    parser.add_argument(
        "--kept", metavar="FILE", help="JSON where trainings are kept, and those in it not repeated"
    )
    flags = parser.parse_args()
    warnings.simplefilter("ignore")  # Keras's own about these programs
    every = programs()
    chosen = [p for p in every if not flags.which or {p.id, p.source} & {*flags.which}]
    if unknown := {*flags.which} - {p.id for p in every} - {*SOURCES}:
        parser.error(f"no program or source is called {', '.join(sorted(unknown))}")
    known = {}
    if flags.kept and os.path.exists(flags.kept):
        with open(flags.kept, encoding="utf-8") as file:
            known = {name: Learned(**part) for name, part in json.load(file).items()}
    print(line(HEADING), flush=True)
    all_told = []
    for program in chosen:
        one = told(program)
        if not flags.no_training:
            if program.id not in known:
                known[program.id] = after_training(program)
                keep(flags.kept, known)
            one = one._replace(learned=known[program.id])
        all_told.append(one)
        if flags.only and not {*flags.only} & {*one.verdicts}:
            continue
        print(line(row(one)), flush=True)
        for finding in one.findings if flags.which else ():
            print(f"   {finding}")
        for finding in one.twin if flags.which else ():
            print(f"   of the twin: {finding}")
        for done in one.learned.done if flags.which and one.learned else ():
            print(f"   done: {done}")
        if one.learned and one.learned.broken:
            print(f"   a cure fails: {one.learned.broken}")
    print("", *totals(all_told), "", *by_fault(all_told), "", PEERS, sep="\n")


if __name__ == "__main__":
    main()
