#!/bin/bash
# distgrad under PBS Professional or OpenPBS: two nodes, four ranks each. Submit it from the
# repository's folder, on a file system that all nodes share:
#
#   qsub launch/pbs.sh
#   qsub -v ARGS="--data fashion-mnist --epochs 20" launch/pbs.sh   # options of examples/train.py
#   qsub -v ARGS="--checkpoint 'a folder'" launch/pbs.sh            # quotes as in the shell
#
# A job that loses its first node, or is put back by qrerun, starts again and resumes from its last
# checkpoint. The subjobs of an array (-J) have folders of their own. One that nears its time limit
# saves and ends with 99, and PBS does not put it back: for a long training queue the next part at
# once, with the same folder; it starts only if the part before it has not ended with 0:
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

# $PBS_NODEFILE has a line for each rank. Open MPI's wheel starts the ranks of other nodes by ssh;
# an MPI built for PBS does not need it. PBS itself warns seconds before it kills (TERM,
# kill_delay).

# Called with the job's exit status: 99 asks for another start, where one can help.
finish() {
    case $1 in
    0) if [ -n "${limit:-}" ] || [ "$SECONDS" -ge 3480 ]; then exit 99; fi ;; # saved
    75) exit 99 ;; # a host was lost
    esac
    exit "$1"
}

# Who sends USR1 to the job tells the ranks that the time limit is near. Asked to end, the ranks
# do, and so does the job. Known before they start, so that no signal comes too early.
trap 'limit=reached; kill -USR1 "$!"; wait "$!"; finish "$?"' USR1
trap 'kill "$!"; wait "$!"; exit 143' INT TERM

# Two minutes before the time limit (walltime above; a change of it changes this as well) the ranks
# are told to write a last checkpoint and to end.
timeout --foreground --preserve-status --signal=USR1 3480 \
    distgrad run --hostfile "$PBS_NODEFILE" -n "$(wc -l <"$PBS_NODEFILE")" examples/train.py \
    --shards 8 --checkpoint "$checkpoint" --every 50 --resume --json "$@" &
wait "$!"
finish "$?"
