"""Where the survivors are: layer by layer, and within the first layer."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from tfinit import arguments
from tfinit.arguments import listed, one_of, refused, text, wholes
from tfinit.errors import InputError
from tfinit.lottery.result import MADE_BY_RUN, TICKET, LevelResult
from tfinit.plots.replicates import draw, legend_beside, legible
from tfinit.plots.style import (
    blank,
    density_axis,
    panels,
    percent_format,
    percent_ticks,
    sequential,
    styles,
)
from tfinit.spread import Spread

# More are not told apart: every so many levels is left out.
_PANELS, _COLUMNS = 12, 6
_LINEAR = 10  # up to so many weights
_TICKS = (0, *(digit * 10**power for power in range(5) for digit in (1, 2, 5)))


def layers_figure(results: Sequence[LevelResult], title: str, branch: str = TICKET) -> Figure:
    """Density of each layer against the density of the network.

    Args:
        results: The trainings.
        title: Title of the figure.
        branch: Whose masks. The dense network is shown with them.

    Returns:
        A figure of one panel. On the grey diagonal a layer is pruned as much as the network. A
        layer or a network without a weight left, which the logarithm cannot show, is a gap.
    """
    text("title", title)
    groups = _levels(results, branch)
    densities = [float(np.mean([r.density for r in group])) for group in groups]
    keys = list(groups[0][0].counts)
    spreads = {
        key: [
            Spread.of([survivors / size for r in g for survivors, size in [r.counts[key]]])
            for g in groups
        ]
        for key in keys
    }
    figure, (axes,) = panels(title, 1, (8, max(4.5, 0.26 * len(keys))))
    lowest = 100 * min((d for d in densities if d > 0), default=1)
    axes.plot([100, lowest], [100, lowest], color="0.6", linewidth=3, alpha=0.6, label="network")
    look = styles(keys)
    for key in keys:
        percents = [100 * d for d in densities]
        draw(
            axes,
            percents,
            [_positive(s) for s in legible(spreads[key], len(keys))],
            100.0,
            label=key,
            **look[key],
        )
    axes.set_yscale("log")
    density_axis(axes, densities)
    every = [100 * s.mean for of in spreads.values() for s in of if s.mean > 0]
    axes.set_ylim(min(every) / 1.15, max(every) * 1.15)
    axes.set_yticks(percent_ticks(every))
    axes.yaxis.set_major_formatter(percent_format())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("density of the layer")
    legend_beside(figure, axes)
    return figure


def masks_figure(
    results: Sequence[LevelResult],
    title: str,
    input_shape: tuple[int, ...],
    branch: str = TICKET,
    seed: int | None = None,
) -> Figure:
    """The mask of the first layer at up to twelve levels, of one replicate.

    Of a dense layer: how many weights each pixel of the input still has, channels together. Of a
    convolution: each of its kernels, and how many input channels each of its places still reads.

    Args:
        results: The trainings.
        title: Title of the figure.
        input_shape: (height, width), (height, width, channels) or (features,) of an example.
        branch: Whose masks. That of the dense network is shown with them.
        seed: Which replicate, by default the first.

    Returns:
        A figure of one panel a level, all in the colours of one scale: light is more. It is
        logarithmic from one weight on where there are more than ten.

    Raises:
        InputError: the first layer is neither dense over such an input nor a convolution of
            images, or there is no such branch or seed.
    """
    results = listed("results", results, LevelResult, cure=MADE_BY_RUN)
    text("title", title)
    input_shape = wholes("input_shape", input_shape, 1)
    seeds = list(dict.fromkeys(r.seed for r in results))
    seed = seeds[0] if seed is None else arguments.seed("seed", seed)
    if seed not in seeds:
        raise refused("seed", f"one of {seeds}", seed)
    shown = [group[0] for group in _levels([r for r in results if r.seed == seed], branch)]
    if len(shown) > _PANELS:
        shown = [shown[round(i)] for i in np.linspace(0, len(shown) - 1, _PANELS)]
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = blank(title, (max(4.0, 1.9 * columns), 2.2 * rows + 0.5))
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    colours = sequential().with_extremes(bad="white")
    for one in axes:
        one.set_axis_off()
    key = next(iter(shown[0].mask))
    images = [first_layer_image(result.mask[key], input_shape) for result in shown]
    most = max(1, max(int(np.nanmax(image)) for image in images))
    norm = SymLogNorm(1, vmin=0, vmax=most) if most > _LINEAR else Normalize(0, most)
    for one, result, image in zip(axes, shown, images, strict=False):
        # A row of features would be a hair's breadth high.
        aspect = "auto" if len(image) == 1 else "equal"
        one.imshow(image, cmap=colours, norm=norm, interpolation="nearest", aspect=aspect)
        survivors, size = result.counts[key]
        one.set_title(f"level {result.level}: {survivors / size:.1%}", fontsize=10)
    what = "weights left per input" if shown[0].mask[key].ndim == 2 else "inputs read per place"
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, label=f"{key}\n{what}")
    bar.set_ticks([n for n in _TICKS if n <= most], minor=False)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    bar.ax.minorticks_off()
    return figure


def first_layer_image(mask: np.ndarray, input_shape: tuple[int, ...]) -> np.ndarray:
    """The mask of a first layer as an image of counts.

    Args:
        mask: (inputs, units) of a dense layer; (height, width, channels, kernels) of a convolution.
        input_shape: (height, width), (height, width, channels) or (features,) of an example.

    Returns:
        Counts of shape (height, width), or (1, features), for a dense layer. For a convolution the
        kernels in rows of a nearly square grid, with lines of NaN between them.

    Raises:
        InputError: it is neither, or does not fit the input.

    Example:
        >>> mask = np.array([[True, True], [False, True], [False, False], [True, False]])
        >>> first_layer_image(mask, (2, 2))
        array([[2, 1],
               [0, 1]])
    """
    mask = np.asarray(mask)
    if len(input_shape) == 1:
        input_shape = (1, *input_shape)
    if mask.ndim == 2 and len(input_shape) in (2, 3) and mask.shape[0] == math.prod(input_shape):
        per_input = np.count_nonzero(mask, axis=1).reshape(*input_shape[:2], -1)
        return per_input.sum(axis=2)
    if mask.ndim != 4:
        raise InputError(
            "`results` must have a first layer that is dense over images of `input_shape` or a "
            f"convolution, received a mask of shape {mask.shape} and `input_shape` {input_shape}."
        )
    counts = np.count_nonzero(mask, axis=2)
    height, width, kernels = counts.shape
    columns = math.ceil(math.sqrt(kernels))
    rows = math.ceil(kernels / columns)
    grid = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for n in range(kernels):
        top, left = (n // columns) * (height + 1), (n % columns) * (width + 1)
        grid[top : top + height, left : left + width] = counts[:, :, n]
    return grid


def _levels(results: Sequence[LevelResult], branch: str) -> list[list[LevelResult]]:
    """The replicates of a branch level by level, from the dense network on."""
    results = listed("results", results, LevelResult, cure=MADE_BY_RUN)
    one_of("branch", branch, dict.fromkeys(r.branch for r in results))
    levels: dict[int, list[LevelResult]] = {}
    for result in results:
        if result.level == 0 or result.branch == branch:
            levels.setdefault(result.level, []).append(result)
    return [levels[level] for level in sorted(levels)]


def _positive(spread: Spread) -> Spread:
    """The same for a logarithmic axis, where nothing at 0 can be drawn."""
    return spread if spread.mean > 0 else Spread.of([])
