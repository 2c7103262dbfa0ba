"""The machine a plan is made for: nodes, the links between them, and what a byte costs in each.

Hockney's model (1994): a message of n bytes takes ``latency + n / bandwidth``. To it comes what a
rank's core does for a message and a byte. It knows no algorithm and no model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distgrad.errors import ShapeError


@dataclass(frozen=True)
class Machine:
    """``nodes`` alike, each with ``ranks_per_node`` ranks and one link; seconds and bytes.

    The defaults of what is not the network are those of a server CPU of 2024, rounded; ``fit``, and
    ``distgrad plan --check``, take a machine's own.
    """

    nodes: int = 1
    ranks_per_node: int = 1
    latency: float = 30e-6
    """alpha: from one host to another, in seconds."""
    beta: float = 8 / 25e9
    """Seconds a byte takes on a node's link, in each direction; its ranks share it."""
    inside_latency: float = 2e-6
    """From one rank of a node to another."""
    inside_beta: float = 1.5e-10
    """Seconds of a core for a byte of a message inside a node: it copies it in and out."""
    gamma: float = 5e-11
    """Seconds of a core to add a byte to another."""
    memory: float = 1 / 200e9
    """Seconds in which all cores of a node together move a byte to or from memory."""
    overhead: float = 3e-6
    """Seconds of a core for sending and receiving a message, whatever its length."""
    wire_copy: float = 1.5e-10
    """Seconds of a core for a byte that goes to another host or comes from it."""
    call: float = 20e-6
    """Seconds of a core for starting a collective and ending it."""
    cores: int = 0
    """Of a node; 0: as many as it has ranks. Ranks that share a core take turns."""

    def __post_init__(self) -> None:
        for name, least in (("nodes", 1), ("ranks_per_node", 1), ("cores", 0)):
            if getattr(self, name) < least:
                raise ShapeError(f"{name}={getattr(self, name)}: at least {least} is needed")

    @property
    def ranks(self) -> int:
        """All ranks."""
        return self.nodes * self.ranks_per_node

    @property
    def turns(self) -> float:
        """How many ranks share a core, 1 if none do."""
        return max(1.0, self.ranks_per_node / (self.cores or self.ranks_per_node))

    def adding(self, nbytes: float) -> float:
        """Seconds in which each rank of a node adds so many bytes up, all at the same time."""
        # A pass over the parts in blocks that stay in cache reads and writes each line once.
        moved = 1.5 * nbytes * self.ranks_per_node
        return max(self.gamma * nbytes, self.memory * moved)


@dataclass(frozen=True)
class Line:
    """A cost that is a line in the size: ``start + rate * size``."""

    start: float
    rate: float


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """Fit a line to (bytes, seconds) by least squares of the relative error.

    Small sizes count as much as large ones so; neither number comes out below 0.
    Errors: ShapeError for fewer than two sizes.
    """
    if len({size for size, _ in points}) < 2:
        raise ShapeError(
            f"a line needs measurements at two sizes at least, got {len(points)} at "
            f"{len({size for size, _ in points})}; measure a small and a large array"
        )
    sizes, seconds = (np.array(column, float) for column in zip(*points, strict=True))
    rows = np.stack([np.ones_like(sizes), sizes], 1) / seconds[:, None]
    start, rate = np.linalg.lstsq(rows, np.ones_like(sizes), rcond=None)[0].tolist()
    if start < 0:  # through zero: the best line with this one fixed
        ratio = sizes / seconds
        return Line(0.0, float(ratio.sum() / (ratio * ratio).sum()))
    if rate < 0:
        ratio = 1 / seconds
        return Line(float(ratio.sum() / (ratio * ratio).sum()), 0.0)
    return Line(start, rate)


_PREFIX = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_SECONDS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def bytes_per_second(text: str) -> float:
    """Read "25Gbit", "1gbit/s", "10Gbps" (bits) or "3GB" (bytes) a second. Errors: ShapeError."""
    found = re.fullmatch(r"([\d.]+)\s*([kKmMgGtT]?)(bit|b|B)(?:/?p?s)?", text.strip())
    value = _number(found.group(1)) if found else 0.0
    if not found or value <= 0:
        raise ShapeError(f"'{text}' is no bandwidth; write it as 25Gbit, 100Mbit or 3GB a second")
    return value * _PREFIX[found.group(2).lower()] / (1 if found.group(3) == "B" else 8)


def seconds(text: str) -> float:
    """Read "10us", "1.5ms", "2s" or "2". Errors: ShapeError."""
    found = re.fullmatch(r"([\d.]+)\s*([mµun]?s)?", text.strip().lower())
    value = _number(found.group(1)) if found else -1.0
    if not found or value < 0:
        raise ShapeError(f"'{text}' is no time; write it as 10us, 1.5ms or 2s")
    return value * _SECONDS[found.group(2) or ""]


def count(text: str) -> int:
    """Read "124M", "10.8m" or "5000". Errors: ShapeError."""
    found = re.fullmatch(r"([\d.]+)\s*([kmgtb]?)", text.strip().lower())
    value = _number(found.group(1)) if found else 0.0
    if not found or value <= 0:
        raise ShapeError(f"'{text}' is no number of parameters; write it as 124M or 10800000")
    return round(value * _PREFIX["g" if found.group(2) == "b" else found.group(2)])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
