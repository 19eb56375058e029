#!/usr/bin/env bash
# Build the site into docs/_build/html: scripts/docs.sh [flags of sphinx-build]
# Makes .venv-docs if needed, runs the notebooks that changed, checks all links. Warnings are errors.
# Without running notebooks, for a look at the text: scripts/docs.sh -D nb_execution_mode=off
set -euo pipefail
cd "$(dirname "$0")/.."
VENV=${VENV:-.venv-docs} scripts/setup.sh docs
python=${VENV:-.venv-docs}/bin/python
export TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}
"$python" -m sphinx -b html -W --keep-going docs docs/_build/html "$@"
"$python" docs/_check_links.py docs/_build/html
echo "Look at docs/_build/html/index.html"
