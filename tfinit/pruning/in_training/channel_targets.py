"""How many channels of each group go, so that what is left of a model costs what was asked for."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from tfinit.errors import InputError
from tfinit.pruning.in_training.whole_channels import MaskedGroup, placed
from tfinit.pruning.scoring.scores import AnyScore

_WITHOUT_DATA = ("l1", "l2", "batchnorm", "random")


def maskable(model: Any, groups: Sequence[MaskedGroup]) -> list[str]:
    """The layers whose channels can be masked while a model trains: no kernel of them is frozen."""
    trained = {id(weight): place for place, weight in enumerate(model.trainable_variables)}
    return list(dict.fromkeys(name for group in placed(groups, trained) for name in group.names))


def sparsities_for(
    target: Mapping[str, float],
    model: Any,
    groups: Sequence[MaskedGroup],
    score: AnyScore,
    allocation: str,
) -> dict[str, float]:
    """The fraction of the channels of each group that goes: name of group → sparsity.

    It is that of `tfinit.pruning.channel_plan` by the weights as they are now, in multiples of 8
    where that can meet the target; a score that needs data or training is ``"l2"`` there.

    Args:
        target: What is to be left, as for `tfinit.pruning.prune_channels`.
        model: The model.
        groups: Its groups that may be masked.
        score: What ranks channels.
        allocation: Where they go: ``"uniform"`` or ``"global"``.

    Raises:
        InputError: ``target`` is none, or cannot be met.
    """
    # Here, as Keras registers what imports this, in the middle of importing that.
    from tfinit.pruning.channels.pruning import channel_plan

    layers = maskable(model, groups)
    if not layers:
        raise InputError("`target`: `scope` has no channels that can be masked.")
    named = score if score in _WITHOUT_DATA else "l2"
    planned = partial(
        channel_plan, model, target=target, score=named, allocation=allocation, filters=layers
    )
    try:
        plan = planned()
    except InputError:
        plan = planned(round_to=1)
    gone = {group.name: len(group.removed) / group.channels for group in plan.groups}
    return {name: fraction for name, fraction in gone.items() if fraction}
