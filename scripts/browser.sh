#!/usr/bin/env bash
# Install Debian's Chromium for the tests of the page, where that can be done: scripts/browser.sh
# Elsewhere those tests are skipped, and say so.
set -euo pipefail

if command -v chromium >/dev/null || [ -n "${TFINIT_CHROMIUM:-}" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "No Chromium, and no right to install it: the tests of the page will be skipped." >&2
    exit 0
fi
echo "Installing Chromium for the tests of the page." >&2
export DEBIAN_FRONTEND=noninteractive
{ apt-get update; apt-get install --yes --no-install-recommends chromium; } >/dev/null 2>&1 ||
    echo "Chromium could not be installed: the tests of the page will be skipped." >&2
