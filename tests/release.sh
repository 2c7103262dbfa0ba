#!/bin/sh
# What a release has to stand: builds the two distributions into dist/, checks them, installs the
# wheel from a local index into an empty environment, and runs a fast part of the tests from the
# unpacked source distribution, with today's versions of all that is needed and with the lowest.
#
#   sh tests/release.sh [FOLDER]        # works in FOLDER (default: a new temporary one)
#   PYTHON=python3.10 LOWEST=python3.10 sh tests/release.sh
set -eu
repo=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
work=${1:-$(mktemp -d)}
python=${PYTHON:-python3} lowest=${LOWEST:-${PYTHON:-python3}}
extras=mpi,fast,plot,text,test
fast='tests/test_package.py tests/checkpoint tests/cli/test_run.py tests/cli/test_submit.py tests/launch/test_scripts.py'

stage() { printf '\n== %s\n' "$1"; }
environment() { # NAME PYTHON
    [ -x "$work/$1/bin/python" ] || "$2" -m venv "$work/$1"
}
fast_tests() { # ENVIRONMENT
    # shellcheck disable=SC2086 # a list
    (cd "$source" && env PATH="$work/$1/bin:$PATH" DISTGRAD_CACHE="$work/cache" \
        OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
        python -m pytest -q -p no:cacheprovider -m 'not slow' $fast)
}

unset PYTHONPATH # pip would take a distgrad there for installed
mkdir -p "$work"
stage "building, in $work"
environment tools "$python"
"$work/tools/bin/python" -m pip install --quiet build twine
git -C "$repo" archive --prefix=distgrad/ HEAD | tar -x -C "$work" # what is committed, and only that
rm -rf "$work/dist"
"$work/tools/bin/python" -m build --outdir "$work/dist" "$work/distgrad" >"$work/build.log" 2>&1
"$work/tools/bin/twine" check --strict "$work"/dist/*
wheel=$(ls "$work"/dist/*.whl)
size=$(wc -c <"$wheel")
[ "$size" -lt 5000000 ] || { echo "the wheel has $size bytes: 5 MB are the most" >&2; exit 1; }
echo "the wheel has $size bytes"

stage "the wheel, from a local index, in an empty environment"
environment empty "$python"
"$work/empty/bin/python" -m pip install --quiet --find-links "$work/dist" "distgrad[$extras]"
(cd "$work" && "$work/empty/bin/distgrad" --version)
(cd "$work" && "$work/empty/bin/distgrad" run -n 2 "$work/distgrad/examples/train.py" --epochs 2)

stage "the tests of the source distribution"
tar -x -C "$work" -f "$work"/dist/*.tar.gz
source=$(ls -d "$work"/distgrad-*/)
rm -rf "${source:?}/distgrad" # the installed one is meant
fast_tests empty

stage "the same with the lowest versions"
environment low "$lowest"
"$work/tools/bin/python" "$repo/tests/lowest.py" "$wheel" "$extras" >"$work/lowest.txt"
"$work/low/bin/python" -m pip install --quiet --only-binary :all: \
    --constraint "$work/lowest.txt" --find-links "$work/dist" "distgrad[$extras]"
fast_tests low

printf '\n== ready: %s\n' "$work/dist"
