#!/bin/sh
# From a fresh clone to a trained classifier: makes .venv, installs distgrad and an MPI from wheels,
# and trains on real images of digits with 4 ranks. Needs a shell and Python >= 3.10; works as root
# or not, and from anywhere.
#
#   sh launch/quickstart.sh [options of examples/train.py]
#   DISTGRAD_MPI=mpich sh launch/quickstart.sh    # or system; launch/lib/venv.sh has the settings
set -eu
repo=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$repo/launch/lib/venv.sh"
. "$repo/launch/lib/next.sh"

ready fast
printf 'Training examples/train.py with 4 ranks: distgrad run -n 4 examples/train.py %s\n' "$*"
"$VENV/bin/distgrad" run -n 4 "$repo/examples/train.py" "$@"
what_next
