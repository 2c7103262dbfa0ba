"""Saving keeps the newest, and an error while saving costs nothing that was there before."""

import errno
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from distgrad import checkpoint
from distgrad.checkpoint import folders, writer
from distgrad.errors import CheckpointError


def save(folder, step, value=None, size=1000, **options):
    array = np.full(size, step if value is None else value, np.float64)
    sections = {"model": {"w": array}, "optimizer": {"m": array + 1}}
    return checkpoint.save(folder, step=step, arrays=sections, meta={}, **options)


def value(path):
    return checkpoint.load(path).arrays["model"]["w"][0]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_three_stay(tmp_path):
    for step in (5, 10, 15, 20, 25):
        save(tmp_path, step)
    assert names(tmp_path) == ["step-000015", "step-000020", "step-000025"]


@pytest.mark.parametrize(
    ("keep", "others"),
    [(1, []), (2, ["step-000060"]), (3, ["step-000050", "step-000060"])],
)
def test_the_one_just_written_stays_though_higher_steps_lie_there(tmp_path, keep, others):
    for step in (40, 50, 60):
        save(tmp_path, step)
    save(tmp_path, 7, keep=keep)
    assert names(tmp_path) == ["step-000007", *others]


def test_the_same_step_again_replaces_it(tmp_path):
    save(tmp_path, 3, value=1.5)
    path = save(tmp_path, 3, value=2.5)
    assert value(path) == 2.5
    assert names(tmp_path) == ["step-000003"]


def test_a_replaced_checkpoint_serves_until_its_successor_has_the_name(tmp_path):
    for step in (2, 3):
        path = save(tmp_path, step, value=step)
    os.rename(path, path.with_name("step-000003.old"))  # killed between the two renames
    assert checkpoint.newest(tmp_path).arrays["model"]["w"][0] == 3
    save(tmp_path, 4, keep=2)
    assert names(tmp_path) == ["step-000003.old", "step-000004"]
    save(tmp_path, 3, value=8, keep=2)
    assert names(tmp_path) == ["step-000003", "step-000004"]


def test_the_successor_goes_before_the_replaced_one(tmp_path):
    path = save(tmp_path, 3, value=8)
    old = save(tmp_path / "other", 3, value=1)
    os.rename(old, tmp_path / "step-000003.old")  # killed before the old one was deleted
    assert value(checkpoint.newest(tmp_path).path) == 8
    shutil.rmtree(tmp_path / "other")
    save(tmp_path, 4)
    assert names(tmp_path) == [path.name, "step-000004"]


class Disk:
    """Makes the n-th sync fail, as a full disk may only say there."""

    def __init__(self, monkeypatch, number, code):
        self.left, self.code = number, code
        self.real = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor):
        self.left -= 1
        if self.left < 0:
            raise OSError(self.code, os.strerror(self.code))
        self.real(descriptor)


@pytest.mark.parametrize("number", range(4))  # two files, the manifest, the folder
@pytest.mark.parametrize("step", [2, 3])
def test_a_full_disk_costs_nothing(tmp_path, monkeypatch, number, step):
    save(tmp_path, 2)
    Disk(monkeypatch, number, errno.ENOSPC)
    with pytest.raises(CheckpointError, match=rf"step-00000{step}.*16,000 bytes.*free some room"):
        save(tmp_path, step, value=9, keep=1)
    assert names(tmp_path) == ["step-000002"]
    assert value(tmp_path / "step-000002") == 2


@pytest.mark.parametrize(
    ("code", "cure"),
    [(errno.EDQUOT, "quota"), (errno.EFBIG, "ulimit"), (errno.EIO, "healthy disk")],
)
def test_the_cure_fits_the_trouble(tmp_path, monkeypatch, code, cure):
    Disk(monkeypatch, 0, code)
    with pytest.raises(CheckpointError, match=cure):
        save(tmp_path, 1)


def test_a_really_full_disk_costs_nothing(tmp_path):
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small tmpfs needs root and the right to mount")
    try:
        save(tmp_path, 1, size=1000)
        with pytest.raises(CheckpointError, match=r"step-000002.*1,600,000 bytes.*free some room"):
            save(tmp_path, 2, size=100_000)
        assert names(tmp_path) == ["step-000001"]
        assert value(tmp_path / "step-000001") == 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("below", ["", "deeper/runs"])
def test_a_file_in_the_way_is_named(tmp_path, below):
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(CheckpointError, match=r"file.*a file is in the way: choose another"):
        save(file / below, 1)
    assert file.read_text() == "precious"


def test_a_folder_without_permission_is_named_and_stays_as_it_was():
    with tempfile.TemporaryDirectory() as name:  # not tmp_path: its parents are closed to others
        folder = Path(name) / "runs"
        folder.mkdir()
        save(folder, 1)
        Path(name).chmod(0o755)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)  # root may write everywhere; nobody may not
        try:
            with pytest.raises(CheckpointError, match=r"Permission denied.*that you may write to"):
                save(folder, 2)
            assert checkpoint.newest(folder).step == 1
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
        assert names(folder) == ["step-000001"]


def test_a_read_only_file_system_is_named(tmp_path):
    save(tmp_path, 1)
    command = ["mount", "--bind", "-o", "ro", str(tmp_path), str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a read-only mount needs root and the right to mount")
    try:
        with pytest.raises(CheckpointError, match=r"Read-only file system.*you may write to"):
            save(tmp_path, 2)
        assert names(tmp_path) == ["step-000001"]
        assert checkpoint.newest(tmp_path).step == 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_ctrl_c_while_writing_leaves_no_temporary_folder(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def interrupt(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "sync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    assert names(tmp_path) == ["step-000001"]


@pytest.fixture
def events(monkeypatch):
    """Names of what is synced, and new names after an arrow, in order."""
    seen = []
    fsync, rename = os.fsync, os.rename

    def traced_fsync(descriptor):
        seen.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def traced_rename(source, target):
        seen.append(f"-> {os.path.basename(target)}")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", traced_fsync)
    monkeypatch.setattr(os, "rename", traced_rename)
    return seen


def test_the_manifest_is_written_last_and_all_is_synced_before_the_name(tmp_path, events):
    final = save(tmp_path, 1)
    assert events == [
        "model.safetensors",
        "optimizer.safetensors",
        "manifest.json",
        folders.passing("tmp", final).name,
        "-> step-000001",
        tmp_path.name,
    ]


def test_each_step_of_a_replacement_is_synced_before_the_next(tmp_path, events):
    final = save(tmp_path, 1)
    events.clear()
    save(tmp_path, 1)
    assert events[4:] == [
        "-> step-000001.old",
        tmp_path.name,
        "-> step-000001",
        tmp_path.name,
        f"-> {folders.passing('trash', final).name}.old",
    ]


def test_an_old_one_that_cannot_be_deleted_costs_a_warning_not_the_save(tmp_path, monkeypatch):
    save(tmp_path, 1)
    rename = os.rename

    def stubborn(source, target):
        if ".trash-" in str(target):
            raise PermissionError(errno.EACCES, "Permission denied")
        rename(source, target)

    monkeypatch.setattr(writer.os, "rename", stubborn)
    with pytest.warns(UserWarning, match=r"could not be deleted: .*step-000001: .*Permission"):
        path = save(tmp_path, 2, keep=1)
    assert value(path) == 2
