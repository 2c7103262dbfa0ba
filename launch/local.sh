#!/bin/sh
# distgrad on one machine, with checkpoints: for a run longer than launch/quickstart.sh's.
#
#   sh launch/local.sh --data fashion-mnist --epochs 20       # options of examples/train.py
#   RANKS=16 CHECKPOINT=checkpoints/mine sh launch/local.sh
#
# Stopped in any way (Ctrl-C, kill -9, power, the time limit), the same command goes on from the
# last checkpoint, with another number of ranks if you like.
set -eu
cd "$(dirname "$0")/.."

# The environment that launch/quickstart.sh made, or yours.
PATH=${VENV:-$PWD/.venv}/bin:$PATH
# A run with other options needs another folder: --resume goes on with what it finds there.
checkpoint=${CHECKPOINT:-checkpoints/local}
# Seconds until mpirun ends the job, in Open MPI and in MPICH.
export MPIEXEC_TIMEOUT="${TIME_LIMIT:-86400}"

# `distgrad run` writes the mpirun line for this machine (--dry-run shows it).
exec distgrad run -n "${RANKS:-4}" examples/train.py \
    --shards 8 --checkpoint "$checkpoint" --every 50 --resume --json "$@"
