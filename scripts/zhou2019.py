"""Zhou et al. 2019: which weights to keep, what signs are worth, and masks as networks.

    python scripts/zhou2019.py --quick                   # LeNet-300-100 on digits
    python scripts/zhou2019.py                           # on MNIST, five seeds

One experiment for each mask criterion; in that of the paper's "large final" also the masks with
other random weights, with those but the signs kept, and with constants of the initial signs. Before
training each masked network is a "supermask". https://arxiv.org/abs/1905.01067
"""

from dataclasses import replace

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
from tfinit.pruning.scoring.scores import AFTER, names

UNTRAINED = "untrained_accuracy"
LARGE_FINAL, SAME_SIGN = "magnitude", "large-final-same-sign"
SIGNS = {
    "ticket": "rewound",
    "reinit": "reinitialized",
    "reinit-signs": "reinitialized, signs kept",
    "constant-signs": "constants, signs kept",
}
FULL = LotteryConfig(
    dataset="mnist", levels=20, steps=50_000, evaluate_every=500, seeds=(0, 1, 2, 3, 4), controls=()
)
QUICK = LotteryConfig(
    levels=10,
    prune_fraction=0.3,
    output_prune_fraction=0.15,
    steps=600,
    evaluate_every=200,
    controls=(),
)


def configs(config: LotteryConfig) -> dict[str, LotteryConfig]:
    of = variants(config, score={name: name for name in names(AFTER)})
    controls = {LARGE_FINAL: tuple(SIGNS)[1:], SAME_SIGN: ("constant-signs",)}
    more = {name: replace(of[name], controls=branches) for name, branches in controls.items()}
    return of | more


def script(options: Options) -> None:
    config = options.choose(FULL, QUICK)
    results = run_all(configs(config), options.chosen_workers())
    found = {name: Measured(of) for name, of in results.items()}
    large_final, same_sign = found[LARGE_FINAL], found[SAME_SIGN]
    dense = scaled(large_final.dense.final_accuracy, 100)
    supermasks = {
        "large final": large_final.line(value=UNTRAINED),
        "large final, same sign": same_sign.line(value=UNTRAINED),
        "large final, constants": large_final.line("constant-signs", UNTRAINED),
        "large final, same sign, constants": same_sign.line("constant-signs", UNTRAINED),
        "random": found["random"].line(value=UNTRAINED),
    }
    signs = {name: large_final.line(branch) for branch, name in SIGNS.items()}
    title = replicates(config)
    ylabel = "final test accuracy, %"
    figure = figure_of(
        [
            Panel("mask criteria", ylabel, {n: m.line() for n, m in found.items()}, dense),
            Panel("masks of large final", ylabel, signs, dense),
            Panel("supermasks: before training", "test accuracy, %", supermasks),
        ],
        title,
    )
    criteria = {name: m.line() for name, m in found.items()}
    options.write(
        config.run_dir,
        figure,
        table(f"{title}: criteria, final test accuracy in %; dense {cell(dense)}", criteria),
        table(f"{title}: weights under the masks of large final, the same", signs),
        table(f"{title}: supermasks, test accuracy in % before training", supermasks),
        claims("Zhou et al. 2019, sections 2, 3 and 5", compared(found, supermasks)),
    )


def table(title: str, lines: dict) -> str:
    """A row for each line, a column for every other density."""
    densities = [x for x, _ in next(iter(lines.values()))][1::2]
    rows = [[name, *(cell(y) for _, y in line[1::2])] for name, line in lines.items()]
    return markdown(title, ["", *(f"{x:.1f}%" for x in densities)], rows)


def compared(found: dict[str, Measured], supermasks: dict):
    large_final = found[LARGE_FINAL]
    last = large_final.levels[-1]
    where = f"at {large_final.row(last).density:.1%}"

    def criterion(name: str) -> str:
        mine, other = (m.row(last).final_accuracy.mean for m in (found[name], large_final))
        return f"{100 * (mine - other):+.2f}"

    def best(name: str) -> str:
        x, y = max(supermasks[name], key=lambda point: point[1].mean)
        return f"{cell(y)}% (at {x:.1f}%)"

    rows = [
        (f"{name} over large final, points, {where}", says, criterion(name))
        for name, says in (
            ("magnitude-increase", "0 or more"),
            ("distance", "about 0"),
            ("large-init", "below 0"),
            ("random", "below 0"),
            ("small-final", "far below 0"),
        )
    ]
    rows += [
        (
            f"{name} over reinitialized, points, {where}",
            says,
            cell(large_final.gain(last, "reinit", branch), 2, "+"),
        )
        for branch, name, says in (
            ("reinit-signs", SIGNS["reinit-signs"], "above 0"),
            ("constant-signs", SIGNS["constant-signs"], "above 0"),
        )
    ]
    return [
        *rows,
        ("best supermask, large final, same sign", "80% on MNIST", best("large final, same sign")),
        (
            "best supermask, the same of constants",
            "86% on MNIST",
            best("large final, same sign, constants"),
        ),
        ("best supermask, random", "chance", best("random")),
    ]


if __name__ == "__main__":
    main(script, Options, __doc__)
