"""Recurrent layers: how long their units remember, and IRNN."""

from collections.abc import Callable

import numpy as np

from tfinit.arguments import number, whole
from tfinit.errors import InputError
from tfinit.graph.kernels import Kernel
from tfinit.graph.layer_kinds import kind_of
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Record, Report, record_of
from tfinit.schemes.engine.task import Task
from tfinit.streams import stream
from tfinit.variables import own_weights, weight_name


@scheme("Chrono", fits="recurrent networks")
def chrono(task: Task, *, longest: int) -> Report:
    """b_f = log T, b_i = −log T with T ~ U(1, longest − 1), in every LSTM; b_z = log T in a GRU.

    A unit then keeps what it holds for about T steps: a state that decays by σ(b) at each step is
    down to 1/e after some 1 + eᵇ of them. The biases of the other gates become zero. Kernels stay
    as they are: draw these first, if another scheme should.

    It helps where a target depends on inputs of tens to thousands of steps before: with it an LSTM
    solves a copy task of 500 steps that one of Keras's defaults does not (`scripts/chrono.py`).
    Where a few steps are enough it delays learning, as the input gates of units with a long T are
    nearly shut.

    Args:
        task: The model.
        longest: The longest span in steps, at least 2; the length of the sequences, if unknown.

    Returns:
        A record for each recurrent layer.

    Raises:
        InputError: no layer has such gates and a bias that trains.

    Example:
        >>> rnn = keras.layers.LSTM(2, name="rnn")
        >>> model = keras.Sequential([keras.Input((None, 4)), rnn])
        >>> print(initialize(model, "chrono", longest=500, seed=1))
        chrono: 1 of 1 weights initialized
        key                 layer     shape  action  note
        rnn/lstm_cell/bias  LSTMCell  8      set     remembers 15 to 414 steps

    Tallec & Ollivier, Can recurrent neural networks warp time?, ICLR 2018.
    """
    from tfinit.initializers.recurrent import lifetimes, memory  # it imports Keras

    longest = whole("longest", longest, 2)

    def gates_of(gates: str, units: int, random: np.random.Generator) -> tuple[np.ndarray, str]:
        steps = lifetimes(random, units, longest)
        note = f"remembers {round(steps.min())} to {round(steps.max())} steps"
        return memory(gates, steps), note

    return _set_gates(task, "chrono", gates_of)


@scheme("Forget-gate bias", fits="recurrent networks")
def forget_bias(task: Task, *, value: float) -> Report:
    """b_f = value, zeros in the other gates, in every LSTM; b_z = value in a GRU.

    Kernels stay as they are. Keras's LSTM has b_f = 1 by itself, its GRU b_z = 0. The state decays
    by σ(b) at each step: 0.73 for b = 1, 0.95 for 3. A larger value helps where more than some ten
    steps matter; all units have one memory then, where "chrono" gives each its own. Where a few
    steps are enough, leave Keras's.

    Args:
        task: The model.
        value: The bias, any number.

    Returns, errors: as "chrono".

    Example:
        >>> gru = keras.layers.GRU(2, name="rnn")
        >>> model = keras.Sequential([keras.Input((None, 4)), gru])
        >>> _ = initialize(model, "forget_bias", value=2, seed=1)
        >>> gru.cell.bias.numpy()[0]
        array([2., 2., 0., 0., 0., 0.], dtype=float32)

    Gers, Schmidhuber & Cummins, Learning to forget, Neural Computation 2000; Jozefowicz, Zaremba &
    Sutskever, An empirical exploration of recurrent network architectures, ICML 2015.
    """
    from tfinit.initializers.recurrent import keeping_gate

    value = number("value", value)

    def gates_of(gates: str, units: int, random: np.random.Generator) -> tuple[np.ndarray, str]:
        rows = np.zeros((len(gates), units))
        rows[gates.index(str(keeping_gate(gates)))] = value
        return rows, f"{keeping_gate(gates)} = {value:g}"

    return _set_gates(task, "forget_bias", gates_of)


def _set_gates(
    task: Task,
    name: str,
    gates_of: Callable[[str, int, np.random.Generator], tuple[np.ndarray, str]],
) -> Report:
    from tfinit.initializers.recurrent import keeping_gate

    records: list[Record] = []
    for kernel in _recurrent(task):
        cell, gates = kernel.layer, kind_of(kernel.layer).gates
        key = f"{kernel.key.rpartition('/')[0]}/bias".lstrip("/")
        bias = next((w for w in own_weights(cell) if weight_name(w) == "bias"), None)
        shape = () if bias is None else tuple(bias.shape)
        action, note = "kept", ""
        if keeping_gate(gates) is None:
            note = "no gate that keeps the state"
        elif bias is None:
            note = "no bias"
        elif not (kernel.trainable and bias.trainable):
            note = "frozen"
        else:
            rows, note = gates_of(gates, shape[-1] // len(gates), stream(task.seed, key))
            action, values = "set", np.zeros(shape, np.float32)
            # Of two rows, for the input and the state, one is enough: they are added.
            values.reshape(-1, shape[-1])[0] = rows.reshape(-1)
            task.write(bias, values)
        records.append(Record(key, type(cell).__name__, shape, action, note=note))
    if all(record.action == "kept" for record in records):
        told = "; ".join(f"{record.key}: {record.note}" for record in records)
        raise InputError(
            f"Scheme {name!r} is for LSTM and GRU layers with a bias, and `model` "
            f"{task.model.name!r} has {told or 'no recurrent layer'}. Give it such a layer, or "
            "choose another scheme."
        )
    return task.report(name, records)


def _recurrent(task: Task) -> list[Kernel]:
    return [kernel for kernel in task.kernels if kernel.name == "recurrent_kernel"]


@scheme("IRNN", fits="recurrent networks")
def irnn(task: Task, *, gain: float = 1.0, std: float = 0.001) -> Report:
    """W_hh = gain · I, W_xh ~ N(0, std²), b = 0 in every SimpleRNN with ReLU.

    The state then stays as it is until inputs add to it, and so does its gradient. It helps plain
    recurrent networks over hundreds of steps, as an LSTM of as many weights; a gain of 0.01 was the
    paper's where the past should fade. It is easily unstable: the learning rate must be small, and
    gradients clipped. With other activations than ReLU, or gates, it has no such state to keep:
    these layers are left, as are all others.

    Args:
        task: The model.
        gain: What the identity is multiplied with, positive.
        std: The standard deviation of what reads the inputs.

    Returns:
        A record for each recurrent kernel and for each that reads the inputs.

    Raises:
        InputError: no SimpleRNN with ReLU that trains.

    Example:
        >>> rnn = keras.layers.SimpleRNN(2, "relu", name="rnn")
        >>> model = keras.Sequential([keras.Input((None, 4)), rnn])
        >>> _ = initialize(model, "irnn", seed=1)
        >>> rnn.cell.recurrent_kernel.numpy()
        array([[1., 0.], [0., 1.]], dtype=float32)

    Le, Jaitly & Hinton, A simple way to initialize recurrent networks of rectified linear units,
    2015, https://arxiv.org/abs/1504.00941.
    """
    gain, std = number("gain", gain, above=0), number("std", std, above=0)
    cells = {
        id(kernel.layer)
        for kernel in _recurrent(task)
        if kernel.trainable
        and kind_of(kernel.layer).gates == "c"
        and kernel.activations[0].name == "relu"
    }
    chosen = [kernel for kernel in task.kernels if id(kernel.layer) in cells]
    if not chosen:
        raise InputError(
            f"Scheme 'irnn' is for SimpleRNN layers with activation=\"relu\", of which `model` "
            f'{task.model.name!r} has none that trains. For LSTM and GRU there is "chrono".'
        )

    def value(kernel: Kernel, random: np.random.Generator) -> np.ndarray:
        if kernel.name == "recurrent_kernel":
            return gain * np.eye(kernel.shape[0])
        return random.normal(0, std, kernel.shape)

    task.draw(chosen, value)
    for kernel in chosen:
        for bias in own_weights(kernel.layer):
            if weight_name(bias) == "bias":
                task.write(bias, np.zeros(tuple(bias.shape), np.float32))
    return task.report(
        "irnn",
        [
            record_of(kernel, "set", note=f"{gain:g} · I")
            if kernel.name == "recurrent_kernel"
            else record_of(kernel, "set", std=std)
            for kernel in chosen
        ],
    )
