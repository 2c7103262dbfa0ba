"""What launch/quickstart.sh prints at its end can be typed as it stands, wherever one is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import LAUNCHER, ROOT

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
ENVIRONMENT |= {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}


def said(repo: Path, venv: Path, folder: Path) -> str:
    done = subprocess.run(
        ["sh", "-euc", '. "$repo/launch/lib/next.sh"; what_next'],
        cwd=folder,
        env={"repo": str(repo), "VENV": str(venv), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return done.stdout


def commands(text: str) -> list[str]:
    return re.findall(r"^       (\S.*)$", text, re.MULTILINE)


def test_paths_are_short_in_the_repository_and_whole_elsewhere(tmp_path):
    lines = commands(said(ROOT, ROOT / ".venv", ROOT))
    assert lines[2] == ".venv/bin/distgrad debug -n 4 examples/train.py --epochs 2"
    lines = commands(said(ROOT, ROOT / ".venv", tmp_path))
    assert lines[2].startswith(f"{ROOT}/.venv/bin/distgrad debug -n 4 {ROOT}/examples/train.py")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_command_runs_as_it_is_printed_also_where_a_path_has_a_space(tmp_path):
    if not (Path(sys.prefix) / "bin/distgrad").exists():
        pytest.skip("distgrad is not installed in this Python's environment")
    repo = tmp_path / "it's mine"
    shutil.copytree(ROOT / "launch", repo / "launch")
    (repo / "examples").symlink_to(ROOT / "examples")
    text = said(repo, Path(sys.prefix), tmp_path)
    lines = commands(text)
    assert len(lines) == 4
    outputs = []
    for line in [*lines, lines[0]]:
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        outputs.append(done.stdout + done.stderr)
    assert any((tmp_path / "runs/first/checkpoints").iterdir())
    assert (tmp_path / "runs/first/report.html").exists()
    assert "resum" in outputs[-1]
    for path in re.findall(r"^  ([/\w'].*)$", text, re.MULTILINE):
        if not path[0].isdigit():
            (found,) = subprocess.run(
                ["sh", "-c", f"ls -d {path}"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=True,
            ).stdout.splitlines()
            assert Path(tmp_path, found).exists()


def test_quickstart_ends_with_it():
    text = (ROOT / "launch/quickstart.sh").read_text()
    assert text.endswith("what_next\n")
    assert "exec" not in text
