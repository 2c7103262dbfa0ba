"""Ctrl-C on a terminal: the ranks of ``distgrad run`` get the time to save, the shell sees 130."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jobs import LAUNCHER, ROOT, mpirun
from terminal import Terminal, distgrad_run

# Each rank leaves a file when it is ready, and one more when it has "saved" for a second.
PATIENT = """
import sys, time
from pathlib import Path
import distgrad as dg
world = dg.init()
folder = Path(sys.argv[1])
try:
    (folder / f"ready-{world.rank}").touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(float(sys.argv[2]))
    (folder / f"saved-{world.rank}").touch()
    raise SystemExit(130)
"""
UNPREPARED = PATIENT.split("except", maxsplit=1)[0].replace("try:", "if True:")
BLOCK = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
WAIT_FOR_USR1 = "signal.sigwait({signal.SIGUSR1}); (folder / f'usr1-{world.rank}').touch()"


def start(folder: Path, text: str, *arguments: str) -> Terminal:
    (folder / "job.py").write_text(text)
    job = Terminal(folder, [*distgrad_run(2), str(folder / "job.py"), str(folder), *arguments])
    job.wait_for("ready-0", "ready-1")
    return job


def test_all_ranks_save_after_ctrl_c_and_the_shell_sees_130(tmp_path):
    job = start(tmp_path, PATIENT, "1.5")
    job.press_ctrl_c()
    assert job.status() == 130
    assert job.names() == {"ready-0", "ready-1", "saved-0", "saved-1"}


def test_a_second_ctrl_c_ends_the_ranks_at_once(tmp_path):
    job = start(tmp_path, PATIENT, "50")
    began = time.monotonic()
    job.press_ctrl_c()
    time.sleep(0.5)
    job.press_ctrl_c()
    assert job.status() in {130, 255}  # 255 is what MPICH's mpiexec says of a forced end
    assert time.monotonic() - began < 30
    assert job.names() == {"ready-0", "ready-1"}


def test_ctrl_c_in_a_script_that_does_nothing_about_it_is_an_interrupt_of_a_rank(tmp_path):
    job = start(tmp_path, UNPREPARED)
    job.press_ctrl_c()
    assert job.status() == 130
    assert re.search(r"\[rank [01]/2\] KeyboardInterrupt", job.said)


def test_the_ranks_end_when_distgrad_run_is_killed(tmp_path):
    job = start(tmp_path, UNPREPARED)
    os.kill(job.pid, signal.SIGKILL)
    assert job.status() == 137
    deadline = time.monotonic() + 20
    while ranks_of(tmp_path):
        assert time.monotonic() < deadline, "the ranks live on"
        time.sleep(0.1)


def ranks_of(folder: Path) -> list[str]:
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if f"{folder}/job.py {folder}" in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_other_signals_are_mpiruns(tmp_path, number):
    text = UNPREPARED.replace("time.sleep(60)", WAIT_FOR_USR1).replace("world =", BLOCK + "world =")
    job = start(tmp_path, text)
    os.kill(job.pid, number)
    status = job.status()
    assert (status == 0) == (number == signal.SIGUSR1)
    assert ("usr1-0" in job.names()) == (number == signal.SIGUSR1)


NOHUP = """
import os, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
os.setsid()
os.execv(sys.executable, [sys.executable, "-m", "distgrad.cli", *sys.argv[1:]])
"""


def test_under_nohup_a_job_outlives_its_terminal(tmp_path):
    mpirun(2)  # or skip
    script = tmp_path / "job.py"
    script.write_text(PATIENT.replace("time.sleep(60)", "time.sleep(2); (folder / 'end').touch()"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", NOHUP, "run", "-n", "2", str(script), str(tmp_path), "0"]
    job = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 60
    while not ((tmp_path / "ready-0").exists() and (tmp_path / "ready-1").exists()):
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.05)
    os.killpg(job.pid, signal.SIGHUP)
    assert job.wait(60) == 0
    assert (tmp_path / "end").exists()
