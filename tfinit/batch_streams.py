"""Batches from a pipeline of the user's own, for what does not fit in memory."""

import functools
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from typing import Any

import numpy as np

from tfinit.arguments import on_host
from tfinit.array_trees import each, flat
from tfinit.errors import InputError

_MOST_BATCHES = 10_000  # of a split that is read whole, where nobody knows whether it ends
_TAKEN = (
    "Pass a tf.data.Dataset, a keras.utils.PyDataset, a torch DataLoader, or a function that "
    "returns a new iterator of batches each time that it is called."
)


class Stream:
    """Batches (x, y) or (x, y, sample weights), as a pipeline of the user's gives them.

    The pipeline decides how large they are and in which order they come, and begins anew where it
    ends. x, y and weights are arrays, or dictionaries, lists and tuples of arrays.

    Args:
        given: What `stream_of` takes.

    Attributes:
        given: The same.
        kind: What it is, in a word: ``"tf.data.Dataset"``.
        notice: What it does not promise, in a line.
    """

    kind = "iterable"

    def __init__(self, given: Any):
        self.given = given

    @property
    def notice(self) -> str:
        """What it does not promise, in a line."""
        return (
            f"The training data is a {self.kind}: its pipeline decides the batches and their order,"
            " not batch_size and seeds. A run that goes on ends with the same bits only if the "
            "pipeline gives the same batches again."
        )

    def batches(self, steps: int, start: int = 0) -> Iterator[tuple[Any, ...]]:
        """The batches of the steps from ``start`` to ``steps``, as NumPy arrays.

        Raises:
            InputError: the pipeline gives none, or something else.
        """
        for batch in islice(self._repeated(start), steps - start):  # `fit` takes a generator
            yield self._batch(batch)

    def fits_as(self, steps: int, start: int = 0) -> Any:
        """The same, as Keras's ``fit`` takes them soonest."""
        return self.batches(steps, start)

    def evaluation_batches(self) -> Iterator[tuple[Any, ...]]:
        """All batches, once."""
        return map(self._batch, self._once())

    def first(self, rows: int) -> tuple[Any, ...]:
        """The first examples as arrays, ``rows`` or as many as there are."""
        found: list[tuple[Any, ...]] = []
        there = 0
        for batch in self.evaluation_batches():
            found.append(batch)
            there += len(flat(batch[0])[0])
            if there >= rows:
                break
        return each(lambda one: one[:rows], self._joined(found))

    def collected(self) -> tuple[Any, ...]:
        """All examples as arrays.

        Raises:
            InputError: it does not end, gives none, or batches of different shapes.
        """
        if self._ends() is False:
            raise InputError(self._endless())
        found = list(islice(self.evaluation_batches(), _MOST_BATCHES + 1))
        if len(found) > _MOST_BATCHES and self._ends() is None:
            raise InputError(self._endless())
        return self._joined(found)

    def __str__(self) -> str:
        """What is known of it without a look at a batch: so one is told from another."""
        return f"{self.kind} {getattr(self.given, '__qualname__', type(self.given).__qualname__)}"

    def _endless(self) -> str:
        return (
            f"A {self.kind} that is to evaluate on must end, received one that does not. Bound it, "
            "as take() does, or pass arrays."
        )

    def _joined(self, batches: list[tuple[Any, ...]]) -> tuple[Any, ...]:
        if not batches:
            raise InputError(f"A {self.kind} gives no batch. {_TAKEN}")
        parts = [flat(batch) for batch in batches]
        try:
            joined = iter([np.concatenate(ones) for ones in zip(*parts, strict=True)])
        except ValueError as error:
            shapes = sorted({str(tuple(one.shape[1:] for one in part)) for part in parts})
            raise InputError(
                f"A {self.kind} gives batches of different forms, {', '.join(shapes[:3])}, and "
                "arrays have one. Pad them, as keras.utils.pad_sequences does."
            ) from error
        return each(lambda one: next(joined), batches[0])

    def _ends(self) -> bool | None:
        """Whether it ends; None if that is not known."""
        return None

    def _once(self) -> Iterator[Any]:
        return iter(self.given)

    def _repeated(self, start: int) -> Iterator[Any]:
        """Batches from a step on, pass after pass."""
        left = start
        while True:
            some = False
            for batch in self._once():
                some = True
                if left:
                    left -= 1
                else:
                    yield batch
            if not some:
                raise InputError(f"A {self.kind} gives no batch. {_TAKEN}")

    def _batch(self, batch: Any) -> tuple[Any, ...]:
        if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
            received = type(batch).__name__
            if isinstance(batch, tuple | list):
                received = f"{received} of {len(batch)}"
            raise InputError(
                f"A {self.kind} must give batches (x, y) or (x, y, sample weights), received "
                f"{received}. What learns its own inputs takes (x, x)."
            )
        return tuple(each(_in_numpy, part) for part in batch)


class _OfTensorFlow(Stream):
    kind = "tf.data.Dataset"

    def fits_as(self, steps: int, start: int = 0) -> Any:
        keras = sys.modules.get("keras")
        if keras is not None and keras.backend.backend() != "tensorflow":
            return self.batches(steps, start)
        self._check(self.given)
        return self.given.repeat().skip(start).take(steps - start)

    def __str__(self) -> str:
        return f"{self.kind} {self.given.element_spec}"

    def _check(self, given: Any) -> None:
        if self._number() == 0:
            raise InputError(f"A {self.kind} gives no batch. {_TAKEN}")

    def _number(self) -> int:
        return int(self.given.cardinality())  # -1: endless, -2: not known

    def _ends(self) -> bool | None:
        number = self._number()
        return None if number == -2 else number >= 0


class _OfKeras(Stream):
    """Of `keras.utils.PyDataset`, or of tf_keras's ``Sequence``."""

    kind = "PyDataset"

    def _number(self) -> int | None:
        number = getattr(self.given, "num_batches", None)
        if number is None and not hasattr(self.given, "num_batches"):
            number = len(self.given)
        if number == 0:
            raise InputError(f"A {self.kind} gives no batch. Its length must be 1 or more.")
        return number

    def _ends(self) -> bool | None:
        return self._number() is not None

    def __str__(self) -> str:
        return f"{super().__str__()} of {self._number()}"

    def _once(self) -> Iterator[Any]:
        return self._items(range(self._number() or sys.maxsize))

    def _repeated(self, start: int) -> Iterator[Any]:
        number = self._number()
        for epoch in count():
            done = epoch * (number or 0)
            if number is None or start < done + number:
                yield from self._items(range(max(0, start - done), number or sys.maxsize))
            if hasattr(self.given, "on_epoch_end"):
                self.given.on_epoch_end()

    def _items(self, places: range) -> Iterator[Any]:
        """The batches in their order, by as many threads as the data set asks for."""
        workers = getattr(self.given, "workers", 1)
        if workers < 2:
            yield from map(self.given.__getitem__, places)
            return
        ahead = max(workers, getattr(self.given, "max_queue_size", 10))
        left = iter(places)
        pool = ThreadPoolExecutor(workers)
        try:
            waiting = [pool.submit(self.given.__getitem__, n) for n in islice(left, ahead)]
            while waiting:
                yield waiting.pop(0).result()
                waiting += [pool.submit(self.given.__getitem__, n) for n in islice(left, 1)]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _OfTorch(Stream):
    kind = "DataLoader"

    def _ends(self) -> bool | None:
        import torch

        return None if isinstance(self.given.dataset, torch.utils.data.IterableDataset) else True

    def first(self, rows: int) -> tuple[Any, ...]:
        import torch

        with torch.random.fork_rng(devices=[]):  # a look draws no numbers of the process
            return super().first(rows)


class _OfFunction(Stream):
    kind = "generator function"

    def _once(self) -> Iterator[Any]:
        try:
            found = self.given()
        except TypeError as error:
            raise InputError(
                f"A function that gives batches must take no arguments: {error}. Wrap it: "
                "lambda: batches(…)."
            ) from error
        if not isinstance(found, Iterable) or isinstance(found, Mapping | str | tuple | list):
            raise InputError(
                f"A function that gives batches must return an iterator of them, received "
                f"{type(found).__name__}. Let it yield (x, y) for each batch."
            )
        return iter(found)


def stream_of(given: Any, argument: str = "train") -> Stream | None:
    """What gives batches, as a `Stream`; None if it is none, as arrays are not.

    Args:
        given: A ``tf.data.Dataset`` of batches, a `keras.utils.PyDataset`, a PyTorch
            ``DataLoader``, a function without arguments that returns an iterator of batches, or
            what else can be gone through again and again; or anything.
        argument: What the caller calls it, for errors.

    Raises:
        InputError: it can be gone through once only, as a generator that a function returned.

    Example:
        >>> def batches():
        ...     yield np.zeros((2, 3)), np.zeros(2)
        >>> stream = stream_of(batches)
        >>> [x.shape for x, y in stream.batches(steps=3)], stream_of([1, 2])
        ([(2, 3), (2, 3), (2, 3)], None)
    """
    if isinstance(given, Stream):
        return given
    if isinstance(given, str | bytes | Mapping | type) or hasattr(given, "shape"):
        return None
    if hasattr(given, "element_spec") and hasattr(given, "repeat"):
        return _OfTensorFlow(given)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(given, torch.utils.data.DataLoader):
        return _OfTorch(given)
    if hasattr(given, "__getitem__") and hasattr(given, "on_epoch_end"):
        return _OfKeras(given)
    if isinstance(given, functools.partial) or inspect.isroutine(given):
        return _OfFunction(given)
    if isinstance(given, Iterator):
        raise InputError(
            f"`{argument}` is a {type(given).__name__}, which can be gone through once only, and "
            "training goes through it again and again. Pass the function that makes it, "
            "batches and not batches()."
        )
    if type(given).__module__ != "builtins" and hasattr(type(given), "__iter__"):
        return None if isinstance(given, tuple | list) else Stream(given)
    return None


def _in_numpy(one: Any) -> np.ndarray:
    """An array; float64 in float32, as Keras has it."""
    found = np.asarray(on_host(one))
    return found.astype(np.float32) if found.dtype == np.float64 else found
