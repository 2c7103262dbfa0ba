"""What a run folder does where the disk fails it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from training import simulated

from distgrad.errors import DistgradError
from distgrad.observe import Run
from distgrad.observe.run.append import Lines


def lines(path: Path) -> list[dict]:
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def fail_after(monkeypatch, calls: int, times: int):
    """Let os.pwrite write half and then find the disk full, ``times`` times."""
    real, seen = os.pwrite, [0]

    def full(descriptor, data, place):
        seen[0] += 1
        if seen[0] in range(calls + 1, calls + times + 1):
            if seen[0] == calls + 1:
                return real(descriptor, data[: len(data) // 2], place)
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, place)

    monkeypatch.setattr(os, "pwrite", full)


def test_a_full_disk_costs_a_warning_and_no_line(tmp_path, monkeypatch):
    fail_after(monkeypatch, 1, 2)
    file = Lines(tmp_path / "a")
    for number in range(3):
        file.add({"number": number})
        if number == 1:
            with pytest.warns(RuntimeWarning, match="No space left.*the training goes on"):
                file.write()
            assert lines(tmp_path / "a") == [{"number": 0}]
        else:
            file.write()
    file.close()
    assert [row["number"] for row in lines(tmp_path / "a")] == [0, 1, 2]


def test_a_disk_that_stays_full_is_an_error_at_the_end(tmp_path, monkeypatch):
    fail_after(monkeypatch, 0, 10)
    file = Lines(tmp_path / "a")
    file.add({"number": 0})
    with pytest.raises(DistgradError, match="a cannot be written: No space left on device"):
        file.close()
    assert (tmp_path / "a").read_bytes() == b""


def test_what_cannot_be_a_run_folder_is_named_on_every_rank(tmp_path):
    (tmp_path / "a").write_text("a file")

    def body():
        with pytest.raises(DistgradError, match=r"a cannot be made a run folder: .*exists"):
            Run(tmp_path / "a").__enter__()
        return True

    assert simulated(3, body) == [True] * 3
