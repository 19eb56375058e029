"""Every data-free scheme on the smallest model of each family, and what pruning takes of it.

All classes of keras.applications are in scripts/applications_table.py.
"""

import keras
import numpy as np
import pytest

from tfinit.schemes import initialize
from tfinit.variables import all_weights, prunable_weights

# How many kernels, of these those that pruning takes (no depthwise ones), and residual branches.
FAMILIES = {
    "ConvNeXtTiny": (59, 59, 18),
    "DenseNet121": (121, 121, 0),
    "EfficientNetB0": (82, 66, 9),
    "EfficientNetV2B0": (92, 76, 15),
    "InceptionResNetV2": (245, 245, 40),
    "InceptionV3": (95, 95, 0),
    "MobileNet": (28, 15, 0),
    "MobileNetV2": (53, 36, 10),
    "MobileNetV3Small": (54, 43, 6),
    "NASNetMobile": (None, 197, None),
    "ResNet50": (54, 54, 16),
    "ResNet50V2": (54, 54, 16),
    "VGG16": (16, 16, 0),
    "Xception": (None, 41, 12),
}


# Narrow ones of as many layers, whose orthogonal kernels are quick.
NARROW = {"MobileNet": {"alpha": 0.25}, "MobileNetV2": {"alpha": 0.35}}
NARROW["MobileNetV3Small"] = {"alpha": 0.75}


@pytest.mark.filterwarnings('ignore:"autoinit". at .conv/kernel. the signal')  # of images in 0..255
@pytest.mark.parametrize("family", FAMILIES)
def test_schemes_succeed_and_know_every_kernel(family):
    # VGG's dense layers have 100 million weights, which add nothing here.
    whole = not family.startswith("VGG")
    make = getattr(keras.applications, family)
    model = make(weights=None, include_top=whole, **NARROW.get(family, {}))
    kernels, pruned, branches = FAMILIES[family]
    assert len(prunable_weights(model)) == pruned - (0 if whole else 3)
    report = initialize(model, "he", seed=1)
    if kernels is not None:
        assert len(report) == kernels - (0 if whole else 3)
    assert all(record.action == "set" and record.std > 0 for record in report)
    # What was asked for is what is there: the standard error of a std of n values is 1/√(2n).
    largest = max(report, key=lambda record: np.prod(record.shape))
    variable = all_weights(model)[largest.key]
    assert float(np.std(variable)) == pytest.approx(largest.std, rel=0.05)
    if model.count_params() < 5e6:  # the others are in the script
        for scheme in ("xavier", "delta_orthogonal", "alexnet", "autoinit"):
            initialize(model, scheme, seed=1)
    if branches:
        assert initialize(model, "fixup", seed=1).notes == [f"{branches} residual branches"]
