"""What a check of a plan runs, fits and compares."""

import json
import sys

import pytest

from distgrad import cli
from distgrad.comm import run_ranks
from distgrad.errors import LaunchError
from distgrad.parallel.world import init
from distgrad.plan import check, trial
from distgrad.plan.clock import Clock
from distgrad.plan.model import small
from distgrad.plan.network import Machine
from distgrad.plan.schedule import SCHEDULES, Layout
from distgrad.plan.schedule import check as question

SETTINGS = [{"algorithm": "ring"}, {"algorithm": "auto"}]


def timed(machine, algorithm):
    """Return (bytes, seconds) of sums on a machine that is known."""
    points = []
    for nbytes in trial.SIZES:
        clock, layout = Clock(machine), Layout(machine.nodes, machine.ranks_per_node)
        asked = question(layout, everyone=algorithm != "ring")
        phases = asked + SCHEDULES[algorithm].all_reduce(float(nbytes), layout)
        clock.wait([clock.start("sum", phases)])
        points.append((nbytes, clock.now))
    return points


@pytest.mark.parametrize("p", [2, 3, 4])
def test_a_node_is_found_again_from_its_sums(p):
    real = Machine(1, p, gamma=5e-11, memory=4e-11, call=3e-5, inside_latency=2e-6, overhead=3e-6)
    sums = {name: timed(real, name) for name in ("ring", "shared")}
    found = check.machine_of([p], {"sums": sums, "gamma": 5e-11})
    for name, seconds in sums.items():
        assert [t for _, t in timed(found, name)] == pytest.approx([t for _, t in seconds], rel=0.1)
    assert found.call == pytest.approx(3e-5, rel=0.2)


@pytest.mark.parametrize("p", [2, 3, 4])
def test_a_network_is_found_again_from_its_sums(p):
    real = Machine(p, 1, latency=1e-4, beta=1e-9)
    found = check.machine_of([1] * p, {"sums": {"ring": timed(real, "ring")}, "gamma": real.gamma})
    assert found.beta == pytest.approx(1e-9, rel=0.05)
    assert found.latency == pytest.approx(1e-4, rel=0.15)


def test_unequal_nodes_are_refused():
    with pytest.raises(LaunchError, match=r"equal nodes, and these have \[2, 1\] ranks"):
        check.machine_of([2, 1], {})


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_trial_runs_on_all_ranks_and_its_json_can_be_planned(size, monkeypatch):
    monkeypatch.setattr(trial, "SIZES", (1 << 10, 1 << 14))

    def body():
        return trial.trial(init(), small, "SGD", SETTINGS, steps=2, rounds=2)

    found = json.loads(json.dumps(run_ranks(size, body)[0]))
    compared = check.compare(found, SETTINGS, "small")
    last = "shared" if size > 1 else "tree"
    assert [t.ranks for t in compared] == [size, size]
    assert compared[0].settings == "ddp, ring"
    assert compared[1].settings.startswith("ddp, ")
    assert last in compared[1].settings or size == 1
    assert all(t.measured > 0 and t.predicted > 0 for t in compared)
    assert all(each["slowest"] >= 0.5 for each in found["rounds"])


def test_a_table_counts_what_is_within_fifteen_percent():
    trials = [
        check.Trial("mlp", 2, "ddp, ring", 0.1, 0.11, 0.1),
        check.Trial("mlp", 2, "ddp, tree", 0.1, 0.12, 0.2),
        check.Trial("mlp", 2, "ddp, shared", 0.1, 0.07, -0.3),
    ]
    said = check.table(trials)
    assert "mlp on 2, ddp, tree: measured 100.00 ms, predicted 120.00 ms (+20.0%)" in said
    assert "1 of 3 predictions within 15%; the worst is 30.0% off" in said


def test_a_job_that_fails_is_shown():
    with pytest.raises(LaunchError, match=r"trial on 2 ranks failed \(status 3\)[\s\S]*no luck"):
        check.run(
            lambda ranks: ["sh", "-c", "echo no luck >&2; exit 3"], 2, None, "SGD", [], steps=1
        )


def test_a_model_without_a_loss_cannot_be_checked(tmp_path):
    (tmp_path / "net.py").write_text("from distgrad import nn\ndef make():\n return nn.ReLU()\n")
    with pytest.raises(LaunchError, match=r"returns no loss to run steps with"):
        check.on_this_machine(f"{tmp_path / 'net.py'}:make", "SGD")


@pytest.mark.slow
def test_check_alone_prints_predicted_beside_measured(capsys, monkeypatch):
    monkeypatch.setattr(check.launchers, "cores", lambda: 2)
    monkeypatch.setattr(check, "local", lambda ranks: [sys.executable])
    assert cli.main(["plan", "--check", "--optimizer", "SGD"]) == 0
    printed = capsys.readouterr().out
    assert "a small MLP on 1, ddp" in printed
    assert "predictions within 15%" in printed
    assert "Not checked" not in printed
