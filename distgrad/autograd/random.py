"""``dg.random``: numbers that keep the same-bits contract, by NumPy's names.

Inside a logical shard (``for x, y in batch.shards``) every call draws from (seed, what the loader
reads, step, shard, call): the same numbers on any number of ranks, in every world, and after a
resume. Outside they differ from rank to rank and from thread to thread (a thread that is started in
a shard is in none), and a program that resumes starts them anew. ``manual_seed`` sets the seed.
Nothing here is recorded: a Tensor that comes back requires no gradient, so that
``mean + std * dg.random.normal(std.shape)`` is the reparametrisation of Kingma & Welling (2014).
"""

from __future__ import annotations

import numpy as np

from distgrad.autograd import stream
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.stream import generator, manual_seed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike, Ints, Shape
from distgrad.errors import ShapeError

__all__ = [
    "bernoulli",
    "generator",
    "integers",
    "manual_seed",
    "normal",
    "permutation",
    "uniform",
]


@apart
@keeps_form
def normal(
    shape: Ints = (),
    *,
    loc: Array | float = 0.0,
    scale: Array | float = 1.0,
    dtype: DTypeLike = np.float32,
) -> Tensor:
    """Return numbers of the normal distribution with mean ``loc`` and deviation ``scale``.

    ``loc`` and ``scale`` (numbers or arrays) broadcast to ``shape``. They have to be named: NumPy
    has them before the shape. Errors: ShapeError for a negative ``scale``.
    """
    if np.any(np.asarray(scale) < 0):
        raise ShapeError(f"dg.random.normal: scale={scale} is a deviation; it must not be negative")
    if isinstance(loc, int | float) and isinstance(scale, int | float):
        return Tensor(stream.normal(_lengths(shape), dtype, float(loc), float(scale)))
    return _tensor(stream.lent_generator().normal(np.asarray(loc), np.asarray(scale), shape), dtype)


@apart
@keeps_form
def uniform(
    shape: Ints = (),
    *,
    low: Array | float = 0.0,
    high: Array | float = 1.0,
    dtype: DTypeLike = np.float32,
) -> Tensor:
    """Return numbers spread evenly over [low, high), which broadcast to ``shape``."""
    if type(low) is float and type(high) is float and (low, high) == (0.0, 1.0):
        return Tensor(stream.random(_lengths(shape), dtype))
    drawn = np.asarray(stream.lent_generator().uniform(low, high, shape)).astype(dtype)
    # Rounded to single precision the largest numbers below high would be high itself.
    below = np.nextafter(np.asarray(high, dtype), np.asarray(low, dtype))
    return Tensor(np.where(drawn >= high, below, drawn) if np.any(drawn >= high) else drawn)


@apart
@keeps_form
def integers(low: int, high: int | None = None, shape: Ints = ()) -> Tensor:
    """Return whole numbers (int64) from ``low`` to ``high`` - 1, or from 0 to ``low`` - 1.

    Errors: ShapeError if there are none.
    """
    first, past = (0, low) if high is None else (low, high)
    if past <= first:
        raise ShapeError(f"dg.random.integers: there is no whole number in [{first}, {past})")
    return Tensor(stream.integers(first, past, _lengths(shape)))


@apart
@keeps_form
def bernoulli(p: TensorLike, shape: Ints | None = None, *, dtype: DTypeLike = np.float32) -> Tensor:
    """Return 1 with probability ``p``, else 0, in the shape of ``p`` unless ``shape`` is given.

    Errors: ShapeError for a probability outside [0, 1], or for probabilities that do not broadcast
    to ``shape``.
    """
    chance = p.array if isinstance(p, Tensor) else np.asarray(p)
    if not np.all((chance >= 0) & (chance <= 1)):
        raise ShapeError("dg.random.bernoulli: a probability must lie in [0, 1]")
    drawn = stream.random(chance.shape if shape is None else _lengths(shape), np.float64)
    below = drawn < chance
    if below.shape != drawn.shape:  # one number would have decided several
        raise ShapeError(
            f"dg.random.bernoulli: probabilities of shape {chance.shape} do not broadcast to "
            f"{drawn.shape}"
        )
    return _tensor(below, dtype)


@apart
@keeps_form
def permutation(n: int) -> Tensor:
    """Return 0 to ``n`` - 1 (int64) in random order. Errors: ShapeError for a negative ``n``."""
    if n < 0:
        raise ShapeError(f"dg.random.permutation: {n} numbers have no order")
    return Tensor(stream.permutation(n))


def _lengths(shape: Ints) -> Shape:
    return (int(shape),) if isinstance(shape, int | np.integer) else tuple(shape)


def _tensor(drawn: Array | float, dtype: DTypeLike) -> Tensor:
    return Tensor(np.asarray(drawn).astype(dtype))
