"""Training programs that fail, each with its mended twin, rebuilt in small from public questions.

A file for each source; `program.py` is what they are written in, `data.py` what they train on.
Situations are rebuilt, no code is copied, and the data only resembles the original.
"""

import importlib

from fault_programs.program import PROGRAMS, Program

SOURCES = {
    "deeplocalize_deepfd": "DeepLocalize, DeepFD: the others",
    "theia_neuralint": "Theia, NeuraLint",
    "default": "DEFault: the others",
    "reports": "Reports on GitHub and elsewhere",
    "unseen_reports": "Reports on GitHub and elsewhere: unseen",
    "fourteen": "DeepLocalize, DeepFD, DEFault: the first fourteen",
}


def programs() -> list[Program]:
    """All programs, in the order of their sources."""
    for name in SOURCES:
        importlib.import_module(f"{__name__}.{name}")
    return PROGRAMS
