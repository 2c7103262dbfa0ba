"""Counter-based random numbers: keyed by (seed, source, step, shard, call), no state to save.

A shard's numbers do not depend on which rank runs it. In no shard the key holds the rank instead,
so that ranks draw different numbers. Philox: Salmon et al. 2011.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from distgrad.autograd import faster
from distgrad.autograd.types import Array, DTypeLike, Shape
from distgrad.perrank import PerRank

_OUTSIDE = 0  # numbers drawn in no shard never meet those of a shard


@dataclass
class Position:
    """Where in the stream of random numbers a thread is."""

    seed: int = 0
    domain: int = _OUTSIDE  # in a shard 1 + its source
    step: int = 0  # in no shard the number of the thread
    shard: int = 0
    call: int = 0


seed: PerRank[int] = PerRank(0)
"""What ``manual_seed`` was given."""
rank: PerRank[int] = PerRank(0)
"""The calling rank; whoever knows ranks sets it."""

# Threads are numbered as they come to draw: each has numbers of its own.
_threads: PerRank[Iterator[int] | None] = PerRank(None)
# A thread's own position, and those of the shards it is in: the last one counts.
_position: ContextVar[Position | None] = ContextVar("random position", default=None)
_entered: ContextVar[tuple[Position, ...]] = ContextVar("random positions in shards", default=())


def _current() -> Position:
    entered = _entered.get()
    if entered:
        return entered[-1]
    position = _position.get()
    if position is None:
        numbers = _threads.get()
        if numbers is None:
            numbers = itertools.count()
            _threads.set(numbers)
        position = Position(seed=seed.get(), step=next(numbers))
        _position.set(position)
    return position


def manual_seed(number: int) -> None:
    """Start all random numbers (initialisation, dropout, ``dg.random``) from ``number``.

    It is 0 if never called. Pass the same on every rank: shards, and ranks outside of shards, have
    numbers of their own from one seed.
    """
    seed.set(operator.index(number) & 0xFFFF_FFFF_FFFF_FFFF)
    _position.set(Position(seed=seed.get()))
    _threads.set(itertools.count(1))  # this one is 0
    for position in _entered.get():
        position.seed, position.call = seed.get(), 0


@contextmanager
def in_shard(step: int, shard: int, calls: dict[int, int], source: int = 0) -> Iterator[None]:
    """Draw the numbers of ``shard`` of ``step`` inside, and go on outside as before.

    ``source`` (below 2 ** 63) tells batches of one step that come from different places. ``calls``
    counts the draws of each shard, so that a second walk over a batch goes on where the
    first one ended, and one that drew nothing leaves no trace.
    """
    inside = Position(seed.get(), 1 + source, step, shard, calls.get(shard, 0))
    _entered.set((*_entered.get(), inside))
    try:
        yield
    finally:
        calls[shard] = inside.call
        # Not by a token: walks over two batches may take turns (zip), and end in any order.
        _entered.set(tuple([p for p in _entered.get() if p is not inside]))


def position() -> Position:
    """Return the position of the next call."""
    return replace(_current())


@contextmanager
def at_position(start: Position) -> Iterator[None]:
    """Draw from ``start`` on inside, and go on outside as if nothing had been drawn."""
    token = _entered.set((*_entered.get(), replace(start)))
    try:
        yield
    finally:
        _entered.reset(token)


def generator() -> np.random.Generator:
    """Return the generator of the next call: the current shard's, or outside of any the rank's."""
    p = _current()
    return _next(p, rank.get() if p.domain == _OUTSIDE else p.shard)


def lent_generator() -> np.random.Generator:
    """Return ``generator()`` to draw from at once: it is the thread's, and moved by the next call.

    To make one costs more than 1,000 numbers.
    """
    p = _current()
    mine = _MINE.at(p, rank.get() if p.domain == _OUTSIDE else p.shard)
    p.call += 1
    return mine


def uniform(shape: Shape) -> Array:
    """Return ``generator().random(shape, dtype=np.float32)``."""
    drawn: Array = lent_generator().random(shape, dtype=np.float32)
    return drawn


def random(shape: Shape, dtype: DTypeLike) -> Array:
    """Return ``generator().random(shape)`` rounded to ``dtype``, to numbers below 1."""
    kind: np.dtype[Any] = np.dtype(dtype)
    most = below_1(kind)
    drawn = _by_kernel("random", shape, kind, most) if kind.char in "fd" else None
    if drawn is None:
        drawn = np.asarray(lent_generator().random(shape))
        if drawn.dtype != kind:
            np.minimum(drawn, most, out=drawn)
            drawn = drawn.astype(kind)
    return drawn


@functools.cache
def below_1(dtype: np.dtype[Any]) -> float:
    """Return the largest number of ``dtype`` below 1."""
    return float(np.nextafter(dtype.type(1), dtype.type(0)))


def normal(shape: Shape, dtype: DTypeLike, loc: float = -0.0, scale: float = 1.0) -> Array:
    """Return ``loc + scale * generator().standard_normal(shape)`` rounded to ``dtype``.

    What is added to -0 keeps its sign.
    """
    kind: np.dtype[Any] = np.dtype(dtype)
    drawn = None
    if kind.char in "fd":
        drawn = _by_kernel("standard_normal", shape, kind, loc, scale)
    if drawn is None:
        drawn = np.asarray(lent_generator().standard_normal(shape))
        if scale != 1.0:
            drawn *= scale
        if loc or math.copysign(1.0, loc) > 0:
            drawn += loc
        drawn = drawn.astype(kind, copy=False)
    return drawn


def integers(low: int, high: int, shape: Shape) -> Array:
    """Return ``generator().integers(low, high, shape)``."""
    drawn = None
    if type(low) is int and type(high) is int:
        count, inside = high - low, low >= -(1 << 63) and high <= 1 << 63
        if inside and 1 < count < 1 << 32:
            drawn = _by_kernel("integers", shape, _WHOLE, low, count)
    return np.asarray(lent_generator().integers(low, high, shape)) if drawn is None else drawn


def poisson(rate: Array) -> Array:
    """Return ``generator().poisson(rate)`` in the dtype of ``rate``, which is 0 or more."""
    drawn, kind = None, rate.dtype
    if kind.char in "fd" and rate.size and rate.item(rate.argmax()) < 10:
        drawn = _by_kernel("poisson", rate.shape, kind, rate)
    return np.asarray(lent_generator().poisson(rate)).astype(kind) if drawn is None else drawn


def permutation(n: int) -> Array:
    """Return ``generator().permutation(n)``."""
    drawn = None
    if type(n) is int and n < 1 << 31:
        drawn = _by_kernel("permutation", (n,), _WHOLE)
    return lent_generator().permutation(n) if drawn is None else drawn


_WHOLE = np.dtype(np.int64)


def _by_kernel(name: str, shape: Shape, kind: np.dtype[Any], *settings: Any) -> Array | None:
    kernel = faster.twin_of_many(name, math.prod(shape))
    if kernel is None:
        return None
    p = _current()
    shard = rank.get() if p.domain == _OUTSIDE else p.shard
    place = np.array((p.call, shard, p.step, p.seed, p.domain), np.uint64)
    p.call += 1
    drawn = np.empty(shape, kind)
    kernel(place, drawn.reshape(-1), *settings)
    return drawn


class _OfThread(threading.local):
    """A generator that is brought to the place of each call."""

    _generator: np.random.Generator | None = None  # numpy.random is imported by the first draw

    def at(self, p: Position, shard: int) -> np.random.Generator:
        """Return it, at the beginning of what ``_next`` would return."""
        if self._generator is None:
            self._bits = np.random.Philox(counter=0, key=0)
            self._state = self._bits.state
            self._state["buffer"] = (0,) * 4  # type: ignore[typeddict-item]  # read sooner
            self._generator = np.random.Generator(self._bits)
        counter, key = self._state["state"]["counter"], self._state["state"]["key"]
        counter[1], counter[2], counter[3] = p.call, shard, p.step
        key[0], key[1] = p.seed, p.domain
        self._bits.state = self._state  # nothing drawn yet, nothing left of an earlier call
        return self._generator


_MINE = _OfThread()


def common_generator() -> np.random.Generator:
    """Return the generator of the next call, outside of shards the same on every rank.

    For initialisation: a model that no DistributedDataParallel makes equal (a frozen teacher) is
    the same on all ranks too.
    """
    p = _current()
    return _next(p, p.shard)


def _next(p: Position, shard: int) -> np.random.Generator:
    # Of whole numbers of which one is 2⁶³ or more NumPy would make float64.
    key = np.array([p.seed, p.domain], np.uint64)
    bits = np.random.Philox(counter=[0, p.call, shard, p.step], key=key)
    p.call += 1
    return np.random.Generator(bits)
