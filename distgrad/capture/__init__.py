"""The static graph: a step is recorded once, and replayed with the same bits.

``recorder`` listens where the engine passes anyway, ``lines`` is what it writes down, ``program``
goes through the lines, ``guard`` keeps values from leaving unseen.
"""

from distgrad.capture.program import Program
from distgrad.capture.step import CapturedStep, capture

__all__ = ["CapturedStep", "Program", "capture"]
