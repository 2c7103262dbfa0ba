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
# As many ranks start as the file has slots (a line without a number has one), or RANKS=…; more
# than 8 need more shards, `--shards 16`. When a machine fails, take its line out and start again:
# it goes on from the last checkpoint.
set -eu
hosts=$(realpath "$1")
shift
cd "$(dirname "$0")/.."

PATH=${VENV:-$PWD/.venv}/bin:$PATH
checkpoint=${CHECKPOINT:-$PWD/checkpoints/hostfile}
# Seconds until mpirun ends the job, in Open MPI and in MPICH.
export MPIEXEC_TIMEOUT="${TIME_LIMIT:-86400}"
# Plain Ethernet: skips the probing for fast networks. Where there is InfiniBand, take it out.
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=^ofi,uct,openib,usnic,smcuda

# node0 slots=4, node0:4, or node0 alone; what follows # is a comment.
slots=$(sed 's/#.*//' "$hosts" | awk 'NF {
    n = 1
    if (match($0, /[ \t]slots *= *[0-9]+/)) { n = substr($0, RSTART, RLENGTH); sub(/.*= */, "", n) }
    else if (match($1, /:[0-9]+$/)) n = substr($1, RSTART + 1)
    sum += n
} END { print sum + 0 }')

# `distgrad run` writes the mpirun line (--dry-run shows it), with mpirun's full path: so it finds
# itself at the same path on the other machines.
exec distgrad run --hostfile "$hosts" -n "${RANKS:-$slots}" examples/train.py \
    --shards 8 --checkpoint "$checkpoint" --every 50 --resume --json "$@"
