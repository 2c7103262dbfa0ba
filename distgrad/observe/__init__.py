"""What the user sees of a training: progress, the health of gradients, where time goes, and what
stays of it in a folder.
"""

from distgrad.arguments import check_constructors as _check_constructors
from distgrad.observe.gradients import GradientHealth, GradientNoiseScale, Problem
from distgrad.observe.progress import Progress
from distgrad.observe.run import Logger, Run, RunRecord, TensorBoardLogger, read_run
from distgrad.observe.time import TimeSplit
from distgrad.observe.timeline import profile, span

__all__ = [
    "GradientHealth",
    "GradientNoiseScale",
    "Logger",
    "Problem",
    "Progress",
    "Run",
    "RunRecord",
    "TensorBoardLogger",
    "TimeSplit",
    "profile",
    "read_run",
    "span",
]

_check_constructors(globals(), __all__, itself=["Run.loggers"])
