"""The tables and the figure of the league, of what is trained so far."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from league import League, run_of
from matplotlib.figure import Figure

from tfinit.comparison.result import Comparison, Row, choose_target
from tfinit.errors import InputError
from tfinit.files import png, write_whole
from tfinit.plots.style import blank
from tfinit.text_table import padded

if TYPE_CHECKING:
    from tfinit.comparison.result import Run

_BEGIN, _END = "<!-- league -->", "<!-- /league -->"
_FAR = 2.0  # orders of magnitude behind the best that are one colour


def write(league: League, page: Path | None = None) -> None:
    """Print the tables; write them and the figure beside the results, and into a page."""
    found = {name: one for name in league.settings if (one := comparison(league, name))}
    if not found:
        print("No entry is trained whole yet: start the same command again to go on.")
        return
    text = tables(league, found)
    print(text, flush=True)
    write_whole(league.directory / "table.md", f"{text}\n".encode())
    drawn = png(figure(found))
    write_whole(league.directory / "league.png", drawn)
    if page is not None:
        before, begins, rest = page.read_text().partition(_BEGIN)
        _, ends, after = rest.partition(_END)
        if not begins or not ends:
            raise InputError(f"`--page` {page} must have the lines {_BEGIN} and {_END}.")
        write_whole(page, f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}".encode())
        write_whole(page.parent / "figures" / "league.png", drawn)


def comparison(league: League, network: str) -> Comparison | None:
    """The race of one network between the entries that are trained whole."""
    setting = league.settings[network]
    runs: list[Run] = []
    for name in setting.initializations:
        rate = league.rate(network, name)
        kept = [] if rate is None else [league.kept(network, name, rate, s) for s in league.seeds]
        if kept and all(kept):
            runs += [run_of(one, name) for one in kept if one]
    if not runs:
        return None
    classes = None if setting.loss == "squares" else setting.data().classes
    target = choose_target(runs, classes)
    return Comparison(
        network, tuple(runs), classes, setting.steps, setting.batch_size, target, "CPU"
    )


def tables(league: League, found: dict[str, Comparison]) -> str:
    """All of them, in markdown."""
    parts = [_ranks(found), _recommended(league, found), _defaults(found)]
    parts += [_network(league, one) for one in found.values()]
    left = [
        f"{network} {name}" for network, name in league.entries() if not league.done(network, name)
    ]
    if left:
        parts.append(f"Not trained whole: {', '.join(left)}.")
    return "\n\n".join(parts)


def _names(found: dict[str, Comparison]) -> list[str]:
    return list(dict.fromkeys(label for one in found.values() for label in one.labels))


def _ranks(found: dict[str, Comparison]) -> str:
    def cell(one: Comparison, name: str) -> str:
        place = one.ranking.ranks.get(name)
        return "" if place is None else f"**{place}**" if place == 1 else str(place)

    rows = [["initialization", *found]]
    rows += [[name, *(cell(one, name) for one in found.values())] for name in _names(found)]
    return _markdown("Ranks", rows)


def _recommended(league: League, found: dict[str, Comparison]) -> str:
    rows = [["network", "what it chose", "final loss", "the best", "rank", "Keras's default"]]
    for network, one in found.items():
        rate = league.rate(network, "recommend")
        kept = rate and league.kept(network, "recommend", rate, league.seeds[0])
        if not kept or "recommend" not in one.labels:
            continue
        place = {row.label: row for row in one.rows}
        best = one.rows[0]
        rows.append(
            [
                network + " (held out)" * league.settings[network].held_out,
                kept["chose"],
                _loss(place["recommend"]),
                f"{best.label}, {_loss(best)}",
                str(place["recommend"].rank),
                str(place["keras"].rank) if "keras" in place else "",
            ]
        )
    return _markdown("What `recommend` chose", rows)


def _defaults(found: dict[str, Comparison]) -> str:
    def where(name: str, first: bool) -> str:
        places = {n: one.ranking.ranks.get(name) for n, one in found.items()}
        return ", ".join(n for n, p in places.items() if p and (p == 1) == first) or "none"

    told = []
    for name, called in (("keras", "Keras's default"), ("recommend", "`recommend`")):
        told.append(
            f"The test does not tell {called} from the best on: {where(name, True)}. It is behind "
            f"on: {where(name, False)}."
        )
    return "\n\n".join(told)


def _network(league: League, one: Comparison) -> str:
    setting = league.settings[one.title]
    target = "–" if one.target_loss is None else f"{one.target_loss:.3g}"
    header = ["rank", "initialization", "rate", f"steps to {target}", "final loss"]
    tested = any(row.test_accuracy.n for row in one.rows)
    rows = [[*header, *["test accuracy"] * tested, "diverged"]]
    for row in one.rows:
        rate = league.rate(one.title, row.label)
        ends = rate in (min(setting.rates), max(setting.rates))
        part = f" ({row.reached}/{row.runs})" if 0 < row.reached < row.runs else ""
        steps = f"{row.steps_to_target.mean:.0f}{part}" if row.reached else "–"
        accuracy = "–" if not row.test_accuracy.n else f"{100 * row.test_accuracy.mean:.1f}%"
        cells = [str(row.rank), row.label, f"{rate:g}{'*' * ends}", steps, _loss(row)]
        rows.append([*cells, *[accuracy] * tested, f"{row.diverged} of {row.runs}"])
    optimizer = {"sgd": "SGD with momentum 0.9", "adam": "Adam"}[setting.optimizer]
    told = f"{one.title}: {setting.steps} steps of {setting.batch_size} examples, {optimizer}"
    return _markdown(told, rows)


def _loss(row: Row) -> str:
    spread = row.final_loss
    if not spread.n:
        return "–"
    half = spread.interval[1] - spread.mean
    return f"{spread.mean:.3g}" if spread.n < 2 else f"{spread.mean:.3g} ± {half:.2g}"


def _markdown(title: str, rows: Iterable[list[str]]) -> str:
    head, *body = padded(list(rows))
    lines = (head, ["-" * len(cell) for cell in head], *body)
    return "\n".join([f"**{title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


def figure(found: dict[str, Comparison]) -> Figure:
    """How far behind the best each is, as a colour; its rank as a number."""
    from tfinit.plots.style import sequential

    names = _names(found)
    behind = np.full((len(names), len(found)), math.nan)
    title = "Final loss against the best of its network, and rank"
    drawn = blank(title, (5 + 0.75 * len(found), 2.5 + 0.35 * len(names)))
    axes = drawn.subplots()
    for column, one in enumerate(found.values()):
        place = {row.label: row for row in one.rows}
        best = np.log10(max(one.rows[0].final_loss.mean, 1e-7)) if one.best else math.nan
        for line, name in enumerate(names):
            if name not in place:
                continue
            row = place[name]
            loss = row.final_loss.mean if not row.diverged else math.inf
            behind[line, column] = min(np.log10(max(loss, 1e-7)) - best, _FAR)
            dark = behind[line, column] < _FAR / 2
            colour = "white" if dark else "black"
            weight = "bold" if row.rank == 1 else "normal"
            told = "×" if row.diverged else str(row.rank)
            where = {"ha": "center", "va": "center", "fontsize": 8}
            axes.text(column, line, told, color=colour, weight=weight, **where)
    shown = axes.imshow(behind, cmap=sequential(), vmin=0, vmax=_FAR, aspect="auto")
    axes.set_xticks(range(len(found)), found, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    ticks = {0: "best", 1: "10 times", _FAR: f"{10**_FAR:.0f} times or more"}
    bar = drawn.colorbar(shown, ax=axes, ticks=list(ticks))
    bar.ax.set_yticklabels(ticks.values(), fontsize=8)
    return drawn
