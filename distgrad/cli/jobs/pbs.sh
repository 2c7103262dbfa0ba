#!/bin/bash
@head@
#
# A job that loses its first node, or is put back by qrerun, starts again and resumes from its last
# checkpoint. The subjobs of an array (-J) have folders of their own. One that nears its time limit
# saves and ends with 99, and PBS does not put it back: for a long training queue the next part at
# once, with the same folder; it starts only if the part before it has not ended with 0:
#
@chain@
#PBS -N @name@
#PBS -l select=@nodes@:ncpus=@cores_per_node@:mpiprocs=@ranks_per_node@@chunk_memory@
#PBS -l walltime=@time@
#PBS -J @array@
#PBS -q @queue@
#PBS -A @account@
#PBS -r y
#PBS -j oe
#PBS @option@

cd "$PBS_O_WORKDIR" || exit
# The environment that distgrad is installed in; a system MPI: module load it here.
@setup@
PATH=@bin@:$PATH
@if_checkpoint@# The folder is the job's: a job that starts again keeps its number, and so finds its checkpoints.
@if_checkpoint@checkpoint=${CHECKPOINT:-$PWD/checkpoints/pbs-${PBS_JOBID/\[*\]/}} # 12[3].host is 12's third
@if_checkpoint@checkpoint=$checkpoint${PBS_ARRAY_INDEX:+/task-$PBS_ARRAY_INDEX}
@network@
@arguments@

# $PBS_NODEFILE has a line for each rank. Open MPI's wheel starts the ranks of other nodes by ssh;
# an MPI built for PBS does not need it. PBS itself warns seconds before it kills (TERM,
# kill_delay).
@timed@
