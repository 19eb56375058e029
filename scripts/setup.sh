#!/usr/bin/env bash
# Make the virtual environment .venv and install tfinit into it: scripts/setup.sh [extra ...]
# Does nothing when that was done before with the same setup.py.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
python=${PYTHON:-python3}
extras=$(IFS=,; echo "$*")
stamp=$venv/.installed-${extras//,/-}

"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || {
    echo "tfinit needs Python 3.10 to 3.13; $python is $("$python" -V 2>&1)." \
        "Name another one: PYTHON=python3.12 $0" >&2
    exit 2
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
if ! cmp -s setup.py "$stamp"; then
    echo "Installing tfinit${extras:+[$extras]} into $venv: a few minutes the first time." >&2
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable \
        ".${extras:+[$extras]}"
    cp setup.py "$stamp"
fi
