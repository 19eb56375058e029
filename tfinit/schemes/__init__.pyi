from .engine.report import Record as Record
from .engine.report import Report as Report
from .initialize import SCHEMES as SCHEMES
from .initialize import initialize as initialize
