from .plan import ChannelPlan as ChannelPlan
from .plan import GroupPlan as GroupPlan
from .plan import Skipped as Skipped
from .pruning import channel_plan as channel_plan
from .pruning import prune_channels as prune_channels
from .result import ChannelPruning as ChannelPruning
