"""Two of three ranks share a core: the start, the table at the end, timeline and report say so."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from jobs import run_job

from distgrad.observe.report import gather
from distgrad.observe.report.facts import findings
from distgrad.observe.run import read_run

JOB = Path(__file__).parent / "jobs" / "shared_core.py"


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores, of which two ranks share one")
    folder = tmp_path_factory.mktemp("run")
    done = run_job(3, JOB, str(folder))
    assert done.status == 0, done.err
    return folder, done.err


@pytest.fixture(scope="module")
def shared():
    """The core that ranks 1 and 2 have."""
    return f"ranks 1-2 share core {sorted(os.sched_getaffinity(0))[1]}"


ACCUSED = r"ranks 1-2 \(host \S+\) are slow: .* of the time is lost to it; {}: bind them apart$"


def test_at_start_the_ranks_are_named_with_the_cure(job, shared):
    _, said = job
    assert re.search(rf"^.*{shared} of \S+, so that each waits .*: bind them apart", said, re.M)


def test_at_start_a_rank_with_more_threads_than_cores_is_named(job):
    _, said = job
    assert "rank 2 has 2 threads on 1 core: OMP_NUM_THREADS=1, or a core for each thread" in said


def test_at_the_end_it_is_said_what_it_has_cost(job, shared):
    _, said = job
    assert re.search(ACCUSED.format(shared), said, re.M), said


def test_the_timeline_says_for_what_the_other_waits(job, shared):
    folder, _ = job
    said = (folder / "timeline/summary.txt").read_text()
    whose = r"for the code outside of the model of ranks 1-2"
    assert re.search(
        rf"^first: rank 0 waits \d\d% of the time {whose}, .*: {shared}: bind", said, re.M
    ), said


def test_the_report_has_it_as_a_problem(job, shared):
    folder, _ = job
    problems = [f.text for f in findings(gather([read_run(folder / "run")])) if f.kind == "problem"]
    assert re.search(ACCUSED.format(shared), problems[0])
