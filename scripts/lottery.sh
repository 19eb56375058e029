#!/usr/bin/env bash
# Set up if needed, and find lottery tickets: scripts/lottery.sh [flags of `tfinit lottery`]
# On another backend of Keras: KERAS_BACKEND=jax scripts/lottery.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
case ${KERAS_BACKEND:-tensorflow} in
    jax) extra=jax ;;
    torch) extra=backends ;;
    *) extra= ;;
esac
"$here/setup.sh" ${extra:+"$extra"}
exec "$here/../.venv/bin/tfinit" lottery "$@"
