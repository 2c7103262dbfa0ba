#!/bin/sh
# What a release has to stand: builds the two distributions into dist/, checks them, uploads them to
# a package index of its own on this machine, installs the wheel from there into an empty
# environment and the source distribution into another, and runs a fast part of the tests from the
# unpacked source distribution, with today's versions of all that is needed and with the lowest.
#
#   sh tests/release.sh [FOLDER]        # works in FOLDER (default: a new temporary one)
#   PYTHON=python3.10 LOWEST=python3.10 sh tests/release.sh
set -eu
repo=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
work=${1:-$(mktemp -d)}
python=${PYTHON:-python3} lowest=${LOWEST:-${PYTHON:-python3}}
extras=mpi,fast,plot,text,test
fast='tests/test_package.py tests/test_recipe.py tests/checkpoint tests/cli/test_run.py tests/cli/test_submit.py tests/launch/test_images.py tests/launch/test_scripts.py'

stage() { printf '\n== %s (%s s)\n' "$1" "$(($(date +%s) - began))"; }
environment() { # NAME PYTHON
    [ -x "$work/$1/bin/python" ] || "$2" -m venv "$work/$1"
}
install() { # ENVIRONMENT WORD...
    at=$work/$1/bin/python
    shift
    "$at" -m pip install --quiet "$@"
}
trains() { # ENVIRONMENT: as a user types it, outside the repository
    (cd "$work" && "$work/$1/bin/distgrad" --version)
    (cd "$work" && "$work/$1/bin/distgrad" run -n 2 "$work/distgrad/examples/train.py" --epochs 2)
}
fast_tests() { # ENVIRONMENT
    # shellcheck disable=SC2086 # a list
    (cd "$source" && env PATH="$work/$1/bin:$PATH" DISTGRAD_CACHE="$work/cache" \
        OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
        python -m pytest -q -p no:cacheprovider -m 'not slow' $fast)
}

began=$(date +%s)
unset PYTHONPATH # pip would take a distgrad there for installed
mkdir -p "$work"
work=$(CDPATH='' cd -- "$work" && pwd -P)
stage "building, in $work"
environment tools "$python"
install tools build twine pypiserver
rm -rf "$work/dist" "$work/distgrad" "$work"/distgrad-*/ "$work/index"
git -C "$repo" archive --prefix=distgrad/ HEAD | tar -x -C "$work" # what is committed, and only that
"$work/tools/bin/python" -m build --outdir "$work/dist" "$work/distgrad" >"$work/build.log" 2>&1
"$work/tools/bin/twine" check --strict "$work"/dist/*
wheel=$(ls "$work"/dist/*.whl) sdist=$(ls "$work"/dist/*.tar.gz)
size=$(wc -c <"$wheel")
[ "$size" -lt 5000000 ] || { echo "the wheel has $size bytes: 5 MB are the most" >&2; exit 1; }
echo "the wheel has $size bytes"

stage "the upload, to a package index on this machine"
mkdir "$work/index"
port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
# Without passwords (-a . -P .), and what it does not have it does not look for elsewhere.
"$work/tools/bin/pypi-server" run -i 127.0.0.1 -p "$port" -a . -P . --disable-fallback \
    "$work/index" >"$work/index.log" 2>&1 &
server=$!
trap 'kill "$server"' EXIT
trap 'exit 130' INT TERM
"$python" - "$port" <<'END' # waits until it listens, for 20 s
import socket, sys, time
for attempt in range(200):
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
else:
    sys.exit("the package index did not start: see index.log")
END
"$work/tools/bin/twine" upload --non-interactive --disable-progress-bar \
    --repository-url "http://127.0.0.1:$port/" --username anyone --password none "$work"/dist/*

stage "the wheel, from that index, in an empty environment"
environment empty "$python"
# First distgrad, from there and from nowhere else; then what it needs, from the usual index.
install empty --no-deps --force-reinstall --no-cache-dir \
    --index-url "http://127.0.0.1:$port/simple/" distgrad
install empty "distgrad[$extras,lint]"
trains empty

stage "the source distribution, in another"
environment built "$python"
install built --force-reinstall --no-deps "$sdist"
install built "distgrad[mpi]"
trains built

stage "the tests of the source distribution"
tar -x -C "$work" -f "$sdist"
source=$(ls -d "$work"/distgrad-*/)
rm -rf "${source:?}/distgrad" # the installed one is meant
fast_tests empty

stage "the same with the lowest versions"
environment low "$lowest"
"$work/tools/bin/python" "$repo/tests/lowest.py" "$wheel" "$extras" >"$work/lowest.txt"
install low --no-deps --force-reinstall "$wheel"
install low --only-binary :all: --constraint "$work/lowest.txt" "distgrad[$extras]"
fast_tests low

stage "ready: $work/dist"
