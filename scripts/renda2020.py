"""Renda et al. 2020: weight rewinding, learning-rate rewinding, fine-tuning, pruned iteratively.

    python scripts/renda2020.py --quick                  # ResNet-20 on digits
    python scripts/renda2020.py                          # ResNet-20 on CIFAR-10, the paper's recipe

All three train as many steps after each pruning, those from step k to the last: weight rewinding
from the weights of step k, learning-rate rewinding from the trained weights with the learning rates
from step k on, fine-tuning from the trained weights with the last rate.
https://arxiv.org/abs/2003.02389
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

from tfinit.lottery.config import LotteryConfig

WAYS = {
    "ticket": "weight rewinding",
    "lr-rewind": "learning-rate rewinding",
    "fine-tune": "fine-tuning",
}
# 182 epochs of 45,000 images in batches of 128; a tenth of the rate at epochs 91 and 136.
FULL = LotteryConfig(
    dataset="cifar10",
    model="resnet-20",
    levels=15,
    allocation="global",
    steps=64_000,
    rewind_step=6_400,
    batch_size=128,
    optimizer="momentum",
    learning_rate=0.1,
    learning_rate_drops=(32_000, 47_800),
    weight_decay=2e-4,
    augment=True,
    evaluate_every=1000,
    controls=("lr-rewind", "fine-tune"),
)
QUICK = LotteryConfig(
    model="resnet-20",
    levels=5,
    prune_fraction=0.5,
    allocation="global",
    steps=200,
    rewind_step=20,
    batch_size=64,
    optimizer="momentum",
    learning_rate=0.1,
    learning_rate_drops=(100, 150),
    evaluate_every=50,
    seeds=(0,),
    controls=("lr-rewind", "fine-tune"),
)


def script(options: Options) -> None:
    config = options.choose(FULL, QUICK)
    found = run_all({config.model: config}, options.chosen_workers())
    measured = Measured(found[config.model])
    dense = scaled(measured.dense.final_accuracy, 100)
    title = f"{replicates(config)}, k = {config.rewind_step} of {config.steps}"
    rows = [
        [
            f"{measured.row(level).density:.1%}",
            *(measured.final(level, way) for way in WAYS),
        ]
        for level in measured.levels
    ]
    said = [
        (
            f"{name} over {WAYS['fine-tune']}, points, at {measured.row(level).density:.1%}",
            "above 0",
            cell(measured.gain(level, "fine-tune", way), 2, "+"),
        )
        for level in measured.levels[-3:]
        for way, name in WAYS.items()
        if way != "fine-tune"
    ] + [
        (
            f"learning-rate over weight rewinding, points, at {measured.row(level).density:.1%}",
            "0 or more",
            cell(measured.gain(level, "ticket", "lr-rewind"), 2, "+"),
        )
        for level in measured.levels[-3:]
    ]
    lines = {name: measured.line(way) for way, name in WAYS.items()}
    options.write(
        config.run_dir,
        figure_of([Panel("", "final test accuracy, %", lines, dense)], title),
        markdown(
            f"{title}: final test accuracy in %; dense {cell(dense)}",
            ["density", *WAYS.values()],
            rows,
        ),
        claims("Renda et al. 2020, sections 4 to 6 (they show it in curves)", said),
    )


if __name__ == "__main__":
    main(script, Options, __doc__)
