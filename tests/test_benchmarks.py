"""What the benchmarks start runs: a figure that nobody can make again is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKERS = Path(__file__).resolve().parents[1] / "benchmarks" / "workers"

SMALL_GPT = ["--workload", "gpt", "--layers", "1", "--width", "16", "--batch", "4"]
SMALL_GPT += ["--evaluate", "8", "--text", str(WORKERS.parents[1] / "README.md")]


@pytest.mark.parametrize(
    ("worker", "arguments", "printed"),
    [
        ("distgrad_step.py", ["small", "--steps", "1", "--zero", "1"], '"ms"'),
        ("distgrad_step.py", ["small", "--steps", "1", "--transfer"], '"ms"'),
        ("distgrad_step.py", ["small", "--steps", "1", "--zero", "1", "--transfer"], '"ms"'),
        ("compression_micro.py", ["--repeats", "1"], "powerSGD 4"),
        ("../optimizers.py", ["--quick", "--sizes", "small", "--only", "SGD"], "list "),
        ("compression_train.py", ["fp16", "--steps", "2", *SMALL_GPT], '"points"'),
    ],
)
def test_a_worker_of_a_benchmark_runs_on_one_rank(worker, arguments, printed):
    path = os.pathsep.join([str(WORKERS.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(WORKERS / worker), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
