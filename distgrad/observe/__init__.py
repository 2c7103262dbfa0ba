"""What the user sees while training runs: progress, and the health of gradients."""

from distgrad.observe.health import GradientHealth, Problem
from distgrad.observe.noise import GradientNoiseScale
from distgrad.observe.progress import Progress

__all__ = ["GradientHealth", "GradientNoiseScale", "Problem", "Progress"]
