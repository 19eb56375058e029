"""The result of `recommend`: a table, code to paste, and the way to apply it."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfinit import arguments
from tfinit.arguments import listed
from tfinit.errors import InputError
from tfinit.graph.kernels import Kernel
from tfinit.haar import haar_matrices
from tfinit.results import Records
from tfinit.schemes.engine.report import Record, Report, frozen, record_of
from tfinit.schemes.engine.task import Task
from tfinit.schemes.variance import draw
from tfinit.text_table import aligned


@dataclass(frozen=True)
class Advice:
    """What to start one kernel with, and why.

    Attributes:
        key: The weight's stable key (`tfinit.variables`).
        layer: The class of its layer.
        initializer: The initializer in a few words, ``"He, leaky_relu 0.2"``.
        std: The standard deviation that it gives this kernel by the fans of its layer; None for a
            kernel that is kept.
        code: The argument to paste into the layer; for a kernel that no argument can say, the call
            that sets it; empty for a kernel that is kept.
        why: The reason, and the paper.
        bias: What to set the layer's bias to; None: leave it, or there is none.
        cancels: φ(0) where the kernel reads sigmoids and its bias should take out their mean,
            b_j = -φ(0) · Σ_i w_ij; else None.
        keeps: True where the layer's bias is not zero, as a prior of a detector's classes is not:
            it stays as it is, unless `Recommendation.apply` is told another.
    """

    key: str
    layer: str
    initializer: str
    std: float | None
    code: str
    why: str
    bias: float | None = None
    cancels: float | None = None
    keeps: bool = False


@dataclass(frozen=True)
class Plan:
    """An advice with what it takes to carry it out.

    Attributes:
        advice: What the user sees.
        kernel: The weight.
        distribution: ``"normal"``, ``"uniform"`` or ``"orthogonal"``; empty for a kept kernel.
        owner: The key of the layer that takes the initializer as an argument.
        argument: The name of that argument; empty if no argument can say it.
        expression: The argument's value, as Python.
    """

    advice: Advice
    kernel: Kernel
    distribution: str
    owner: str
    argument: str
    expression: str


class Recommendation(Records[Advice]):
    """One `Advice` for each kernel, in data-flow order. Prints as a table with reasons.

    Args:
        model: The model that it is about.
        plans: What to do with each kernel.
        notes: What concerns the whole model.
    """

    def __init__(self, model: Any, plans: list[Plan], notes: Sequence[str] = ()) -> None:
        self.model = model
        self.notes = list(notes)
        self._plans = list(plans)

    @property
    def records(self) -> list[Advice]:
        """One for each kernel, in data-flow order."""
        return [plan.advice for plan in self._plans]

    def __str__(self) -> str:
        """The table, and under it the reasons that its last column counts."""
        reasons = list(dict.fromkeys(advice.why for advice in self))
        rows = [("key", "layer", "initializer", "std", "bias", "why")]
        for a in self:
            number = f"[{reasons.index(a.why) + 1}]"
            rows.append((a.key, a.layer, a.initializer, _std(a), _bias(a), number))
        because = [f"[{i}] {why}." for i, why in enumerate(reasons, 1)]
        return "\n".join([*aligned(rows), *because, *self.notes])

    @property
    def code(self) -> str:
        """Python to paste: the arguments of each layer, one layer a line.

        Between them, the lines say the standard deviations of the table. What no argument can say
        (a bias computed from the weights; one kernel of an attention layer alone) is a call to
        make when the model is built.
        """
        layers: dict[str, dict[str, str]] = {}
        later: list[str] = []
        for plan in self._plans:
            if not plan.distribution:
                continue
            arguments = layers.setdefault(plan.owner, {}) if plan.argument else {}
            if plan.argument:
                arguments[plan.argument] = plan.expression
                if plan.advice.bias == 0 and _other_bias(plan.kernel.layer):
                    arguments["bias_initializer"] = '"zeros"'
            if not plan.argument or (plan.advice.cancels and not plan.advice.keeps):
                later.append(plan.advice.key)
        lines = []
        if layers:
            lines += ['# keras.layers.Dense(64, "relu", **arguments["name of the layer"])']
            lines += ["arguments = {"]
            for owner, arguments in layers.items():
                said = ", ".join(f"{name}={value}" for name, value in arguments.items())
                lines.append(f'    "{owner}": dict({said}),')
            lines += ["}"]
        if later:
            lines += ["# What no argument can say, once the model is built:"]
            lines += [f"tfinit.recommend(model).apply(only={later})"]
        text = "\n".join(lines)
        imports = [f"import {name}" for name in ("keras", "tfinit") if f"={name}." in text]
        if later and "import tfinit" not in imports:
            imports.append("import tfinit")
        return "\n".join([*imports, "", text])

    def to_dict(self) -> dict[str, Any]:
        """``{"advice": [one dictionary for each kernel], "notes": […]}``, ready for JSON."""
        return {"advice": [asdict(advice) for advice in self], "notes": list(self.notes)}

    def _rows(self) -> list[dict[str, Any]]:
        return [asdict(advice) for advice in self]

    def _caption(self) -> str:
        return f"{self.model.name}: an initializer for each of {len(self)} kernels"

    def apply(
        self,
        seed: int | None = None,
        only: str | Sequence[str] | None = None,
        bias: float | None = None,
    ) -> Report:
        """Draw the kernels as advised, and set the biases that an advice names, in place.

        Args:
            seed: Each weight draws from a stream of its own, made of this and its key. None:
                another each time.
            only: A key or keys of `Advice.key`; None: all. Other weights stay as they are, bit
                for bit, and so do kernels whose layers are frozen.
            bias: What to set the biases to that are kept otherwise (`Advice.keeps`): 0.0 to start
                a trained model anew. None keeps them.

        Returns:
            What was done to each kernel.

        Raises:
            InputError: a key that is not in the table, a seed that is no integer, or a bias that
                is no number. Nothing was written, as after any error.

        Example:
            >>> model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2, name="fc")])
            >>> round(recommend(model).apply(seed=1)["fc/kernel"].std, 4)
            0.3536
        """
        wanted = self._wanted(only)
        seed = arguments.seed("seed", seed, none=True)
        bias = arguments.number("bias", bias, none=True)
        if seed is None:
            seed = random.randrange(2**31)
        chosen = {
            plan.advice.key: plan
            for plan in self._plans
            if plan.distribution and plan.advice.key in wanted
        }

        def value(kernel: Kernel, random: np.random.Generator) -> np.ndarray:
            plan = chosen[kernel.key]
            assert plan.advice.std is not None  # only a kernel that is kept has none
            if plan.distribution == "orthogonal":
                rows, columns = int(np.prod(kernel.shape[:-1])), kernel.shape[-1]
                gain = plan.advice.std * max(rows, columns) ** 0.5
                return (gain * haar_matrices(random, 1, rows, columns)).reshape(kernel.shape)
            return draw(kernel, [plan.advice.std], plan.distribution, random)

        task = Task(self.model, seed)
        try:
            # The decomposition of an orthogonal matrix has threads inside.
            inside = [p.kernel for p in chosen.values() if p.distribution == "orthogonal"]
            others = [p.kernel for p in chosen.values() if p.distribution != "orthogonal"]
            task.draw(others, value)
            task.draw(inside, value, threads=1)
            for plan in chosen.values():
                _set_bias(task, plan, bias)
        except BaseException:
            task.undo()
            raise
        records = [self._record(plan, chosen, bias) for plan in self._plans]
        return Report("recommend", records, self.notes)

    def _wanted(self, only: str | Sequence[str] | None) -> set[str]:
        keys = [plan.advice.key for plan in self._plans]
        given = keys if only is None else [only] if isinstance(only, str) else only
        wanted = listed("only", given, str)
        unknown = [key for key in wanted if key not in keys]
        if unknown:
            raise InputError(f"`only` must be among {keys}, received {unknown}.")
        return set(wanted)

    @staticmethod
    def _record(plan: Plan, chosen: dict[str, Plan], bias: float | None) -> Record:
        if not plan.distribution:
            return frozen(plan.kernel)
        if plan.advice.key not in chosen:
            return record_of(plan.kernel, "kept", note="not in `only`")
        kept = "; bias kept" if plan.advice.keeps and bias is None else ""
        return record_of(
            plan.kernel, "set", std=plan.advice.std, note=plan.advice.initializer + kept
        )


def _set_bias(task: Task, plan: Plan, given: float | None) -> None:
    variable, advice = plan.kernel.bias, plan.advice
    if variable is None or (advice.keeps and given is None):
        return
    value = np.full(tuple(variable.shape), given if advice.keeps else advice.bias or 0.0)
    if advice.cancels:
        value = value + cancelling(plan.kernel, advice.cancels)
    task.write(variable, value.astype(np.float32))


def cancelling(kernel: Kernel, mean: float) -> np.ndarray:
    """The bias that takes out what a mean of the inputs gives to the outputs of a kernel."""
    weights = np.asarray(kernel.variable.numpy(), np.float64)
    return -mean * weights.reshape(-1, weights.shape[-1]).sum(axis=0)


def _other_bias(layer: Any) -> bool:
    """True if the layer's own bias initializer is something else than Keras's default, zeros."""
    initializer = getattr(layer, "bias_initializer", None)
    return initializer is not None and type(initializer).__name__ != "Zeros"


def _std(advice: Advice) -> str:
    return "" if advice.std is None else f"{advice.std:.4g}"


def _bias(advice: Advice) -> str:
    if advice.keeps:
        return "kept"
    if advice.cancels:
        return f"{-advice.cancels:g}·Σw"
    return "" if advice.bias is None else f"{advice.bias:g}"
