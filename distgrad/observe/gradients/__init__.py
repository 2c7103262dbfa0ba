"""The health of gradients: norms by layer, what is wrong with them, pictures, the noise scale."""

from distgrad.observe.gradients.health import GradientHealth
from distgrad.observe.gradients.noise import GradientNoiseScale
from distgrad.observe.gradients.problems import Problem

__all__ = ["GradientHealth", "GradientNoiseScale", "Problem"]
