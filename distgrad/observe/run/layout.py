"""What lies where in a run folder, and what a line of its files holds.

    run.json        what ran, and its parts: each (re)start of the training is one; replaced whole
    metrics.jsonl   a line a logged step, and a line a validation; only ever added to
    metrics.csv     the same as a table, written where a part ends
    time.jsonl      a line a stretch of steps: where the time of every rank went
    health.jsonl    a line an observed step: the norm of each layer's gradient, and what is wrong
    checkpoints/    the Trainer's
    plots/          pictures, drawn where a part ends
    timeline/       what each rank recorded of its time
    tensorboard/    TensorBoard's events
    report.html     what ``distgrad report`` makes of all this

Numbers are JSON numbers, or the words in ``WORDS`` for those that JSON has not.
"""

from __future__ import annotations

import math
from pathlib import Path

FORMAT = 1
"""Of run.json and all beside it; a reader refuses a later one."""

RUN = "run.json"
METRICS = "metrics.jsonl"
TABLE = "metrics.csv"
TIME = "time.jsonl"
HEALTH = "health.jsonl"
CHECKPOINTS = "checkpoints"
PLOTS = "plots"
TIMELINE = "timeline"
TENSORBOARD = "tensorboard"
REPORT = "report.html"

COLUMNS = ("part", "step", "epoch", "seconds")
"""Of a line of metrics.jsonl, before what was measured; ``epoch`` may be missing."""
VALIDATION = "validation/"
"""Before the names of what an evaluation within the training has measured."""

WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""What stands for the numbers that JSON has not."""


def checkpoints_of(folder: str | Path) -> Path:
    """Return where a run's checkpoints lie, unless the Trainer was told otherwise."""
    return Path(folder) / CHECKPOINTS
