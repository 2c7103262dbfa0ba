#!/bin/bash
@head@
#
# A job that loses a host (-r), is put back by brequeue, or reaches its time limit (it then exits
# with 99, see -Q) goes back to the queue and resumes from its last checkpoint. The elements of an
# array (-J "distgrad[1-4]") have folders of their own.
#BSUB -J @element@
#BSUB -n @ranks@
#BSUB -R "span[ptile=@ranks_per_node@]"
#BSUB -R "affinity[core(@affinity@)]"
#BSUB -W @time@
#BSUB -r
#BSUB -Q 99
#BSUB -q @queue@
#BSUB -P @account@
#BSUB -o @name@-%J.%I.log
#BSUB @option@

# The environment that distgrad is installed in; a system MPI: module load it here.
@setup@
PATH=@bin@:$PATH
@if_checkpoint@# The folder is the job's: a requeued job keeps its number, and so finds its checkpoints.
@if_checkpoint@checkpoint=${CHECKPOINT:-$PWD/checkpoints/lsf-$LSB_JOBID}
@if_checkpoint@[ "${LSB_JOBINDEX:-0}" = 0 ] || checkpoint=$checkpoint/task-$LSB_JOBINDEX # 0: no array
@network@
# Open MPI's wheel knows nothing of LSF: the ranks on other hosts are started by LSF's blaunch in
# the place of ssh (OMPI_… is Open MPI 4's name of it).
PRTE_MCA_plm_ssh_agent=$(command -v blaunch)
export PRTE_MCA_plm_ssh_agent PRTE_MCA_plm_ssh_no_tree_spawn=1
export OMPI_MCA_plm_rsh_agent="$PRTE_MCA_plm_ssh_agent" OMPI_MCA_plm_rsh_no_tree_spawn=1
@arguments@

# $LSB_DJOB_HOSTFILE has a line for each rank. An MPI built for LSF needs no blaunch. No warning of
# LSF's own (-wa): it may reach MPI's daemons on the other hosts, and ends them.
@timed@
