# Two minutes before the time limit (@limit@ above; a change of it changes this as well) the ranks
# are told to write a last checkpoint and to end.
timeout --foreground --preserve-status --signal=USR1 @soft_seconds@ \
    @run@ --hostfile @hostfile@ -n @count@ @program@ &
job=$!

# Called with the job's exit status: 99 asks for another start, where one can help.
finish() {
    case $1 in
    0) if [ -n "${limit:-}" ] || [ "$SECONDS" -ge @soft_seconds@ ]; then exit 99; fi ;; # saved
    75) exit 99 ;; # a host was lost
    esac
    exit "$1"
}

# The same for who sends USR1 to the job. Asked to end, the ranks do, and so does the job.
trap 'limit=reached; kill -USR1 "$job"; wait "$job"; finish "$?"' USR1
trap 'kill "$job"; wait "$job"; exit 143' INT TERM
wait "$job"
finish "$?"
