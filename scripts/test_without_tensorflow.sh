#!/usr/bin/env bash
# The tests of what needs no TensorFlow, in an environment of Keras and JAX without it.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup_without_tensorflow.sh
venv=.venv-without-tensorflow
# Nothing of tfinit has to be built to be imported, and another installation may be at work here.
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$PWD" > "$packages/tfinit.pth"
# XLA compiles many small programs in half of the time without its newer way to fuse operations. A
# version that does not know this flag ends a process that has it.
quick="${XLA_FLAGS:-} --xla_cpu_use_fusion_emitters=false"
if XLA_FLAGS=$quick "$venv/bin/python" -c "import jax; jax.devices()" 2>/dev/null; then
    export XLA_FLAGS=$quick
fi
# Only these files: others import TensorFlow at their top.
mapfile -t files < <(grep -rlE 'mark\.(backends|without_tensorflow)' tests --include='test_*.py' | sort)
KERAS_BACKEND=jax exec "$venv/bin/python" -m pytest -q -m "backends or without_tensorflow" \
    "${files[@]}" "$@"
