#!/usr/bin/env bash
# Set up if needed, check style, and run the whole suite: scripts/test.sh [flags of pytest]
set -euo pipefail
cd "$(dirname "$0")/.."
# What runs in the background hears no Ctrl-C, nor do the processes that it has begun.
trap 'kill $(jobs -p) $(jobs -p | xargs -rn1 pgrep -P) 2>/dev/null || true' EXIT
# What is not needed yet is made beside the rest. Hundreds of processes import the same files, so
# Python keeps what it compiled.
unset PYTHONDONTWRITEBYTECODE
scripts/browser.sh & browser=$!
bin=.venv/bin
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}
# Most of the time goes into compiling programs that run for a moment: let XLA optimize them less.
export XLA_FLAGS=${XLA_FLAGS:---xla_backend_optimization_level=0}
# TensorFlow has these kernels for every processor, but uses them by default on some only: others have
# no convolution of channels-first images.
export TF_ENABLE_ONEDNN_OPTS=${TF_ENABLE_ONEDNN_OPTS:-1}
# And JAX compiles once what many tests run, each in a `fit` of its own.
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$PWD/.pytest_cache/jax}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
# Threads of OpenMP that wait for each other keep a core busy: of PyTorch's tests half the time.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# What runs on every backend of Keras: on JAX, where no TensorFlow is installed at all, which is
# there long before the rest; then on PyTorch. Beside them the whole suite, on TensorFlow: no core is
# idle while one file is left of a part.
by_files=(--dist=loadfile --no-loadscope-reorder) # the last files are short
mkdir -p .pytest_cache
log=.pytest_cache/on_
on_jax() {
    echo "== KERAS_BACKEND=jax, without TensorFlow"
    scripts/test_without_tensorflow.sh -n 2 "${by_files[@]}" "$@" || [ $? = 5 ] # no test is chosen
}
on_torch() {
    while kill -0 "$on_jax" 2>/dev/null; do sleep 1; done
    echo "== KERAS_BACKEND=torch"
    mapfile -t files < <(grep -rl 'mark\.backends' tests --include='test_*.py' | sort)
    KERAS_BACKEND=torch "$bin/python" -m pytest -q -n 2 "${by_files[@]}" -m backends "${files[@]}" "$@" ||
        [ $? = 5 ]
}
on_jax "$@" > "${log}jax.log" 2>&1 & on_jax=$!
scripts/setup.sh test backends

# Imported once, and so compiled; with what lets XLA compile many small programs in less time: without
# its newer way to fuse operations. A version that does not know this flag ends a process that has it.
quick="$XLA_FLAGS --xla_cpu_use_fusion_emitters=false"
XLA_FLAGS=$quick "$bin/python" -c "
import jax, tensorflow as tf, tf_keras, torch
jax.devices()
tf.function(lambda: tf.zeros(()), jit_compile=True)()" 2>/dev/null & imported=$!
"$bin/ruff" format --check .
"$bin/ruff" check .
"$bin/lint-imports" --no-cache --no-logo
"$bin/ty" check tfinit
"$bin/hadolint" docker/Dockerfile
"$bin/shellcheck" .ci/run docker/*.sh scripts/*.sh
if wait "$imported"; then export XLA_FLAGS=$quick; fi
wait "$browser"

on_torch "$@" > "${log}torch.log" 2>&1 & on_torch=$!
code=0
echo "== the whole suite"
# Three, as some tests wait for processes that they begin: with two, a core is idle meanwhile.
"$bin/python" -m pytest -q -n 3 "${by_files[@]}" --durations=10 "$@" || code=$?
wait "$on_jax" || code=$?
wait "$on_torch" || code=$?
cat "${log}jax.log" "${log}torch.log"
exit "$code"
