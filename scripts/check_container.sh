#!/usr/bin/env bash
# Build docker/Dockerfile with no image registry, and try what comes out, without a network:
#   scripts/check_container.sh [tensorflow|jax] [cpu|gpu]       (left out: tensorflow cpu)
# As root on Debian, with buildah, podman, runc and mmdebstrap: apt-get install --no-install-recommends.
# A base made from Debian's packages stands in for the one that the Dockerfile names. It and the
# layers are kept in ~/.cache/tfinit/container: a later run needs no network but for what changed in
# setup.py, and takes a third of the time. gpu: 8 GB, and looks whether CUDA's libraries load; no GPU
# is needed.
set -euo pipefail
cd "$(dirname "$0")/.."
framework=${1:-tensorflow} device=${2:-cpu}
step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
missing() { echo "$0: $*" >&2; exit 3; }
for one in buildah podman runc mmdebstrap; do
    command -v "$one" >/dev/null || missing "there is no $one."
done
[ "$(id -u)" = 0 ] || missing "this is not root."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tfinit/container
mkdir -p "$cache/tmp"
exec 9>"$cache/.lock"
flock 9  # one at a time: the names below are for one
work=$(mktemp -d)
image=localhost/tfinit:$framework-$device base=localhost/tfinit-base
volume=tfinit-check
export BUILDAH_ISOLATION=chroot TMPDIR=$cache/tmp
store=(--root "$cache/storage" --runroot "$cache/runroot")
b() { buildah "${store[@]}" "$@" </dev/null 9>&-; }
podman=(podman "${store[@]}" --cgroup-manager cgroupfs --events-backend file --runtime runc)
p() { "${podman[@]}" "$@" </dev/null 9>&-; }
names=(tfinit-check-stopped tfinit-check-page tfinit-check-script)
clear_up() {
    p rm --force --ignore --volumes --time 0 "${names[@]}" >/dev/null 2>&1 || true
    p volume rm --force "$volume" >/dev/null 2>&1 || true
}
trap 'clear_up; rm -rf "$work"' EXIT
clear_up

# Not root, nothing writable but /tmp and the volume, no network; limits that a sandbox has, too.
limits=(--network none --ulimit nofile=1024:1024 --ulimit nproc=4096:4096)
tight=("${limits[@]}" --read-only --read-only-tmpfs=false --tmpfs /tmp --cap-drop all)
anywhere() { timeout 600 "${podman[@]}" run --rm "${tight[@]}" "$@" </dev/null 9>&-; }
t() { anywhere --volume "$volume:/runs" "$@"; }
# A command that has to succeed, its output in a file: logged NAME COMMAND …
logged() {
    local what=$1 code=0
    shift
    "$@" >"$work/$what.log" 2>&1 || code=$?
    [ "$code" = 0 ] || { tail -n 20 "$work/$what.log"; fail "$what: exit code $code"; }
}

if ! p image exists "$base"; then
    step "a minimal Debian with Python, in place of the base that the Dockerfile names"
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    lists=(/etc/apt/sources.list.d/debian.sources)
    [ -e "${lists[0]}" ] || lists=(/etc/apt/sources.list)
    mmdebstrap --quiet --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        "$codename" "$work/base.tar" "${lists[@]}" ||
        missing "Debian's packages, for the base, cannot be had."
    container=$(b from scratch)
    b add --quiet "$container" "$work/base.tar" / >/dev/null
    b commit --quiet --rm "$container" "$base" >/dev/null
    rm "$work/base.tar"
fi

anywhere "$base" true || missing "podman can run no container here."
step "build: $framework, $device"
# pip in there reaches what pip reaches here.
certificates=/etc/ssl/certs/ca-certificates.crt
{
    printf '[global]\ncert = %s\ntimeout = 180\n' "$certificates"
    if index=$(python3 -m pip config get global.index-url 2>/dev/null); then echo "index-url = $index"; fi
} >"$cache/pip.conf"
mounts=(--volume "${PIP_CERT:-$certificates}:$certificates:ro" --volume "$cache/pip.conf:/etc/pip.conf:ro")
# Of one time, or the layers of a fresh clone would be other ones.
mkdir "$work/context"
tar --create --mtime=2020-01-01 --owner=0 --group=0 --exclude=__pycache__ \
    .dockerignore docker pyproject.toml scripts setup.py tfinit |
    tar --extract --directory "$work/context"
logged build b build --pull-never --layers "${mounts[@]}" --build-arg "BASE=$base" \
    --build-arg "FRAMEWORK=$framework" --build-arg "DEVICE=$device" \
    --file docker/Dockerfile --tag "$image" "$work/context"
b rmi --prune >/dev/null # what the last build was of
b images --format '        {{.Name}}:{{.Tag}} {{.Size}}' "$image"

if [ "$device" = gpu ]; then
    step "the CUDA libraries load"
    t "$image" check_cuda_libraries.py
fi

step "help; a word that is no command; a script that is not there"
logged help t "$image" --help
grep -q '{lottery,' "$work/help.log" || fail "tfinit's help: $(head -n 3 "$work/help.log")"
refused() {  # refused WORDS-OF-THE-ERROR COMMAND …
    local code=0
    t "$image" "${@:2}" >"$work/refused.log" 2>&1 || code=$?
    if [ "$code" != 2 ] || ! grep -q "$1" "$work/refused.log"; then
        fail "exit code $code of ${*:2}: $(tail -n 2 "$work/refused.log")"
    fi
}
refused 'no command .frankle2019.' frankle2019 --help
refused 'no script .frankle[.]py.* frankle2019[.]py' frankle.py --help

made='
import keras, tfinit
model = tfinit.models.build("lenet-300-100", keras, (8, 8, 1), 10, seed=0)
model.save("model.keras")'
if [ "$framework" = jax ]; then
    step "tfinit prune"
    logged model t "$image" python3 -c "$made"
    logged prune t "$image" prune model.keras --loss sparse_categorical_crossentropy \
        --data digits --epochs 1 --sparsity 0.5 --out pruned.keras
    step "all is well"
    exit 0
fi

step "every script's --help; a short experiment of one, while what follows runs"
logged scripts t "$image" python3 -c '
import contextlib, io, pathlib, runpy, sys
for script in sorted(pathlib.Path("/opt/tfinit/scripts").glob("[!_]*.py")):
    sys.argv, sys.path[0], said = [str(script), "--help"], str(script.parent), io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_path(str(script), run_name="__main__")
    except SystemExit as stopped:
        assert not stopped.code, f"{script}: exit code {stopped.code}"
    assert said.getvalue().startswith("usage: "), f"{script}: {said.getvalue()[:200]}"
'
(logged frankle2019 t --name tfinit-check-script "$image" frankle2019.py --quick --network conv-2 --seeds 0 --run-dir frankle2019) &
script=$!

step "a run, as a user that is not root, with a root file system that is read-only"
small=(lottery --levels 1 --steps 4000 --seeds 0 --controls --evaluate-every 100)
logged whole t "$image" "${small[@]}" --run-dir whole
runs=$(p volume inspect "$volume" --format '{{.Mountpoint}}')

# ended PAST HOW…: starts the experiment, lets it come past a file, ends it; sets $code and $seconds.
ended() {
    local past=$1 began
    shift
    p run --detach --name tfinit-check-stopped "${tight[@]}" --volume "$volume:/runs" "$image" \
        "${small[@]}" --run-dir parts >/dev/null
    for _ in $(seq 1200); do
        [ -e "$runs/$past" ] && break
        [ "$(p inspect tfinit-check-stopped --format '{{.State.Running}}')" = true ] || break
        sleep 0.1
    done
    began=$SECONDS
    p "$@" tfinit-check-stopped >/dev/null
    code=$(p wait tfinit-check-stopped)
    seconds=$((SECONDS - began))
    p logs tfinit-check-stopped >"$work/stopped.log" 2>&1
    p rm tfinit-check-stopped >/dev/null
    [ ! -e "$runs/parts/results.csv" ] || fail "'$*' came when the run was done"
}
expected() {  # expected CODE SECONDS WHAT
    if [ "$code" != "$1" ] || [ "$seconds" -ge "$2" ]; then
        fail "$3: exit code $code after $seconds s: $(tail -n 1 "$work/stopped.log")"
    fi
}
step "stopped as it starts; as it trains; killed"
ended . stop --time 30
expected 143 8 "stop at the start"
ended parts/seed-0/ticket/initial.npz stop --time 30
expected 143 30 "stop"
grep -q 'Start the same command again to go on where it was' "$work/stopped.log" ||
    fail "stop: it said: $(tail -n 1 "$work/stopped.log")"
ended parts/seed-0/ticket/level-00.npz kill --signal KILL
expected 137 30 "kill"
[ ! -e "$runs/parts/seed-0/ticket/level-01.npz" ] || fail "it was killed when it was done"
step "gone on with: the bytes of the run that nothing disturbed"
logged parts t "$image" "${small[@]}" --run-dir parts
for file in results.csv evaluations.csv layers.csv conclusion.txt; do
    cmp "$runs/whole/$file" "$runs/parts/$file" || fail "the run that was stopped has another $file"
done

step "the page, and the health check of compose.yaml"
mapfile -t health < <(sed -n 's/^ *test: //p' compose.yaml |
    python3 -c 'import json, sys; print(*json.load(sys.stdin)[1:], sep="\n")')
p run --detach --name tfinit-check-page "${tight[@]}" "$image" demo --host 0.0.0.0 >/dev/null
page() { p exec tfinit-check-page "$@"; }
for _ in $(seq 120); do
    page "${health[@]}" >"$work/page.log" 2>&1 && healthy=1 && break
    [ "$(p inspect tfinit-check-page --format '{{.State.Running}}')" = true ] || break
    sleep 0.5
done
[ "${healthy:-0}" = 1 ] || fail "the page: $(p logs tfinit-check-page 2>&1 | tail -n 1; tail -n 1 "$work/page.log")"
page python3 -c 'import urllib.request as r; print(r.urlopen("http://127.0.0.1:8765/").read().decode())' \
    >"$work/page.html"
grep -q '<title' "$work/page.html" || fail "what is served is no page"
p stop --time 20 tfinit-check-page >/dev/null
code=$(p wait tfinit-check-page)
[ "$code" != 137 ] || fail "the page did not hear SIGTERM"

step "export"
logged model t "$image" python3 -c "$made"
logged export t "$image" export model.keras model.tflite
[ -s "$runs/model.tflite" ] || fail "there is no model.tflite"

step "a folder of the host, of another user"
tiny=(lottery --levels 1 --steps 50 --seeds 0 --controls --run-dir mine)
mkdir "$work/theirs" "$work/root-s"
chmod 755 "$work"
chown 4321:8765 "$work/theirs"
logged theirs anywhere --user 4321:8765 --volume "$work/theirs:/runs" "$image" "${tiny[@]}"
[ "$(stat -c %u:%g "$work/theirs/mine/results.csv")" = 4321:8765 ] || fail "whose are the results?"
cure=(
    "belongs to user 4321, and this is user 10001.*--user 4321:8765"
    "belongs to user 0, and this is user 10001; let user 10001 write there"
)
for folder in theirs root-s; do
    if anywhere --volume "$work/$folder:/runs" "$image" "${tiny[@]}" >"$work/unwritable.log" 2>&1; then
        fail "it wrote to a folder of another user"
    fi
    grep -q "${cure[0]}" "$work/unwritable.log" || fail "$folder: $(cat "$work/unwritable.log")"
    cure=("${cure[@]:1}")
done

step "the script"
wait "$script" || fail "frankle2019.py --quick"
for file in table.md figure.png; do
    [ -s "$runs/frankle2019/$file" ] || fail "frankle2019.py left no $file"
done
step "all is well"
