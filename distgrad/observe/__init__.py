"""What the user sees while training runs: progress, the health of gradients, where time goes."""

from distgrad.observe.gradients import GradientHealth, GradientNoiseScale, Problem
from distgrad.observe.progress import Progress
from distgrad.observe.time import TimeSplit

__all__ = ["GradientHealth", "GradientNoiseScale", "Problem", "Progress", "TimeSplit"]
