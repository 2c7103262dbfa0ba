"""Three hosts whose clocks are hours apart: on the timeline nothing arrives before it was sent."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from hosts import hosts
from traces import events_of

JOB = Path(__file__).parent / "jobs" / "clocks.py"
AHEAD = {0: 0, 1: 86_400, 2: -600}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def timeline(tmp_path_factory):
    """The head and the lines of each rank; host2's link is a tenth of the others'."""
    probe = ["unshare", "--time", "--monotonic", "5", "--fork", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip(f"no time namespaces here: `{' '.join(probe)}` fails")
    folder = tmp_path_factory.mktemp("clocks")
    with hosts(3, "1gbit", folder) as cluster:
        cluster.shape("host2", "100mbit")
        apart = [f"host{rank}={seconds}" for rank, seconds in AHEAD.items() if seconds]
        done = cluster.run(JOB, str(folder / "timeline"), *apart)
    assert done.status == 0, done.out + done.err
    told = [line.split()[1:] for line in done.out.splitlines() if line.startswith("ahead")]
    assert {int(rank): round(float(ahead)) for rank, ahead in told} == AHEAD
    return folder / "timeline"


def ranks_of(timeline):
    for rank in AHEAD:
        lines = (timeline / f"rank-{rank}.jsonl").read_text().splitlines()
        head, *rest = map(json.loads, lines)
        yield head, rest


def test_each_offset_is_known_within_the_error_that_is_told(timeline):
    for head, _ in ranks_of(timeline):
        rank, error = head["rank"], head["clock_error"]
        # The hosts are one machine's, so that what they are apart is known exactly.
        assert abs(head["clock_offset"] + AHEAD[rank]) <= error + 1e-6
        assert error < 0.02
        assert (error == 0) == (rank == 0)


def test_no_collective_ends_anywhere_before_all_ranks_have_come(timeline):
    met = defaultdict(list)
    for head, lines in ranks_of(timeline):
        for line in lines:
            if line["kind"] == "collective" and line["name"].startswith("all_"):
                error = head["clock_error"]
                met[tuple(line["collective"])].append((line["start"], line["end"], error))
    assert sum(len(each) == 3 for each in met.values()) >= 20
    for each in met.values():
        for _, end, mine in each:
            assert all(end >= start - mine - error for start, _, error in each)


def test_the_ranks_steps_are_side_by_side_in_a_valid_trace(timeline):
    events = events_of(timeline / "trace.json")
    starts = defaultdict(list)
    for event in events:
        if event["ph"] == "X" and event["cat"] == "step":
            starts[event["name"]].append(event["ts"])
    assert len(starts) >= 20
    for times in starts.values():
        assert len(times) == 3
        assert max(times) - min(times) < 2e6  # µs; their clocks are hours apart
