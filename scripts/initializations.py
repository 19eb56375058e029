"""tfinit's own question: from which initialization does a network have the best tickets?

    python scripts/initializations.py --quick                  # LeNet-300-100 on digits
    python scripts/initializations.py                          # on MNIST, ten initializations
    python scripts/initializations.py --names he lsuv zeros    # any of tfinit's and Keras's

The lottery experiment of Frankle & Carbin (2019) from each initialization: everything else, the
order of the data too, is the same. No paper has these numbers; "xavier", with "published", which
cuts it at two deviations, is what the papers use. The command `tfinit initializations` runs the
same for any network, with all of its flags.
"""

from dataclasses import dataclass

from _experiment import (
    Measured,
    Options,
    cell,
    main,
    markdown,
    replicates,
    scaled,
)

from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.initializations import DEFAULTS

MORE = ("published", "keras", "Orthogonal", "ZerO")
FULL = LotteryConfig(
    dataset="mnist", levels=20, steps=10_000, evaluate_every=250, seeds=(0, 1, 2, 3, 4), controls=()
)
QUICK = LotteryConfig(
    levels=10,
    prune_fraction=0.3,
    output_prune_fraction=0.15,
    steps=600,
    evaluate_every=200,
    controls=(),
)


@dataclass(frozen=True)
class Settings(Options):
    names: tuple[str, ...] | None = None
    """The initializations. Left out: ten, or six with --quick."""


def script(settings: Settings) -> None:
    from tfinit.lottery.initializations import compare_initializations
    from tfinit.lottery.report import summarize
    from tfinit.plots import initializations_figure
    from tfinit.progress import Bar

    config = settings.choose(FULL, QUICK)
    names = settings.names or (DEFAULTS if settings.quick else (*DEFAULTS, *MORE))
    with Bar(lines=True) as bar:
        found = compare_initializations(
            config,
            names,
            bar,
            warn=bar.warn,
            reports=False,
            workers=settings.chosen_workers(),
        )
    measured = {name: Measured(results) for name, results in found.items()}
    levels = measured[names[0]].levels[1::2]
    density = {level: measured[names[0]].row(level).density for level in levels}
    rows = [
        [name, cell(scaled(m.dense.final_accuracy, 100)), *(m.final(level) for level in levels)]
        for name, m in measured.items()
    ]
    title = replicates(config)
    settings.write(
        config.run_dir,
        initializations_figure({name: summarize(of) for name, of in found.items()}, title),
        markdown(
            f"{title}: final test accuracy in % against density",
            ["initialization", "dense", *(f"{density[level]:.1%}" for level in levels)],
            rows,
        ),
    )


if __name__ == "__main__":
    main(script, Settings, __doc__)
