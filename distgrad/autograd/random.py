"""Counter-based random numbers: keyed by (seed, step, shard, call), with no state to save.

A shard's numbers do not depend on which rank runs it. Philox: Salmon et al. 2011.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

import numpy as np

_OUTSIDE, _SHARD = 0, 1  # numbers drawn in no shard (initialisation) never meet those of a shard


@dataclass
class Position:
    """Where in the stream of random numbers a thread is."""

    seed: int = 0
    domain: int = _OUTSIDE
    step: int = 0
    shard: int = 0
    call: int = 0


_position: ContextVar[Position | None] = ContextVar("random_position", default=None)


def _current() -> Position:
    position = _position.get()
    if position is None:
        position = Position()
        _position.set(position)
    return position


def manual_seed(seed: int) -> None:
    """Start the random numbers of initialisation and dropout from ``seed`` (0 if never called)."""
    _position.set(Position(seed=seed & 0xFFFF_FFFF_FFFF_FFFF))


def enter_shard(step: int, shard: int) -> None:
    """From here on numbers belong to ``shard`` of ``step``; the call counter starts at 0."""
    seed = _current().seed
    _position.set(Position(seed=seed, domain=_SHARD, step=step, shard=shard))


def position() -> Position:
    """Return the position of the next call."""
    return replace(_current())


@contextmanager
def at_position(start: Position) -> Iterator[None]:
    """Draw from ``start`` on inside, and go on outside as if nothing had been drawn."""
    token = _position.set(replace(start))
    try:
        yield
    finally:
        _position.reset(token)


def generator() -> np.random.Generator:
    """Return the generator of the next call at the current position."""
    p = _current()
    bits = np.random.Philox(counter=[0, p.call, p.shard, p.step], key=[p.seed, p.domain])
    p.call += 1
    return np.random.Generator(bits)
