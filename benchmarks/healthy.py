"""What `tfinit.diagnose` says of healthy networks: nothing severe, or it is a false alarm.

    python benchmarks/healthy.py                  # all groups, half an hour and more
    python benchmarks/healthy.py mlps own         # groups: mlps near_misses own
                                                  #         applications keras_hub
    python benchmarks/healthy.py near_misses --only lora siren
    python benchmarks/healthy.py mlps --train # do they learn? each is trained for 100 steps
    python benchmarks/healthy.py applications --all   # with the giants, which are left out else

Prints what is severe and what is a warning of each network, then totals and the rules that spoke.
The exit code is 1 if anything severe was found.
"""

import argparse
import importlib
import signal
import sys
import time
from collections import Counter

import keras
from healthy_networks import GROUPS

from tfinit.diagnostics import diagnose

STEPS = 100
LEARNED = 0.9  # what is left of the first loss, at most
MINUTES = 2  # of the processor, for one network


class TooLong(BaseException):
    """Not an Exception, which what is asked may catch."""


def too_long(*_):
    raise TooLong(f"more than {MINUTES} minutes of the processor")


def trained(model, x, y):
    """The losses of the first steps on the whole data and of the last."""
    losses = [float(model.train_on_batch(x, y, return_dict=True)["loss"]) for _ in range(STEPS)]
    return sum(losses[:3]) / 3, sum(losses[-3:]) / 3


def told(case, arguments, spoke):
    """Diagnose one network and print what is found. True and True if severe, if warned."""
    model, x, y = case.make()
    start = time.perf_counter()
    diagnosis = diagnose(model, x, y)
    seconds = time.perf_counter() - start
    shown = [f for f in diagnosis.findings if f.severity != "note"]
    print(f"{case.name}: {seconds:.1f} s{'' if shown else ', quiet'}", flush=True)
    for finding in shown:
        print(f"    {finding}", flush=True)
    spoke.update((f.severity, f.rule, f.kind, f.fault) for f in shown)
    if arguments.train and x is not None and getattr(model, "compiled", False):
        first, last = trained(model, x, y)
        word = "learns" if last < first - (1 - LEARNED) * abs(first) else "DOES NOT LEARN"
        print(f"    {word}: loss {first:.4g}, after {STEPS} steps {last:.4g}", flush=True)
    return bool(diagnosis.severe), any(f.severity == "warning" for f in shown)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []], metavar="group")
    parser.add_argument("--only", nargs="*", default=[""], help="whose name has one of these in it")
    parser.add_argument("--all", action="store_true", help="the giants, too")
    parser.add_argument("--train", action="store_true", help="and whether they learn")
    arguments = parser.parse_args()
    signal.signal(signal.SIGPROF, too_long)
    accused, totals, spoke, giants, failed = [], [], Counter(), [], []
    for group in arguments.groups or GROUPS:
        print(f"{group}:")
        counts = [0, 0, 0]
        for case in importlib.import_module(f"healthy_networks.{group}").cases():
            if not any(part in case.name for part in arguments.only):
                continue
            if case.giant and not arguments.all:
                giants.append(case.name)
                continue
            signal.setitimer(signal.ITIMER_PROF, 60 * MINUTES)
            try:
                severe, warned = told(case, arguments, spoke)
            except (Exception, TooLong) as error:  # the others are to be seen, too
                print(f"{case.name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
                failed.append(case.name)
                continue
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            if severe:
                accused.append(f"{group}: {case.name}")
            counts = [a + b for a, b in zip(counts, (1, severe, warned), strict=True)]
            keras.utils.clear_session()
        totals.append((group, *counts))
    print("\nrules that spoke:")
    for (severity, rule, kind, fault), count in spoke.most_common():
        print(f"    {count} × {severity} {rule} {kind} ({fault or 'no fault'})")
    everything = [sum(counts) for counts in zip(*(total[1:] for total in totals), strict=True)]
    for group, count, severe, warned in [*totals, ("all", *everything)]:
        rate = f"{severe / count:.1%}" if count else "-"
        print(f"{group}: {count} networks, {severe} severe ({rate}), {warned} with a warning")
    for words, names in (
        ("accused", accused),
        ("failed", failed),
        ("left out without --all", giants),
    ):
        if names:
            print(f"{words}: {'; '.join(names)}")
    sys.exit(bool(accused or failed))


if __name__ == "__main__":
    main()
