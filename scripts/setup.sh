#!/usr/bin/env bash
# Make the virtual environment .venv and install tfinit into it: scripts/setup.sh [extra ...]
# Another one: VENV=.venv-docs scripts/setup.sh docs
# Does nothing when that was done before with the same requirements.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
python=${PYTHON:-python3}
extras=$(IFS=,; echo "$*")
stamp=$venv/.installed-${extras//,/-}

"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || {
    echo "tfinit needs Python 3.10 to 3.13; $python is $("$python" -V 2>&1)." \
        "Name another one: PYTHON=python3.12 $0" >&2
    exit 2
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# KerasHub, whose networks the tests read, asks for tensorflow-text, which only its tokenizers need.
alone=tests/installed_without_dependencies.txt
if ! cat setup.py "$alone" | cmp -s - "$stamp"; then
    echo "Installing tfinit${extras:+[$extras]} into $venv: a few minutes the first time." >&2
    # Of what is installed most is never imported: Python compiles the rest by itself, if it may.
    compile=--no-compile
    [ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || compile=--compile
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$compile" --editable \
        ".${extras:+[$extras]}"
    if [[ ,$extras, == *,test,* ]]; then
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$compile" \
            --no-deps --requirement "$alone"
    fi
    cat setup.py "$alone" > "$stamp"
fi
