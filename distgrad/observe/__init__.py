"""What the user sees while training runs: progress, and the health of gradients."""

from distgrad.observe.health import GradientHealth
from distgrad.observe.noise import GradientNoiseScale
from distgrad.observe.problems import Problem
from distgrad.observe.progress import Progress

__all__ = ["GradientHealth", "GradientNoiseScale", "Problem", "Progress"]
