"""A ticket: a mask with the weights to rewind to, in one small file.

The file is a compressed ``.npz`` with four members that any NumPy reads:

=========  =========================================================================================
header     JSON in UTF-8: format, version, step, about, and of each weight key, shape, type, masked
masks      one bit for each weight that has a mask, 1 = survives, each mask filled up to whole bytes
values     the bytes of the survivors of masked weights, and of the other weights whole; the first
           bytes of all values of a weight, then the second ones, ...: so they compress
sha256     of the three members before it
=========  =========================================================================================
"""

import hashlib
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes  # noqa: F401  (comes with Keras; teaches NumPy bfloat16 and the like)
import numpy as np

from tfinit import arguments
from tfinit.arguments import array, instance, mapping, refused, whole
from tfinit.array_files import Stored, is_number, open_arrays
from tfinit.errors import InputError, WorkError, of_system
from tfinit.file_bounds import array_bytes, check_bytes
from tfinit.files import open_regular, put, why_not
from tfinit.lottery.result import LevelResult, Weights
from tfinit.pruning.in_training.model_masks import ensure_sparse_optimizer, set_masks
from tfinit.pruning.scoring.masks import Masks, check_mask, density
from tfinit.results import Result, json_ready
from tfinit.text_table import aligned
from tfinit.variables import (
    all_weights,
    check_same_keys,
    keras_of,
    prunable_weights,
    write_weights,
)

_NUMBERS = "biufc"
_FORMAT, _VERSION = "tfinit ticket", 1
_FOREIGN = "is not a ticket. Pass a file that Ticket.save wrote."


@dataclass(frozen=True, eq=False, repr=False)
class Ticket(Result):
    """A mask, and the weights that its survivors start from.

    Attributes:
        mask: Key → True where the weight survives, for the prunable weights.
        rewind: Key → weights at the rewind point, for all weights of the model. Those that the mask
            prunes do not matter, and are zero after `load`.
        step: The training step of the rewind point; 0 is initialization.
        about: Whatever should be remembered, such as the experiment it comes from.

    Raises:
        InputError: there is no mask, a mask fits no weight, a weight is no array of numbers,
            ``step`` is no number of steps, or ``about`` has something else than text.

    Example:
        >>> rewind = {"fc/kernel": np.array([[1.0, 2.0]]), "fc/bias": np.array([0.5, 0.5])}
        >>> ticket = Ticket({"fc/kernel": np.array([[False, True]])}, rewind)
        >>> ticket.save(Path(tmp) / "ticket.npz")
        >>> Ticket.load(Path(tmp) / "ticket.npz").rewind["fc/kernel"]
        array([[0., 2.]])
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, name="fc")])
        >>> ticket.apply(model)
        >>> model.layers[0].kernel.numpy()
        array([[0., 2.]], dtype=float32)

    References:
        Frankle & Carbin, *The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural
        Networks*, ICLR 2019, https://arxiv.org/abs/1803.03635. Frankle, Dziugaite, Roy & Carbin,
        *Linear Mode Connectivity and the Lottery Ticket Hypothesis*, ICML 2020,
        https://arxiv.org/abs/1912.05671, for rewinding to a later step.
    """

    mask: Masks
    rewind: Weights
    step: int = 0
    about: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        masks = mapping("mask", self.mask, "keys to masks")
        rewind = mapping("rewind", self.rewind, "keys to weights")
        if not masks:
            raise InputError("`mask` is empty. A ticket needs the mask of at least one weight.")
        unknown = sorted(masks.keys() - rewind.keys())
        if unknown:
            raise InputError(
                f"`mask` names {unknown}, which `rewind` lacks; it has {list(rewind)}."
            )
        rewind = {
            key: array(f"rewind[{key!r}]", weight, _NUMBERS) for key, weight in rewind.items()
        }
        step = whole("step", self.step, 0, cure="0 is initialization.")
        about = mapping("about", self.about, "text to text")
        if not all(isinstance(text, str) for text in about.values()):
            raise refused("about", "a dictionary of text to text", about)
        mask = {key: check_mask(key, m, rewind[key].shape) for key, m in masks.items()}
        # Checked forms of what was passed: the way to set a field of a frozen dataclass.
        for name, value in (
            ("mask", mask),
            ("rewind", rewind),
            ("step", step),
            ("about", about),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def of(
        cls, result: LevelResult, step: int = 0, about: Mapping[str, str] | None = None
    ) -> "Ticket":
        """The ticket that a level of an experiment trained.

        Args:
            result: The level.
            step: The training step of its `rewind` weights.
            about: Added to what is known of the result: seed, branch and level.
        """
        instance("result", result, LevelResult)
        about = {} if about is None else mapping("about", about, "text to text")
        known = {name: str(getattr(result, name)) for name in ("seed", "branch", "level")}
        return cls(dict(result.mask), result.rewind, step, known | about)

    @property
    def survivors(self) -> int:
        """Number of the prunable weights that survive."""
        return sum(int(np.count_nonzero(m)) for m in self.mask.values())

    @property
    def density(self) -> float:
        """Fraction of the prunable weights that survive."""
        return density(self.mask)

    @property
    def weights(self) -> Weights:
        """The weights that training starts from: those of `rewind`, zero where the mask prunes."""
        return {key: self._masked(key, weight) for key, weight in self.rewind.items()}

    def _masked(self, key: str, weight: np.ndarray) -> np.ndarray:
        # Not a product: that makes -0 of negative numbers and keeps NaN.
        if key not in self.mask:
            return weight
        return np.where(self.mask[key], weight, np.zeros((), weight.dtype))

    def __str__(self) -> str:
        """One line for the ticket, one for each of its masks."""
        total = sum(m.size for m in self.mask.values())
        told = "".join(f", {name} {text}" for name, text in self.about.items())
        lines = [
            f"ticket: {self.survivors:,} of {total:,} weights ({self.density:.2%}), "
            f"rewinds to step {self.step}{told}"
        ]
        rows = []
        for key, mask in self.mask.items():
            kept = int(np.count_nonzero(mask))
            share = f" ({kept / mask.size:.2%})" if mask.size else ""
            rows.append((f"  {key}", f"{kept:,} of {mask.size:,}{share}"))
        return "\n".join([*lines, *aligned(rows)])

    def to_dict(self) -> dict[str, Any]:
        """What it is, and how much of each weight survives; the arrays are for `save`."""
        found: dict[str, Any] = {"step": self.step, "about": self.about}
        found |= {"survivors": self.survivors, "density": self.density}
        return json_ready({**found, "weights": self._rows()})

    def _rows(self) -> list[dict[str, Any]]:
        """One for each mask."""
        return [
            {"weight": k, "shape": m.shape, "size": m.size, "survivors": int(np.count_nonzero(m))}
            for k, m in self.mask.items()
        ]

    # -- the model -----------------------------------------------------------------------------

    def apply(self, model: Any) -> None:
        """Write the ticket into a built Keras 3 model: weights, and masks where it is compiled.

        In a compiled model the optimizer keeps the pruned weights at zero from then on; one that
        is no SparseOptimizer is wrapped into one, and what else it was compiled with stays. In a
        model that is not compiled only weights are written, and training would revive what is
        pruned: compile it with `tfinit.pruning.SparseOptimizer`, then apply. Apply before you
        train: what an optimizer remembers of earlier steps, such as momentum, stays.

        Args:
            model: Of the same layers as the one that the ticket comes from: the keys of
                `tfinit.variables.all_weights` and the shapes are the same.

        Raises:
            InputError: ``model`` is no built Keras 3 model, a weight or mask is missing, unknown or
                of another shape, or the SparseOptimizer that the model has leaves out a weight that
                the ticket prunes. No weight was changed.
        """
        if keras_of(model) == "tf_keras":
            raise InputError(
                "`model` must be a Keras 3 model, received one of tf_keras. There, write "
                "`ticket.weights` with tfinit.variables.write_weights, and keep the masks with "
                "tfinit.pruning.TfmotPruner(model).set_masks(ticket.mask)."
            )
        variables = all_weights(model)
        check_same_keys("rewind", dict(self.rewind), variables)
        check_same_keys("mask", self.mask, prunable_weights(model))
        if getattr(model, "optimizer", None) is not None:
            ensure_sparse_optimizer(model)
            # Before the weights: this may find that the optimizer has no place for a mask.
            set_masks(model, self.mask)
        write_weights(variables, dict(self.weights))

    # -- the file ------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one file, which appears whole or not at all. The same ticket gives the same bytes.

        Args:
            path: Where. Its directory is made; a file that is there is replaced.

        Raises:
            WorkError: it cannot be written. What was at ``path`` is still there.
        """
        path = arguments.path("path", path)
        try:
            put(path, self._packed())
        except OSError as error:
            raise WorkError(
                f"cannot write the ticket {path}: {why_not(error, path)}. Make room or mend the "
                "permissions, or save it elsewhere."
            ) from error

    def _packed(self) -> bytes:
        weights, masks, values = [], [], []
        for key, weight in self.rewind.items():
            masked = key in self.mask
            kept = weight[self.mask[key]] if masked else weight.ravel()
            if masked:
                masks.append(np.packbits(self.mask[key].ravel()))
            values.append(_in_planes(kept))
            weights.append(
                {
                    "key": key,
                    "shape": weight.shape,
                    "dtype": weight.dtype.name,
                    "masked": masked,
                }
            )
        about = {"format": _FORMAT, "version": _VERSION, "step": self.step, "about": self.about}
        header = json.dumps({**about, "weights": weights}, ensure_ascii=False).encode()
        members = {
            "header": np.frombuffer(header, np.uint8),
            "masks": np.concatenate(masks),
            "values": np.concatenate(values),
        }
        buffer = io.BytesIO()
        members["sha256"] = _digest(members)
        np.savez_compressed(buffer, **members)  # ty: ignore[invalid-argument-type]
        return buffer.getvalue()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Ticket":
        """Read a ticket that `save` wrote. Nothing in the file is executed.

        Raises:
            InputError: there is no such file, it is damaged, it is no ticket, or a newer tfinit
                wrote it.
        """
        path = arguments.path("path", path)
        # A damaged .npz may raise anything: BadZipFile, zlib.error, MemoryError, ...
        try:
            with open_regular(path) as file:
                archive = file.read(2) == b"PK"
            ticket = _FOREIGN
            if archive:
                with open_arrays(path) as arrays:
                    ticket = cls._unpacked(arrays)
        except OSError as error:
            raise InputError(
                f"`path` {path} cannot be read: {of_system(error)}. "
                "Pass a file that Ticket.save wrote."
            ) from error
        except Exception as error:
            raise InputError(
                f"`path` {path} is damaged: {error or type(error).__name__}. "
                "Copy it again from where it came, or save the ticket again."
            ) from error
        if isinstance(ticket, str):
            raise InputError(f"`path` {path} {ticket}")
        return ticket

    @classmethod
    def _unpacked(cls, arrays: Mapping[str, Stored]) -> "Ticket | str":
        """The ticket, or what the file is instead."""
        if "header" not in arrays:
            return _FOREIGN
        # Type and shape are looked at first: the members are flat arrays of bytes.
        members = {"header": _bytes(arrays, "header")}
        header = json.loads(members["header"].tobytes())
        if not isinstance(header, dict) or header.get("format") != _FORMAT:
            return _FOREIGN
        if header["version"] > _VERSION:
            return (
                f"is a ticket of format {header['version']}, and this tfinit reads up to "
                f"format {_VERSION}. Install a newer tfinit."
            )
        members |= {name: _bytes(arrays, name) for name in ("masks", "values")}
        if not np.array_equal(_bytes(arrays, "sha256"), _digest(members)):
            raise ValueError("the checksum differs")
        weights = [_Weight.of(told) for told in header["weights"]]
        _check_sizes(weights, members["masks"].size, members["values"].size)
        mask, rewind = {}, {}
        bits, numbers = (io.BytesIO(members[name].tobytes()) for name in ("masks", "values"))
        for weight in weights:
            rewind[weight.key] = np.zeros(weight.shape, weight.dtype)
            if weight.masked:
                packed = np.frombuffer(bits.read(-(-weight.size // 8)), np.uint8)
                alive = np.unpackbits(packed, count=weight.size).astype(bool)
                mask[weight.key] = alive = alive.reshape(weight.shape)
                kept = int(np.count_nonzero(alive))
            else:
                alive, kept = ..., weight.size
            planes = numbers.read(kept * weight.dtype.itemsize)
            values = _from_planes(planes, weight.dtype)
            if values.size != kept:
                raise ValueError(f"it has {values.size} of the {kept} values of {weight.key!r}")
            rewind[weight.key][alive] = values if weight.masked else values.reshape(weight.shape)
        return cls(mask, rewind, header["step"], header["about"])


@dataclass(frozen=True)
class _Weight:
    """What a header says of a weight."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    masked: bool

    @classmethod
    def of(cls, told: Any) -> "_Weight":
        """ValueError unless there is an array like that."""
        key, dtype = told["key"], np.dtype(str(told["dtype"]))
        if not isinstance(key, str) or not is_number(dtype):
            raise ValueError(f"it names no weights of numbers by {str(told['dtype'])[:50]!r}")
        array_bytes(told["shape"], dtype)
        return cls(key, tuple(told["shape"]), dtype, bool(told["masked"]))

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def _check_sizes(weights: Sequence[_Weight], masks: int, values: int) -> None:
    """ValueError unless there are as many bytes of masks and values as the weights need: before
    any of them is allocated."""
    packed = sum(-(-w.size // 8) for w in weights if w.masked)
    whole = sum(w.size * w.dtype.itemsize for w in weights if not w.masked)
    if packed != masks or whole > values:
        raise ValueError(
            f"its weights need {packed:,} bytes of masks and at least {whole:,} of values, and "
            f"{masks:,} and {values:,} are there"
        )
    # Of each masked weight, a value and a byte of the mask.
    dense = whole + sum(w.size * (w.dtype.itemsize + 1) for w in weights if w.masked)
    check_bytes("it", dense, masks + values)


def _bytes(arrays: Mapping[str, Stored], name: str) -> np.ndarray:
    stored = arrays[name]
    if stored.dtype != np.uint8 or len(stored.shape) != 1:
        raise ValueError(f"{name!r} is no row of bytes")
    return stored.read()


def _digest(members: Mapping[str, np.ndarray]) -> np.ndarray:
    # Each member's length before it: what one loses the next must not gain.
    told = hashlib.sha256()
    for value in members.values():
        told.update(f"{value.size}/".encode() + value.tobytes())
    return np.frombuffer(told.digest(), np.uint8)


def _in_planes(values: np.ndarray) -> np.ndarray:
    """The little-endian bytes of a flat array: all the first ones, then all the second ones, ..."""
    values = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return values.view(np.uint8).reshape(values.size, values.dtype.itemsize).T.ravel()


def _from_planes(planes: bytes, dtype: np.dtype) -> np.ndarray:
    ordered = np.frombuffer(planes, np.uint8).reshape(dtype.itemsize, -1).T
    values = np.ascontiguousarray(ordered).view(dtype.newbyteorder("<")).ravel()
    return values.astype(dtype, copy=False)
