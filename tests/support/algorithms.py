"""What of the table of all-reduces a test can run: a new one is tested by being in the table."""

from __future__ import annotations

from distgrad.comm import ALL_REDUCE

EVERYWHERE = [name for name, algorithm in ALL_REDUCE.items() if algorithm.missing is None]
CANONICAL = [name for name, algorithm in ALL_REDUCE.items() if algorithm.canonical]
