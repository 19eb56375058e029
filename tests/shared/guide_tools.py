"""What the code of TFMOT's guides measures: zeros, sizes of files, what was logged."""

import os
import zipfile

import numpy as np
import tensorflow as tf


def zeros(variable):
    return int(np.sum(variable.numpy() == 0))


def get_gzipped_model_size(file):
    zipped_file = f"{file}.zip"
    with zipfile.ZipFile(zipped_file, "w", compression=zipfile.ZIP_DEFLATED) as f:
        f.write(file)
    return os.path.getsize(zipped_file)


def scalars(log_dir):
    """tag → values, in the order of their steps, of what was logged for TensorBoard."""
    found = {}
    for directory, _, files in os.walk(log_dir):
        for file in files:
            for event in tf.compat.v1.train.summary_iterator(os.path.join(directory, file)):
                for value in event.summary.value:
                    if value.metadata.plugin_data.plugin_name == "scalars":
                        number = float(tf.make_ndarray(value.tensor))
                        found.setdefault(value.tag, []).append((event.step, number))
    return {tag: [number for _, number in sorted(pairs)] for tag, pairs in found.items()}
