#!/bin/sh
# The whole suite: installs the test extra into .venv, checks the code, runs the tests without
# mpirun, then those marked `mpi` under it with 2, 3 and 4 ranks. The first failure ends it.
#
#   sh tests/run.sh [--fast] [--oracle]     # --fast leaves out the tests marked slow
#                                           # --oracle installs PyTorch and compares with it,
#                                           # and parsers that read recipes and manifests
#   DISTGRAD_MPI=mpich sh tests/run.sh      # or system; launch/lib/venv.sh lists the settings
set -eu
repo=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
. "$repo/launch/lib/venv.sh"

single='' ranked='mpi' extras=fast,onednn,plot,tensorboard,text,docs,test
for argument in "$@"; do
    case $argument in
    --fast) single='not slow' ranked='mpi and not slow' ;;
    --oracle) extras=$extras,oracle,lint ;;
    *) die "unknown argument $argument; for single tests: $VENV/bin/python -m pytest …" ;;
    esac
done

stage() {
    printf '\n== %s (%s s)\n' "$1" "$(($(date +%s) - began))"
    shift
    "$@"
}

# Two lists of tests at a time: each starts jobs of its own and leaves a core to the other. What
# only computes comes first; the last list is that of everything that stands in no other.
comparing='tests/oracle tests/same_source tests/autograd tests/distributions tests/functions tests/ops tests/optim'
simulating='tests/capture tests/checkpoint tests/integrate tests/kernels tests/nn tests/parallel/test_zero*.py'
bridging='tests/comm tests/observe tests/parallel'
others() {
    # shellcheck disable=SC2086 # lists
    printf -- '--ignore=%s ' $comparing $simulating $bridging
}
# The tests of tests/parallel that run earlier are left out here.
beside() {
    # shellcheck disable=SC2086 # a list
    printf '%s ' $bridging
    printf -- '--ignore=%s ' tests/parallel/test_zero*.py
}
two_at_a_time() { # ARGUMENTS ARGUMENTS; the report of the second is shown when both have ended
    report=$(mktemp)
    # The shell has what runs in the background ignore Ctrl-C, which tests of it would inherit.
    # shellcheck disable=SC2086 # lists
    python -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
os.execvp(sys.argv[1], sys.argv[1:])' \
        python -m pytest -q -m "$single" -p no:cacheprovider $2 >"$report" 2>&1 &
    second=$!
    trap 'kill "$second"; exit 130' INT TERM
    status=0
    # shellcheck disable=SC2086 # the same
    python -m pytest -m "$single" $1 || status=$?
    wait "$second" || status=$?
    trap - INT TERM
    cat "$report"
    rm "$report"
    return "$status"
}

# The files that have tests marked `mpi`: ranks that share cores would take long to read all others.
# What is compared with PyTorch is no job.
find_ranked() {
    listed=$(mktemp)
    python -m pytest -q --collect-only --with-mpi -m "$ranked" -p no:cacheprovider \
        --ignore=tests/oracle --ignore=tests/same_source tests >"$listed" || {
        status=$?
        cat "$listed"
        return "$status"
    }
    ranked_files=$(sed -n 's/::.*//p' "$listed" | sort -u)
    rm "$listed"
}

# Rank 0 reports as usual; the others write to files, shown only when the run fails.
# What is set in the environment and not by flags suits every MPI: each ignores what is not its own.
under_mpi() {
    logs=$(mktemp -d)
    # shellcheck disable=SC2016 # the ranks' shell expands it
    if OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
        OMPI_MCA_rmaps_base_oversubscribe=1 \
        PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe \
        logs=$logs marks=$ranked files=$ranked_files \
        timeout --foreground --kill-after=10 1200 mpirun -n "$1" sh -c '
            rank=${OMPI_COMM_WORLD_RANK:-${PMI_RANK:?this mpirun tells its ranks no rank}}
            # A folder a rank: each removes what earlier runs of pytest left in its own.
            export PYTEST_DEBUG_TEMPROOT="$logs/files-$rank"
            mkdir "$PYTEST_DEBUG_TEMPROOT"
            [ "$rank" = 0 ] || exec >"$logs/rank-$rank" 2>&1
            exec python -m pytest -q -x --with-mpi -m "$marks" -p no:cacheprovider $files'; then
        rm -r "$logs"
    else
        status=$?
        for log in "$logs"/rank-*; do
            printf '\n-- %s of 0..%s\n' "${log##*/}" "$(($1 - 1))"
            tail -n 100 "$log"
        done
        rm -r "$logs"
        printf '\n== failed with %s ranks (exit status %s)\n' "$1" "$status"
        exit "$status"
    fi
}

began=$(date +%s)
cd "$repo"
# Images like to set this: each of the hundreds of interpreters that tests start would compile all
# of distgrad again, which takes longer than most of what they do.
unset PYTHONDONTWRITEBYTECODE
# Small products gain nothing from a second BLAS thread, and wait for it where cores are few.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
stage "installing" ready "$extras"
stage "ruff check" ruff check .
stage "ruff format" ruff format --check .
stage "mypy" mypy
stage "import layers" lint-imports
stage "tests that compute" two_at_a_time "$comparing" "$simulating"
stage "tests of jobs, and all others" two_at_a_time "$(others)" "$(beside)"
stage "which tests are MPI's" find_ranked
for ranks in 2 3 4; do
    stage "MPI tests, $ranks ranks" under_mpi "$ranks"
done
printf '\n== all passed in %s s\n' "$(($(date +%s) - began))"
