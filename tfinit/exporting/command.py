"""`tfinit export`: a saved model and data from files into `export`."""

from typing import Any

import numpy as np

from tfinit import datasets
from tfinit.errors import InputError
from tfinit.exporting.config import ExportConfig
from tfinit.exporting.result import ExportReport
from tfinit.exporting.shipping import export
from tfinit.saved_model import load_model

_REPRESENTATIVE = 200


def export_saved(config: ExportConfig) -> ExportReport:
    """Do what an `ExportConfig` says.

    Raises:
        InputError: a file cannot be read, or as `export` says.
        WorkError: as `export` says.
    """
    representative, data = _data(config.data)
    return export(
        load_model(config.model),
        config.out,
        config.format,
        config.quantize,
        config.sparse,
        representative,
        data=data,
        baseline=None if config.baseline is None else load_model(config.baseline, "baseline"),
        seconds=config.seconds,
        timeout=config.timeout,
    )


def _data(name: str | None) -> tuple[Any, tuple[np.ndarray, np.ndarray] | None]:
    if name is None:
        return None, None
    if name in datasets.NAMES:
        dataset = datasets.load(name)
        return dataset.train[0][:_REPRESENTATIVE], dataset.test
    try:
        with np.load(name) as arrays:
            test = (arrays["x_test"], arrays["y_test"]) if "x_test" in arrays else None
            return arrays["x_train"][:_REPRESENTATIVE], test
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"`data` must be {', '.join(datasets.NAMES)} or an .npz file with x_train and, for "
            f"the accuracy, x_test and y_test; received {name!r}: {error}"
        ) from error
