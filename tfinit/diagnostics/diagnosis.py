"""`diagnose`: one forward and one backward pass → a verdict, a table, findings with cures."""

import math
from typing import TYPE_CHECKING, Any

from tfinit.arguments import text
from tfinit.diagnostics.judging.causes import find
from tfinit.diagnostics.judging.findings import SEVERE, WARNING, Finding
from tfinit.diagnostics.judging.trends import Trends
from tfinit.diagnostics.judging.trials import Trial, Try, with_cures_that_cure
from tfinit.diagnostics.measuring.layers import LayerSignals, Weights
from tfinit.diagnostics.measuring.measurement import Measurement, measure
from tfinit.diagnostics.table import layers_table
from tfinit.results import Result, json_ready
from tfinit.text_table import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Diagnosis(Result):
    """What one batch shows of a network before it is trained.

    Attributes:
        layers: What was measured of each layer (`LayerSignals`), in the order of their calls.
        findings: What is wrong (`Finding`), the severe first.
        trends: How signals grow forward and backward: ``forward_factor``, ``backward_factor`` and
            ``depth_scale``.
        measurement: Everything that it was made from.

    Args:
        model: Its name.
        measurement: What was measured.
        attempt: Tries cures (`tfinit.diagnostics.judging.trials`); None names them untried.
    """

    def __init__(self, model: str, measurement: Measurement, attempt: Try | None = None) -> None:
        self.model, self.measurement = model, measurement
        evidence, self.findings = find(measurement)
        if attempt is not None:
            self.findings = with_cures_that_cure(self.findings, attempt)
        self.layers: tuple[LayerSignals, ...] = measurement.layers
        self.trends: Trends = evidence.trends

    @property
    def severe(self) -> list[Finding]:
        """The findings that keep the network from learning."""
        return [finding for finding in self.findings if finding.severity == SEVERE]

    @property
    def healthy(self) -> bool:
        """True if no finding is severe."""
        return not self.severe

    @property
    def risk(self) -> float:
        """How far the network is from learning: near 0 at best. It ranks initializations.

        The decades between the largest and the smallest gradient norm of a layer, and between
        those of what varies with the input; plus 10 times the share of twins, 10 times the share
        of dead units beyond half and 3 times that of saturated ones in the worst layer; infinite
        where something is not finite.
        """
        if any(finding.kind == "not finite" for finding in self.findings):
            return math.inf
        trends = self.trends
        risk = trends.gradient.spread + trends.variation.spread
        ties = [w.twins for layer in self.layers for w in layer.weights if w.twins]
        units = sum(t.units for t in ties)
        risk += 10 * sum(t.tied for t in ties) / units if units else 0.0
        rectified = [layer.output.dead for layer in self.layers if "relu" in layer.activation]
        bounded = [layer.output.saturated or 0.0 for layer in self.layers if not layer.head]
        # Up to half of the units may well be off: those of a deep ReLU network are.
        risk += 10 * max(0.0, 2 * max(rectified, default=0.0) - 1)
        return risk + 3 * max(bounded, default=0.0)

    @property
    def verdict(self) -> str:
        """The worst finding with its cure, or how signals travel, and the first warning."""
        if self.severe:
            return _told(self.severe[0])
        warnings = [f for f in self.findings if f.severity == WARNING]
        return self._healthy() + (f" A warning: {_told(warnings[0])}" if warnings else "")

    def _healthy(self) -> str:
        trends = self.trends
        layers = max((layer.depth for layer in self.layers), default=0)
        if trends.gradient.layers < 1:
            return (
                f"Healthy: nothing severe was found; from layer to layer ({layers} with kernels) "
                "too little was seen to tell a growth."
            )
        scale = trends.depth_scale
        return (
            f"Healthy: a layer multiplies activations by {trends.forward_factor:.3g} and gradients "
            f"by {trends.backward_factor:.3g}; through all {layers} that makes "
            f"{10**trends.size.decades:.2g} and {10**-trends.gradient.decades:.2g} (depth scale "
            f"{'over 1000' if scale > 1000 else f'{scale:.2g}'} layers)."
        )

    def __str__(self) -> str:
        # All other findings are told below.
        told = f"{self.severe[0].named}: {self.verdict}" if self.severe else self._healthy()
        lines = [
            f"{printable(self.model)}: {told}",
            "",
            layers_table(self.layers, self.findings),
        ]
        rest = [f for f in self.findings if f is not (self.severe[0] if self.severe else None)]
        lines += ["", *map(str, rest)] if rest else []
        notes = [f"({note})" for note in self.measurement.notes]
        return "\n".join([*lines, "", *notes] if notes else lines)

    def plot(self, title: str | None = None) -> "Figure":
        """Histograms of activations and gradients by layer, and their spread by depth.

        Glorot & Bengio 2010, figures 6 and 7; He et al. 2015.

        Returns:
            A matplotlib figure: ``figure.savefig("diagnosis.png")``.
        """
        text("title", title, none=True)
        from tfinit.plots import signals_figure

        return signals_figure(self.layers, title or f"{self.model}: {self._short()}")

    def _short(self) -> str:
        if not self.severe:
            return "healthy"
        return ", ".join(dict.fromkeys(finding.kind for finding in self.severe))

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers, strings, lists and dicts that JSON can hold (NaN as None)."""
        found, trends = self.measurement, self.trends
        start = None
        if found.start is not None:
            start = {"cross_entropy": found.start.cross_entropy, "classes": found.start.classes}
        return json_ready(
            {
                "model": self.model,
                "healthy": self.healthy,
                "verdict": self.verdict,
                "risk": self.risk,
                "forward_factor": trends.forward_factor,
                "backward_factor": trends.backward_factor,
                "depth_scale": trends.depth_scale,
                "loss": found.loss,
                "start": start,
                "examples": found.examples,
                "findings": [
                    {**vars(f), "changes": [c._asdict() for c in f.changes]} for f in self.findings
                ],
                "layers": self._rows(),
                "notes": list(found.notes),
            }
        )

    def _rows(self) -> list[dict[str, Any]]:
        """One for each kernel and each activation."""
        return [
            line_of(layer, weights) for layer in self.layers for weights in layer.weights or (None,)
        ]

    def _remarks(self) -> list[str]:
        return [*map(str, self.findings), *self.measurement.notes]


def _told(finding: Finding) -> str:
    """What was seen, and what to do."""
    return f"{finding.evidence} {finding.cure}" + (f" `{finding.code}`" if finding.code else "")


def line_of(layer: LayerSignals, weights: Weights | None) -> dict[str, Any]:
    """One layer, and one of its kernels, as a flat record."""
    gradient, linear = layer.output_gradient, layer.linear_gradient
    return {
        "layer": layer.key,
        "class": layer.layer,
        "depth": layer.depth,
        "activation": layer.activation or layer.follows,
        "kernel": weights and weights.key,
        "fan_in": weights and weights.fan_in,
        "fan_out": weights and weights.fan_out,
        "initializer": weights and weights.initializer,
        "weight_mean": weights and weights.mean,
        "weight_std": weights and weights.std,
        "linear_mean": layer.linear.mean,
        "linear_std": layer.linear.std,
        "activation_mean": layer.output.mean,
        "activation_std": layer.output.std,
        "variation": layer.linear.variation,
        "zeros": layer.output.zeros,
        "dead": layer.output.dead,
        "saturated": layer.output.saturated,
        "gradient_std": gradient and gradient.std,
        "gradient_norm": gradient and gradient.norm,
        "linear_gradient_std": linear and linear.std,
        "linear_gradient_norm": linear and linear.norm,
        "weight_gradient_std": weights and weights.gradient_std,
        "update_ratio": weights and weights.update_ratio,
        "tied_units": weights and weights.twins and weights.twins.tied,
    }


def diagnose(
    model: Any, x: Any = None, y: Any = None, loss: Any = None, sample_weight: Any = None
) -> Diagnosis:
    """Say before training whether a network will learn, what is wrong with it, and what to do.

    One forward and one backward pass over a batch, as a training step makes them
    (BatchNormalization uses the batch, dropout drops); nothing is trained, and the model is left
    bit for bit as it was: weights, optimizer, moving statistics, seeds. Where the optimizer's first
    step would be far too large or too small, some of its steps are tried on copies of the weights.

    Threads: nothing is written to the model and nothing put into it, not for a moment. Any number
    of threads may diagnose one model, or models that share layers, and each is told what it would
    be told alone. Meanwhile others may call, save and train it: a `fit` beside it ends with the
    bits that it ends with alone, and the diagnosis is of the weights as they were at one moment
    between its beginning and its end. Exceptions: a ``tf.function`` inside a layer (not a `call`
    that is one) has the variables themselves, and what it assigned is put back, so such a model
    must not be trained meanwhile; and code of the user's own that draws from ``random`` or
    ``numpy.random`` shares them with all threads, and they are put back for all; so is
    PyTorch's stream, from which Keras's Dropout draws there. On JAX a `fit` holds the weights
    itself from step to step, and it is an error to ask for them meanwhile.

    Args:
        model: A built model of Keras 3, on TensorFlow, JAX or PyTorch: functional, nested,
            subclassed, shared, of several inputs; compiled or not. Of a compiled one, the table has
            the size of the optimizer's first update too.
        x: A batch as the model takes it, some dozens of examples or more. None: drawn from
            N(0, 1), or uniform whole numbers where the model embeds them.
        y: Its targets. None: the gradients are those of random sums of the outputs.
        loss: A Keras loss, its name, or a function (y, outputs) → loss. None: the loss that the
            model was compiled with, losses that its layers add and penalties of weights included,
            or only these where it was compiled without; else cross-entropy for classes, logits or
            probabilities by the outputs, and the mean squared error for numbers.
        sample_weight: How much each example counts in the loss, as `fit` takes it: an array, or one
            for each output.

    Returns:
        A `Diagnosis`; it prints as a verdict, a table and findings. The code of a severe finding
        was tried on a copy, measured in the same way: it is named only if the finding was gone.

    Raises:
        InputError: a model that is not built, not of Keras 3 or has no weights; data, targets or a
            loss that do not fit; another backend; or another thread trains the model so fast that
            its weights cannot be read as they were at one moment.

    Example:
        >>> relus = [keras.layers.Dense(64, "relu", name=f"fc{n}") for n in range(1, 31)]
        >>> model = keras.Sequential([keras.Input((64,)), *relus, keras.layers.Dense(10)])
        >>> [finding.kind for finding in diagnose(model).severe]  # Keras starts with Xavier
        ['vanishing']
        >>> report = initialize(model, "he", seed=1)
        >>> diagnose(model).healthy
        True

    Glorot & Bengio, AISTATS 2010; He et al., ICCV 2015; Schoenholz et al., Deep Information
    Propagation, ICLR 2017 (χ₁ and the depth scale).
    """

    def found(x: Any, y: Any) -> list[Finding]:
        return find(measure(model, x, y, loss, sample_weight))[1]

    measurement = measure(model, x, y, loss, sample_weight)
    return Diagnosis(getattr(model, "name", "model"), measurement, Trial(model, x, y, found))
