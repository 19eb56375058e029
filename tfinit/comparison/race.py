"""The race: every scheme trains the same network, on the same batches, from its own start."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tfinit import arguments
from tfinit.arguments import flag, function, number, one_of, text, whole
from tfinit.batch_streams import Stream
from tfinit.comparison.config import DEFAULTS
from tfinit.comparison.initializations import Initialization, read_schemes
from tfinit.comparison.result import Comparison, Run, choose_target
from tfinit.comparison.runs import (
    BuildModel,
    RacePlan,
    Runner,
    RunnerSetup,
    RunTask,
    read_builder,
)
from tfinit.devices import announce
from tfinit.executors.scheduling import work_off
from tfinit.executors.workers import executing, workers_of
from tfinit.own_code import OwnCode
from tfinit.progress import as_warning, check_progress, following
from tfinit.saved_data import read_data
from tfinit.threads import threads_of
from tfinit.training.judged import AUTO, DIRECTIONS
from tfinit.training.metrics import Progress
from tfinit.training.order import check_batch_size


def compare(
    build_model: BuildModel,
    data: Any,
    schemes: Sequence[Any] | Mapping[str, Any] = DEFAULTS,
    *,
    steps: int = 500,
    seeds: Sequence[int] = (0, 1, 2),
    batch_size: int = 64,
    evaluate_every: int | None = None,
    target_loss: float | None = None,
    metric: str = "auto",
    metric_direction: str = "auto",
    diagnose: bool = True,
    title: str | None = None,
    progress: bool | Progress | None = True,
    finished: Callable[[Run], None] = lambda run: None,
    workers: Any = None,
) -> Comparison:
    """Train one network from several initializations under equal conditions, and rank them.

    Of each seed, every scheme gets the same batches in the same order, the same noise of Dropout
    and the like, a fresh optimizer, and the same weights where the scheme sets none: those that are
    not kernels are as ``build_model`` left them, and kernels are drawn from their layers' own
    initializers by the seed before the scheme sets those that it is about. So the scheme is all
    that differs, and what the process drew before decides nothing.

    ``build_model`` is called once for all runs, and the compiled program is used again from other
    weights; one with a parameter ``seed`` is called once for each seed, which its networks may
    depend on, and all schemes share what it returns. Divergence is a result, not an error.

    Args:
        build_model: ``build_model()`` or ``build_model(seed)``: returns a model of Keras 3, built
            and compiled, for any task and on any backend. Or its place, ``"nets.py:build"`` or
            ``"package.module:build"``, or a ``.keras`` file.
        data: A `tfinit.datasets.Dataset`, the name of one, an .npz file, ``"file.py:load"``, or
            pairs ``((x, y), (x_test, y_test))`` and, third, those of validation, as
            `tfinit.datasets.from_arrays` takes them: see `tfinit.saved_data.read_data`.
        schemes: A list, or a dictionary of labels to what is in a list:

            * a name: of `tfinit.schemes.SCHEMES`; of `tfinit.models.initializations` (``"zeros"``,
              ``"he_normal"``, ``"EdgeOfChaos"``); ``"small"``, N(0, 0.01²); ``"large"``, N(0, 1);
            * an initializer, or a class of one: fills every kernel, each from a stream of its own;
            * a pair (any of the others, activation): also every hidden activation of the model is
              replaced. ``build_model`` gets it if it has a parameter ``activation``; if not, the
              model is copied with it (`comparison.hidden_activations.with_activation`);
            * a function of (model, x, seed) that sets weights in place.

            Those that look at data see the first 256 training examples.
        steps: Training steps of each run.
        seeds: One run each. They are the pairs of the test, so take three or more.
        batch_size: Examples a step.
        evaluate_every: Steps between evaluations on the validation and test split. None: before the
            first step and after the last.
        target_loss: What steps and seconds are counted to, a mean training loss over 5% of the
            steps. None: half-way on a log scale between knowing nothing and the best scheme's end,
            see `tfinit.comparison.result.choose_target`.
        metric: What is ranked by: ``"auto"``, the mean training loss of the last 5% of the steps;
            or ``"loss"`` or a metric that the model is compiled with, on the validation split after
            the last step.
        metric_direction: ``"max"`` or ``"min"``, for a metric that does not say which is better.
        diagnose: Whether to call `tfinit.diagnose` before each run, on those 256 examples.
        title: What table and figure are called. None: the model's and the data's names.
        progress: True: a bar with the time that is left, on a terminal or in a notebook. False or
            None: nothing. Or a function, called with the number of steps done since the last call;
            in all they are ``len(schemes) * len(seeds) * steps``.
        finished: Called with each run.
        workers: Train so many networks beside each other, by Ray (``pip install tfinit[scale]``):
            a number, or a `tfinit.executors.Workers`. Each has its share of the cores, which may
            change last bits: give `tfinit.threads.use_threads` the same number to compare. Seconds
            are then those beside each other. None: one after the other, here.

    Returns:
        The runs with their ranks (the rule: `tfinit.comparison.rank`). Print it, ``.plot()`` it.

    Raises:
        InputError: an argument is not allowed, or a scheme does not fit the model.

    Example:
        >>> def build_model():
        ...     layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
        ...     model = keras.Sequential(layers)
        ...     loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        ...     model.compile(keras.optimizers.SGD(0.1), loss)
        ...     return model
        >>> compare(build_model, "digits", ["xavier", "large"], steps=20, diagnose=False).best
        'xavier'
    """
    steps = whole("steps", steps, 1)
    evaluate_every = whole("evaluate_every", evaluate_every, 1, none=True)
    target_loss = number("target_loss", target_loss, above=0, none=True)
    diagnose = flag("diagnose", diagnose)
    text("title", title, none=True)
    text("metric", metric)
    one_of("metric_direction", metric_direction, DIRECTIONS)
    check_progress(progress)
    function("finished", finished, "a run")
    workers = workers_of(workers)
    field = read_schemes(schemes)
    data = read_data(data)
    seeds = list(arguments.seeds("seeds", seeds))
    read_builder(build_model)
    if data.rows is not None:
        check_batch_size(batch_size, data.rows)
    if isinstance(data.train, Stream):
        as_warning(data.train.notice)
    runs: dict[tuple[str, int], Run] = {}
    runner = Runner(build_model, data)
    first = runner.network(field[0].activation, seeds[0])
    judge = None if metric == AUTO else first.judged(metric, metric_direction)
    title = title or f"{first.model.name} on {data.name}"
    threads = max(1, int(workers.cpus)) if workers is not None else 0
    setup = RunnerSetup(OwnCode(build_model), data, threads_of() or threads)
    tasks = [
        RunTask(one, seed, steps, batch_size, evaluate_every or steps, diagnose)
        for one, seed in _ordered(field, seeds)
    ]
    with following(progress) as follower, executing(workers, follower) as executor:
        follower.expect(len(tasks) * steps, len(tasks))
        device = str(announce())
        plan = RacePlan(runner, setup, tasks, follower)
        for _, run in work_off([plan], executor, follower.one_ended):
            runs[run.label, run.seed] = run
            finished(run)
            follower.say(str(run))
    ordered = tuple(runs[initialization.label, seed] for initialization in field for seed in seeds)
    if target_loss is None:
        target_loss = choose_target(ordered, data.classes)
    return Comparison(title, ordered, data.classes, steps, batch_size, target_loss, device, judge)


def _ordered(field: list[Initialization], seeds: list[int]) -> Iterator[tuple[Initialization, int]]:
    """The runs, those that share a network one after the other."""
    by_activation: dict[Any, list[Initialization]] = {}
    for initialization in field:
        by_activation.setdefault(initialization.activation, []).append(initialization)
    for group in by_activation.values():
        for seed in seeds:
            yield from ((initialization, seed) for initialization in group)
