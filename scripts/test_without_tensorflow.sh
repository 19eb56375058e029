#!/usr/bin/env bash
# The tests of what needs no TensorFlow, in an environment of Keras and JAX without it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-without-tensorflow
stamp=$venv/.installed
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
# Made anew where the versions, or the packages named here, are others.
if ! cat setup.py "scripts/${0##*/}" | cmp -s - "$stamp"; then
    # The ranges of setup.py, for the packages that this environment is about.
    mapfile -t wanted < <(grep -oE '"(keras|numpy|wrapt|lazy-loader|filelock|scikit-learn|jax|pytest|pytest-xdist|hypothesis)[<>=][^"]*"' setup.py | tr -d '"')
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check setuptools "${wanted[@]}"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .
    cat setup.py "scripts/${0##*/}" > "$stamp"
fi
# Only these files: others import TensorFlow at their top.
mapfile -t files < <(grep -rlE 'mark\.(backends|without_tensorflow)' tests --include='test_*.py')
KERAS_BACKEND=jax "$venv/bin/python" -m pytest -q -m "backends or without_tensorflow" \
    "${files[@]}" "$@"
