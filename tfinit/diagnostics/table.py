"""The table of a diagnosis: one line a layer."""

from collections.abc import Sequence

from tfinit.diagnostics.judging.findings import NOTE, Finding
from tfinit.diagnostics.measuring.layers import LayerSignals, Weights
from tfinit.text_table import aligned

_COLUMNS = (
    *("layer", "fan in", "init", "w std", "activation", "mean", "std", "zeros", "saturated"),
    *("grad std", "w grad std", "update/w", "findings"),
)
_MOST = 60  # lines; of longer networks the middle is left out, but for what was found there
_LEFT = ("layer", "init", "activation", "findings")


def layers_table(layers: Sequence[LayerSignals], findings: Sequence[Finding]) -> str:
    """An aligned table; columns without any entry are left out."""
    found: dict[str, list[str]] = {}
    for finding in findings:
        if finding.layer and finding.severity != NOTE:
            found.setdefault(finding.layer, []).append(f"{finding.rule} {finding.kind}".strip())
    lines = [
        (layer.key in found, _line(layer, weights, found))
        for layer in layers
        for weights in layer.weights or (None,)
    ]
    kept = [n for n in range(len(lines)) if _is_shown(n, len(lines), lines[n][0])]
    rows: list[tuple[str, ...] | str] = [_COLUMNS]
    for n, before in zip(kept, [-1, *kept], strict=False):
        if n > before + 1:
            rows.append(f"… {n - before - 1} more; all are in .to_frame()")
        rows.append(lines[n][1])
    right = [i for i, name in enumerate(_COLUMNS) if name not in _LEFT]
    return "\n".join(aligned(rows, right, drop_empty=True))


def _is_shown(n: int, total: int, has_finding: bool) -> bool:
    return total <= _MOST or has_finding or n < _MOST // 2 or n >= total - _MOST // 2


def _line(
    layer: LayerSignals, weights: Weights | None, found: dict[str, list[str]]
) -> tuple[str, ...]:
    # An attention layer's parts are layers of their own; a recurrent one has two kernels in one.
    first = weights is None or weights is layer.weights[0]
    name = layer.key if first else f"  {weights.key.rsplit('/', 1)[-1]}"
    gradient = layer.output_gradient
    return (
        name,
        "" if weights is None else f"{weights.fan_in:g}",
        "" if weights is None else weights.initializer,
        "" if weights is None else _number(weights.std),
        layer.activation if first else "",
        _number(layer.output.mean) if first else "",
        _number(layer.output.std) if first else "",
        _percent(layer.output.zeros) if first else "",
        "" if layer.output.saturated is None or not first else f"{layer.output.saturated:.0%}",
        "" if gradient is None or not first else _number(gradient.std),
        "" if weights is None or weights.gradient_std is None else _number(weights.gradient_std),
        "" if weights is None or weights.update_ratio is None else _number(weights.update_ratio),
        ", ".join(dict.fromkeys(found.get(layer.key, ()))) if first else "",
    )


def _number(value: float) -> str:
    return f"{value + 0.0:.2g}"  # no minus before a zero


def _percent(value: float | None) -> str:
    return f"{value:.0%}" if value else ""
