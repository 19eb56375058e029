"""Every data-free scheme on every model class of keras.applications: a table.

"-" stands for a scheme that does not apply (no residual branches). Run on a machine with 16 GB:
python scripts/applications_table.py [--smallest] [--only ResNet50 VGG16]
"""

import gc
import time

import keras
import tyro

from tfinit.cli.signals import heard
from tfinit.errors import InputError
from tfinit.schemes import SCHEMES, initialize
from tfinit.schemes.engine.registry import REGISTRY

SMALLEST = (
    *("ConvNeXtTiny", "DenseNet121", "EfficientNetB0", "EfficientNetV2B0", "InceptionResNetV2"),
    *("InceptionV3", "MobileNet", "MobileNetV2", "MobileNetV3Small", "NASNetMobile", "ResNet50"),
    *("ResNet50V2", "VGG16", "VGG19", "Xception"),
)


def classes(smallest, only):
    for name in sorted(dir(keras.applications)):
        make = getattr(keras.applications, name)
        chosen = name in only if only else not smallest or name in SMALLEST
        if callable(make) and name[0].isupper() and chosen:
            yield name, make


def main(smallest: bool = False, only: tuple[str, ...] = ()):
    """Print the table.

    Args:
        smallest: Only one class of each family.
        only: Only these classes.
    """
    data = {n for n in SCHEMES if REGISTRY[n].needs_data or REGISTRY[n].of_targets}
    fit = ("", "convolutions", "residual networks")
    schemes = [n for n in SCHEMES if n not in data and REGISTRY[n].fits in fit]
    schemes = [n for n in schemes if n == "mup" or not REGISTRY[n].needed]
    print("| model | weights | kernels | build s |", *(f"{s} s |" for s in schemes))
    print("| --- |" + " ---: |" * (3 + len(schemes)))
    failed = 0
    for name, make in classes(smallest, only):
        start = time.perf_counter()
        model = make(weights=None)
        cells = [f"{model.count_params() / 1e6:.1f} M", "", f"{time.perf_counter() - start:.1f}"]
        for scheme in schemes:
            start = time.perf_counter()
            try:
                # mup compares with a narrower model: itself here, which scales by 1.
                options = {"mup": {"base": model}, "completep": {"depth": 1}}.get(scheme, {})
                report = initialize(model, scheme, seed=1, **options)
                cells.append(f"{time.perf_counter() - start:.2f}")
                if scheme == "he":
                    cells[1] = str(len(report))
            except InputError as error:
                inapplicable = any(w in str(error) for w in ("residual network", "pre-norm"))
                cells.append("-" if inapplicable else f"failed: {error}")
                failed += not inapplicable
        print(f"| {name} |", *(f"{cell} |" for cell in cells), flush=True)
        del model
        keras.backend.clear_session()
        gc.collect()
    raise SystemExit(failed)


if __name__ == "__main__":
    with heard():
        tyro.cli(main)
