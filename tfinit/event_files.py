"""Event files of TensorBoard, by its own package: no TensorFlow is needed, on any backend."""

import importlib.util
import itertools
import os
import socket
import time
from pathlib import Path
from typing import Any

from tfinit.errors import InputError, MissingPackage
from tfinit.files import make_directory, why_not

_numbers = itertools.count()


def need_tensorboard(part: str) -> None:
    """MissingPackage unless TensorBoard is installed; it begins with what needs it."""
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingPackage(part, "TensorBoard", "tfinit[tensorboard]")


class EventFile:
    """A new event file in a directory of TensorBoard's logs.

    What is given is buffered until `flush` or `close`; closing twice is no harm. A directory holds
    any number of them: TensorBoard reads them one after the other, in the order they were made.

    Args:
        directory: Of the logs; it is made.
        argument: The argument that named it, for errors.

    Raises:
        InputError: no file can be made there.
        MissingPackage: TensorBoard is not installed.

    Example:
        >>> with EventFile("logs") as events:
        ...     events.scalar("loss", 0.5, step=1)
        ...     events.histogram("fc/kernel", np.ones((3, 2)), step=1)
        >>> [path.name.split(".")[2] for path in Path("logs").iterdir()]
        ['tfevents']
    """

    def __init__(self, directory: str | os.PathLike[str], argument: str = "log_dir") -> None:
        need_tensorboard("a log for TensorBoard")
        from tensorboard.summary.writer.record_writer import RecordWriter

        number, place = next(_numbers), Path(directory)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self.path = place / f"{name}.{number:06d}.v2"
        try:
            make_directory(place)
            self._file = self.path.open("xb")
        except OSError as error:
            raise InputError(
                f"`{argument}` {str(place)!r} cannot be written: {why_not(error, place)}. Choose "
                "another directory."
            ) from error
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")

    def scalar(self, name: str, value: float, step: int) -> None:
        """A number at a step, kept as float32."""
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        self._write(summary=scalar_pb(name, value), step=step)

    def histogram(self, name: str, values: Any, step: int) -> None:
        """How an array's values are spread at a step, in 30 bins; those not finite are left out."""
        import numpy as np
        from tensorboard.plugins.histogram.summary_v2 import histogram_pb

        wide = np.asarray(values, np.float64).ravel()
        self._write(summary=histogram_pb(name, wide[np.isfinite(wide)]), step=step)

    def flush(self) -> None:
        """Put what was given into the file."""
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()

    def __enter__(self) -> "EventFile":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _write(self, **what: Any) -> None:
        from tensorboard.compat.proto import event_pb2

        make: Any = vars(event_pb2)["Event"]  # protobuf makes its classes when it is imported
        self._records.write(make(wall_time=time.time(), **what).SerializeToString())
