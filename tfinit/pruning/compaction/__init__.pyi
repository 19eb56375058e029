from .compacting import compact as compact
from .own_layers import register_channel_rule as register_channel_rule
from .result import Compaction as Compaction
from .result import Kept as Kept
from .result import Removed as Removed
