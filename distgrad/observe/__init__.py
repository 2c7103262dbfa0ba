"""What the user sees while training runs: progress, and the health of gradients."""

from distgrad.observe.gradients import GradientHealth, GradientNoiseScale, Problem
from distgrad.observe.progress import Progress

__all__ = ["GradientHealth", "GradientNoiseScale", "Problem", "Progress"]
