"""Diagnose every model of keras.applications as it is built, with its own initializers.

    python scripts/diagnose_applications.py            # the smallest of each family, minutes
    python scripts/diagnose_applications.py --all      # all of them
    python scripts/diagnose_applications.py VGG16      # some

Small images of N(0, 1), random labels. Prints what is found that is severe, and counts the rest.
"""

import argparse
import inspect
import time

import keras
import numpy as np
from _device import parsed

from tfinit.cli.signals import heard
from tfinit.diagnostics import diagnose

SMALLEST = (
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2"),
    *("InceptionV3", "MobileNet", "MobileNetV2", "MobileNetV3Small", "NASNetMobile", "ResNet50"),
    *("ResNet50V2", "VGG16", "Xception"),
)
BATCH, SIZE, LARGER = 8, 64, 96
# These refuse smaller images.
NEED_LARGER = ("Inception", "Xception", "NASNet")


def names() -> list[str]:
    functions = inspect.getmembers(keras.applications, inspect.isfunction)
    return [name for name, _ in functions]


def built(name: str) -> keras.Model:
    size = LARGER if name.startswith(NEED_LARGER) else SIZE
    return getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--all", action="store_true")
    arguments = parsed(parser)
    chosen = arguments.names or (names() if arguments.all else SMALLEST)
    severe = 0
    for name in chosen:
        keras.utils.set_random_seed(0)
        model = built(name)
        x = np.random.default_rng(0).normal(size=(BATCH, *model.input_shape[1:]))
        y = np.random.default_rng(1).integers(0, 100, BATCH)
        start = time.perf_counter()
        diagnosis = diagnose(model, x.astype("float32"), y)
        kinds = [f"{f.severity} {f.kind}" for f in diagnosis.findings]
        severe += bool(diagnosis.severe)
        trends = diagnosis.trends
        print(
            f"{name}: {time.perf_counter() - start:.1f} s, forward "
            f"{trends.forward_factor:.3g}, backward {trends.backward_factor:.3g}, "
            f"risk {diagnosis.risk:.1f}; {', '.join(kinds) or 'nothing found'}",
            flush=True,
        )
        for finding in diagnosis.findings:
            print(f"    {finding}", flush=True)
        keras.utils.clear_session()
    print(f"{severe} of {len(chosen)} have a severe finding.")


if __name__ == "__main__":
    with heard():
        main()
