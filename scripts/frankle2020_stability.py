"""Frankle et al. 2020, figures 2 and 3: from which step on does the order of the data not matter?

    python scripts/frankle2020_stability.py --quick                  # both networks on digits
    python scripts/frankle2020_stability.py                          # on MNIST and CIFAR-10

Two copies part at step k and see other batches in another order. The error barrier between them, on
the line from one's weights to the other's, is how far the error rises above the mean of the ends;
the paper calls a network stable below 2 %. https://arxiv.org/abs/1912.05671
"""

import dataclasses

from _experiment import (
    Options,
    Panel,
    cell,
    claims,
    figure_of,
    main,
    markdown,
    scaled,
)

from tfinit.lottery.config import StabilityConfig

STABLE = 2  # points of error, section 2
FULL = {
    "lenet-300-100": StabilityConfig(
        dataset="mnist",
        steps=24_000,
        evaluate_every=1000,
        spawn_steps=(0, 24, 96, 240, 960, 2400),
        points=30,
    ),
    "resnet-20": StabilityConfig(
        dataset="cifar10",
        model="resnet-20",
        steps=63_000,
        batch_size=128,
        optimizer="momentum",
        learning_rate=0.1,
        learning_rate_drops=(32_000, 48_000),
        weight_decay=1e-4,
        augment=True,
        evaluate_every=1000,
        spawn_steps=(0, 100, 500, 1000, 2000, 4000),
        points=30,
    ),
}
QUICK = {
    "lenet-300-100": StabilityConfig(
        steps=1000, evaluate_every=500, spawn_steps=(0, 10, 30, 100, 300)
    ),
    "resnet-20": StabilityConfig(
        model="resnet-20",
        steps=200,
        batch_size=64,
        optimizer="momentum",
        learning_rate=0.1,
        learning_rate_drops=(140,),
        evaluate_every=100,
        spawn_steps=(0, 10, 30, 100),
        seeds=(0,),
    ),
}
# Section 3.2: the first of their k that is stable.
PAPER = {"lenet-300-100": "0", "resnet-20": "2000 of 63,000 (3 %)"}


def script(options: Options) -> None:
    from tfinit.lottery import stability, summarize_stability
    from tfinit.progress import Bar

    configs = {}
    for name in FULL:
        config = options.choose(FULL[name], QUICK[name])
        if options.run_dir is not None:
            config = dataclasses.replace(config, run_dir=options.run_dir / name)
        configs[name] = config
    workers, found = options.chosen_workers(), {}
    for name, config in configs.items():
        with Bar(lines=True) as bar:
            results = stability(config, bar, warn=bar.warn, reports=False, workers=workers)
        found[name] = summarize_stability(results)
    rows, said, lines = [], [], {}
    for name, measured in found.items():
        label = f"{name} on {configs[name].dataset}"
        for row in measured:
            barriers = [cell(scaled(spread, 100)) for spread in (row.train, row.test)]
            rows.append([label, f"{row.k}", f"{row.k / configs[name].steps:.1%}", *barriers])
        lines[label] = [(row.k, scaled(row.test, 100)) for row in measured]
        stable = [row.k for row in measured if 100 * row.test.mean < STABLE]
        first = f"{stable[0]} of {configs[name].steps}" if stable else "none of them"
        said.append((f"{name}: the first stable k", PAPER[name], first))
        start = measured[0]
        if start.k == 0:
            claim = f"{name}: barrier at k=0, points of test error"
            paper = "< 1" if name.startswith("lenet") else "up to guessing"
            said.append((claim, paper, cell(scaled(start.test, 100))))
    seeds = " or ".join(sorted({f"{len(config.seeds)}" for config in configs.values()}))
    title = f"error barrier between copies that part at step k, {seeds} seeds"
    directory = options.run_dir or next(iter(configs.values())).run_dir.parent
    options.write(
        directory,
        figure_of([Panel("", "barrier of the test error, points", lines, None, "step k")], title),
        markdown(f"{title}, in points", ["network", "k", "of all steps", "train", "test"], rows),
        claims("Frankle et al. 2020, section 3", said),
    )


if __name__ == "__main__":
    main(script, Options, __doc__)
