#!/bin/sh
# distgrad on several machines without a scheduler: a lab's PCs, cloud instances. They need ssh
# without a password from the first to the others, and the repository with its .venv at the same
# path on all (a shared file system, or the same installation on each; then the checkpoints'
# folder at least must be shared).
#
#   sh launch/hostfile.sh hosts --data fashion-mnist          # options of examples/train.py
#
# The file `hosts` has a line for each machine and its number of ranks:
#   Open MPI:  node0 slots=4          MPICH:  node0:4
#
# When a machine fails, take its line out and start again: it goes on from the last checkpoint.
set -eu
hosts=$(realpath "$1")
shift
cd "$(dirname "$0")/.."

venv=${VENV:-$PWD/.venv}
PATH=$venv/bin:$PATH
checkpoint=${CHECKPOINT:-$PWD/checkpoints/hostfile}
# Seconds until mpirun ends the job, in Open MPI and in MPICH.
export MPIEXEC_TIMEOUT="${TIME_LIMIT:-86400}"
# Plain Ethernet: skips the probing for fast networks. Where there is InfiniBand, take it out.
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=^ofi,uct,openib,usnic,smcuda

# Called by its full path, Open MPI's mpirun finds itself at the same path on the other machines.
# As root: export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1.
exec "$(command -v mpirun)" --hostfile "$hosts" -n "${RANKS:-4}" --bind-to none \
    "$venv/bin/python" examples/train.py \
    --shards 8 --checkpoint "$checkpoint" --every 50 --resume --json "$@"
