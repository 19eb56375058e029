"""Call every public function of tfinit with values to refuse: _attack_surface.py [seconds [seed]]

Each argument in turn with every odd value of tests/shared/public_surface.py, then pairs of them at
random, for some seconds. What goes through though it should not, raises something else than an
InputError that names the argument, or changes what it was given, is a fault.
"""

import os
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "shared"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from public_calls import samples
from public_surface import Sample, attempt, odd_values

_PAIRS_FOR = 90.0  # seconds


def attack(directory: Path, chance: random.Random, seconds: float = _PAIRS_FOR) -> str:
    """Make all calls; one line of what was seen, and one for each fault."""
    here = directory / "here"  # where a text that is taken for a path would be written
    here.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(here)
    try:
        calls = samples(directory)
        known = _files(directory)
        alone, refused, faults = _alone(calls)
        pairs, refused_pairs, faults_of_pairs = _pairs(calls, chance, seconds)
        left = sorted(_files(directory) - known)
    finally:
        os.chdir(before)
    faults += faults_of_pairs
    told = (
        f"{len(calls)} public calls: {alone} with one odd argument ({refused} refused), {pairs} "
        f"with two ({refused_pairs} refused), {len(faults)} faults, {len(left)} files left"
    )
    return "\n".join([told, *faults, *left])


def _files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def _alone(calls: dict[str, Sample]) -> tuple[int, int, list[str]]:
    made, refused, faults = 0, 0, []
    for name, sample in calls.items():
        given = sample.make()
        for argument in sample.arguments():
            base = {**given, **sample.also.get(argument, {})}
            for label, value in odd_values(base.get(argument)).items():
                if sample.costly and label in sample.right(argument):
                    continue
                went, fault = attempt(sample, {**base, argument: value}, {argument: label})
                made, refused = made + 1, refused + (not went)
                if fault:
                    faults.append(f"{name}: {fault}")
                if went:
                    given = sample.make()
                    base = {**given, **sample.also.get(argument, {})}
    return made, refused, faults


def _pairs(
    calls: dict[str, Sample], chance: random.Random, seconds: float
) -> tuple[int, int, list[str]]:
    """One odd value that must be refused, and another of any kind."""
    made, refused, faults = 0, 0, []
    names = [name for name, sample in calls.items() if len(sample.arguments()) > 1]
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        name = chance.choice(names)
        sample = calls[name]
        for _ in range(20):
            given, odd = sample.make(), {}
            for argument in chance.sample(sample.arguments(), 2):
                values = odd_values(given.get(argument))
                wrong = [label for label in values if label not in sample.right(argument)]
                odd[argument] = chance.choice(wrong if wrong and not odd else list(values))
                given[argument] = values[odd[argument]]
            if all(label in sample.right(argument) for argument, label in odd.items()):
                continue
            went, fault = attempt(sample, given, odd)
            made, refused = made + 1, refused + (not went)
            if fault:
                faults.append(f"{name}: {fault}")
    return made, refused, faults


def main():
    """The attack alone; exits with 1 if there was a fault."""
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else _PAIRS_FOR
    with tempfile.TemporaryDirectory(prefix="attack-") as name:
        told = attack(Path(name), random.Random(seed), seconds)
    print(f"seed {seed}: {told}")
    sys.exit("0 faults, 0 files left" not in told)


if __name__ == "__main__":
    main()
