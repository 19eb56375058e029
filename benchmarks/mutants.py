"""What `tfinit.diagnose` says of mutants: healthy programs to which one thing was done.

    python benchmarks/mutants.py                  # each mutation of at most 3 programs: minutes
    python benchmarks/mutants.py --each 30        # of all programs that it can be done to
    python benchmarks/mutants.py --only "rate: "  # mutations whose name has this in it
    python benchmarks/mutants.py --train          # train those whose outcome is not known, too

A mutant is a fault if it learns clearly less than its original: it loses 3 tenths or more of what
the original learns beyond a constant. One that loses less than a tenth is as good as the original,
and must not be called severe; what lies between is counted on neither side. How well each learns
was measured once and is kept in benchmarks/mutants.json; it does not depend on the rules.

*Detected*: a severe finding. *Named*: a severe or warning finding whose fault is the mutation's.
The precision of a kind of fault is the share of the severe findings of that fault that are about
it, over all mutants and originals.
"""

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import dataclass

import keras
from mutant_programs.mutations import MUTATIONS
from mutant_programs.programs import programs

from tfinit.diagnostics import diagnose

WORSE, AS_GOOD = 0.3, 0.1
KNOWN = "benchmarks/mutants.json"
FAULT, BETWEEN, HARMLESS = "fault", "between", "harmless"


@dataclass(frozen=True)
class Mutant:
    """What was said of one, and what it is."""

    program: str
    mutation: str
    faults: tuple
    outcome: str
    lost: float
    severe: tuple
    warned: tuple
    error: str

    @property
    def detected(self):
        return bool(self.severe)

    @property
    def named(self):
        return bool({*self.faults} & {fault for _, fault in (*self.severe, *self.warned)})

    @property
    def wrong(self):
        """Severe findings of another fault."""
        return [rule for rule, fault in self.severe if fault not in self.faults]


def chosen(each, only):
    """(program, mutation, mutant): each mutation of programs that are spread over all."""
    everything = programs()
    for n, mutation in enumerate(MUTATIONS):
        if only not in mutation.name:
            continue
        made = [(p, mutation.apply(p)) for p in everything]
        fit = [(p, mutant) for p, mutant in made if mutant is not None]
        step = max(1, len(fit) // each)
        fit = [fit[(n + k * step) % len(fit)] for k in range(min(each, len(fit)))]
        yield from ((p, mutation, mutant) for p, mutant in fit)


def learned(program, key, known, train):
    """How well it learns, as it is known; measured where it is asked for."""
    if key not in known and train:
        try:
            known[key] = round(program.learned(), 3)
        except Exception as error:  # it cannot be trained at all
            known[key] = 0.0
            print(f"    {key}: {type(error).__name__}", flush=True)
        keep(known)
    return known.get(key)


def keep(known):
    with open(KNOWN, "w", encoding="utf-8") as file:
        json.dump(dict(sorted(known.items())), file, indent=0, ensure_ascii=False)
        file.write("\n")


def what_is_said(program):
    """Severe findings and warnings, as (rule, fault), and an error where there is one."""
    try:
        found = diagnose(program.compiled(), program.x, program.y).findings
    except Exception as error:  # it is told of, and the others are to be seen
        return (), (), f"{type(error).__name__}: {str(error)[:160]}"

    def of(severity):
        return tuple((f"{f.rule} {f.kind}", f.fault) for f in found if f.severity == severity)

    return of("severe"), of("warning"), ""


def judged(program, mutation, mutant, known, train):
    original = learned(program, program.name, known, train)
    its = learned(mutant, f"{program.name} | {mutation.name}", known, train)
    lost = 1 - its / original
    outcome = FAULT if lost >= WORSE else HARMLESS if lost < AS_GOOD else BETWEEN
    said = what_is_said(mutant)
    return Mutant(program.name, mutation.name, mutation.faults, outcome, lost, *said)


def line(m):
    """One mutant as a line, with a mark where something is not as it should be."""
    words = ", ".join(f"{rule} ({fault})" for rule, fault in m.severe) or "nothing severe"
    warned = ", ".join(f"{rule} ({fault})" for rule, fault in m.warned)
    mark = ""
    if m.outcome == FAULT:
        mark = "MISSED " if not m.detected else "" if m.named else "UNNAMED "
    elif m.outcome == HARMLESS and m.detected:
        mark = "FALSE ALARM "
    told = f"{mark}{m.mutation} | {m.program} ({m.outcome}, loses {m.lost:.0%}): {words}"
    return told + (f"; warned: {warned}" if warned else "") + (f"; {m.error}" if m.error else "")


def share(part, whole):
    return f"{part}/{whole}" + (f" ({part / whole:.0%})" if whole else "")


def table(mutants, said_of_originals):
    by_kind = defaultdict(list)
    for m in mutants:
        by_kind[m.faults[0]].append(m)
    print(
        "\nkind        mutants  faults  detected      named         precision     harmless, severe"
    )
    for kind, rows in [*by_kind.items(), ("all", mutants)]:
        faults = [m for m in rows if m.outcome == FAULT]
        harmless = [m for m in rows if m.outcome == HARMLESS]
        told = [
            (m, fault)
            for m in mutants
            if m.outcome in (FAULT, HARMLESS)
            for fault in {fault for _, fault in m.severe}
            if kind in ("all", fault)
        ]
        right = sum(m.outcome == FAULT and fault in m.faults for m, fault in told)
        beside = sum(kind in ("all", fault) for severe in said_of_originals for _, fault in severe)
        print(
            f"{kind:<12}{len(rows):<9}{len(faults):<8}"
            f"{share(sum(m.detected for m in faults), len(faults)):<14}"
            f"{share(sum(m.named for m in faults), len(faults)):<14}"
            f"{share(right, len(told) + beside):<14}"
            f"{share(sum(m.detected for m in harmless), len(harmless))}"
        )
    wrong = sum(bool(m.wrong) for m in mutants if m.outcome == FAULT)
    print(f"faults with a severe finding of another kind beside or instead: {wrong}")
    between = sum(m.outcome == BETWEEN for m in mutants)
    print(f"between fault and harmless, counted on neither side: {between}")
    accused = share(sum(map(bool, said_of_originals)), len(said_of_originals))
    print(f"originals with a severe finding: {accused}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=3, help="programs for each mutation")
    parser.add_argument("--only", default="", help="mutations whose name has this in it")
    parser.add_argument("--train", action="store_true", help="those that are not known")
    parser.add_argument("--quiet", action="store_true", help="only what is not as it should be")
    arguments = parser.parse_args()
    try:
        with open(KNOWN, encoding="utf-8") as file:
            known = json.load(file)
    except FileNotFoundError:
        known = {}
    originals = []
    for program in programs():
        severe, warned, error = what_is_said(program)
        originals.append(severe)
        if severe or warned or error:
            print(f"original {program.name}: severe {severe}, warned {warned} {error}", flush=True)
    mutants, unknown = [], 0
    for n, (program, mutation, mutant) in enumerate(chosen(arguments.each, arguments.only)):
        if not arguments.train and f"{program.name} | {mutation.name}" not in known:
            unknown += 1
            continue
        made = judged(program, mutation, mutant, known, arguments.train)
        mutants.append(made)
        told = line(made)
        if not arguments.quiet or told.split()[0] in ("MISSED", "UNNAMED", "FALSE"):
            print(told, flush=True)
        if n % 20 == 19:
            keras.utils.clear_session()
    table(mutants, originals)
    if unknown:
        print(f"left out, as nobody trained them yet (--train): {unknown}")
    sys.exit(any(originals))


if __name__ == "__main__":
    main()
