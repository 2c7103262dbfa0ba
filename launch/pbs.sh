#!/bin/bash
# distgrad under PBS Professional or OpenPBS: two nodes, four ranks each. Submit it from the
# repository's folder, on a file system that all nodes share:
#
#   qsub launch/pbs.sh
#   qsub -v ARGS="--data fashion-mnist --epochs 20" launch/pbs.sh   # options of examples/train.py
#   qsub -v ARGS="--checkpoint 'a folder'" launch/pbs.sh            # quotes as in the shell
#
# A job that loses its first node, or is put back by qrerun, starts again and resumes from its last
# checkpoint. The subjobs of an array (-J) have folders of their own. PBS does not put back a job
# that reached its time limit: for a long training queue the next part at once, with the same
# folder; it starts only if the part before it has failed:
#
#   first=$(qsub -v CHECKPOINT=checkpoints/mine launch/pbs.sh)
#   qsub -v CHECKPOINT=checkpoints/mine -W depend=afternotok:$first launch/pbs.sh
#PBS -N distgrad
#PBS -l select=2:ncpus=4:mpiprocs=4
#PBS -l walltime=01:00:00
#PBS -r y
#PBS -j oe

cd "$PBS_O_WORKDIR" || exit
# The environment that distgrad is installed in; a system MPI: module load it here.
PATH=${VENV:-$PWD/.venv}/bin:$PATH
# The folder is the job's: a job that starts again keeps its number, and so finds its checkpoints.
checkpoint=${CHECKPOINT:-$PWD/checkpoints/pbs-${PBS_JOBID/\[*\]/}} # 12[3].host is 12's third
checkpoint=$checkpoint${PBS_ARRAY_INDEX:+/task-$PBS_ARRAY_INDEX}
# Plain Ethernet: skips the probing for fast networks. Where there is InfiniBand, take it out.
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=^ofi,uct,openib,usnic,smcuda

# $ARGS is read as the shell reads a line: a word with spaces stands in quotes.
eval "set -- ${ARGS:-}"

# The file has a line for each rank. Open MPI's wheel starts the ranks of other nodes by ssh; an
# MPI built for PBS does not need it.
distgrad run --hostfile "$PBS_NODEFILE" -n "$(wc -l <"$PBS_NODEFILE")" examples/train.py \
    --shards 8 --checkpoint "$checkpoint" --every 50 --resume --json "$@" &
job=$!

# At the time limit and at qdel PBS sends TERM, and KILL some seconds later (kill_delay).
trap 'kill "$job"; wait "$job"; exit 143' TERM
wait "$job"
