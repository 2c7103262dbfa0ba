"""The timeline of real jobs: whom its summary names, and programs recorded from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jobs import PYTHONPATH, run_job
from traces import events_of, names_of, slices_of

JOBS = Path(__file__).parent / "jobs"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("sleep", r"ranks 0, 2 wait \d\d% of the time for rank 1's forward, which takes .*: see"),
        ("data", r"ranks 0, 2 wait \d\d% of the time for rank 1's data loading, .*num_workers=2"),
        ("threads", r"rank 1's forward, .*: it computes with 1 thread, the others with 2$"),
    ],
)
def test_the_summary_names_the_rank_for_which_the_others_wait_and_why(tmp_path, what, said):
    done = run_job(3, JOBS / "profiled.py", str(tmp_path), what, "1")
    assert done.status == 0, done.err
    summary = json.loads(done.out.splitlines()[0])["summary"]
    assert re.search(f"^first: .*{said}", summary, re.M), summary
    events = events_of(tmp_path / "trace.json")
    waits = [e for e in events if e["ph"] == "X" and e["cat"] == "waiting" and e["dur"] > 2e4]
    assert {e["pid"] for e in waits} >= {0, 2}
    # Where a long wait ends, there ends an arrow from the rank that was waited for; on a busy
    # machine now and then another one is late.
    came = {e["id"]: e["pid"] for e in events if e["ph"] == "s"}
    ends = [(e, came[e["id"]]) for e in events if e["ph"] == "f"]
    right = 0
    for wait in waits:
        until = wait["ts"] + wait["dur"]
        sources = {s for e, s in ends if e["pid"] == wait["pid"] and abs(until - e["ts"]) < 2}
        right += sources == {1} and wait["pid"] != 1
    assert right > 0.7 * len(waits)


def command(*words, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX_"))}
    environment |= {"PYTHONPATH": PYTHONPATH, **more}
    return subprocess.run(
        [sys.executable, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("verb", ["run", "debug"])
def test_a_whole_program_is_recorded_from_outside(tmp_path, verb):
    words = ["-m", "distgrad", verb, "-n", "3", "--timeline", tmp_path / "out"]
    done = command(*words, JOBS / "sleepy.py", "ddp", "-1", "3")
    assert done.returncode == 0, done.stderr
    assert f"timeline: {tmp_path}/out/trace.json, for https://ui.perfetto.dev" in done.stderr
    events = events_of(tmp_path / "out" / "trace.json")
    assert {e["pid"] for e in slices_of(events, "step", 2)} == {2}
    first = done.stderr.partition("first: ")[2].splitlines()[0]
    assert first
    assert verb == "run" or " wait" not in first  # simulated ranks take turns


def test_a_program_in_one_process_is_recorded_too_also_if_it_fails(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, sys\n"
        "import distgrad as dg\n"
        "dg.init()\n"
        "model = dg.nn.Linear(2, 2)\n"
        "optimizer = dg.optim.SGD(model.parameters(), lr=0.1)\n"
        "model(np.ones((3, 2), np.float32)).sum().backward()\n"
        "optimizer.step()\n"
        "if sys.argv[1:]:\n"
        "    raise ZeroDivisionError\n"
    )
    done = command(script, DISTGRAD_TIMELINE=str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    assert "1 step of" in done.stderr
    assert names_of(events_of(tmp_path / "a" / "trace.json"), "optimizer") == {"SGD": 1}
    done = command(script, "fail", DISTGRAD_TIMELINE=str(tmp_path / "b"))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert names_of(events_of(tmp_path / "b" / "trace-0.json"), "optimizer") == {"SGD": 1}
