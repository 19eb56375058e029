#!/usr/bin/env bash
# Set up if needed, and find lottery tickets: scripts/lottery.sh [flags of `tfinit lottery`]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/setup.sh"
exec "$here/../${TFINIT_VENV:-.venv}/bin/tfinit" lottery "$@"
