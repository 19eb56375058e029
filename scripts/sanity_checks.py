"""Su et al. 2020 and Frankle et al. 2021: does it matter which weights a method keeps?

    python scripts/sanity_checks.py --quick              # LeNet-300-100 on digits
    python scripts/sanity_checks.py                      # ResNet-20 on CIFAR-10

SNIP, GraSP, SynFlow and magnitude before training, and tickets, which are pruned after it: each
against its mask shuffled within each layer, and against its mask with other random weights.
https://arxiv.org/abs/2009.11094, https://arxiv.org/abs/2009.08576
"""

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

from tfinit.lottery.branches import AT_INITIALIZATION, TICKET
from tfinit.lottery.config import LotteryConfig

METHODS = (TICKET, *AT_INITIALIZATION)
CHECKS = {"": "as it is", "shuffle": "shuffled", "reinit": "reinitialized"}


def name(method: str, check: str) -> str:
    """The branch: the controls of tickets have no prefix."""
    return "-".join(
        part for part in (method if method != TICKET or not check else "", check) if part
    )


BRANCHES = tuple(name(method, check) for method in METHODS for check in CHECKS)
# The recipe of Frankle et al. 2021, tickets rewound to step 1000 and all.
FULL = LotteryConfig(
    dataset="cifar10",
    model="resnet-20",
    levels=15,
    allocation="global",
    steps=62_400,
    rewind_step=1000,
    batch_size=128,
    optimizer="momentum",
    learning_rate=0.1,
    learning_rate_drops=(31_200, 46_800),
    weight_decay=1e-4,
    augment=True,
    evaluate_every=1000,
    controls=BRANCHES[1:],
)
QUICK = LotteryConfig(
    levels=5,
    prune_fraction=0.5,
    allocation="global",
    steps=800,
    evaluate_every=200,
    controls=BRANCHES[1:],
)


def script(options: Options) -> None:
    config = options.choose(FULL, QUICK)
    found = run_all({config.model: config}, options.chosen_workers())
    measured = Measured(found[config.model])
    dense = scaled(measured.dense.final_accuracy, 100)
    title = replicates(config)
    rows = [
        [
            f"{measured.row(level).density:.1%}",
            method,
            *(measured.final(level, name(method, check)) for check in CHECKS),
        ]
        for level in measured.levels
        for method in METHODS
    ]
    panels = [
        Panel(
            method,
            "final test accuracy, %",
            {label: measured.line(name(method, check)) for check, label in CHECKS.items()},
            dense,
        )
        for method in METHODS
    ]
    options.write(
        config.run_dir,
        figure_of(panels, title),
        markdown(
            f"{title}: final test accuracy in %; dense {cell(dense)}",
            ["density", "method", *CHECKS.values()],
            rows,
        ),
        claims("Su et al. 2020, Frankle et al. 2021", compared(measured)),
    )


def compared(measured: Measured):
    """Over the sparser half of the levels: single seeds and densities are noise."""
    from tfinit.spread import Spread

    levels = measured.levels[len(measured.levels) // 2 :]
    where = f"mean below {1.05 * measured.row(levels[0]).density:.0%} density"
    rows = []
    for method in METHODS:
        for check in ("shuffle", "reinit"):
            gains = [measured.gain(level, method, name(method, check)) for level in levels]
            gain = Spread.of([spread.mean for spread in gains if spread.n])
            rows.append(
                (
                    f"{name(method, check)} over {method}, points, {where}",
                    "below 0" if method == TICKET else "0 or more",
                    f"{gain.mean:+.2f}",
                )
            )
    return rows


if __name__ == "__main__":
    main(script, Options, __doc__)
