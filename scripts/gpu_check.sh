#!/usr/bin/env bash
# On a machine with a GPU, for about a minute: train on it, and show that it did.
#   scripts/gpu_check.sh            TensorFlow: lottery tickets
#   scripts/gpu_check.sh jax        JAX: a saved model is pruned
# Exit code 2, with the reason and the cure, where the framework lists no GPU.
set -euo pipefail
python=${PYTHON:-python3}
export KERAS_BACKEND=${1:-tensorflow} TF_CPP_MIN_LOG_LEVEL=3
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
cd "$folder"
tfinit() { "$python" -c 'from tfinit.cli import main; main()' "$@"; }

nvidia-smi --list-gpus || echo "nvidia-smi does not work here." >&2
if [ "$KERAS_BACKEND" = tensorflow ]; then
    tfinit lottery --device gpu --levels 5 --steps 2000 --seeds 0 --run-dir run
    told=run/config.json
else
    "$python" -c '
import keras
layers = [keras.Input((8, 8, 1)), keras.layers.Conv2D(32, 3, activation="relu"),
          keras.layers.Flatten(), keras.layers.Dense(10)]
model = keras.Sequential(layers)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
model.save("model.keras")' 2>log || { cat log >&2; exit 1; }
    tfinit prune model.keras --device gpu --sparsity 0.8 --epochs 5 --out pruned.keras
    told=pruned.json
fi
grep '"device": "GPU' "$told"
