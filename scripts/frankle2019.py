"""Frankle & Carbin 2019, figures 4 and 5: winning tickets, reinitialized, pruned once.

    python scripts/frankle2019.py --quick                    # digits, a minute
    python scripts/frankle2019.py                            # figure 4: LeNet-300-100 on MNIST
    python scripts/frankle2019.py --network conv-2           # figure 5: CIFAR-10; conv-4, conv-6

Iterative tickets, the same masks with other random weights, and tickets pruned once, from the dense
network to the same density: step of the smallest validation loss, test accuracy there and at the
end. The paper reinitializes each ticket three times, here once. https://arxiv.org/abs/1803.03635
"""

from dataclasses import dataclass
from typing import Literal

from _experiment import (
    Measured,
    Options,
    Panel,
    cell,
    claims,
    figure_of,
    main,
    markdown,
    replicates,
    run_all,
    scaled,
)

from tfinit.lottery.config import LotteryConfig

BRANCHES = {"ticket": "iterative ticket", "reinit": "reinitialized", "one-shot": "one-shot ticket"}
# Figure 2: steps, Adam's rate, fraction pruned of the convolutions. Fully connected: a fifth.
CONVOLUTIONAL = {
    "conv-2": (20_000, 2e-4, 0.1),
    "conv-4": (25_000, 3e-4, 0.1),
    "conv-6": (30_000, 3e-4, 0.15),
}
# Section 3: fastest density and how much faster; best density and its gain in points.
FIGURE_5 = {
    "conv-2": (0.088, 3.5, 0.046, 3.4),
    "conv-4": (0.092, 3.5, 0.111, 3.5),
    "conv-6": (0.151, 2.5, 0.264, 3.3),
}


@dataclass(frozen=True)
class Settings(Options):
    network: Literal["lenet-300-100", "conv-2", "conv-4", "conv-6"] = "lenet-300-100"
    """The network: LeNet is figure 4, the others are figure 5."""

    def config(self) -> LotteryConfig:
        seeds = (0, 1, 2, 3, 4)
        controls = ("reinit", "one-shot")
        if self.network == "lenet-300-100":
            full = LotteryConfig(
                dataset="mnist",
                levels=20,
                steps=50_000,
                evaluate_every=100,
                seeds=seeds,
                controls=controls,
            )
            quick = LotteryConfig(levels=16, steps=1500, controls=controls)
            return self.choose(full, quick)
        steps, rate, pruned = CONVOLUTIONAL[self.network]
        convolutions = range(1, 1 + int(self.network[-1]))
        conv = {
            "model": self.network,
            "learning_rate": rate,
            "layer_prune_fractions": {f"conv{n}/kernel": pruned for n in convolutions},
        }
        full = LotteryConfig(
            dataset="cifar10",
            levels=25,
            steps=steps,
            evaluate_every=100,
            seeds=seeds,
            controls=controls,
            **conv,
        )
        quick = LotteryConfig(
            levels=6,
            steps=200,
            prune_fraction=0.5,
            seeds=(0,),
            **{**conv, "layer_prune_fractions": dict.fromkeys(conv["layer_prune_fractions"], 0.3)},
        )
        return self.choose(full, quick)


def table(measured: Measured, title: str) -> str:
    header = ["density"]
    for name in BRANCHES:
        header += [f"{name}: stop step", "accuracy there", "at the end"]
    rows = []
    for level in [0, *measured.levels]:
        row = [f"{measured.row(level).density:.1%}"]
        for branch in BRANCHES:
            found = measured.row(level, branch)
            row += (
                [
                    cell(found.early_stop_step, 0),
                    cell(scaled(found.early_stop_accuracy, 100), 2),
                    cell(scaled(found.final_accuracy, 100), 2),
                ]
                if found
                else ["", "", ""]
            )
        rows.append(row)
    return markdown(title, header, rows)


def lenet_claims(m: Measured) -> list[tuple[str, str, str]]:
    return [
        ("ticket of 21.1%: stop step, against the dense network's", "-38%", faster(m, 0.211)),
        ("ticket of 21.1%: stop step, reinit / ticket", "2.51", times(m, 0.211, "reinit")),
        ("ticket of 21.1%: accuracy there over reinit, points", "+0.5", better(m, 0.211, "reinit")),
        ("ticket of 13.5%: accuracy there over dense, points", "> +0.3", better(m, 0.135)),
        ("ticket of 3.6%: accuracy there over dense, points", "about 0", better(m, 0.036)),
        ("smallest ticket as good as dense (at the stop)", "3.6%", smallest(m, "ticket")),
        ("smallest one-shot ticket as good as dense", "5.17%", smallest(m, "one-shot")),
        ("smallest reinitialized mask as good as dense", "above 21.1%", smallest(m, "reinit")),
    ]


def conv_claims(m: Measured, network: str) -> list[tuple[str, str, str]]:
    fast, ratio, best, gain = FIGURE_5[network]
    return [
        (f"stop step, dense / ticket of {fast:.1%}", f"{ratio}", times(m, fast)),
        (
            f"ticket of {best:.1%}: accuracy there over dense, points",
            f"+{gain}",
            better(m, best),
        ),
        ("smallest ticket as good as dense (at the stop)", "≤ 2%", smallest(m, "ticket")),
    ]


def at(m: Measured, density: float, over: str | None):
    """Ticket and other row at a density of the paper, and how to say which density it is here."""
    level = m.nearest(density)
    if level is None:
        return None
    ticket, other = m.row(level), m.dense if over is None else m.row(level, over)
    return (ticket, other, f" (at {ticket.density:.1%})") if other else None


def faster(m: Measured, density: float) -> str:
    found = at(m, density, None)
    if found is None:
        return "–"
    ticket, dense, where = found
    return f"{ticket.early_stop_step.mean / dense.early_stop_step.mean - 1:+.0%}{where}"


def times(m: Measured, density: float, over: str | None = None) -> str:
    found = at(m, density, over)
    if found is None:
        return "–"
    ticket, other, where = found
    return f"{other.early_stop_step.mean / ticket.early_stop_step.mean:.2f}{where}"


def better(m: Measured, density: float, over: str | None = None) -> str:
    found = at(m, density, over)
    if found is None:
        return "–"
    ticket, other, where = found
    points = 100 * (ticket.early_stop_accuracy.mean - other.early_stop_accuracy.mean)
    return f"{points:+.2f}{where}"


def smallest(m: Measured, branch: str) -> str:
    """The smallest density whose mean is not below the dense one."""
    dense = m.dense.early_stop_accuracy.mean
    good = [row.density for row in m.rows(branch) if row.early_stop_accuracy.mean >= dense]
    return f"{min(good):.1%}" if good else "none"


def script(settings: Settings) -> None:
    config = settings.config()
    found = run_all({config.model: config}, settings.chosen_workers())
    measured = Measured(found[config.model])
    title = replicates(config)
    panels = [
        Panel(
            name,
            ylabel,
            {
                label: measured.line(branch, value, scale)
                for branch, label in BRANCHES.items()
                if measured.rows(branch)
            },
            scaled(getattr(measured.dense, value), scale),
        )
        for name, ylabel, value, scale in (
            ("smallest validation loss", "step", "early_stop_step", 1),
            ("accuracy there", "test accuracy, %", "early_stop_accuracy", 100),
            ("accuracy at the end", "test accuracy, %", "final_accuracy", 100),
        )
    ]
    lenet = config.model == "lenet-300-100"
    rows = lenet_claims(measured) if lenet else conv_claims(measured, config.model)
    where = "Frankle & Carbin 2019, " + ("section 2" if lenet else "section 3")
    settings.write(
        config.run_dir, figure_of(panels, title), table(measured, title), claims(where, rows)
    )


if __name__ == "__main__":
    main(script, Settings, __doc__)
