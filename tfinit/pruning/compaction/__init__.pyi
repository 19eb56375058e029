from .compacting import compact as compact
from .result import Compaction as Compaction
from .result import Kept as Kept
from .result import Removed as Removed
