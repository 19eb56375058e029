"""Schemes that initialize a whole model in place."""

from tfinit.schemes.engine.report import Record, Report
from tfinit.schemes.initialize import SCHEMES, initialize

__all__ = ["SCHEMES", "Record", "Report", "initialize"]
