#!/usr/bin/env bash
# Build wheel and sdist, and try them outside the repository: scripts/check_release.sh [FOLDER]
# What was built is left in FOLDER (dist). The versions are those of docker/constraints.txt; with
# NEWEST=1 those that pip chooses. Needs the network, and ten minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
dist=$(realpath -m "${1:-dist}")
root=$PWD
work=$(mktemp -d)
page=
trap '[ -z "$page" ] || kill "$page" 2>/dev/null || true; rm -rf "$work"' EXIT
step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
pip=(-m pip install --quiet --disable-pip-version-check)
constraint=(--constraint "$root/docker/constraints.txt")
[ -z "${NEWEST:-}" ] || constraint=()
export TF_CPP_MIN_LOG_LEVEL=3

step "build, of what git knows"
mkdir "$work/source"
git ls-files -z | tar --null --files-from=- --create | tar --extract --directory="$work/source"
"${PYTHON:-python3}" -m venv "$work/tools"
"$work/tools/bin/python" "${pip[@]}" "build>=1,<2" "twine>=6,<8"
rm -f "$dist"/tfinit-*.whl "$dist"/tfinit-*.tar.gz
"$work/tools/bin/python" -m build --outdir "$dist" "$work/source" > "$work/build.log" ||
    { tail -n 20 "$work/build.log"; exit 1; }
"$work/tools/bin/python" -m twine check --strict "$dist"/tfinit-*

step "both hold each file of the package"
"$work/tools/bin/python" - "$dist" "$work/source" <<'CHECK'
import sys, tarfile, zipfile
from pathlib import Path

dist, source = map(Path, sys.argv[1:])
wanted = {p.relative_to(source).as_posix() for p in source.glob("tfinit/**/*") if p.is_file()}
[wheel], [sdist] = dist.glob("tfinit-*.whl"), dist.glob("tfinit-*.tar.gz")
names = {
    wheel: set(zipfile.ZipFile(wheel).namelist()),
    sdist: {name.partition("/")[2] for name in tarfile.open(sdist).getnames()},
}
for file, found in names.items():
    assert wanted <= found, f"{file.name} lacks {sorted(wanted - found)}"
    print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB, {len(wanted)} files of the package")
CHECK

cd "$work" # outside the repository, where nothing is found by chance
step "the wheel alone: lottery, diagnose"
"${PYTHON:-python3}" -m venv "$work/core"
"$work/core/bin/python" "${pip[@]}" "${constraint[@]}" "$dist"/tfinit-*.whl
echo "        $(du -sm "$work/core" | cut -f1) MB with all that it needs"
"$work/core/bin/python" -c "import tfinit; assert '$work' in tfinit.__file__, tfinit.__file__"
"$work/core/bin/tfinit" lottery --levels 1 --steps 50 --seeds 0 --run-dir run
test -s run/conclusion.txt
"$work/core/bin/python" - <<'MODEL'
import keras

layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(32, "relu")]
model = keras.Sequential([*layers, keras.layers.Dense(10)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
model.save("model.keras")
MODEL
"$work/core/bin/tfinit" diagnose model.keras --data digits
"$work/core/bin/tfinit" export model.keras model.tflite 2> refused && exit 1
grep -q "pip install" refused

step "with what the page and the export need"
"$work/core/bin/python" "${pip[@]}" "${constraint[@]}" "$(echo "$dist"/tfinit-*.whl)[demo,export]"
"$work/core/bin/tfinit" export model.keras model.tflite --data digits
test -s model.tflite
"$work/core/bin/tfinit" demo --port 8799 > page.log 2>&1 & page=$!
"$work/core/bin/python" - <<'PAGE'
import re, time, urllib.request


def read(path):
    return urllib.request.urlopen(f"http://127.0.0.1:8799{path}", timeout=5).read().decode()


for attempt in range(60):
    try:
        html = read("/")
        break
    except OSError:
        time.sleep(1)
parts = re.findall(r'(?:src|href)="([^"#:]+)"', html)
assert parts
for part in parts:
    assert read("/" + part.lstrip("/")), part
print(f"        the page and {len(parts)} files of it")
PAGE
kill "$page"
page=

step "the sdist: a wheel of it holds the same"
"$work/tools/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps \
    --wheel-dir again "$dist"/tfinit-*.tar.gz
"$work/tools/bin/python" - again "$dist" <<'SAME'
import sys, zipfile
from pathlib import Path

one, other = (set(zipfile.ZipFile(next(Path(p).glob("*.whl"))).namelist()) for p in sys.argv[1:])
assert one == other, one ^ other
SAME
step "done: $(cd "$dist" && echo tfinit-*)"
