"""``distgrad plan``: what it prints and writes, and what it refuses."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from distgrad import cli

MODEL = """
import numpy as np
from distgrad import nn
from distgrad.nn import functional as F

def model():
    return nn.Sequential(nn.Linear(40, 50), nn.ReLU(), nn.Linear(50, 3))

def with_loss():
    net, x, y = model(), np.ones((8, 40), "float32"), np.arange(8) % 3
    return net, lambda: F.cross_entropy(net(x), y)

def number():
    return 3
"""


@pytest.fixture
def plan(capsys, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "train.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, status=0):
        found = cli.main(["plan", *arguments])
        printed = capsys.readouterr()
        assert found == status, printed.err
        return printed.out if status == 0 else printed.err

    return run


SIZES = ("--parameters", "124M", "--compute", "1.0")


def test_a_table_has_a_row_for_each_strategy_and_algorithm(plan):
    printed = plan(*SIZES, "--nodes", "64", "--ranks-per-node", "16")
    rows = [line.split() for line in printed.splitlines()[3:-2]]
    assert len(rows) == 12
    assert {row[0] for row in rows} == {"1,024"}
    assert {(row[1], row[2]) for row in rows} == {
        (strategy, algorithm)
        for strategy in ("ddp", "zero=1", "zero=2", "zero=3")
        for algorithm in ("ring", "tree", "hierarchical")
    }
    steps = [float(row[3].replace(",", "")) for row in rows]
    assert [step for row, step in zip(rows, steps, strict=True) if row[-1] == "*"] == [min(steps)]
    assert "124.0 M parameters" in printed
    assert "Not checked: `distgrad plan --check`" in printed


def test_a_sweep_goes_over_numbers_of_ranks_and_is_written_as_json(plan, tmp_path):
    sweep = ("--ranks", "1,3,8,1024", "--ranks-per-node", "8", "--strategy", "ddp")
    plan(*SIZES, *sweep, "--algorithm", "auto", "--json", "plan.json")
    written = json.loads((tmp_path / "plan.json").read_text())
    rows = written["rows"]
    assert [(row["nodes"], row["ranks"]) for row in rows] == [(1, 1), (1, 3), (1, 8), (128, 1024)]
    assert [row["algorithm"] for row in rows][-2:] == ["shared", "hierarchical"]
    steps = [row["step"] for row in rows]
    assert steps[0] == pytest.approx(1.0)
    assert steps == sorted(steps)
    assert rows[0]["memory"]["total"] == 16 * 124e6


def test_a_faster_link_and_a_steadier_rank_make_a_shorter_step(plan, tmp_path):
    def step(*more):
        options = ("--nodes", "8", "--strategy", "ddp", "--algorithm", "ring", "--json", "p.json")
        plan(*SIZES, *options, *more)
        return json.loads((tmp_path / "p.json").read_text())["rows"][0]["step"]

    assert step("--bandwidth", "100Gbit") < step("--bandwidth", "1Gbit") / 3
    assert step("--jitter", "0.1") > step() * 1.1
    assert step("--latency", "10ms") > step() * 1.05


def test_a_model_with_a_loss_is_measured(plan):
    printed = plan("train.py:with_loss", "--ranks", "1,2", "--ranks-per-node", "2")
    assert "measured here, on one rank" in printed


def test_a_model_without_a_loss_needs_a_time(plan):
    assert "spread by sizes" in plan("train.py:model", "--compute", "90ms")
    assert "Give --compute 1.0" in plan("train.py:model", status=2)


def test_one_rank_has_a_row_for_each_strategy_and_is_told_how_to_ask_for_more(plan):
    printed = plan(*SIZES)
    rows = [line.split() for line in printed.splitlines()[3:7]]
    assert [row[1] for row in rows] == ["ddp", "zero=1", "zero=2", "zero=3"]
    assert [row[-1] == "*" for row in rows] == [True, False, False, False]
    assert "say how many there are, --nodes 4 --ranks-per-node 8" in printed


def test_files_that_cannot_be_written_are_refused_before_anything_is_planned(plan, tmp_path):
    said = plan(*SIZES, "--json", "nowhere/plan.json", status=2)
    assert "'nowhere/plan.json' cannot be written" in said
    said = plan(*SIZES, "--plot", str(tmp_path), status=2)
    assert "cannot be written" in said
    if find_spec("matplotlib"):
        assert "choose an ending of" in plan(*SIZES, "--plot", "plan.none", status=2)


def test_a_plot_is_drawn(plan, tmp_path):
    pytest.importorskip("matplotlib")
    plan(*SIZES, "--ranks", "16,32", "--ranks-per-node", "16", "--plot", "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "needs a model, as FILE.py:FUNCTION, or its size"),
        (("train.py:model", "--parameters", "3M"), "one of them"),
        (("none.py:model", "--compute", "1"), "there is no file 'none.py'"),
        (("train.py:none", "--compute", "1"), "has no function 'none'"),
        (("train.py:number", "--compute", "1"), "returned int; it has to return a Module"),
        ((*SIZES, "--ranks", "1,two"), "write numbers of ranks with commas"),
        ((*SIZES, "--ranks", "9", "--ranks-per-node", "4"), "take 8 or 12 ranks"),
        ((*SIZES, "--bandwidth", "fast"), "write it as 25Gbit"),
        ((*SIZES, "--optimizer", "Adamm"), "'Adamm' is no optimizer"),
        ((*SIZES, "--algorithm", "native"), "'native' is MPI's own"),
        ((*SIZES, "--optimizer", "LBFGS"), "'LBFGS' has a step of its own"),
        ((*SIZES, "--bucket-mb", "-1"), "bucket_mb is a number of MiB, 0 for a bucket"),
        ((*SIZES, "--jitter", "-0.1"), "--jitter -0.1: a part of the compute time"),
        ((*SIZES, "--ranks", "1,2", "--nodes", "3"), "leave --nodes out"),
        (("train.py", "--compute", "1"), "'train.py' names no function"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_the_cure(plan, arguments, said):
    assert said in plan(*arguments, status=2)


def test_the_table_in_the_docs_is_what_the_command_prints(plan):
    text = (Path(__file__).resolve().parents[2] / "docs" / "planning.md").read_text()
    found = re.search(r"```console\n\$ distgrad plan (.*?)\n(.*?)```", text, re.DOTALL)
    command, shown = found.groups()
    assert plan(*command.split()) == shown
