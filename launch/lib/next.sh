# shellcheck shell=sh
# What launch/quickstart.sh says at its end: what there is now, and what to try next, as commands for
# this very shell, in which no environment is active. Source it with $repo and $VENV set.

what_next() {
    tool=$(near "$VENV/bin/distgrad") examples=$(near "${repo:?}/examples")
    cat <<END

What there is now
  $(near "$VENV")
      distgrad, an MPI and numba; nothing else was written
  $examples/train.py
      what has just been trained, to read and to change

To try next
  1. keep what a training does; stop it (Ctrl-C), and go on
     with the same line, on other ranks too; look at it:
       $tool run -n 2 $examples/train.py --run runs/first --resume
       $tool report runs/first
  2. all four ranks in one process, under a debugger
     (put breakpoint() into the script):
       $tool debug -n 4 $examples/train.py --epochs 2
  3. a small GPT that learns the documentation of Python,
     letter by letter:
       $tool run -n 2 $examples/char_gpt.py --steps 100

$(near "$repo/README.md") has more;
\`$tool --help\` lists the commands.
END
}

# A path as one types it here: without the folder that this shell is in, quoted where it has to be.
near() {
    path=${1#"$PWD"/}
    case $path in
    *[!A-Za-z0-9_./@%+=:,-]*) printf "'%s'" "$(printf '%s' "$path" | sed "s/'/'\\\\''/g")" ;;
    *) printf '%s' "$path" ;;
    esac
}
