"""The race of initializations: the same training from each of them, and who wins by how much.

`compare` runs it, `Comparison` is what comes out. Reading a configuration loads no Keras.
"""

from tfinit.lazy import loading

_HOME = {
    "compare": "race",
    "Comparison": "result",
    "Row": "result",
    "Run": "result",
    "CompareConfig": "config",
    "compare_named": "from_config",
    "rank": "ranking",
    "Ranking": "ranking",
}
__all__ = [*_HOME]
# On demand: the command line's --help needs the configuration and nothing heavy.
__getattr__ = loading(__name__, _HOME)
