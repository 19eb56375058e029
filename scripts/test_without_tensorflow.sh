#!/usr/bin/env bash
# The tests of what needs no TensorFlow, in an environment of Keras and JAX without it.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup_without_tensorflow.sh
venv=.venv-without-tensorflow
[ -n "$(find "$venv/.tfinit" -newer setup.py 2>/dev/null)" ] || {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --editable .
    touch "$venv/.tfinit"
}
# Only these files: others import TensorFlow at their top.
mapfile -t files < <(grep -rlE 'mark\.(backends|without_tensorflow)' tests --include='test_*.py' | sort)
KERAS_BACKEND=jax "$venv/bin/python" -m pytest -q -m "backends or without_tensorflow" \
    "${files[@]}" "$@"
