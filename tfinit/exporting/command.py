"""`tfinit export`: a saved model and data from files into `export`."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfinit import datasets
from tfinit.errors import InputError
from tfinit.exporting.config import ExportConfig
from tfinit.exporting.result import ExportReport
from tfinit.exporting.shipping import export

_REPRESENTATIVE = 200


def export_saved(config: ExportConfig) -> ExportReport:
    """Do what an `ExportConfig` says.

    Raises:
        InputError: a file cannot be read, or as `export` says.
        WorkError: as `export` says.
    """
    representative, data = _data(config.data)
    return export(
        _load("model", config.model),
        config.out,
        config.format,
        config.quantize,
        config.sparse,
        representative,
        data=data,
        baseline=None if config.baseline is None else _load("baseline", config.baseline),
        seconds=config.seconds,
        timeout=config.timeout,
    )


def _load(name: str, path: Path) -> Any:
    try:
        return keras.saving.load_model(path)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"`{name}` {str(path)!r} cannot be loaded by Keras 3: {reason}") from error


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
