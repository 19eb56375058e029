#!/usr/bin/env bash
# The environment of scripts/test_without_tensorflow.sh, but tfinit: Keras and JAX, no TensorFlow.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-without-tensorflow
stamp=$venv/.installed
[ -x "$venv/bin/pip" ] || "${PYTHON:-python3}" -m venv "$venv"
# Made anew where the versions, or the packages named here, are others.
if ! cat setup.py "scripts/${0##*/}" | cmp -s - "$stamp"; then
    # The ranges of setup.py, for the packages that this environment is about.
    mapfile -t wanted < <(grep -oE '"(keras|numpy|wrapt|lazy-loader|filelock|scikit-learn|jax|pytest|pytest-xdist|hypothesis)[<>=][^"]*"' setup.py | tr -d '"')
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-compile setuptools "${wanted[@]}"
    cat setup.py "scripts/${0##*/}" > "$stamp"
fi
