"""What a run folder knows of a training's settings and surroundings."""

from __future__ import annotations

import argparse
import math
import os
import subprocess
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from training import alone

import distgrad as dg
from distgrad import nn
from distgrad.errors import DistgradError
from distgrad.observe import Run, read_run
from distgrad.observe.run import facts


def a_run(folder: Path, **settings) -> Run:
    return Run(folder, plots=False, **settings)


class Colour(Enum):
    RED = 1


@dataclass
class Settings:
    lr: float
    betas: tuple[float, float]
    where: Path


def test_a_configuration_is_a_dict_a_namespace_or_a_dataclass(tmp_path):
    nested = {"lr": np.float32(0.5), "mean": np.arange(3), "kind": Colour.RED, "seen": {"b", "a"}}
    made = {
        "dict": ({"a": nested}, {"a": {"lr": 0.5, "mean": [0, 1, 2], "kind": "RED"}}),
        "namespace": (
            argparse.Namespace(f=nn.functional.relu, nothing=None),
            {"f": f"{nn.functional.relu.__module__}.relu", "nothing": None},
        ),
        "dataclass": (
            Settings(math.inf, (0.9, 0.99), Path("x/y")),
            {"lr": "Infinity", "betas": [0.9, 0.99], "where": "x/y"},
        ),
    }
    made["dict"][1]["a"]["seen"] = ["a", "b"]

    def body():
        for name, (given, expected) in made.items():
            with a_run(tmp_path / name, configuration=given):
                pass
            assert read_run(tmp_path / name).configuration == expected

    alone(body)


def test_what_is_no_setting_is_named_before_anything_is_written(tmp_path):
    with pytest.raises(DistgradError, match=r"configuration\['data'\]\[1\] is a generator"):
        a_run(tmp_path / "a", configuration={"data": [1, (i for i in range(3))]})
    with pytest.raises(DistgradError, match=r"\['x'\] is an array of 2,000 elements"):
        a_run(tmp_path / "a", configuration={"x": np.zeros(2000)})
    with pytest.raises(DistgradError, match="configuration is a list; it takes a dict"):
        a_run(tmp_path / "a", configuration=[1, 2])
    assert not (tmp_path / "a").exists()


def test_a_part_knows_command_versions_and_numerics(tmp_path):
    def body():
        with a_run(tmp_path / "a"):
            pass

    alone(body)
    (part,) = read_run(tmp_path / "a").parts
    assert "pytest" in " ".join(part.command)
    assert part.working_directory == os.getcwd()
    assert part.versions["distgrad"] == dg.__version__
    assert part.versions["numpy"] == np.__version__
    assert part.numerics["NumPy"] == np.__version__


def test_of_the_environment_only_what_tells_how_it_ran_is_kept():
    found = facts.environment(
        {"OMP_NUM_THREADS": "2", "DISTGRAD_FUSED": "0", "SLURM_JOB_ID": "7", "HOME": "/"}
        | {"SLURM_JWT": "secret", "API_TOKEN": "secret", "DISTGRAD_RANK_TAKEN": "3"}
    )
    assert found == {"DISTGRAD_FUSED": "0", "OMP_NUM_THREADS": "2", "SLURM_JOB_ID": "7"}


def test_the_state_of_git_is_kept_and_none_where_there_is_none(tmp_path, monkeypatch):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert facts.git_state(tmp_path) is None

    def git(*words):
        who = ["-c", "user.name=n", "-c", "user.email=e@x.org"]
        subprocess.run(["git", "-C", tmp_path, *who, *words], check=True, capture_output=True)

    (tmp_path / "train.py").write_text("1")
    git("init", "--initial-branch=trunk")
    git("add", "train.py")
    git("commit", "-m", "first")
    (tmp_path / "metrics.csv").write_text("untracked: what a training leaves")
    state = facts.git_state(tmp_path)
    assert state is not None
    assert len(state.pop("commit")) == 40
    assert state == {"branch": "trunk", "changed": False}
    (tmp_path / "train.py").write_text("2")
    assert facts.git_state(tmp_path)["changed"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert facts.git_state(tmp_path) is None
