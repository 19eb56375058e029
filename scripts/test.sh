#!/usr/bin/env bash
# Set up if needed, check style, and run the whole suite: scripts/test.sh [flags of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test backends
bin=.venv/bin
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}

"$bin/ruff" format --check .
"$bin/ruff" check .
"$bin/hadolint" docker/Dockerfile

# What runs on every backend of Keras, then the same without TensorFlow installed at all.
mapfile -t files < <(grep -rl 'mark\.backends' tests --include='test_*.py')
for backend in jax torch; do
    echo "== KERAS_BACKEND=$backend"
    KERAS_BACKEND=$backend "$bin/python" -m pytest -q -m backends "${files[@]}" "$@"
done
echo "== without TensorFlow"
scripts/test_without_tensorflow.sh "$@"
echo "== the whole suite"
"$bin/python" -m pytest -q --numprocesses=2 --dist=loadfile --durations=10 "$@"
