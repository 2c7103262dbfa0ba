"""Two writers in one folder: the loser hears the true reason, and a whole checkpoint remains."""

import os
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from distgrad import checkpoint
from distgrad.checkpoint import folders
from distgrad.errors import CheckpointError

RIVAL = r"another process is writing into .*give each run a folder of its own"


def save(folder, step, value=0):
    arrays = {"model": {"w": np.full(100, value, np.float64)}}
    return checkpoint.save(folder, step=step, arrays=arrays, meta={})


@pytest.fixture
def before(monkeypatch):
    """Let a rival act right before the next rename of something to ``name``."""
    rename = os.rename

    def arrange(name, act):
        def traced(source, target):
            if os.path.basename(target) == name:
                monkeypatch.setattr(os, "rename", rename)
                act()
            rename(source, target)

        monkeypatch.setattr(os, "rename", traced)

    return arrange


def test_another_wrote_the_same_step_first(tmp_path, before):
    other = save(tmp_path / "other", 3, value=8)
    before("step-000003", lambda: shutil.copytree(other, tmp_path / "step-000003"))
    with pytest.raises(CheckpointError, match=f"step-000003 was not written: {RIVAL}"):
        save(tmp_path, 3, value=9)
    assert checkpoint.newest(tmp_path).arrays["model"]["w"][0] == 8
    assert sorted(os.listdir(tmp_path)) == ["other", "step-000003"]


def test_another_is_replacing_the_same_step(tmp_path, before):
    path = save(tmp_path, 3, value=1)
    before("step-000003.old", lambda: path.rename(tmp_path / "step-000003.old"))
    with pytest.raises(CheckpointError, match=RIVAL):
        save(tmp_path, 3, value=2)
    assert checkpoint.newest(tmp_path).arrays["model"]["w"][0] == 1


def test_another_deleted_what_is_being_written(tmp_path, monkeypatch):
    sync = folders.sync

    def swept(folder):
        if ".tmp-" in folder.name:
            shutil.rmtree(folder)
        sync(folder)

    monkeypatch.setattr(folders, "sync", swept)
    with pytest.raises(CheckpointError, match=RIVAL):
        save(tmp_path, 3)
    assert os.listdir(tmp_path) == []


PROGRAM = """
import sys, time
import numpy as np
from distgrad import checkpoint
from distgrad.errors import CheckpointError

end, saved = time.monotonic() + 1, 0
while time.monotonic() < end or not saved:
    try:
        arrays = {"model": {"w": np.full(1000, int(sys.argv[2]))}}
        checkpoint.save(sys.argv[1], step=saved % 2, arrays=arrays, meta={}, keep=2)
        saved += 1
    except CheckpointError as error:
        print(error)
"""


def test_three_processes_hear_no_other_reason(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen([*command, str(i)], stdout=subprocess.PIPE, text=True, env=environment)
        for i in range(3)
    ]
    for process in processes:
        output, _ = process.communicate(timeout=100)
        assert process.returncode == 0
        for line in output.splitlines():
            assert re.search(RIVAL, line), line
    assert checkpoint.newest(tmp_path).arrays["model"]["w"].shape == (1000,)


def test_threads_of_one_process_take_turns(tmp_path):
    failures = []

    def several(value):
        for _ in range(10):
            try:
                save(tmp_path, 3, value)
            except CheckpointError as error:
                failures.append(error)

    threads = [threading.Thread(target=several, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert os.listdir(tmp_path) == ["step-000003"]


def test_a_namesake_in_another_container_is_not_swept_as_dead(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    name, _, place = folders._host().rpartition(".")
    namesake = f"{name}.{'0' * len(place)}"
    for host in (namesake, folders._host()):
        (tmp_path / f".tmp-{host}-{dead.pid}-step-000003").mkdir()
    save(tmp_path, 4)
    assert sorted(os.listdir(tmp_path)) == [
        f".tmp-{namesake}-{dead.pid}-step-000003",
        "step-000004",
    ]


def test_a_stranger_with_a_passing_name_does_not_stop_the_sweep(tmp_path):
    (tmp_path / ".tmp-elsewhere-1-step-000001").write_text("a file")
    (tmp_path / ".trash-elsewhere-1-step-000002").symlink_to("nothing")
    save(tmp_path, 4)
    assert (tmp_path / "step-000004").is_dir()
