#!/usr/bin/env bash
# Set up if needed, and find lottery tickets: scripts/lottery.sh [flags of `tfinit lottery`]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/setup.sh"
exec "$here/../.venv/bin/tfinit" lottery "$@"
