"""From a Keras 3 model to a file for a device: written, run, compared, measured, told as it is.

`export` writes one file, `side_by_side` measures several variants of a model. Both run what they
wrote in a process of its own and compare it with Keras before they let it stand.
"""

from tfinit.lazy import loading

_HOME = {
    "Choice": "choice",
    "ExportConfig": "config",
    "ExportReport": "result",
    "FileReport": "result",
    "Latency": "result",
    "LayerNote": "layers",
    "Variant": "one_file",
    "export": "export_models",
    "side_by_side": "export_models",
}
__all__ = [*_HOME]
# On demand: the command line's --help needs the configuration and nothing heavy.
__getattr__ = loading(__name__, _HOME)
