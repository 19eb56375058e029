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
needed=(buildah podman runc mmdebstrap)
for one in "${needed[@]}"; do
    command -v "$one" >/dev/null || { echo "$0 needs ${needed[*]}: there is no $one." >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "$0 needs root." >&2; exit 2; }

cache=${XDG_CACHE_HOME:-$HOME/.cache}/tfinit/container
mkdir -p "$cache/tmp"
exec 9>"$cache/.lock"
flock 9  # one at a time: the names below are for one
work=$(mktemp -d)
image=localhost/tfinit:$framework-$device base=localhost/tfinit-base
volume=tfinit-check
export BUILDAH_ISOLATION=chroot TMPDIR=$cache/tmp
store=(--root "$cache/storage" --runroot "$cache/runroot")
b() { buildah "${store[@]}" "$@" </dev/null; }
podman=(podman "${store[@]}" --cgroup-manager cgroupfs --events-backend file --runtime runc)
p() { "${podman[@]}" "$@" </dev/null; }
names=(tfinit-check-stopped tfinit-check-page)
clear_up() {
    p rm --force --ignore --time 0 "${names[@]}" >/dev/null 2>&1 || true
    p volume rm --force "$volume" >/dev/null 2>&1 || true
}
trap 'clear_up; rm -rf "$work"' EXIT
clear_up

step() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
# Not root, nothing writable but /tmp and the volume, no network; limits that a sandbox has, too.
limits=(--network none --ulimit nofile=1024:1024 --ulimit nproc=4096:4096)
tight=("${limits[@]}" --read-only --read-only-tmpfs=false --tmpfs /tmp --cap-drop all)
t() { timeout 600 "${podman[@]}" run --rm "${tight[@]}" --volume "$volume:/runs" "$@"; }
# A command that has to succeed, its output in a file: logged NAME COMMAND …
logged() {
    local log=$work/$1.log
    shift
    "$@" >"$log" 2>&1 </dev/null || { tail -n 20 "$log"; fail "exit code $? of: ${*: -4}"; }
}

if ! p image exists "$base"; then
    step "a minimal Debian with Python, in place of the base that the Dockerfile names"
    lists=(/etc/apt/sources.list.d/debian.sources)
    [ -e "${lists[0]}" ] || lists=(/etc/apt/sources.list)
    mmdebstrap --quiet --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work/base.tar" "${lists[@]}"
    container=$(b from scratch)
    b add --quiet "$container" "$work/base.tar" / >/dev/null
    b commit --quiet --rm "$container" "$base" >/dev/null
    rm "$work/base.tar"
fi

step "build: $framework, $device"
# pip in there reaches what pip reaches here.
certificates=/etc/ssl/certs/ca-certificates.crt
{
    printf '[global]\ncert = %s\ntimeout = 180\n' "$certificates"
    if index=$(python3 -m pip config get global.index-url 2>/dev/null); then echo "index-url = $index"; fi
} >"$cache/pip.conf"
mounts=(--volume "${PIP_CERT:-$certificates}:$certificates:ro" --volume "$cache/pip.conf:/etc/pip.conf:ro")
logged build b build --pull-never --layers "${mounts[@]}" --build-arg "BASE=$base" \
    --build-arg "FRAMEWORK=$framework" --build-arg "DEVICE=$device" \
    --file docker/Dockerfile --tag "$image" .
b images --format '        {{.Name}}:{{.Tag}} {{.Size}}' "$image"
exit 0
