"""The first ten minutes, typed in the order of the page; quickstart.sh is tests/launch's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest
from jobs import LAUNCHER, PYTHONPATH, mpirun
from pages import DOCS, ROOT, blocks, commands

PAGE = DOCS / "first-ten-minutes.md"
STEPS = 30
"""What the page trains to the end is cut to so many steps, so that it takes seconds."""


def typed(command, folder, environment, *more):
    """Run a command of the page in ``folder``; return what it printed."""
    words = command.split()
    if words[0] == "distgrad":
        words = [sys.executable, "-m", *words]
    elif words[0] == "python":
        words[0] = sys.executable
    if "examples/train.py" in words and "--epochs" not in words:
        words += ["--steps", str(STEPS), *more]
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_commands_of_the_first_ten_minutes_do_what_the_page_says(tmp_path):
    mpirun(2)  # skips without one
    environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
    environment |= {"PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"}
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (program,) = blocks(PAGE, "python")
    (tmp_path / "mine.py").write_text(program)

    left = [c for c in commands(PAGE) if not c.startswith(("sh launch/quickstart.sh", ". "))]
    said = {}
    for command in left:
        # The run that is stopped stops early, and the one that resumes it goes to the end.
        stopped = ["--steps", "12"] if "--run" in command and "--resume" not in command else []
        said[command] = typed(command, tmp_path, environment, *stopped)
    assert len(said) == len(left) >= 10

    # Whoever trains for an epoch or more sees what it is worth.
    (debugged,) = [out for command, out in said.items() if "--epochs" in command]
    assert re.search(r"^validation: loss \S+, accuracy \S+ at step 90$", debugged, re.MULTILINE)
    assert (tmp_path / "runs/a/report.html").stat().st_size > 10_000
    trained = {c: out for c, out in said.items() if "report" not in c}
    hashes = {c: re.search(r"sha256 ([0-9a-f]{12})", out)[1] for c, out in trained.items()}
    whole = {
        sha256
        for command, sha256 in hashes.items()
        if "examples/train.py" in command
        and "--epochs" not in command
        and ("--run" not in command or "--resume" in command)
    }
    assert len(whole) == 1, hashes
    assert len({sha256 for command, sha256 in hashes.items() if "mine.py" in command}) == 1, hashes
