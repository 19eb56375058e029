"""One training as a pure function: what it is given, what it gives, and what makes it elsewhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

from tfinit.datasets import Dataset
from tfinit.executors.job import Tell, Work
from tfinit.lottery.frameworks import Framework, TrainingPlan, framework_of
from tfinit.lottery.network_config import NetworkConfig
from tfinit.lottery.result import Weights
from tfinit.model_builders import ModelBuilder
from tfinit.threads import use_threads
from tfinit.training.metrics import Diverged, Metrics, at_most_every

# What is told while it trains: steps done since the last time; (step, weights) at a mark; where it
# stands.
STEPS, MARK, PARTIAL = "steps", "mark", "partial"


@dataclass(frozen=True)
class TrainingTask:
    """What is trained.

    Attributes:
        plan: Where it starts and ends.
        marks: Steps after which the weights are told.
        checkpoint_every: Seconds after which it tells where it stands.
    """

    plan: TrainingPlan
    marks: Sequence[int] = ()
    checkpoint_every: float = 60.0


@dataclass(frozen=True)
class Trained:
    """What came of a training.

    Attributes:
        metrics: What was measured.
        final: All weights at its end.
        diverged_at: The step at which it diverged; None: it did not.
        why: What is said of that.
    """

    metrics: Metrics
    final: Weights
    diverged_at: int | None = None
    why: str = ""


def train(framework: Framework, task: TrainingTask, tell: Tell) -> Trained:
    """Train as a task says. A loss that is not finite is a result."""

    def marked(step: int) -> Callable[[Weights], None]:
        return lambda weights: tell(MARK, (step, weights))

    plan = replace(task.plan, at={step: marked(step) for step in task.marks})
    checkpoint = at_most_every(task.checkpoint_every, lambda now: tell(PARTIAL, now))
    try:
        metrics = framework.train(plan, lambda done: tell(STEPS, done), checkpoint)
    except Diverged as error:
        return Trained(error.metrics, framework.final(), error.step, str(error))
    return Trained(metrics, framework.final())


@dataclass(frozen=True, eq=False)
class TrainerSetup:
    """Makes `train` of an experiment's networks in another process.

    Weights and masks come with each task; so initializations, scores and controls stay at home.

    Attributes:
        config: The experiment.
        data: What it trains on.
        builder: What makes the user's own network; None: the configuration names one of tfinit's.
    """

    config: NetworkConfig
    data: Dataset
    builder: ModelBuilder | None

    def __call__(self) -> Work:
        """(task, tell) → `Trained`."""
        use_threads(self.config.threads, self.config.keras)
        return partial(train, framework_of(self.config, self.data, self.builder))


def trainer_setup(
    config: NetworkConfig, data: Dataset, builder: ModelBuilder | None
) -> TrainerSetup:
    """The setup of an experiment, without what only its own process needs.

    Those of experiments that differ in nothing else are pickled alike.
    """
    names = {*config.own, "controls", "structure"}
    at_home = {f.name: f.default for f in fields(config) if f.name in names}
    return TrainerSetup(replace(config, **at_home), data, builder)
