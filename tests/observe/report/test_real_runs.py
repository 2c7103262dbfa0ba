"""What a real training leaves, as the report has it."""

from pathlib import Path

import pytest
from jobs import run_job

from distgrad.observe.report import gather, page
from distgrad.observe.report.facts import facts, findings
from distgrad.observe.run import read_run
from distgrad.observe.top import state_of

pytestmark = pytest.mark.slow

JOB = Path(__file__).parents[1] / "jobs" / "reported.py"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    done = run_job(3, JOB, str(folder), timeout=110)
    assert done.status == 0, done.err
    return gather([read_run(folder / name) for name in ("computes", "reads")])


def test_the_rank_that_computes_slowly_and_the_one_that_reads_so_are_named(report):
    problems = {f.runs[0]: f.text for f in findings(report) if f.kind == "problem"}
    assert problems["computes"].startswith("rank 1 (host ")
    assert " is slow: " in problems["computes"]
    assert problems["reads"].startswith("rank 2 (host ")
    assert " reads data slowly: " in problems["reads"]
    assert all("of the time is lost to it" in text for text in problems.values())


def test_what_the_trainer_measures_is_in_the_figures(report):
    found = {figure.name: len(figure.curves) for figure in report.figures}
    both = {"loss": 4, "accuracy": 4}
    assert found == both | {"gradient_norm": 2, "learning_rate": 2, "samples_per_second": 2}
    for run in report.runs:
        assert run.clock.steps[-1] == 30
        assert run.clock.seconds[-1] > 1
        assert run.heat.layers == ["0", "2"]
        assert facts(run)["Ranks"] == "3, 4 shards"
        assert facts(run)["State"].startswith("ended: 30 steps")


def test_slow_or_not_the_parameters_are_the_same_and_the_report_says_so(report):
    assert [f.runs for f in findings(report) if "bit for bit" in f.text] == [["computes", "reads"]]
    assert "all runs: ended with the same parameters, bit for bit" in page(report, "1.2.3")


def test_top_says_the_same_of_them(report):
    state = state_of(report.runs[0].record, 1.0)
    assert (state.step, state.total, state.eta) == (30, 30, None)
    assert state.times.accusations[0].startswith("rank 1 ")
