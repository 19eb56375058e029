"""Do the sizes of activations hang on the width? The test of a μ-parametrization."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tfinit.arguments import check_real, function, number, refused, text, whole, wholes
from tfinit.errors import InputError, reason
from tfinit.graph.calling import call, check_data
from tfinit.graph.kernels import find_kernels
from tfinit.graph.tracing import trace
from tfinit.probes import Point, probing, seen_layers
from tfinit.results import Records, json_ready
from tfinit.text_table import aligned
from tfinit.variables import check_built, walk_layers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["CoordinateCheck", "LayerCoordinates", "coordinate_check"]

_FLAT = 0.2


@dataclass(frozen=True)
class LayerCoordinates:
    """How large the activations of one layer are, by width.

    Attributes:
        key: The layer's key (`tfinit.variables`).
        sizes: For each step from 0 on, for each width: mean |h|.
        changes: The same for the change since the start: mean |h - h₀|; zeros at step 0.
        slope: Of log mean |h| after the last step by log width.
        start_slope: The same before the first step.
        change_slope: The same of log mean |h - h₀| after the last step.
    """

    key: str
    sizes: tuple[tuple[float, ...], ...]
    changes: tuple[tuple[float, ...], ...]
    slope: float
    start_slope: float
    change_slope: float


class CoordinateCheck(Records[LayerCoordinates]):
    """What `coordinate_check` found: a record for each layer with a kernel, in data-flow order.

    Args:
        widths: Those that were tried.
        steps: How many steps were trained.
        records: One for each layer.
        tolerance: The slope that is still flat.
    """

    def __init__(
        self,
        widths: Sequence[int],
        steps: int,
        records: Sequence[LayerCoordinates],
        tolerance: float,
    ) -> None:
        self.widths, self.steps, self.tolerance = tuple(widths), steps, tolerance
        self._records = tuple(records)

    @property
    def records(self) -> tuple[LayerCoordinates, ...]:
        """One for each layer with a kernel."""
        return self._records

    @property
    def is_flat(self) -> bool:
        """True if no layer's activations, nor their changes, grow or shrink with the width.

        That is: after the last step |slope| and |change_slope| are at most ``tolerance``. The
        start is not asked: an output that is zero in the limit, as in μP, shrinks there.
        """
        return not self.steep

    @property
    def steep(self) -> tuple[str, ...]:
        """The keys of the layers for which that is not so."""
        return tuple(
            record.key
            for record in self._records
            if not max(abs(record.slope), abs(record.change_slope)) <= self.tolerance
        )

    def __str__(self) -> str:
        """The table: mean |h| after the last step at each width, and the slopes."""
        names = ["layer", *map(str, self.widths), "slope", "slope of change", "slope at start"]
        rows = [
            [
                record.key,
                *(f"{size:.3g}" for size in record.sizes[-1]),
                *(f"{s:+.2f}" for s in (record.slope, record.change_slope, record.start_slope)),
            ]
            for record in self._records
        ]
        verdict = f"not flat: {', '.join(self.steep)}" if self.steep else "flat"
        head = f"mean |activation| after {self.steps} steps by width: {verdict}"
        return "\n".join([head, *aligned([names, *rows], right=range(1, len(names)))])

    def to_dict(self) -> dict[str, Any]:
        """The check as what JSON can hold: widths, steps, tolerance, is_flat, records."""
        about = {"widths": self.widths, "steps": self.steps, "tolerance": self.tolerance}
        return json_ready({**about, "is_flat": self.is_flat, "records": self._records})

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "layer": record.key,
                **{f"at {w}": s for w, s in zip(self.widths, record.sizes[-1], strict=True)},
                "slope": record.slope,
                "change_slope": record.change_slope,
                "start_slope": record.start_slope,
            }
            for record in self._records
        ]

    def plot(self, title: str | None = None) -> "Figure":
        """The sizes by width, a panel for each step, see `tfinit.plots.coordinates_figure`."""
        text("title", title, none=True)
        from tfinit.plots import coordinates_figure

        return coordinates_figure(self, title or "Activations by width")


def coordinate_check(
    build_model: Callable[[int], Any],
    widths: Sequence[int],
    x: Any,
    y: Any,
    *,
    steps: int = 4,
    repeats: int = 1,
    tolerance: float = _FLAT,
) -> CoordinateCheck:
    """Train networks of several widths for a few steps, and see whose activations grow.

    For each layer with a kernel, the mean of |h| over a batch and over the units is measured after
    each step t, and that of |h_t - h₀|; its slope is that of a line through log mean |h| by log
    width. In a μ-parametrized network all of these are Θ(1) in the width after a step or more, so
    that the best learning rate is the same at each width; in the standard one with Adam the
    changes grow with the width, and at some width training diverges.

    When it helps: before a learning rate is tuned on a narrow network for a wide one; it finds a
    layer whose multiplier was forgotten. When not: with a learning rate so small or so large that
    nothing moves or all is saturated; widths that differ by less than a factor of 4 say little, and
    at widths near the base of "mup" its random output is not small yet: take a narrower base.

    Args:
        build_model: Called with a width, and for each repeat anew: a built model, compiled with
            loss and optimizer, initialized. It is trained.
        widths: Two or more, ascending.
        x: One batch, as the models take it; each step is on all of it.
        y: Its targets.
        steps: How many steps, 1 or more.
        repeats: How many networks are averaged at each width; they differ if what is built does.
        tolerance: Up to which slope, up or down, a line is called flat.

    Returns:
        The check, with table, JSON and figure; `CoordinateCheck.is_flat` for a test.

    Raises:
        InputError: a function that returns no compiled model, or models of other layers at another
            width; data that does not fit; activations that are not finite.

    Example:
        >>> def network(width):
        ...     layers = [keras.layers.Dense(width, "relu"), keras.layers.Dense(1)]
        ...     model = keras.Sequential([keras.Input((8,)), *layers])
        ...     model.compile("adam", "mse")
        ...     return model
        >>> x, y = np.random.default_rng(0).normal(size=(2, 16, 8)).astype("float32")
        >>> check = coordinate_check(network, [16, 64, 256], x, y[:, :1])
        >>> print(check)  # doctest: +SKIP

    Yang et al., Tensor programs V: tuning large neural networks via zero-shot hyperparameter
    transfer, NeurIPS 2021, appendix D.1.
    """
    function("build_model", build_model, "a width")
    widths = wholes("widths", widths, 1, different=True)
    if len(widths) < 2 or list(widths) != sorted(widths):
        raise refused("widths", "two or more whole numbers, ascending", widths)
    steps, repeats = whole("steps", steps, 1), whole("repeats", repeats, 1)
    tolerance = number("tolerance", tolerance, above=0)
    if y is None:
        raise refused("y", "the targets of the batch", y)
    check_real("y", y)
    means: dict[str, np.ndarray] = {}
    shape = (2, repeats, steps + 1, len(widths))
    for place, width in enumerate(widths):
        for turn in range(repeats):
            seen = _measured(build_model(width), x, y, steps)
            if place == turn == 0:
                means = {key: np.zeros(shape) for key in seen}
            if list(seen) != list(means):
                raise InputError(
                    "`build_model` must return the same layers at each width: at "
                    f"{widths[0]} their keys are {list(means)}, at {width} {list(seen)}."
                )
            for key, found in seen.items():
                means[key][:, turn, :, place] = found
    records = [_record(key, widths, *found.mean(axis=1)) for key, found in means.items()]
    return CoordinateCheck(widths, steps, records, tolerance)


def _measured(model: Any, x: Any, y: Any, steps: int) -> dict[str, np.ndarray]:
    """Key → mean |h| and mean |h - h₀| at each step, of the layers with kernels."""
    check_built(model, "build_model(width)")
    if getattr(model, "optimizer", None) is None or not getattr(model, "compiled", False):
        raise InputError(
            "`build_model` must return a compiled model: call model.compile(optimizer, loss) in it."
        )
    data = check_data(model, x)
    owners = {id(kernel.layer) for kernel in find_kernels(model, trace(model, data))}
    layers = [
        (key, layer)
        for key, layer in seen_layers(model)
        if owners & {id(part) for _, part in walk_layers(layer)}
    ]
    first: dict[str, np.ndarray] = {}
    found: dict[str, list[tuple[float, float]]] = {}
    for step in range(steps + 1):
        if step:
            _step(model, x, y)
        now: dict[str, np.ndarray] = {}
        with probing(model, _keep(now), layers=layers):
            call(model, data)
        for key, values in now.items():
            if not np.isfinite(values).all():
                raise InputError(
                    f"The activations of layer {key!r} are not finite after {step} steps. Use a "
                    "smaller learning rate."
                )
            start = first.setdefault(key, values)
            moved = float(np.mean(np.abs(values - start)))
            found.setdefault(key, []).append((float(np.mean(np.abs(values))), moved))
    return {key: np.array(pairs).T for key, pairs in found.items()}


def _step(model: Any, x: Any, y: Any) -> None:
    try:
        model.train_on_batch(x, y)
    except Exception as error:
        raise InputError(
            f"`model` {model.name!r} cannot be trained on `x` and `y`: {reason(error)}"
        ) from error


def _keep(into: dict[str, np.ndarray]) -> Callable[[Point, Any], None]:
    import keras

    def value(point: Point, tensor: Any) -> None:
        if point.what == "output":
            name = f"{point.key} ({point.call + 1})" if point.call else point.key
            into[name] = np.asarray(keras.ops.convert_to_numpy(tensor), np.float64)

    return value


def _record(
    key: str, widths: Sequence[int], sizes: np.ndarray, changes: np.ndarray
) -> LayerCoordinates:
    def slope(values: np.ndarray) -> float:
        if not (values > 0).all():
            return math.nan
        return float(np.polyfit(np.log(widths), np.log(values), 1)[0])

    return LayerCoordinates(
        key,
        tuple(map(tuple, sizes.tolist())),
        tuple(map(tuple, changes.tolist())),
        slope(sizes[-1]),
        slope(sizes[0]),
        slope(changes[-1]),
    )
