"""`tfinit export`: a saved model and data from files into `export`."""

from tfinit.array_trees import each, flat
from tfinit.exporting.accuracy import are_classes
from tfinit.exporting.config import ExportConfig
from tfinit.exporting.export_models import export
from tfinit.exporting.result import ExportReport
from tfinit.saved_data import read_splits
from tfinit.saved_model import load_model

_REPRESENTATIVE = 200


def export_saved(config: ExportConfig) -> ExportReport:
    """Do what an `ExportConfig` says.

    Raises:
        InputError: a file cannot be read, or as `export` says.
        WorkError: as `export` says.
    """
    representative = x = y = None
    if config.data is not None:
        (inputs, _), test = read_splits(config.data, need_targets=False)
        representative = each(lambda part: part[:_REPRESENTATIVE], inputs)
        # Of several outputs and of no classes there is no accuracy.
        if test is not None and are_classes(test[1], len(flat(test[0])[0])):
            x, y = test
    return export(
        load_model(config.model),
        config.out,
        config.format,
        config.quantize,
        config.sparse,
        representative,
        x=x,
        y=y,
        baseline=None if config.baseline is None else load_model(config.baseline, "baseline"),
        seconds=config.seconds,
        timeout=config.timeout,
    )
