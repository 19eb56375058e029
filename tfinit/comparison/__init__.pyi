from .config import CompareConfig as CompareConfig
from .from_config import compare_named as compare_named
from .race import compare as compare
from .ranking import Ranking as Ranking
from .ranking import rank as rank
from .result import Comparison as Comparison
from .result import Row as Row
from .result import Run as Run
