"""Schemes that initialize a whole model in place."""

from tfinit.schemes.initialize import SCHEMES, initialize
from tfinit.schemes.report import Record, Report

__all__ = ["SCHEMES", "Record", "Report", "initialize"]
