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

from distgrad.comm import guard
from distgrad.comm.launchers import INTERRUPT

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


def test_the_ranks_end_when_the_terminal_is_closed(tmp_path):
    job = start(tmp_path, UNPREPARED)
    assert len(ranks_of(tmp_path)) >= 2
    job.keyboard.kill()
    job.status()
    wait_for_the_end_of_ranks(tmp_path)


def wait_for_the_end_of_ranks(folder: Path) -> None:
    deadline = time.monotonic() + 20
    while ranks_of(folder):
        assert time.monotonic() < deadline, "the ranks live on"
        time.sleep(0.1)


def ranks_of(folder: Path) -> list[str]:
    shown = subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if f"{folder}/job.py {folder}" in line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_other_signals_are_mpiruns(tmp_path, number):
    text = UNPREPARED.replace("time.sleep(60)", WAIT_FOR_USR1).replace("world =", BLOCK + "world =")
    job = start(tmp_path, text)
    os.kill(job.pid, number)
    status = job.status()
    assert (status == 0) == (number == signal.SIGUSR1)
    assert ("usr1-0" in job.names()) == (number == signal.SIGUSR1)


PLAIN = """
import os, sys
os.setsid()
os.execv(sys.executable, [sys.executable, "-m", "distgrad", *sys.argv[1:]])
"""
NOHUP = PLAIN.replace("os.setsid()", "import signal; signal.signal(1, signal.SIG_IGN); os.setsid()")


def without_a_terminal(starter: str, folder: Path, text: str) -> subprocess.Popen[bytes]:
    """Start ``distgrad run -n 2`` as the first of its process group; return it when ranks run."""
    mpirun(2)  # or skip
    script = folder / "job.py"
    script.write_text(text)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", starter, "run", "-n", "2", str(script), str(folder), "0"]
    job = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 60
    while not ((folder / "ready-0").exists() and (folder / "ready-1").exists()):
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.05)
    return job


def test_under_nohup_a_job_outlives_its_terminal(tmp_path):
    text = PATIENT.replace("time.sleep(60)", "time.sleep(2); (folder / 'end').touch()")
    job = without_a_terminal(NOHUP, tmp_path, text)
    os.killpg(job.pid, signal.SIGHUP)
    assert job.wait(60) == 0
    assert (tmp_path / "end").exists()


@pytest.mark.parametrize("starter", [PLAIN, NOHUP], ids=["plain", "nohup"])
def test_the_ranks_end_when_distgrad_run_is_killed(tmp_path, starter):
    job = without_a_terminal(starter, tmp_path, UNPREPARED)
    assert len(ranks_of(tmp_path)) >= 2
    job.kill()
    job.wait(60)
    wait_for_the_end_of_ranks(tmp_path)


def test_a_handler_of_the_users_own_is_left_alone():
    def own(number, frame):
        pass

    before = signal.signal(INTERRUPT, own)
    try:
        guard._take_interrupts()
        assert signal.getsignal(INTERRUPT) is own
        signal.signal(INTERRUPT, signal.SIG_DFL)
        guard._take_interrupts()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(INTERRUPT)
    finally:
        signal.signal(INTERRUPT, before)
