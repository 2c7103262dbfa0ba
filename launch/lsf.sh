#!/bin/bash
# distgrad under IBM Spectrum LSF: eight ranks, four on each host. Submit it from the repository's
# folder, on a file system that all hosts share:
#
#   bsub <launch/lsf.sh
#   ARGS="--data fashion-mnist --epochs 20" bsub <launch/lsf.sh    # options of examples/train.py
#
# A job that loses a host (-r), is put back by brequeue, or reaches its time limit (it then exits
# with 99, see -Q) goes back to the queue and resumes from its last checkpoint.
#BSUB -J distgrad
#BSUB -n 8
#BSUB -R "span[ptile=4]"
#BSUB -W 1:00
#BSUB -wt 2
#BSUB -wa USR1
#BSUB -r
#BSUB -Q 99
#BSUB -o distgrad-%J.log

# The environment that launch/quickstart.sh made, or yours; a system MPI: module load it here.
venv=${VENV:-$PWD/.venv}
PATH=$venv/bin:$PATH
# The folder is the job's: a requeued job keeps its number, and so finds its checkpoints.
checkpoint=${CHECKPOINT:-$PWD/checkpoints/lsf-$LSB_JOBID}
# Plain Ethernet: skips the probing for fast networks. Where there is InfiniBand, take it out.
export OMPI_MCA_pml=ob1 OMPI_MCA_btl=^ofi,uct,openib,usnic,smcuda
# Open MPI's wheel knows nothing of LSF: the ranks on other hosts are started by LSF's blaunch in
# the place of ssh (OMPI_… is Open MPI 4's name of it).
PRTE_MCA_plm_ssh_agent=$(command -v blaunch)
export PRTE_MCA_plm_ssh_agent PRTE_MCA_plm_ssh_no_tree_spawn=1
export OMPI_MCA_plm_rsh_agent="$PRTE_MCA_plm_ssh_agent" OMPI_MCA_plm_rsh_no_tree_spawn=1

# The file has a line for each rank. An MPI built for LSF needs neither blaunch nor --hostfile.
# shellcheck disable=SC2086 # $ARGS is a list of words
"$(command -v mpirun)" --hostfile "$LSB_DJOB_HOSTFILE" -n "$LSB_DJOB_NUMPROC" --bind-to none \
    "$venv/bin/python" examples/train.py \
    --shards 8 --checkpoint "$checkpoint" --every 50 --resume --json ${ARGS:-} &
job=$!

# Two minutes before the time limit (-wt, -wa): mpirun passes the signal on, the ranks write a last
# checkpoint and end, and the job goes back to the queue.
trap 'kill -USR1 "$job"; wait "$job"; exit 99' USR1
# bkill: the ranks end, and so does the job.
trap 'kill "$job"; wait "$job"; exit 143' INT TERM
wait "$job"
