#!/bin/sh
# What follows `docker run tfinit`: a command of tfinit, or the name of a script, with its flags.
set -eu
scripts=${TFINIT_SCRIPTS:-/opt/tfinit/scripts}
case ${1:-} in
    sh | bash | python | python3) exec "$@" ;;
    */*.py) exec python3 "$@" ;;
    *.py) ;;
    *) exec tfinit "$@" ;;
esac
if [ ! -f "$scripts/$1" ]; then
    there=$(cd "$scripts" && echo [!_]*.py)
    echo "tfinit: there is no script \`$1\` in this image. There are: $there. One of your own is" \
        "named with its folder: ./$1." >&2
    exit 2
fi
script=$scripts/$1
shift
exec python3 "$script" "$@"
