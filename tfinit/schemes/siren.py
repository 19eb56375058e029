"""Sitzmann et al.: networks of sines, whose first layer alone says how fast they vary."""

import math

import numpy as np

from tfinit.arguments import number
from tfinit.errors import InputError
from tfinit.graph.kernels import Kernel
from tfinit.schemes.engine.registry import scheme
from tfinit.schemes.engine.report import Report, frozen, record_of
from tfinit.schemes.engine.task import Task
from tfinit.streams import stream


@scheme("SIREN", fits="sine networks")
def siren(task: Task, *, omega: float = 30.0) -> Report:
    """U(±Ω/(ωn)) in first layers, U(±√(6/n)/ω) in the other sines, U(±√(6/n)/Ω) in the head.

    n is fan_in, ω the layer's own factor in sin(ω · (Wx + b)), read from what follows the layer,
    and Ω is ``omega``. First layers are those with no kernel before them. Their sines then spread
    over Ω radians of inputs in [-1, 1], and every further ω · Wx has variance 1, whether the
    factor is written into the network (ω = 30, the paper's: then 1/n and √(6/n)/30) or not (ω = 1).
    Biases are U(±Ω/(ω√n)), in the head U(±1/√n), which are those of the paper's code: with biases
    of zero the network would be an odd function of its inputs. Kernels that neither a sine nor the
    output follows are left alone.

    It helps where a network of sines is to fit an image, a sound or another signal of its
    coordinates, and derivatives of it. A larger Ω fits finer detail and what is noise, too: about
    the number of radians that the finest detail takes. It is no start for classifiers.

    Args:
        task: A model with sines, as ``lambda z: keras.ops.sin(30 * z)`` behind its layers, whose
            inputs are in [-1, 1].
        omega: Ω, more than 0.

    Raises:
        InputError: no kernel of the model has a sine behind it, or ``omega`` is not positive.

    Example:
        >>> layers = [keras.layers.Dense(24, lambda z: keras.ops.sin(30 * z)) for _ in range(2)]
        >>> head = keras.layers.Dense(1, name="head")
        >>> model = keras.Sequential([keras.Input((2,)), *layers, head])
        >>> report = initialize(model, "siren", seed=1)
        >>> [(record.note, round(record.std * 3**0.5, 4)) for record in report]  # their limits
        [('first, ω = 30', 0.5), ('sine, ω = 30', 0.0167), ('the head', 0.0167)]

    Sitzmann, Martel, Bergman, Lindell & Wetzstein, Implicit neural representations with periodic
    activation functions, NeurIPS 2020, section 3.2.
    """
    omega = number("omega", omega, above=0)
    limits: dict[str, float] = {}
    biases: dict[str, float] = {}
    notes: dict[str, str] = {}
    for kernel in task.kernels:
        wave = task.structure.kind(kernel.activations[0])
        if wave.kind == "sine":
            biases[kernel.key] = omega / wave.frequency / math.sqrt(kernel.fan_in)
        if wave.kind == "sine" and kernel.key in task.structure.first:
            limits[kernel.key] = omega / (wave.frequency * kernel.fan_in)
            notes[kernel.key] = f"first, ω = {wave.frequency:g}"
        elif wave.kind == "sine":
            limits[kernel.key] = math.sqrt(6 / kernel.fan_in) / wave.frequency
            notes[kernel.key] = f"sine, ω = {wave.frequency:g}"
    if not limits:
        raise InputError(
            'Scheme "siren" needs layers with a sine behind them, as Dense(64, lambda z: '
            'keras.ops.sin(30 * z)), and the model has none. Use "he" or "autoinit".'
        )
    for kernel in task.kernels:
        if kernel.key in task.structure.outputs and kernel.key not in limits:
            limits[kernel.key] = math.sqrt(6 / kernel.fan_in) / omega
            biases[kernel.key] = 1 / math.sqrt(kernel.fan_in)
            notes[kernel.key] = "the head"
    chosen = [kernel for kernel in task.kernels if kernel.trainable and kernel.key in limits]

    def value(kernel: Kernel, random: np.random.Generator) -> np.ndarray:
        return _uniform(random, kernel.shape, limits[kernel.key])

    task.draw(chosen, value)
    for kernel in chosen:
        if kernel.bias is not None:
            random = stream(task.seed, f"{kernel.key} bias")
            shape = tuple(kernel.bias.shape)
            task.write(kernel.bias, _uniform(random, shape, biases[kernel.key]))
    records = []
    for kernel in task.kernels:
        if not kernel.trainable:
            records.append(frozen(kernel))
        elif kernel.key in limits:
            std = limits[kernel.key] / math.sqrt(3)
            records.append(record_of(kernel, "set", std=std, note=notes[kernel.key]))
        else:
            records.append(record_of(kernel, "kept", note="no sine follows"))
    return task.report("siren", records)


def _uniform(random: np.random.Generator, shape: tuple[int, ...], limit: float) -> np.ndarray:
    return random.uniform(-limit, limit, shape).astype(np.float32)
