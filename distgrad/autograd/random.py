"""Counter-based random numbers: keyed by (seed, step, shard, call), with no state to save.

A shard's numbers do not depend on which rank runs it. Philox: Salmon et al. 2011.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

import numpy as np

_OUTSIDE, _SHARD = 0, 1  # numbers drawn in no shard (initialisation) never meet those of a shard


@dataclass
class _Position:
    seed: int = 0
    domain: int = _OUTSIDE
    step: int = 0
    shard: int = 0
    call: int = 0


_position: ContextVar[_Position | None] = ContextVar("random_position", default=None)


def _current() -> _Position:
    position = _position.get()
    if position is None:
        position = _Position()
        _position.set(position)
    return position


def manual_seed(seed: int) -> None:
    """Start the random numbers of initialisation and dropout from ``seed`` (0 if never called)."""
    _position.set(_Position(seed=seed & 0xFFFF_FFFF_FFFF_FFFF))


def enter_shard(step: int, shard: int) -> None:
    """From here on numbers belong to ``shard`` of ``step``; the call counter starts at 0."""
    seed = _current().seed
    _position.set(_Position(seed=seed, domain=_SHARD, step=step, shard=shard))


def generator() -> np.random.Generator:
    """Return the generator of the next call at the current position."""
    p = _current()
    bits = np.random.Philox(counter=[0, p.call, p.shard, p.step], key=[p.seed, p.domain])
    p.call += 1
    return np.random.Generator(bits)
