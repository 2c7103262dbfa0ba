#!/bin/bash
# distgrad under Grid Engine (Sun, Son of, Altair): eight ranks. Submit it from the repository's
# folder, on a file system that all hosts share:
#
#   qsub launch/gridengine.sh --data fashion-mnist --epochs 20     # options of examples/train.py
#   qsub -v CHECKPOINT=checkpoints/mine launch/gridengine.sh       # go on from an earlier job
#
# A job that loses a host (-r y) or nears its time limit (it then exits with 99, which asks for
# this) goes back to the queue and resumes from its last checkpoint. The tasks of an array (-t) have
# folders of their own.
#$ -N distgrad
#$ -S /bin/bash
#$ -cwd
#$ -j y
#$ -pe mpi 8
#$ -l h_rt=01:00:00
#$ -r y
# `mpi` above is a parallel environment of your site: `qconf -spl` lists them.

# The environment that distgrad is installed in; a system MPI: module load it here.
PATH=${VENV:-$PWD/.venv}/bin:$PATH
# The folder is the job's: a requeued job keeps its number, and so finds its checkpoints.
checkpoint=${CHECKPOINT:-$PWD/checkpoints/gridengine-$JOB_ID}
[ "${SGE_TASK_ID:-undefined}" = undefined ] || checkpoint=$checkpoint/task-$SGE_TASK_ID
# Plain Ethernet: skips the probing for fast networks. Where there is InfiniBand, take it out.
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=^ofi,uct,openib,usnic,smcuda
# Open MPI's wheel knows nothing of Grid Engine: the ranks on other hosts are started by qrsh in
# the place of ssh, all from the first host (OMPI_… is Open MPI 4's name of it).
PRTE_MCA_plm_ssh_agent="$(command -v qrsh) -inherit -nostdin -V"
export PRTE_MCA_plm_ssh_agent PRTE_MCA_plm_ssh_no_tree_spawn=1
export OMPI_MCA_plm_rsh_agent="$PRTE_MCA_plm_ssh_agent" OMPI_MCA_plm_rsh_no_tree_spawn=1

# Grid Engine's list (host, slots, queue, …) as Open MPI reads it. An MPI built for Grid Engine
# needs neither this nor qrsh.
hosts=$(mktemp)
trap 'rm "$hosts"' EXIT
awk '{ print $1 " slots=" $2 }' "$PE_HOSTFILE" >"$hosts"

# No soft limit (s_rt): it ends what qrsh has started on the other hosts, and with it the job.

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

# Two minutes before the time limit (h_rt above; a change of it changes this as well) the ranks
# are told to write a last checkpoint and to end.
timeout --foreground --preserve-status --signal=USR1 3480 \
    distgrad run --hostfile "$hosts" -n "$NSLOTS" examples/train.py \
    --shards 8 --checkpoint "$checkpoint" --every 50 --resume --json "$@" &
wait "$!"
finish "$?"
