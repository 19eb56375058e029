from .config import PruneConfig as PruneConfig
from .result import FineTuned as FineTuned
from .run import fine_tune as fine_tune
