"""``distgrad report`` and ``distgrad top`` as they are typed."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time

import pytest
from run_folders import RunFolder

from distgrad.cli import main


def test_the_report_lies_in_the_first_runs_folder(tmp_path, capsys):
    folders = [RunFolder(name, steps=100).write(tmp_path / name) for name in "ab"]
    assert main(["report", *map(str, folders)]) == 0
    said = capsys.readouterr().out
    where = re.escape(str(folders[0] / "report.html"))
    assert re.fullmatch(rf"report: {where} \(0\.\d MB\); open it in a browser\n", said)
    assert "a and b</title>" in (folders[0] / "report.html").read_text()
    assert not (folders[1] / "report.html").exists()


def test_the_report_lies_where_it_is_asked_for(tmp_path, capsys):
    folder = RunFolder(steps=100).write(tmp_path / "a")
    assert main(["report", str(folder), "-o", str(tmp_path / "x.html")]) == 0
    assert (tmp_path / "x.html").exists()
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("verb", [["report"], ["top"], ["top", "--once"]])
def test_what_is_no_run_folder_is_said_to_be_none(tmp_path, capsys, verb):
    assert main([*verb, str(tmp_path)]) == 2
    assert "is no run folder: it has no run.json; Trainer(run=…)" in capsys.readouterr().err
    assert main([*verb, str(tmp_path / "nothing")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    for name in "ba":
        RunFolder(name, steps=10).write(tmp_path / name)
    assert main([*verb, str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"name one of those in it: {tmp_path}/a, {tmp_path}/b" in said


def test_once_prints_the_state_with_the_last_checkpoint(tmp_path, capsys):
    folder = RunFolder(name="digits", slow={1: 0.02}).write(tmp_path / "a")
    for step in (100, 300):
        (folder / "checkpoints" / f"step-{step:06}").mkdir(parents=True)
    assert main(["top", "--once", str(folder)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("digits  3 ranks  ended: 10 epochs\n")
    assert "600 of 600 (100%)" in said
    assert "checkpoint  step 300 in " in said
    assert "\x1b" not in said


def test_without_a_terminal_top_asks_for_once(tmp_path, capsys):
    folder = RunFolder(steps=100).write(tmp_path / "a")
    assert main(["top", str(folder)]) == 2
    assert "`distgrad top --once RUN` prints the state of now" in capsys.readouterr().err


class Top:
    """``distgrad top`` on a terminal of its own."""

    def __init__(self, folder):
        self.keyboard, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "distgrad", "top", folder],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
            start_new_session=True,
        )
        os.close(theirs)
        self.said = ""

    def wait_for(self, words, seconds=60):
        deadline = time.monotonic() + seconds
        while words not in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.said):
            ready, _, _ = select.select([self.keyboard], [], [], deadline - time.monotonic())
            assert ready, f"no {words!r} in {self.said[-2000:]!r}"
            self.said += os.read(self.keyboard, 1 << 16).decode(errors="replace")

    def end(self, key):
        os.write(self.keyboard, key)
        status = self.process.wait(60)
        while select.select([self.keyboard], [], [], 0)[0]:
            try:
                self.said += os.read(self.keyboard, 1 << 16).decode(errors="replace")
            except OSError:  # the terminal has closed
                break
        os.close(self.keyboard)
        return status


def test_top_follows_the_run_and_q_leaves_the_terminal_as_it_was(tmp_path):
    folder = RunFolder(steps=100, ended=False).write(tmp_path / "a")
    top = Top(folder)
    top.wait_for("100 of 100")
    row = {"part": 0, "step": 150, "epoch": 0, "seconds": 3.0, "loss": 1.0}
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
    top.wait_for("150 of 100")
    assert top.end(b"q") == 0
    assert "\x1b[?1049l" in top.said  # back from the alternate screen
    assert "Traceback" not in top.said


def test_ctrl_c_leaves_top_without_a_traceback(tmp_path):
    top = Top(RunFolder(steps=100).write(tmp_path / "a"))
    top.wait_for("ended: 10 epochs")
    top.process.send_signal(2)
    assert top.end(b"") == 0
    assert "\x1b[?1049l" in top.said
    assert "Traceback" not in top.said
