#!/bin/bash
@head@
#
# A job that loses a host (-r y) or nears its time limit (it then exits with 99, which asks for
# this) goes back to the queue and resumes from its last checkpoint. The tasks of an array (-t) have
# folders of their own.
#$ -N @name@
#$ -S /bin/bash
#$ -cwd
#$ -j y
#$ -pe @environment@ @slots@
#$ -l h_rt=@time@
#$ -t @array@
#$ -q @queue@
#$ -P @account@
#$ -r y
#$ @option@
# `@environment@` above is a parallel environment of your site: `qconf -spl` lists them.

# The environment that distgrad is installed in; a system MPI: module load it here.
@setup@
PATH=@bin@:$PATH
@if_checkpoint@# The folder is the job's: a requeued job keeps its number, and so finds its checkpoints.
@if_checkpoint@checkpoint=${CHECKPOINT:-$PWD/checkpoints/gridengine-$JOB_ID}
@if_checkpoint@[ "${SGE_TASK_ID:-undefined}" = undefined ] || checkpoint=$checkpoint/task-$SGE_TASK_ID
@network@
# Open MPI's wheel knows nothing of Grid Engine: the ranks on other hosts are started by qrsh in
# the place of ssh, all from the first host (OMPI_… is Open MPI 4's name of it).
PRTE_MCA_plm_ssh_agent="$(command -v qrsh) -inherit -nostdin -V"
export PRTE_MCA_plm_ssh_agent PRTE_MCA_plm_ssh_no_tree_spawn=1
export OMPI_MCA_plm_rsh_agent="$PRTE_MCA_plm_ssh_agent" OMPI_MCA_plm_rsh_no_tree_spawn=1

# Grid Engine's list (host, slots, queue, …) as Open MPI reads it. An MPI built for Grid Engine
# needs neither this nor qrsh.
hosts=$(mktemp)
trap 'rm "$hosts"' EXIT
awk '{ print $1 " slots=" @slots_of_a_host@ }' "$PE_HOSTFILE" >"$hosts"

# No soft limit (s_rt): it ends what qrsh has started on the other hosts, and with it the job.
@timed@
