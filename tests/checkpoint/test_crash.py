"""kill -9 at any moment leaves a whole checkpoint: the last one that was finished, or a newer."""

import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distgrad.checkpoint import folders

SCRIPT = Path(__file__).with_name("crash.py")


@pytest.fixture(scope="module")
def crash():
    spec = importlib.util.spec_from_file_location("crash", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(mode, folder):
    # One BLAS thread: the script forks, and forks only when it is alone.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    root = str(SCRIPT.parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), mode, str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_before_any_file_system_call_a_whole_checkpoint_remains(tmp_path):
    output, errors = start("everywhere", tmp_path / "c").communicate(timeout=100)
    counts = [int(number) for number in re.findall(r"killed before (\d+) calls", output)]
    assert len(counts) == 2, errors
    assert min(counts) > 8


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_a_random_moment_nothing_finished_is_lost(tmp_path, crash, seed):
    process = start("forever", tmp_path)
    first = process.stdout.readline()
    assert first, process.stderr.read()
    time.sleep(random.Random(seed).uniform(0, 0.25))
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=30)
    finished = max(int(line.split()[1]) for line in [first, *rest.splitlines()] if line.strip())
    _, version = crash.newest(tmp_path)
    assert version >= finished


def test_what_a_killed_writer_left_is_swept_by_the_next_save(tmp_path, crash):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = folders._host()
    for pid in (dead.pid, os.getpid()):
        for kind in ("tmp", "trash"):
            (tmp_path / f".{kind}-{host}-{pid}-step-000003").mkdir()
            (tmp_path / f".{kind}-{host}-{pid}-step-000003" / "model.safetensors").write_text("x")
    alive = tmp_path / f".tmp-{host}-{os.getppid()}-step-000003"
    fresh = tmp_path / ".tmp-another-host-17-step-000003"
    stale = tmp_path / ".tmp-another-host-18-step-000003"
    for folder in (alive, fresh, stale):
        folder.mkdir()
        (folder / "model.safetensors").write_text("x")
    # A folder does not change while a large file in it grows: the fresh one's is as old.
    for path in (fresh, stale, stale / "model.safetensors"):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    crash.save(tmp_path, 4)
    assert {path.name for path in tmp_path.iterdir()} == {"step-000004", alive.name, fresh.name}
