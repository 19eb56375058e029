"""A small network on the digits, what is found of its rate, and its loss after some steps."""

import keras
from diagnosed import losses_of
from sklearn.datasets import load_digits

from tfinit.diagnostics import diagnose

LAYERS = keras.layers


def digits(n=256):
    x, y = load_digits(return_X_y=True)
    return (x[:n] / 16).astype("float32"), y[:n].astype("int32")


def network(optimizer, regularizers=(None, None), trainable=True):
    keras.utils.set_random_seed(1)
    first, last = regularizers
    hidden = LAYERS.Dense(32, "relu", kernel_regularizer=first, trainable=trainable)
    head = LAYERS.Dense(10, "softmax", kernel_regularizer=last)
    model = keras.Sequential([keras.Input((64,)), hidden, head])
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def of_rate(model, *data, **more):
    return [f for f in diagnose(model, *data, **more).findings if f.fault == "rate"]


def loss_after(model, steps, *data):
    return losses_of(model, *data, steps=steps)[-1]
