
# Called with the job's exit status: 99 asks for another start, where one can help.
finish() {
    case $1 in
    0) if [ -n "${limit:-}" ] || [ "$SECONDS" -ge @soft_seconds@ ]; then exit 99; fi ;; # saved
    75) exit 99 ;; # a host was lost
    esac
    exit "$1"
}

# Who sends USR1 to the job tells the ranks that the time limit is near. Asked to end, the ranks
# do, and so does the job. Known before they start, so that no signal comes too early.
trap 'limit=reached; kill -USR1 "$!"; wait "$!"; finish "$?"' USR1
trap 'kill "$!"; wait "$!"; exit 143' INT TERM

# Two minutes before the time limit (@limit@ above; a change of it changes this as well) the ranks
# are told to write a last checkpoint and to end.
timeout --foreground --preserve-status --signal=USR1 @soft_seconds@ \
    @run@ --hostfile @hostfile@ -n @count@ @program@ &
wait "$!"
finish "$?"
