"""Training programs that fail, each with its mended twin, rebuilt in small from public questions.

A file for each source; `program.py` is what they are written in, `data.py` what they train on.
Situations are rebuilt, no code is copied, and the data only resembles the original.
"""

import importlib

from fault_programs.program import PROGRAMS, Program

SOURCES = {
    "fourteen": "DeepLocalize, DeepFD, DEFault: the first fourteen",
    "deeplocalize_deepfd": "DeepLocalize, DeepFD: the others",
    "theia_neuralint": "Theia, NeuraLint",
    "default": "DEFault: the others",
    "reports": "Reports on GitHub and elsewhere",
    "after_the_freeze": "unseen: benchmarks and threads",
    "unseen_questions": "unseen: questions on Stack Exchange",
    "unseen_reports": "unseen: reports on GitHub",
    "second_unseen": "a second time unseen: questions and reports",
}
# Rebuilt when the rules were frozen, by authors who had written none of them: not among all.
APART = ("after_the_freeze", "unseen_questions", "unseen_reports")
# The same once more, after rules had been changed for what those had shown.
APART_AGAIN = ("second_unseen",)


def programs() -> list[Program]:
    """All programs, in the order of their sources."""
    for name in SOURCES:
        importlib.import_module(f"{__name__}.{name}")
    return PROGRAMS
