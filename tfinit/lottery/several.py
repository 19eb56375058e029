"""Several lottery experiments, each in a directory of its own, trained by the same workers."""

from collections.abc import Callable, Mapping
from typing import Any

from tfinit.datasets import Dataset
from tfinit.executors.workers import Workers, executing, threaded
from tfinit.lottery.config import LotteryConfig
from tfinit.lottery.directory import check_directory
from tfinit.lottery.experiment import Experiment, checked_data, prepared, total, trained
from tfinit.lottery.made_networks import network_of
from tfinit.lottery.result import LevelResult
from tfinit.lottery.subject import Subject
from tfinit.lottery.tracking import Tracker
from tfinit.model_builders import ModelBuilder
from tfinit.origin import Origin
from tfinit.progress import each_line_once, following
from tfinit.training.metrics import Progress


class Several:
    """Experiments that can begin in their directories; nothing is written.

    Args:
        configs: Name → experiment.
        finished: Called with the name of an experiment and a result after each training.
        warn: As for `tfinit.lottery.run`; a line that several have comes once.
        data: As for `tfinit.lottery.run`: for all.
        build_model: As for `tfinit.lottery.run`.
        workers: Train networks of all of them; None: one after the other, here.

    Attributes:
        configs: Name → experiment, with the network that it is about.

    Raises:
        InputError: as `tfinit.lottery.run` says of any of them.
    """

    def __init__(
        self,
        configs: Mapping[str, LotteryConfig],
        finished: Callable[[str, LevelResult], None],
        warn: Callable[[str], None],
        data: Dataset | None = None,
        build_model: Any = None,
        workers: Workers | None = None,
    ):
        self._finished, self._warn, self._workers = finished, warn, workers
        self._builders: dict[str, ModelBuilder | None] = {}
        self._data: dict[str, Dataset] = {}
        self.configs: dict[str, LotteryConfig] = {}
        for name, config in configs.items():
            made = network_of(threaded(config, workers), build_model)
            self.configs[name], self._builders[name] = made
        for name, config in self.configs.items():
            if config.dataset not in self._data:
                self._data[config.dataset] = checked_data(
                    config, data, finished, warn, self._builders[name], workers
                )
            check_directory(config, Origin.now(self._data[config.dataset].digest(), config.keras))

    def subject(self, name: str) -> Subject:
        """What tables and figures say of an experiment."""
        config = self.configs[name]
        return Subject.of(config, self._data[config.dataset])

    def train(
        self, progress: bool | Progress | None = True, tracker: Tracker | None = None
    ) -> dict[str, list[LevelResult]]:
        """Train all that is not trained yet.

        Args:
            progress: As for `tfinit.lottery.run`.
            tracker: As for `tfinit.lottery.run`; names begin with the experiment's.

        Returns:
            The name of each → the results that `tfinit.lottery.run` returns.

        Raises:
            InputError: as `tfinit.lottery.run` says.
            WorkError: as `tfinit.lottery.run` says.
        """
        warn = each_line_once(self._warn)
        # As far as they are not prepared, all their levels are expected.
        expected = {name: total(config) for name, config in self.configs.items()}
        with following(progress) as follower, executing(self._workers, follower) as executor:

            def begun(name: str, config: LotteryConfig) -> Experiment:
                data, builder = self._data[config.dataset], self._builders[name]
                one = prepared(config, follower, warn, data, name, builder)
                expected[name] = one.total
                follower.expect(*map(sum, zip(*expected.values(), strict=True)))
                return one

            experiments = (begun(name, config) for name, config in self.configs.items())
            return trained(experiments, executor, follower, self._finished, warn, tracker)
