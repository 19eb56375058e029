"""A valid call of every public function of tfinit, on the smallest input that it takes."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
from public_surface import Sample, public

import tfinit
from tfinit import (
    comparison,
    datasets,
    diagnostics,
    exporting,
    initializers,
    lottery,
    models,
    pruning,
    training,
    variables,
)
from tfinit.lottery.linear_connectivity import StabilityResult
from tfinit.lottery.result import LevelResult
from tfinit.schemes.engine.registry import REGISTRY
from tfinit.spread import Spread
from tfinit.training.judged import JudgedMetric

X, Y = np.random.default_rng(0).normal(size=(8, 4)).astype("f4"), np.arange(8, dtype="i4") % 3
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
HALF = pruning.ConstantSparsity(0.5, 1)
NAME = "text empty-text"
CALL = "function class"
# What an argument of some name may well be, beside what it is in the calls below. What a caption is
# called, or where a file goes, is free; a function is the user's own.
ODD = {
    **dict.fromkeys(("seed",), "-1 0 2**63"),
    **dict.fromkeys(("bias", "ones", "mean", "negative_slope", "alpha"), "-1 0 1.5 2**63"),
    **dict.fromkeys(("bias_variance", "weight_variance", "weight_decay"), "0 1.5 2**63"),
    **dict.fromkeys(("gain", "std", "variance", "rate", "power", "learning_rate"), "1.5 2**63"),
    **dict.fromkeys(("tolerance", "target_loss"), "1.5 2**63"),
    **dict.fromkeys(("checkpoint_every",), "0 1.5 2**63"),
    **dict.fromkeys(("seconds", "timeout"), "0 1.5"),
    **dict.fromkeys(("start", "step", "crop", "iterations", "momentum", "keep", "alive"), "0"),
    **dict.fromkeys(("begin_step", "warmup_steps", "rewind_step", "train_examples"), "0"),
    **dict.fromkeys(("target_sparsity", "initial_sparsity", "final_sparsity", "sparsity"), "0"),
    **dict.fromkeys(("fraction", "drop_fraction", "min_density", "from_step"), "0"),
    **dict.fromkeys(
        ("name", "title", "label", "why", "cure", "dataset", "key", "argument", "needed_by"), NAME
    ),
    **dict.fromkeys(
        ("path", "out", "log_dir", "csv", "folder", "run_dir", "baseline", "root"), "text"
    ),
    "progress": f"None {CALL}",
    **dict.fromkeys(("finished", "warn", "started", "stepped", "value"), CALL),
    **dict.fromkeys(("gradient", "callbacks", "before_evaluation", "checkpoint", "allow"), CALL),
    "activation": "None function",
    "metric": "text",
    "end_step": "-1",
    "scope": f"{CALL} list set texts empty-array",
    "allocation": f"{CALL} dict",
    "about": "dict",
    "at": "dict",
}


def model(optimizer: Any = "sgd") -> keras.Model:
    """A small built network, compiled."""
    layers = [keras.layers.Dense(5, "relu", name="a"), keras.layers.Dense(3, name="b")]
    made = keras.Sequential([keras.Input((4,)), *layers], name="small")
    made.compile(optimizer, LOSS)
    return made


def recurrent() -> keras.Model:
    """A small recurrent network: gates, and none."""
    layers = [keras.layers.LSTM(2, return_sequences=True), keras.layers.SimpleRNN(2, "relu")]
    made = keras.Sequential([keras.Input((None, 4)), *layers])
    made.compile("sgd", LOSS)
    return made


def adapted() -> keras.Model:
    """The small network with LoRA."""
    made = model()
    made.layers[0].enable_lora(1)
    made.compile("sgd", LOSS)
    return made


def words() -> keras.Model:
    """A small network of words."""
    made = keras.Sequential([keras.Input((4,)), keras.layers.Embedding(9, 3, name="table")])
    made.compile("sgd", LOSS)
    return made


def sparse() -> keras.Model:
    """The same, with an optimizer that has masks."""
    made = model()
    made.compile(pruning.SparseOptimizer(keras.optimizers.SGD(), scope=made), LOSS)
    made.optimizer.build(made.trainable_variables)
    return made


def data() -> datasets.Dataset:
    return datasets.Dataset("made up", (X, Y), (X, Y), (X, Y), 3)


def masks() -> dict[str, np.ndarray]:
    return {"a/kernel": np.ones((4, 5), bool), "b/kernel": np.ones((5, 3), bool)}


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {"a/kernel": (4, 5), "a/bias": (5,), "b/kernel": (5, 3), "b/bias": (3,)}
    return {key: rng.normal(size=shape).astype("f4") for key, shape in shapes.items()}


def level(number: int = 0, branch: str = "ticket") -> LevelResult:
    values = {name: np.array([0.5, 0.6]) for name in training.METRICS}
    metrics = training.Metrics(np.array([0, 10]), values, np.ones(10))
    return LevelResult(0, branch, number, weights(), weights(), masks(), weights(), metrics)


def line() -> StabilityResult:
    error = np.array([0.1, 0.5, 0.1])
    return StabilityResult(0, 10, np.array([0, 0.5, 1]), error, error, error, error)


def run() -> comparison.Run:
    metrics = training.Metrics(np.array([0]), {"validation_loss": np.ones(1)}, np.ones(10))
    return comparison.Run("he", 0, 10, metrics, None, 0.1)


def signals() -> SimpleNamespace:
    seen = SimpleNamespace(std=1.0, finite=True, sample=np.ones(2))
    of = dict.fromkeys(("output", "linear", "output_gradient"), seen)
    return SimpleNamespace(key="fc", depth=1, is_kernel=True, weights=[], **of)


def race() -> comparison.Comparison:
    return comparison.Comparison("title", (run(),), 3, 10, 4, 1.0)


def coordinates() -> diagnostics.CoordinateCheck:
    record = diagnostics.LayerCoordinates("a", ((1.0, 1.0),) * 2, ((0.0, 0.0), (1.0, 1.0)), 0, 0, 0)
    return diagnostics.CoordinateCheck((4, 8), 1, [record], 0.2)


def exported() -> exporting.ExportReport:
    latency = exporting.Latency(0.1, 0.1, 0.1, 5)
    of = {"path": None, "format": "keras", "runtime": "Keras", "quantize": None, "sparse": False}
    of |= dict.fromkeys(("bytes", "gzip_bytes", "weights"), 9) | {"latency": latency}
    of |= dict.fromkeys(("zeros", "model_zeros", "difference"), 0)
    return exporting.ExportReport(
        tuple(exporting.FileReport(label, **of) for label in ("plain", "sparse"))
    )


def tiny(directory: Path, **changes: Any) -> lottery.LotteryConfig:
    given = {"levels": 1, "steps": 4, "batch_size": 4, "seeds": (0,), "run_dir": directory / "run"}
    return lottery.LotteryConfig(**{**given, **changes})


@dataclass
class Fresh:
    """An argument that is made anew once a call has gone through: it may have been changed."""

    make: Callable[[], Any]


def _copy_with_lora(of: keras.Model) -> keras.Model:
    made = keras.models.clone_model(of)
    made.set_weights(of.get_weights())
    made.layers[0].enable_lora(1)
    return made


class Calls(dict[str, Sample]):
    """Name → a valid call, which is added by its arguments."""

    def add(
        self,
        name: str,
        call: Any = None,
        /,
        _odd: dict[str, str] | None = None,
        _costly: bool = False,
        _also: dict[str, dict[str, Any]] | None = None,
        _more: tuple[str, ...] = (),
        _said: dict[str, str] | None = None,
        **given: Any,
    ) -> None:
        """A function of `public`, or another ``call``; what begins with _ is of `Sample`."""

        def make() -> dict[str, Any]:
            return {k: v.make() if isinstance(v, Fresh) else v for k, v in given.items()}

        call = PUBLIC[name] if call is None else call
        odd = ODD | (_odd or {})
        self[name] = Sample(call, make, odd, _costly, _also or {}, _more, _said or {})


PUBLIC = public()
MODEL, SPARSE, WEIGHTS, MASKS = Fresh(model), Fresh(sparse), Fresh(weights), Fresh(masks)


def samples(directory: Path) -> Calls:
    """Name → a valid call. What is written goes into ``directory``."""
    calls = Calls()
    _initialization(calls)
    _pruning(calls, directory)
    _training(calls, directory)
    _experiments(calls, directory)
    _results(calls, directory)
    return calls


def _initialization(calls: Calls) -> None:
    leaky = {"negative_slope": {"activation": "leaky_relu"}}
    for name in ("Orthogonal", "DeltaOrthogonal", "ConvolutionOrthogonal"):
        also = {**leaky, "gain": {"activation": None}}
        # By its own name: that of the class is another, for Keras.
        cls = getattr(initializers, name)
        calls.add(f"initializers.{name}", cls, activation="relu", seed=1, _also=also)
    axes = {"input_axes": {"output_axes": [1]}, "output_axes": {"input_axes": [0]}}
    scaled = {"_also": leaky | axes, "_odd": dict.fromkeys(axes, "list empty-array")}
    words = {"distribution": "normal", "mode": "fan_in"}
    for name in ("He", "Xavier", "LeCun"):
        calls.add(f"initializers.{name}", activation="relu", seed=1, **words, **scaled)
    calls.add("initializers.SparseScaling", density=0.5, seed=1, **scaled)
    calls.add("initializers.SparseOrthogonal", density=0.5, seed=1, _also=leaky)
    odd = {"std": "1.5 2**63 None"}
    calls.add("initializers.Sparse", connections=2, std=0.5, seed=1, _odd=odd)
    tanh = {"activation": "tanh", "bias_variance": 0.1}
    calls.add("initializers.EdgeOfChaos", **tanh, weight_variance=1.5, seed=1)
    calls.add("initializers.critical_point", **tanh)
    calls.add("initializers.Dirac", groups=2)
    calls.add("initializers.Identity", gain=0.5, _odd={"gain": "-1 0 1.5 2**63"})
    calls.add("initializers.ZerO")
    odd = {"first": "True", "omega": "1.5 2**63"}
    calls.add("initializers.Siren", first=False, omega=20.0, seed=1, _odd=odd)
    calls.add("initializers.Pretrained", source="a.keras", key="a/vars/0")
    calls.add("initializers.Chrono", longest=9, cell="gru", seed=1)
    calls.add("initializers.ForgetBias", value=2.0, cell="gru", _odd={"value": "-1 0 1.5 2**63"})
    calls.add("initializers.RecurrentOrthogonal", gain=0.5, unitary=True, seed=1)
    he = initializers.He(seed=1)
    calls.add("initializers.He.__call__", he.__call__, shape=(2, 3), dtype="float32")
    for name in ("in_use", "announce"):
        calls.add(f"devices.{name}", framework="tensorflow")
    calls.add("devices.choose", device="auto", framework="tensorflow")
    nowhere = Path("no machine is laid out here")
    calls.add("devices.unlisted", framework="tensorflow", root=nowhere)
    rates = {"inner_optimizer": Fresh(keras.optimizers.SGD), "multipliers": [1.0, 0.5, 1.0, 1.0]}
    odd = {"multipliers": "floats array"}
    calls.add("learning_rates.ScaledLearningRates", **rates, name="it", _odd=odd)
    rates = {**rates, "model": MODEL, "multipliers": {"a/kernel": 0.5}}
    odd = {"multipliers": "dict"}
    calls.add("learning_rates.scaled_learning_rates", **rates, _odd=odd)
    check = {"build_model": lambda width: model(), "widths": [4, 8], "x": X, "y": Y}
    check |= {"steps": 1, "repeats": 1, "tolerance": 0.2, "_costly": True}
    calls.add("diagnostics.coordinate_check", **check)
    calls.add("gains.gain", activation="relu", mode="forward")
    calls.add("gains.moments", activation="relu", variance=2.0)
    calls.add("gains.sinusoid", activation="relu")
    calls.add("gains.check_activation", activation="relu")
    calls.add("fans.fans", layer_or_shape=(2, 3))
    layer = model().layers[0]
    calls.add("fans.fans of a layer", tfinit.fans.fans, layer_or_shape=layer, weight="kernel")
    calls.add("schemes.initialize", model=MODEL, scheme="lsuv", x=X, seed=1)
    expected = {"*/kernel": "glorot_uniform"}
    audit = {"expected": expected, "false_alarm": 1e-6, "_odd": {"expected": "None dict"}}
    calls.add("diagnostics.initialization_report", model=MODEL, **audit)
    for name, scheme in tfinit.schemes.SCHEMES.items():
        parameters = inspect.signature(scheme).parameters.values()
        options = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        needed = {
            "mup": {"base": model()},
            "pretrained": {"source": model()},
            "metainit": {"steps": 1},
            "grad_init": {"steps": 1, "bound": 1.0},
            "krahenbuhl": {"iterations": 1},
            "chrono": {"longest": 9},
            "forget_bias": {"value": 2.0},
            "weight_selection": {"source": model()},
        }.get(name, {})
        batch = {"x": X} if models.needs_data(name) else {}
        network = _FITTING.get(REGISTRY[name].fits, MODEL)
        if options and name not in _ELSEWHERE:
            calls.add(
                f"schemes.initialize {name}",
                tfinit.initialize,
                model=network,
                scheme=name,
                seed=1,
                **needed,
                **batch,
                _more=options,
                _odd={
                    **{"loss": f"None {CALL}", "start": "None", "wang": "True", **_FREE},
                    "value": "-1 0 1.5 2**63",
                    **_OF_SCHEMES.get(name, {}),
                },
            )
    calls.add("net2net.wider", model=MODEL, widths={"a": 7}, spread=0.5, seed=1)
    calls.add("net2net.deeper", model=MODEL, after=["a"], x=X, _odd={"after": "texts", "x": "None"})
    network = {"name": "mlp-2-relu", "keras": keras, "input_shape": (4,), "classes": 3, "seed": 1}
    said = {"name": "model"}
    odd = {"x": "all"}  # which this initialization does not look at
    calls.add("models.build", **network, initialization="he", x=X, _odd=odd, _said=said)
    with_data = {"initialization": "lsuv", "x": X, "_costly": True, "_said": said}
    calls.add("models.build with data", models.build, **network, **with_data)
    calls.add("models.fill", model=MODEL, initializer=he, seed=1)
    given = {"name": "lsuv", "x": X, "_odd": {"x": "None"}, "_said": {"name": "initialization"}}
    calls.add("models.set_initialization", model=MODEL, seed=1, **given)
    calls.add("models.initializations")


_FREE = {"bias": "None -1 0 1.5 2**63", "freeze": "True", "std": "1.5 2**63", "omega": "1.5 2**63"}
_FREE |= {"query_key_alpha": "0 1.5 2**63", "value_output_alpha": "0 1.5 2**63"}
_FREE |= {"query_key_beta": "-1 0 1.5 2**63", "value_output_beta": "-1 0 1.5 2**63"}
_OF_SCHEMES = {
    "pretrained": {"names": "None dict"},
    "grad_init": {"bound": "None 1.5 2**63"},
    "embeddings": {"std": "None 1.5 2**63", "tied": "None True"},
    "pissa": {"iterations": "None 0"},
    "weight_selection": {"layers": "None dict"},
}
# For residual networks, with and without scales: tests/schemes.
_ELSEWHERE = {"completep", "depth_scaled", "zero_gamma", "skipinit", "rezero", "layer_scale"}


def attending() -> keras.Model:
    """A transformer of one layer."""
    layers = keras.layers
    inputs = keras.Input((3, 4))
    x = layers.add([inputs, layers.MultiHeadAttention(2, 2)(inputs, inputs)])
    made = keras.Model(inputs, layers.add([x, layers.Dense(4)(x)]))
    made.compile("sgd", LOSS)
    return made


def waving() -> keras.Model:
    """A network of a sine."""
    layers = [keras.layers.Dense(5, keras.ops.sin), keras.layers.Dense(3)]
    made = keras.Sequential([keras.Input((4,)), *layers])
    made.compile("sgd", LOSS)
    return made


_FITTING = {"transformers": Fresh(attending), "sine networks": Fresh(waving)}
_FITTING["recurrent networks"] = Fresh(recurrent)
_FITTING["networks with embeddings"] = Fresh(words)
_FITTING["layers with LoRA"] = Fresh(adapted)
_RULE = {"monotone": "True", "keep_zeros": "True"}
_RULE |= dict.fromkeys(("regrow", "sparsity_m_by_n", "start"), "None")


def _pruning(calls: Calls, directory: Path) -> None:
    steps = {"begin_step": 1, "end_step": 10, "frequency": 2}
    calls.add("pruning.ConstantSparsity", target_sparsity=0.5, **steps)
    sparsities = {"initial_sparsity": 0.0, "final_sparsity": 0.5}
    calls.add("pruning.PolynomialDecay", **sparsities, **steps, power=3)
    decay = pruning.PolynomialDecay(**sparsities, **steps)
    for schedule in (HALF, decay):
        calls.add(f"pruning.{type(schedule).__name__}.in_force", schedule.in_force, step=2)
    calls.add("datasets.digest")
    also = {"policy": {"scope": model()}, "rules": {"schedule": None}}
    said = {"schedule": "pruning_schedule"}
    rule = {"allocation": "uniform", "score": "magnitude", "block_size": (1, 1), "seed": 0}
    rule |= {"block_pooling_type": "AVG", "monotone": False, "drop_fraction": 0.3}
    calls.add("pruning.PruningRule", schedule=HALF, **rule, _also=also, _said=said)
    settings = tuple(sorted(pruning.PruningRule.SETTINGS))
    inner = {"inner_optimizer": Fresh(keras.optimizers.SGD), "name": "it", "schedule": HALF}
    more = {"_more": settings, "_odd": _RULE}
    calls.add("pruning.SparseOptimizer", **inner, _also=also, _said=said, **more)
    trained = sparse()
    kernel = trained.layers[0].kernel
    calls.add("pruning.SparseOptimizer.get_mask", trained.optimizer.get_mask, variable=kernel)
    calls.add(
        "pruning.SparseOptimizer.assign_masks",
        trained.optimizer.assign_masks,
        masks=[(kernel, np.ones((4, 5)))],
        _odd={"masks": "list empty-array"},
        _said={"masks": "mask"},
    )
    another = pruning.SparseOptimizer("sgd")
    going_on = another.continue_from
    calls.add("pruning.SparseOptimizer.continue_from", going_on, other=trained.optimizer)
    policy = pruning.PruneForLatencyOnXNNPack()
    calls.add("pruning.PruneForLatencyOnXNNPack")
    for method, given in (
        ("allow_pruning", {"layer": keras.layers.Conv2D(2, 1)}),
        ("ensure_model_supports_pruning", {"model": _for_xnnpack()}),
    ):
        call = getattr(policy, method)
        calls.add(f"pruning.PruneForLatencyOnXNNPack.{method}", call, **given)
    calls.add("pruning.UpdatePruningStep")
    own = type("Own", (keras.layers.Layer,), {})
    rule = {"layer": own, "rule": lambda channels, call: call.taken[0]}
    calls.add("pruning.register_channel_rule", **rule, _odd={"rule": CALL})
    calls.add("pruning.PruningSummaries", log_dir=directory / "logs", update_freq="epoch")
    said = {"masks": "mask"}
    # Of a number without axes the mask is one too.
    scalars = {"mask": "True 0", "shape": "list empty-array"}
    calls.add("pruning.check_mask", name="w", mask=np.ones((2, 3)), shape=(2, 3), _odd=scalars)
    planned = {"model": MODEL, "x": X, "y": Y, "target": {"channels": 0.5}, "score": "taylor"}
    planned |= {"allocation": "global", "round_to": 1, "protect": 0.1, "filters": "a"}
    planned |= {"loss": LOSS, "batch_size": 4, "seed": 1}
    odd = {"loss": CALL, "protect": "0", "round_to": "2**63"}
    for name in ("channel_plan", "prune_channels"):
        calls.add(f"pruning.{name}", **planned, _costly=True, _odd=odd)
    plan = pruning.channel_plan(model(), target={"channels": 0.6}, round_to=1)
    calls.add("pruning.ChannelPlan.masks", plan.masks, model=MODEL)
    listed = {"channels": "list empty-array set"}
    calls.add(
        "pruning.ChannelPlan.removing", plan.removing, group="a", channels=[1, 2], _odd=listed
    )
    calls.add("pruning.compact", model=MODEL)
    calls.add("pruning.density", masks=MASKS)
    calls.add("pruning.get_masks", model=SPARSE)
    with_zeros = model()
    with_zeros.set_weights(
        [np.eye(*w.shape) if w.ndim == 2 else w for w in with_zeros.get_weights()]
    )
    calls.add("pruning.hold_zeros", model=with_zeros, optimizer="adam")
    calls.add("pruning.mask_lora", model=_copy_with_lora(with_zeros))
    calls.add("pruning.merge_lora", model=Fresh(lambda: _copy_with_lora(with_zeros)))
    calls.add("pruning.set_masks", model=SPARSE, masks=MASKS, _said=said)
    # NaN is refused where it is ranked; and what has no axes has a mask without.
    empty = "list empty-array own-empty"
    odd = {"weights": f"own-nan {empty} True -1 0 1.5 2**63 nan inf", "mask": f"True 0 {empty}"}
    some = np.ones((2, 3))
    calls.add("pruning.magnitude_scores", weights=some, mask=some > 0, _odd=odd)
    calls.add("pruning.survivors", alive=10, fraction=0.5)
    odd["scores"] = "array tensor floats True -1 0 1.5 2**63 nan inf list empty-array own-empty"
    calls.add("pruning.top_mask", scores=some, keep=2, _odd=odd)
    both = {"weights": WEIGHTS, "masks": MASKS, "_odd": odd, "_said": {"weights": "weight"}}
    calls.add("pruning.prune_globally", **both, fraction=0.5)
    calls.add("pruning.prune_layerwise", **both, fractions=dict.fromkeys(masks(), 0.5))
    given = {"model": MODEL, "sparsity": 0.5, "score": "snip", "x": X, "y": Y}
    given |= {"allocation": "global", "loss": LOSS, "batch_size": 4, "iterations": 1, "seed": 0}
    odd = {"loss": CALL}
    calls.add("pruning.prune_at_initialization", **given, _costly=True, _odd=odd)
    given = {"model": Fresh(model), "x": X, "sparsity": 0.5, "score": "wanda", "structure": (2, 1)}
    given |= {"allocation": "uniform", "filters": "a", "damping": 0.1, "seed": 0}
    calls.add(
        "pruning.prune_after_training", **given, _costly=True, _odd={"damping": "0 1.5 2**63"}
    )
    given = {"model": MODEL, "x": X, "y": Y, "score": "wanda", "sparsities": [0.5, 0.9]}
    given |= {"filters": "a", "loss": LOSS, "batch_size": 4, "damping": 0.1, "seed": 0}
    odd = {"loss": CALL, "damping": "0 1.5 2**63"}
    calls.add("pruning.sensitivity", **given, _costly=True, _odd=odd)
    repaired = {"model": Fresh(model), "x": X, "like": MODEL}
    repaired["plan"] = pruning.ChannelPlan(())
    calls.add("pruning.repair", **repaired, _costly=True)
    own = {"block_size", "block_pooling_type", "sparsity_m_by_n"}
    more["_more"] = tuple(name for name in settings if name not in own)
    calls.add("pruning.prune_low_magnitude", to_prune=MODEL, pruning_schedule=HALF, **more)
    calls.add("pruning.prune_scope")
    batch = {"x": X, "y": Y, "loss": LOSS, "batch_size": 4, "_odd": odd, "_costly": True}
    for name in ("snip", "grasp"):
        calls.add(
            f"pruning.scoring.before_training.{name}", model=MODEL, **batch, masks=MASKS, _said=said
        )
    any_score = "pruning.scoring.before_training.score_model"
    calls.add(any_score, score="snip", model=MODEL, **batch, masks=MASKS, seed=1, _said=said)
    calls.add("pruning.scoring.before_training.magnitude", model=MODEL, masks=MASKS, _said=said)
    calls.add("pruning.scoring.before_training.random", model=MODEL, seed=1)
    ones = {"x": "all"}  # of which only the shape is read, and that where the model has none
    calls.add(
        "pruning.scoring.before_training.synflow", model=MODEL, masks=MASKS, _odd=ones, _said=said
    )
    calls.add("pruning.sparsity_report", model=MODEL, input_shape=(None, 4))
    calls.add("pruning.strip_pruning", model=SPARSE)
    legacy = _of_tf_keras()
    calls.add("pruning.TfmotPruner", model=legacy)
    pruner = pruning.TfmotPruner(legacy)
    calls.add("pruning.TfmotPruner.prune", pruner.prune, keep={"fc/kernel": 6})
    given = {"masks": {"fc/kernel": np.ones((4, 3))}, "_said": {"masks": "mask"}}
    calls.add("pruning.TfmotPruner.set_masks", pruner.set_masks, **given)


def _for_xnnpack() -> keras.Model:
    layers = [keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(4, 3, 2)]
    layers += [keras.layers.Conv2D(4, 1), keras.layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers])


def _of_tf_keras() -> Any:
    import tf_keras

    made = tf_keras.Sequential([tf_keras.layers.Dense(3, name="fc")])
    made.build((None, 4))
    return made


def _training(calls: Calls, directory: Path) -> None:
    calls.add("training.Augment", flip=True, crop=2)
    xla = {"xla": "True"}
    for name in ("CompiledLoop", "FitLoop"):
        loop = getattr(training, name)
        calls.add(f"training.{name}", model=MODEL, data=Fresh(data), _odd=xla)
        train = loop(model(), data()).__call__
        sizes = {"steps": 2, "batch_size": 4, "seed": 0, "evaluate_every": 2}
        calls.add(f"training.{name}.__call__", train, **sizes, _costly=True)
    calls.add("training.trainer", model=MODEL, data=Fresh(data))
    calls.add("training.batch_indices", rows=8, batch_size=4, steps=2, seed=0, start=0)
    said = {"every": "evaluate_every"}
    calls.add("training.evaluation_steps", steps=4, every=2, start=0, _said=said)
    calls.add("training.warm_up")
    splits = dict.fromkeys(("train", "test", "validation"), (X, Y))
    calls.add("datasets.from_arrays", **splits, name="it", classes=3)
    calls.add("datasets.is_known", name="blobs")
    calls.add("datasets.load", name="blobs", argument="dataset", _said={"name": "dataset"})
    for name in ("make", "description"):
        calls.add(f"points.{name}", name="blobs")
    calls.add("datasets.Dataset.class_count", data().class_count, needed_by="it")
    calls.add("datasets.Dataset.example_shape", data().example_shape, needed_by="it")
    calls.add("datasets.Dataset.first", data().first, rows=4)
    calls.add("datasets.Dataset.subset", data().subset, train_rows=4, seed=0)
    weighed = {"loss": LOSS, "sample_weight": np.ones(8)}
    calls.add("diagnostics.diagnose", model=MODEL, x=X, y=Y, **weighed, _costly=True)
    calls.add("diagnostics.recommend", model=MODEL)
    advice = tfinit.recommend(model())
    calls.add("diagnostics.Recommendation.apply", advice.apply, seed=1, only="a/kernel", bias=0.0)
    # The batch is looked at when `fit` begins, with the model.
    batch = dict.fromkeys(("x", "y", *weighed), "all own-empty own-texts own-objects own-nan")
    files = {"log_dir": directory / "logs", "csv": directory / "a.csv"}
    given = {"x": X, "y": Y, **weighed, "every": 2, "budget": 0.5, "stop_on": "severe"}
    calls.add("callbacks.SignalMonitor", **given, **files, _odd=batch)
    calls.add("probes.probing", _probed, model=MODEL, value=print)
    saved = {"path": _saved(directory), "name": "it", "allow_lambda": False, "cure": "Ask."}
    calls.add("saved_model.load_model", **saved, _said={"path": "it"})
    calls.add("variables.all_weights", model=MODEL)
    calls.add("variables.walk_layers", _walked, model=MODEL)
    calls.add("variables.prunable_weights", model=MODEL)
    kernels = Fresh(lambda: variables.all_weights(model()))
    odd = {"variables": "dict", "values": "own-nan own-complex"}
    calls.add("variables.read_weights", variables=kernels, _odd=odd)
    calls.add("variables.write_weights", variables=kernels, values=WEIGHTS, _odd=odd)


def _probed(model: Any, value: Any, gradient: Any = None, layers: Any = None) -> None:
    with tfinit.probes.probing(model, value, gradient, layers):
        pass


def _walked(model: Any) -> None:
    list(variables.walk_layers(model))


def _finished(directory: Path) -> Path:
    """The directory of an experiment: nothing is trained in it yet."""
    config = tiny(directory, run_dir=directory / "begun")
    lottery.Store(config)
    return config.run_dir


def _saved(directory: Path) -> Path:
    path = directory / "model.keras"
    if not path.exists():
        model().save(path)
    return path


_WORKERS = ("workers", "cpus_per_training", "gpus_per_training", "time_limit")


def _experiments(calls: Calls, directory: Path) -> None:
    words = {"dataset": "digits", "model": "mlp-2-relu", "optimizer": "sgd"}
    sizes = {"steps": 4, "batch_size": 4, "learning_rate": 0.1, "seeds": (0, 1)}
    odd = {"model": NAME, "initialization": f"{NAME} {CALL}", "loss": NAME, "data": NAME}
    odd |= {"learning_rate_drops": "list empty-array", "layer_prune_fractions": "dict"}
    odd |= {"controls": "list empty-array", "schemes": "list empty-array texts"}
    network = {
        **words,
        **sizes,
        "initialization": "he",
        "keras": "keras",
        "train_examples": 10,
        "warmup_steps": 1,
        "learning_rate_drops": (2,),
        "weight_decay": 0.1,
        "augment": False,
        "evaluate_every": 2,
        "run_dir": directory / "run",
    }
    calls.add(
        "lottery.LotteryConfig",
        **network,
        levels=1,
        prune_fraction=0.5,
        output_prune_fraction=0.5,
        layer_prune_fractions={"a": 0.5},
        allocation="uniform",
        score="magnitude",
        rewind_step=1,
        controls=("reinit",),
        on_divergence="record",
        _odd=odd | {"allocation": "function"},
    )
    calls.add("lottery.StabilityConfig", **network, spawn_steps=(0, 2), points=3, _odd=odd)
    calls.add("comparison.CompareConfig", **words, **sizes, schemes=("he",), _odd=odd)
    of_stability = lottery.StabilityConfig(
        steps=4, batch_size=4, spawn_steps=(0,), run_dir=directory / "line"
    )
    own = {"build_model": model, "data": data(), "_said": {"data": "dataset"}}
    calls.add(
        "executors.Workers",
        workers=2,
        address="auto",
        cpus_per_training=1,
        gpus_per_training=0.25,
        time_limit=60,
        retries=1,
        on_failure="stop",
        _odd={"address": NAME, "retries": "0", **dict.fromkeys(_WORKERS, "0 1.5 2**63")},
    )
    own |= {"workers": None}
    store = {"_more": ("checkpoint_every",), "_costly": True, "_odd": {"build_model": CALL}, **own}
    calls.add("lottery.run", config=tiny(directory), **store)
    calls.add("lottery.stability", config=of_stability, **store)
    calls.add("lottery.TensorBoard", log_dir=directory / "logs")
    calls.add("lottery.load", run_dir=_finished(directory))
    calls.add("lottery.stability_experiment.stability_steps", config=of_stability)
    said = {"names": "initializations?", "data": "dataset"}
    given = {"config": tiny(directory), "names": ("he",)} | own | {"_said": said}
    odd_model = {"build_model": CALL}
    calls.add("lottery.compare_initializations", **given, _costly=True, _odd=odd_model)
    swept = {"base": tiny(directory), "grid": {"steps": [2]}} | own
    calls.add("lottery.sweep", **swept, _costly=True, _odd=odd_model)
    config = comparison.CompareConfig(steps=2)
    calls.add("comparison.compare_named", config=config, _costly=True)
    calls.add(
        "comparison.compare",
        tfinit.compare,
        build_model=model,
        data=data(),
        schemes=("he",),
        steps=2,
        seeds=(0,),
        batch_size=4,
        evaluate_every=2,
        target_loss=1.0,
        diagnose=False,
        title="it",
        _costly=True,
        _odd={"build_model": CALL},
        _said={"data": "dataset"},
    )
    losses, metric = {"a": [1.0, 2.0], "b": [2.0, 3.0]}, JudgedMetric("mae", "min")
    calls.add("comparison.rank", losses=losses, metric=metric, _odd={"metric": "None"})
    source = _saved(directory)
    calls.add(
        "fine_tuning.PruneConfig",
        model=source,
        sparsity=0.5,
        data="digits",
        epochs=1,
        out=directory / "pruned.keras",
        loss="mse",
        allocation="uniform",
        batch_size=4,
        learning_rate=0.1,
        seed=0,
        _odd=odd | {"model": "text", "allocation": ""},
    )
    config = tfinit.fine_tuning.PruneConfig(source)
    calls.add("fine_tuning.fine_tune", config=config, _costly=True)
    given = {"format": "litert", "sparse": False, "seconds": 0.5, "timeout": 3.0}
    odd |= {"model": "text"}
    calls.add("exporting.ExportConfig", model=source, out=directory / "a", **given, _odd=odd)
    given |= {"format": "keras"}
    limits = {"seconds": 0.0, "tolerance": 0.1, "timeout": 60.0}
    arrays = {"representative_data": X, "x": X, "y": Y}
    # The model is looked at with the others, by `side_by_side`.
    odd = {"model": "all"}
    calls.add("exporting.Variant", label="it", model=MODEL, format="keras", sparse=False, _odd=odd)
    way = {"path": directory / "it.keras", "format": "keras", "sparse": False}
    calls.add("exporting.export", model=MODEL, **way, **arrays, **limits, _costly=True)
    variants = Fresh(lambda: [exporting.Variant("it", model(), "keras")])
    given = {**arrays, **limits, "folder": directory / "side"}
    calls.add("exporting.side_by_side", variants=variants, **given, _costly=True)


def _results(calls: Calls, directory: Path) -> None:
    odd = {"rewind": "own-nan own-complex"}
    ticket = {"mask": MASKS, "rewind": WEIGHTS, "step": 1, "about": {"a": "b"}}
    calls.add("lottery.Ticket", **ticket, _odd=odd, _said={"rewind": "weight"})
    made = lottery.Ticket(masks(), weights())
    made.save(directory / "there.npz")
    calls.add("lottery.Ticket.of", lottery.Ticket.of, result=level(), step=1, about={"a": "b"})
    calls.add("lottery.Ticket.apply", made.apply, model=MODEL)
    calls.add("lottery.Ticket.save", made.save, path=directory / "ticket.npz", _costly=True)
    calls.add("lottery.Ticket.load", lottery.Ticket.load, path=directory / "there.npz")
    levels = [level(), level(1)]
    none = {"results": "list empty-array", "values": "list empty-array array floats"}
    for name in ("summarize", "to_csv", "evaluations_to_csv", "layers_to_csv"):
        calls.add(f"lottery.report.{name}", results=levels, _odd=none)
    for name in ("to_frame", "evaluations_to_frame", "layers_to_frame"):
        calls.add(f"lottery.report.{name}", results=levels, _odd=none)
    calls.add("lottery.Conclusion.of", lottery.Conclusion.of, results=levels)
    odd = dict.fromkeys(("one", "two", "errors"), "array own-nan dict own-empty")
    calls.add("lottery.linear_connectivity.barrier", errors=np.array([0.1, 0.5, 0.2]), _odd=odd)
    calls.add(
        "lottery.linear_connectivity.interpolate", one=WEIGHTS, two=WEIGHTS, alpha=0.5, _odd=odd
    )
    calls.add("lottery.StabilityResult.barrier", line().barrier, split="test")
    calls.add("lottery.summarize_stability", results=[line()], _odd=none)
    calls.add("lottery.stability_to_csv", results=[line()], _odd=none)
    of = {"results": levels, "title": "it", "branch": "ticket"}
    calls.add("plots.coordinates_figure", check=coordinates(), title="it")
    calls.add("diagnostics.CoordinateCheck.plot", coordinates().plot, title="it")
    calls.add("plots.curves_figure", **of, value="test_accuracy", _odd={"value": "None"})
    calls.add("plots.layers_figure", **of)
    calls.add("plots.masks_figure", **of, input_shape=(4,), seed=0)
    rows = tfinit.lottery.report.summarize(levels)
    calls.add("plots.lottery_figure", rows=rows, title="it")
    calls.add("plots.initializations_figure", rows_by_name={"he": rows}, title="it")
    calls.add("plots.race_figure", comparison=race(), title="it")
    calls.add("plots.stability_figure", records=[line()], title="it")
    given = {"rises": {"a": [0.1, 0.2]}, "sparsities": [0.5, 0.9], "title": "it"}
    calls.add("plots.sensitivity_figure", **given, _odd={"sparsities": "array"})
    calls.add("plots.sparsity_figure", sparsities={"a": 0.5}, title="it")
    calls.add("plots.signals_figure", layers=[signals()], title="it")
    calls.add("comparison.Comparison.of", race().of, label="he")
    calls.add("comparison.Comparison.learned_nothing", race().learned_nothing, label="he")
    calls.add("comparison.Run.last", run().last, name="validation_loss")
    odd = {"loss": "None -1 0 1.5 2**63"}
    for name in ("steps_to", "seconds_to"):
        calls.add(f"comparison.Run.{name}", getattr(run(), name), loss=1.0, _odd=odd)
    for name in ("speedup", "verdict"):
        call = getattr(exported(), name)
        calls.add(f"exporting.ExportReport.{name}", call, label="sparse", _odd={"label": ""})
    odd = {"seconds": "floats array set"}
    calls.add("exporting.Latency.of", exporting.Latency.of, seconds=[0.1, 0.2], _odd=odd)
    calls.add("spread.Spread.of", Spread.of, values=[1.0, 2.0], _odd=none)
    diagnosis = tfinit.diagnose(model(), X, Y)
    plotted = {"diagnostics.Diagnosis": diagnosis, "comparison.Comparison": race()}
    plotted["pruning.SparsityReport"] = pruning.sparsity_report(model())
    of = pruning.prune_at_initialization(model(), 0.5, "magnitude")
    plotted["pruning.AtInitialization"] = of
    plotted["pruning.AfterTraining"] = pruning.prune_after_training(model(), X, 0.5)
    measured = pruning.sensitivity(model(), X, Y)
    plotted["pruning.Sensitivity"] = measured
    calls.add("pruning.Sensitivity.allocation", measured.allocation, sparsity=0.5)
    plotted |= {"lottery.LevelResult": level(), "lottery.StabilityResult": line()}
    for name, result in plotted.items():
        calls.add(f"{name}.plot", result.plot, title="it")
