#!/bin/bash
# distgrad under IBM Spectrum LSF: eight ranks, four on each host. Submit it from the repository's
# folder, on a file system that all hosts share:
#
#   bsub <launch/lsf.sh
#   ARGS="--data fashion-mnist --epochs 20" bsub <launch/lsf.sh    # options of examples/train.py
#   ARGS="--seed 1 --checkpoint 'a folder'" bsub <launch/lsf.sh    # quotes as in the shell
#
# A job that loses a host (-r), is put back by brequeue, or reaches its time limit (it then exits
# with 99, see -Q) goes back to the queue and resumes from its last checkpoint. The elements of an
# array (-J "distgrad[1-4]") have folders of their own.
#BSUB -J distgrad
#BSUB -n 8
#BSUB -R "span[ptile=4]"
#BSUB -W 1:00
#BSUB -r
#BSUB -Q 99
#BSUB -o distgrad-%J.%I.log

# The environment that distgrad is installed in; a system MPI: module load it here.
PATH=${VENV:-$PWD/.venv}/bin:$PATH
# The folder is the job's: a requeued job keeps its number, and so finds its checkpoints.
checkpoint=${CHECKPOINT:-$PWD/checkpoints/lsf-$LSB_JOBID}
[ "${LSB_JOBINDEX:-0}" = 0 ] || checkpoint=$checkpoint/task-$LSB_JOBINDEX # 0: no array
# Plain Ethernet: skips the probing for fast networks. Where there is InfiniBand, take it out.
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=^ofi,uct,openib,usnic,smcuda
# Open MPI's wheel knows nothing of LSF: the ranks on other hosts are started by LSF's blaunch in
# the place of ssh (OMPI_… is Open MPI 4's name of it).
PRTE_MCA_plm_ssh_agent=$(command -v blaunch)
export PRTE_MCA_plm_ssh_agent PRTE_MCA_plm_ssh_no_tree_spawn=1
export OMPI_MCA_plm_rsh_agent="$PRTE_MCA_plm_ssh_agent" OMPI_MCA_plm_rsh_no_tree_spawn=1

# $ARGS is read as the shell reads a line: a word with spaces stands in quotes.
eval "set -- ${ARGS:-}"

# $LSB_DJOB_HOSTFILE has a line for each rank. An MPI built for LSF needs no blaunch. No warning of
# LSF's own (-wa): it may reach MPI's daemons on the other hosts, and ends them.

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

# Two minutes before the time limit (-W above; a change of it changes this as well) the ranks
# are told to write a last checkpoint and to end.
timeout --foreground --preserve-status --signal=USR1 3480 \
    distgrad run --hostfile "$LSB_DJOB_HOSTFILE" -n "$LSB_DJOB_NUMPROC" examples/train.py \
    --shards 8 --checkpoint "$checkpoint" --every 50 --resume --json "$@" &
wait "$!"
finish "$?"
