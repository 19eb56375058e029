"""What a ticket is compared with: controls, each of which takes one part of a ticket away.

A control keeps what it is not about. Where it does as well as the ticket, that part was not what
made the ticket win. `CONTROLS` has them, each with its label and its description: flags, help,
figures, tables and errors read them there, so a new one is a function and its `register` here.

References:
    Frankle & Carbin, 2019, https://arxiv.org/abs/1803.03635: other random weights.
    Zhou, Lan, Liu & Yosinski, *Deconstructing Lottery Tickets: Zeros, Signs, and the Supermask*,
    NeurIPS 2019, https://arxiv.org/abs/1905.01067, for the signs.
    Su et al., *Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot*, NeurIPS 2020,
    https://arxiv.org/abs/2009.11094, and Frankle, Dziugaite, Roy & Carbin, *Pruning Neural
    Networks at Initialization: Why Are We Missing the Mark?*, ICLR 2021,
    https://arxiv.org/abs/2009.08576, for the shuffled mask.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfinit.errors import InputError
from tfinit.lottery.own_parts import fingerprint
from tfinit.streams import stream_for

if TYPE_CHECKING:
    import numpy as np

# Also what reads them from a file each time it is asked.
Weights = Mapping[str, "np.ndarray"]
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # what a branch, and so a directory, may be called


@dataclass(frozen=True)
class Control:
    """One part of a ticket, or of another mask with its weights, and what takes its place.

    Attributes:
        name: In flags, results and files; after the source of the mask where that is not the
            ticket: ``"reinit"``, ``"snip-reinit"``.
        label: In legends, after the label of the mask's source: "SNIP, reinitialized".
        description: What is trained, in the help and the docs.
        weights: (the weights that survivors would return to, those of another initialization, the
            keys of the mask) → the weights that it trains from: pure, dense, under all keys of the
            first. Or the name of the control that has the same. None: the first, as they are.
        mask: (mask, seed of the replicate) → a mask of as many survivors. None: the same mask.
        late: Whether it starts at the rewind step, and ``weights`` is given the weights of that
            step; else both are about step 0.
        ticket_label: In legends, where the mask is the ticket's. Empty: "same mask, " and the
            label.
        look: Its place in the palette of the figures, where it has one; None: the next free one.
    """

    name: str
    label: str
    description: str
    weights: Callable[[Weights, Weights, list[str]], Weights] | str | None = None
    mask: Callable[[Weights, int], dict[str, "np.ndarray"]] | None = None
    late: bool = True
    ticket_label: str = ""
    look: int | None = None

    def get_config(self) -> dict[str, Any]:
        """What decides what is trained: without label, description and look."""
        return {"weights": self.weights, "mask": self.mask, "late": self.late}

    def start(self, own: Weights, other: Weights, keys: list[str]) -> Weights:
        """The weights that it trains from: see `weights`."""
        if self.weights is None:
            return own
        if isinstance(self.weights, str):
            return CONTROLS[self.weights].start(own, other, keys)
        return self.weights(own, other, keys)


CONTROLS: dict[str, Control] = {}


def register(control: Control) -> Control:
    """Let experiments train a control, on the ticket's mask and on every other.

    Raises:
        InputError: its name is taken, or no name of a directory.
    """
    if not NAME.fullmatch(control.name) or control.name in CONTROLS:
        raise InputError(
            "`name` of a control must be words of a-z and digits with hyphens between, other than "
            f"{', '.join(CONTROLS)}; received {control.name!r}."
        )
    CONTROLS[control.name] = control
    return control


def registered(control: Any) -> Any:
    """The name of a control: one that is given itself is registered, if it is not yet.

    Raises:
        InputError: another one has its name.
    """
    if not isinstance(control, Control):
        return control
    known = CONTROLS.get(control.name)
    if known is None:
        register(control)
    elif known != control and fingerprint(known) != fingerprint(control):
        raise InputError(
            f"`controls` has {control.name!r}, and there is another control of that name: "
            f"{known.description}. Give it another name."
        )
    return control.name


def shuffled(mask: Weights, seed: int) -> dict[str, "np.ndarray"]:
    """The mask with the entries of each tensor in random order.

    Args:
        mask: Key → mask.
        seed: Each key has its own stream. The order depends on the seed, the key and the size, not
            on the mask: masks that lie inside each other still do when they are shuffled.

    Returns:
        Key → mask with as many entries True.

    Example:
        >>> mask = {"fc": np.array([True, False, False, False])}
        >>> int(shuffled(mask, seed=0)["fc"].sum())
        1
    """
    import numpy as np

    return {
        key: stream_for("shuffled mask", seed, key).permutation(np.ravel(m)).reshape(np.shape(m))
        for key, m in mask.items()
    }


def _known(name: str, weights: Weights, keys: Iterable[str]) -> None:
    missing = sorted(set(keys) - weights.keys())
    if missing:
        raise InputError(f"`keys` names {missing}, which `{name}` lacks; it has {list(weights)}.")


def with_signs_of(weights: Weights, signs: Weights, keys: Iterable[str]) -> Weights:
    """|weights| · sign(signs) for the given keys, the others as they are.

    The paper's "reinitialized, sign kept": ``weights`` are another initialization, ``signs`` the
    ticket's. Where ``signs`` is 0 the result is 0.

    Args:
        weights: Key → weights.
        signs: Key → weights whose signs to take.
        keys: Which weights to change: those of the mask.

    Returns:
        A new dictionary with the keys and types of ``weights``.

    Raises:
        InputError: a key is missing, or a shape differs.

    Example:
        >>> with_signs_of({"fc": np.array([1.0, -2.0])}, {"fc": np.array([-3.0, 4.0])}, ["fc"])
        {'fc': array([-1.,  2.])}
    """
    import numpy as np

    keys = set(keys)
    _known("weights", weights, keys)
    _known("signs", signs, keys)
    for key in keys:
        if np.shape(signs[key]) != np.shape(weights[key]):
            raise InputError(
                f"`signs[{key!r}]` has shape {np.shape(signs[key])}, "
                f"the weights have {np.shape(weights[key])}."
            )
    return {
        key: (np.abs(w) * np.sign(signs[key])).astype(w.dtype) if key in keys else w
        for key, w in weights.items()
    }


def signed_constant(weights: Weights, keys: Iterable[str]) -> Weights:
    """sign(w) · std(w) for the given keys, the others as they are.

    The standard deviation is that of the whole tensor, as in the authors' code: pass the dense
    initial weights, not masked ones.

    Args:
        weights: Key → initial weights.
        keys: Which weights to change: those of the mask.

    Returns:
        A new dictionary with the keys and types of ``weights``.

    Raises:
        InputError: a key is missing.

    Example:
        >>> signed_constant({"fc": np.array([1.0, -1.0, 3.0, -3.0]) / 5**0.5}, ["fc"])
        {'fc': array([ 1., -1.,  1., -1.])}
    """
    import numpy as np

    keys = set(keys)
    _known("weights", weights, keys)
    return {
        # Summed in float64: a constant of a narrow type would depend on the order of the sum.
        key: (np.sign(w) * w.astype(np.float64).std()).astype(w.dtype) if key in keys else w
        for key, w in weights.items()
    }


REINIT = "reinit"
for _control in (
    Control(
        REINIT,
        "reinitialized",
        "the ticket's mask on other random weights",
        weights=lambda own, other, keys: other,
        late=False,
        look=1,
    ),
    Control(
        "reinit-signs",
        "reinitialized, signs kept",
        "the ticket's mask on other random weights with the signs of its own",
        weights=lambda own, other, keys: with_signs_of(dict(other), own, keys),
        late=False,
    ),
    Control(
        "constant-signs",
        "sign × constant",
        "the ticket's mask and signs, each tensor's standard deviation as magnitude",
        weights=lambda own, other, keys: signed_constant(dict(own), keys),
    ),
    Control(
        "shuffle",
        "shuffled",
        "the ticket's weights under its mask, shuffled within each tensor",
        mask=shuffled,
        ticket_label="mask shuffled",
    ),
    Control(
        "random",
        "shuffled and reinitialized",
        "other random weights under the ticket's mask, shuffled within each tensor",
        weights=REINIT,
        mask=shuffled,
        late=False,
        ticket_label="mask shuffled, reinitialized",
    ),
):
    register(_control)
