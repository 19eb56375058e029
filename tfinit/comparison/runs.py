"""The runs of a race: which there are, and what trains them, here or in another process."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfinit.comparison.hidden_activations import with_activation
from tfinit.comparison.initializations import Initialization
from tfinit.comparison.result import Run
from tfinit.comparison.shared_network import SharedNetwork
from tfinit.datasets import Dataset
from tfinit.errors import InputError
from tfinit.executors.job import Job, Steps, Tell, Work
from tfinit.executors.scheduling import Plan
from tfinit.model_builders import ModelBuilder, builder_of
from tfinit.named_functions import is_named, load_named
from tfinit.own_code import OwnCode
from tfinit.threads import use_threads
from tfinit.training.metrics import Progress
from tfinit.variables import keras_of

BuildModel = Callable[..., Any] | ModelBuilder | str


@dataclass(frozen=True)
class RunTask:
    """One run: the arguments of `SharedNetwork.run` but for its progress."""

    initialization: Initialization
    seed: int
    steps: int
    batch_size: int
    evaluate_every: int
    diagnosed: bool


class Runner:
    """Does runs, and keeps the network of the last one, compiled, for the next that shares it.

    Args:
        build_model: As for `tfinit.compare`.
        data: What is trained on.
    """

    def __init__(self, build_model: BuildModel, data: Dataset):
        self._build_model, self._data = build_model, data
        self._builders: dict[Any, tuple[ModelBuilder, bool]] = {}
        self._last: tuple[Any, SharedNetwork] | None = None

    def network(self, activation: Any, seed: int) -> SharedNetwork:
        """The network of an activation and a seed.

        Raises:
            InputError: it is none of Keras 3, or the function fails.
        """
        if activation not in self._builders:
            self._builders[activation] = read_builder(self._build_model, activation)
        builder, taken = self._builders[activation]
        which = activation, seed if builder.takes_seed else None
        if self._last is None or self._last[0] != which:
            model = builder.model(seed)
            if keras_of(model) != "keras":
                raise InputError(
                    "`build_model` must return a model of Keras 3, received one of tf_keras, "
                    f"{type(model).__name__}. Build it with `import keras`."
                )
            if activation is not None and not taken:
                model = with_activation(model, activation)
            self._last = which, SharedNetwork(model, self._data)
        return self._last[1]

    def __call__(self, task: RunTask, tell: Tell) -> Run:
        """Do a run."""
        network = self.network(task.initialization.activation, task.seed)
        return network.run(
            task.initialization,
            task.seed,
            task.steps,
            task.batch_size,
            task.evaluate_every,
            task.diagnosed,
            lambda done: tell("steps", done),
        )


@dataclass(frozen=True, eq=False)
class RunnerSetup:
    """Makes a `Runner` in another process.

    Attributes:
        code: What `tfinit.compare` got as ``build_model``.
        data: What is trained on.
        threads: With so many threads; 0: one for each core.
    """

    code: OwnCode
    data: Dataset
    threads: int

    def __call__(self) -> Work:
        """The runner."""
        use_threads(self.threads)
        return Runner(self.code.given, self.data)


class RacePlan(Plan):
    """All runs; none needs another.

    Args:
        runner: Does them in this process.
        setup: Makes one in another.
        tasks: The runs, in the order in which one process does them.
        progress: Called with the number of steps done since the last call.
    """

    def __init__(
        self, runner: Runner, setup: RunnerSetup, tasks: list[RunTask], progress: Progress
    ):
        self._runner, self._setup, self._progress = runner, setup, progress
        self._tasks = {(t.initialization.label, t.seed): t for t in tasks}

    def graph(self) -> dict[tuple[str, int], list[Any]]:
        """Label and seed of each run → nothing."""
        return {node: [] for node in self._tasks}

    def begin(self, node: tuple[str, int]) -> Job:
        """The job of a run."""
        task = self._tasks[node]
        steps = Steps(self._progress)

        def begun() -> RunTask:
            steps.begin()
            return task

        return Job(
            f"{node[0]}, seed {node[1]}", begun, self._runner, self._setup, lambda _, n: steps(n)
        )

    def end(self, node: tuple[str, int], run: Run) -> Run:
        """The run."""
        return run


def read_builder(build_model: BuildModel, activation: Any = None) -> tuple[ModelBuilder, bool]:
    """The builder, and whether it takes the activation that it is given.

    Raises:
        InputError: it is no builder, or needs an activation that it is not given.
    """
    if isinstance(build_model, ModelBuilder):
        return build_model, False
    function: Any = build_model
    if isinstance(build_model, str) and is_named(build_model):
        function = load_named(build_model, "build_model")
    if callable(function) and keras_of(function) is None:
        taken = inspect.signature(function).parameters.get("activation")
        if taken is not None and activation is not None:
            return builder_of(functools.partial(function, activation=activation)), True
        if taken is not None and taken.default is taken.empty:
            raise InputError(
                "`build_model` needs an `activation`: give each of `schemes` as a pair (scheme, "
                "activation), or the parameter a default."
            )
    return builder_of(build_model), False
