"""Whole channels, units and heads removed by their importance: smaller weights, fewer operations.

`groups` are what can only be removed together, `scoring` says how important a channel of one is,
`costs` what a choice leaves, `allocating` chooses, `plan` is the choice, apart from its being made,
and `pruning` is the way in.
"""

from tfinit.moved import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
