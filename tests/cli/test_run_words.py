"""The words of ``distgrad run``: how many ranks without -n, -m, and what a mistake is answered."""

import os
import subprocess
import sys

import pytest
from jobs import ROOT, mpirun
from machines import Machine

from distgrad import cli
from distgrad.comm import launchers


@pytest.fixture
def machine(tmp_path, monkeypatch, capsys):
    return Machine(tmp_path, monkeypatch, capsys)


def test_without_n_there_is_a_rank_for_each_physical_core_and_the_first_line_says_so(machine):
    machine.install("Open MPI")
    assert cli.main(["run", "--dry-run", str(machine.script), "-n", "3"]) == 0
    printed = machine.capsys.readouterr()
    assert "-n 8 " in printed.out
    assert printed.out.rstrip().endswith("train.py -n 3")
    first = printed.err.splitlines()[0]
    assert first.startswith("distgrad run: 8 ranks, one for each physical core")
    assert first.endswith("(yours comes after it)")
    machine.monkeypatch.setattr(launchers, "cores", lambda: 1)
    assert cli.main(["run", "--dry-run", str(machine.script)]) == 0
    assert "distgrad run: 1 rank, one for each" in (said := machine.capsys.readouterr().err)
    assert "yours" not in said


def test_n_that_is_given_is_not_commented(machine):
    machine.install("Open MPI")
    for spelling in ("-n", "-np"):
        _, command, _ = machine.dry_run(spelling, "3", str(machine.script))
        assert command[-1] == "3"
    assert cli.main(["run", "-n", "3", "--dry-run", str(machine.script)]) == 0
    assert not machine.capsys.readouterr().err


def test_without_n_a_slurm_job_has_as_many_ranks_as_tasks(machine):
    machine.install("Open MPI")
    machine.monkeypatch.setenv("SLURM_JOB_ID", "7")
    machine.monkeypatch.setenv("SLURM_NTASKS", "96")
    _, command, _ = machine.dry_run(str(machine.script))
    assert command[-2:] == ["-n", "96"]


@pytest.fixture
def package(machine):
    machine.install("Open MPI")
    folder = machine.folder / "pack"
    (folder / "inner").mkdir(parents=True)
    for name in ("__init__", "__main__", "inner/__init__", "inner/train"):
        (folder / f"{name}.py").write_text("raise AssertionError('imported')")
    machine.monkeypatch.chdir(machine.folder)
    return machine


@pytest.mark.parametrize("module", ["pack", "pack.inner.train", "timeit"])
def test_a_module_is_started_as_python_does_with_all_that_follows_and_not_imported(package, module):
    before = [*sys.path]
    _, command, program = package.dry_run(
        "-n", "2", "-m", module, "-n", "5", "--threads", "x", "-h"
    )
    assert command[-2:] == ["-n", "2"]
    assert program[1:] == ["-m", module, "-n", "5", "--threads", "x", "-h"]
    assert sys.path == before


NO_MODULE = {
    "absent": ("nowhere", "there is no module 'nowhere': Python looks in this folder"),
    "absent below": ("pack.nowhere.x", "there is no module 'pack.nowhere.x'"),
    "a file": ("train.py", "leave .py out after -m"),
    "no program": ("pack.inner", "'pack.inner' is a package without a __main__.py"),
    "empty": ("", "there is no module ''"),
}


@pytest.mark.parametrize("name", NO_MODULE)
def test_a_module_that_cannot_be_started_is_refused(package, name):
    module, message = NO_MODULE[name]
    assert cli.main(["run", "-n", "2", "-m", module]) == 2
    assert message in package.capsys.readouterr().err


USAGE = {
    "no script": (["run", "-n", "2"], "name a script (or -m and a module)"),
    "no module": (["run", "-m"], "-m: name a module after it"),
    "no number": (["run", "-n", "two", "train.py"], "invalid int value: 'two'"),
    "unknown": (["run", "--gpus", "2", "train.py"], "unrecognized arguments: --gpus"),
    "hosts": (["run", "--hostfile", "hosts", "{script}"], "--hostfile needs -n N"),
    "debug": (["debug", "train.py"], "the following arguments are required: -n"),
}


@pytest.mark.parametrize("name", USAGE)
def test_a_mistake_is_answered_with_the_usage_of_its_verb(machine, name):
    words, message = USAGE[name]
    with pytest.raises(SystemExit) as caught:
        cli.main([word.format(script=machine.script) for word in words])
    said = machine.capsys.readouterr().err
    assert caught.value.code == 2
    assert message in said
    assert said.startswith(f"usage: distgrad {words[0]} ")
    assert "(SCRIPT | -m MODULE) [ARGUMENT ...]" in said


@pytest.mark.parametrize(
    ("word", "said"),
    [("rum", "did you mean `distgrad run`?"), ("xyz", "`distgrad --help` lists them")],
)
def test_a_command_that_there_is_not_is_answered_with_the_next_one(machine, word, said):
    with pytest.raises(SystemExit) as caught:
        cli.main([word])
    assert caught.value.code == 2
    assert f"there is no command '{word}': {said}" in machine.capsys.readouterr().err


def test_a_script_in_the_place_of_a_verb_is_answered_with_the_verb(machine):
    with pytest.raises(SystemExit):
        cli.main(["train.py", "--lr", "1"])
    assert "start it with `distgrad run train.py`" in machine.capsys.readouterr().err


def test_every_rank_runs_a_module_of_this_folder_with_its_arguments(tmp_path, monkeypatch):
    mpirun(2)  # or skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack/helper.py").write_text("WORD = 'helped'")
    text = r"import sys; from . import helper; sys.stdout.write(f'{helper.WORD} {sys.argv[1:]}\n')"
    (tmp_path / "pack/train.py").write_text(text)
    command = [sys.executable, "-m", "distgrad", "run", "-n", "2", "-m", "pack.train", "-n", "9"]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("helped ['-n', '9']") == 2
