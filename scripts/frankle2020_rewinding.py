"""Frankle et al. 2020, figures on rewinding: tickets rewound to step k, for several k.

    python scripts/frankle2020_rewinding.py --quick                  # ResNet-20 on digits
    python scripts/frankle2020_rewinding.py                          # ResNet-20 on CIFAR-10
    python scripts/frankle2020_rewinding.py --network vgg-16
    python scripts/frankle2020_rewinding.py --rate low               # or warmup: tickets at k = 0

Beside the tickets: their masks shuffled within each layer, and their masks with other random
weights. The paper prunes convolutions only; here the output layer and the shortcuts, 1 % of
the weights of ResNet-20 each, are pruned with them. https://arxiv.org/abs/1912.05671
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
    variants,
)

from tfinit.lottery.config import LotteryConfig

CONTROLS = ("shuffle", "reinit")
STEPS = {False: (0, 100, 500, 2000), True: (0, 20, 60)}  # quick or not: k
# Table 1. Learning rate, steps of warm-up, density at which the paper compares.
RATES = {
    ("resnet-20", "standard"): (0.1, 0, 0.168),
    ("resnet-20", "low"): (0.01, 0, 0.086),
    ("resnet-20", "warmup"): (0.03, 30_000, 0.086),
    ("vgg-16", "standard"): (0.1, 0, 0.015),
    ("vgg-16", "low"): (0.01, 0, 0.055),
    ("vgg-16", "warmup"): (0.1, 30_000, 0.015),
}
# Figures 5 to 7: from which k on, as a part of all steps, tickets match the dense network.
MATCHING = {("resnet-20", "standard"): 500 / 63_000, ("vgg-16", "standard"): 1000 / 63_000}


@dataclass(frozen=True)
class Settings(Options):
    network: Literal["resnet-20", "vgg-16"] = "resnet-20"
    """The network."""
    rate: Literal["standard", "low", "warmup"] = "standard"
    """The learning rate: the standard one, a low one, or one that is warmed up."""

    def config(self) -> LotteryConfig:
        rate, warmup, _ = RATES[self.network, self.rate]
        sgd = {"model": self.network, "optimizer": "momentum", "controls": CONTROLS}
        full = LotteryConfig(
            dataset="cifar10",
            levels=12 if self.network == "resnet-20" else 20,
            allocation="global",
            steps=63_000,
            batch_size=128,
            learning_rate=rate,
            warmup_steps=warmup,
            learning_rate_drops=(32_000, 48_000),
            weight_decay=1e-4,
            augment=True,
            evaluate_every=1000,
            **sgd,
        )
        quick = LotteryConfig(
            levels=3,
            prune_fraction=0.75,
            allocation="global",
            steps=150,
            batch_size=64,
            learning_rate=0.1 * rate / RATES[self.network, "standard"][0],
            warmup_steps=75 if warmup else 0,
            learning_rate_drops=(100,),
            evaluate_every=50,
            seeds=(0,),
            **sgd,
        )
        return self.choose(full, quick, "" if self.rate == "standard" else self.rate)


def script(settings: Settings) -> None:
    config = settings.config()
    key = (settings.network, settings.rate)
    configs = variants(config, rewind_step={f"k-{k}": k for k in STEPS[settings.quick]})
    results = run_all(configs, settings.chosen_workers())
    found = {configs[name].rewind_step: Measured(of) for name, of in results.items()}
    m = found[0]
    dense = scaled(m.dense.final_accuracy, 100)
    title = f"{replicates(config)}, rewound to step k"
    header = ["density", *(f"{b}, k={k}" for k in found for b in ("ticket", *CONTROLS))]
    rows = [
        [
            f"{m.row(level).density:.1%}",
            *(
                other.final(level, branch)
                for other in found.values()
                for branch in ("ticket", *CONTROLS)
            ),
        ]
        for level in m.levels
    ]
    # The density of the paper, or the smallest one there is.
    level = m.nearest(RATES[key][2]) or m.levels[-1]
    density = f"{m.row(level).density:.1%}"
    panels = [
        Panel(
            "tickets",
            "final test accuracy, %",
            {f"k = {k}": m.line() for k, m in found.items()},
            dense,
        ),
        Panel(
            f"at {density} density",
            "final test accuracy, %",
            {
                branch: [
                    (k, scaled(row.final_accuracy, 100))
                    for k, m in found.items()
                    if (row := m.row(level, branch))
                ]
                for branch in ("ticket", *CONTROLS)
            },
            dense,
            "rewind step k",
        ),
    ]
    settings.write(
        config.run_dir,
        figure_of(panels, title),
        markdown(
            f"{title}: final test accuracy in %; dense {cell(dense)}",
            header,
            rows,
        ),
        claims(
            "Frankle et al. 2020, sections 4.3 and 4.4",
            compared(found, level, MATCHING.get(key, 0.0), config.steps),
        ),
    )


def compared(found: dict[int, Measured], level: int, matching: float, steps: int):
    where = f"at {found[0].row(level).density:.1%}"
    rows = []
    for k, m in found.items():
        says = "about 0" if k / steps >= matching else "below 0" if k == 0 else "–"
        over = f"points, k={k} ({k / steps:.1%} of the steps)"
        rows.append(
            (f"ticket over dense, {over}", says, f"{cell(m.gain(level, None), 2, '+')} {where}")
        )
        says = "above 0" if k / steps >= matching else "about 0" if k == 0 else "–"
        for control in CONTROLS:
            gain = cell(m.gain(level, control), 2, "+")
            rows.append((f"ticket over {control}, {over}", says, gain))
    return rows


if __name__ == "__main__":
    main(script, Settings, __doc__)
