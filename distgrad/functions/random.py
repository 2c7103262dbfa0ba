"""Random tensors by PyTorch's names, on ``dg.random``: the same on any number of ranks in a shard.

The numbers are distgrad's, not PyTorch's: keyed by (seed, step, shard, call), so that a
``generator=`` is refused but for ``dg.Generator``, whose numbers are keyed by its own seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd import stream
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.device import Device
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import DTypeLike, Ints, Shape
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.arguments import check_place, dtype_or, lengths_of, made, tensor_of
from distgrad.functions.draws import (
    Generator,
    first_to_come,
    integer_numbers,
    normal_numbers,
    numbers_of,
    poisson_numbers,
    unit_numbers,
)
from distgrad.functions.out import with_out
from distgrad.functions.shapes import broadcast_shapes
from distgrad.ops.helpers import within

__all__ = [
    "Generator",
    "bernoulli",
    "binomial",
    "initial_seed",
    "multinomial",
    "normal",
    "poisson",
    "rand",
    "rand_like",
    "randint",
    "randint_like",
    "randn",
    "randn_like",
    "randperm",
    "seed",
]

_DOUBLE = np.dtype(np.float64)
_LARGEST = float(np.finfo(_DOUBLE).max)


def initial_seed() -> int:
    """Return what ``manual_seed`` was given (0 if it never was)."""
    return stream.seed.get()


def seed() -> int:
    """Refused: a seed by chance would differ from rank to rank. Errors: TypeError."""
    raise TypeError("dg.seed() would draw another seed on every rank; call dg.manual_seed(number)")


# -- of a shape -----------------------------------------------------------------------------------


@apart
@keeps_form
def rand(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return numbers spread evenly over [0, 1)."""
    check_place(device, layout, pin_memory)
    shape = lengths_of(sizes if size is None else (size,), "rand")
    return made(_unit(shape, dtype, generator, out), requires_grad, out)


@apart
@keeps_form
def randn(
    *sizes: Any,
    size: Any = None,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return numbers of the standard normal distribution."""
    check_place(device, layout, pin_memory)
    shape = lengths_of(sizes if size is None else (size,), "randn")
    return made(_normal(shape, dtype, generator, out), requires_grad, out)


def _unit(
    shape: Shape, dtype: DTypeLike | None, generator: Generator | None, out: Tensor | None
) -> Any:
    return _drawn("rand", unit_numbers, shape, dtype_or(dtype, out, get_default_dtype()), generator)


def _normal(
    shape: Shape, dtype: DTypeLike | None, generator: Generator | None, out: Tensor | None
) -> Any:
    kind = dtype_or(dtype, out, get_default_dtype())
    drawn = _drawn("randn", normal_numbers, shape, kind, generator)
    if kind.kind == "c":  # of variance 1 in all
        drawn *= 0.5**0.5
    return drawn


def _drawn(
    name: str,
    draw: Callable[..., Any],
    shape: Shape,
    kind: np.dtype[Any],
    generator: Generator | None,
) -> Any:
    """``draw`` of a real dtype, both parts of a complex one. Errors: DistgradError for others."""
    if kind.kind == "c":
        part = np.zeros(0, kind).real.dtype
        return draw(shape, part, generator) + 1j * draw(shape, part, generator)
    if kind.kind != "f":
        raise DistgradError(f"{name} draws real numbers; got dtype {kind}: use randint")
    return draw(shape, kind, generator)


@apart
@keeps_form
def randint(
    low: int,
    high: Any = None,
    size: Any = None,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return whole numbers from ``low`` (or 0) to ``high`` - 1: ``randint(10, (3,))`` works too."""
    check_place(device, layout, pin_memory)
    if size is None:
        low, high, size = 0, low, high
    if high is None or size is None:
        raise TypeError("randint takes (high, size) or (low, high, size); size is a tuple")
    shape = lengths_of((size,), "randint")
    return made(_integers(low, high, shape, dtype, generator, out), requires_grad, out)


def _integers(
    low: int,
    high: int,
    shape: Shape,
    dtype: DTypeLike | None,
    generator: Generator | None,
    out: Tensor | None,
) -> Any:
    first, past = int(low), int(high)
    if past <= first:
        raise ShapeError(f"randint: there is no whole number in [{low}, {high})")
    drawn = integer_numbers(shape, first, past, generator)
    return drawn.astype(dtype_or(dtype, out, np.int64), copy=False)


@apart
@keeps_form
def randperm(
    n: int,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return 0 to ``n`` - 1 in random order."""
    check_place(device, layout, pin_memory)
    if n < 0:
        raise ShapeError(f"randperm: {n} numbers have no order")
    order = stream.permutation(n) if generator is None else generator.numbers().permutation(n)
    kind = dtype_or(dtype, out, np.int64)
    return made(order.astype(kind, copy=False), requires_grad, out)


@apart
@keeps_form
def rand_like(
    input: TensorLike,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    memory_format: None = None,
) -> Tensor:
    """``rand`` in the shape and dtype of ``input``."""
    check_place(device, layout)
    x = tensor_of(input).array
    return made(_unit(x.shape, dtype or x.dtype, generator, None), requires_grad)


@apart
@keeps_form
def randn_like(
    input: TensorLike,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    memory_format: None = None,
) -> Tensor:
    """``randn`` in the shape and dtype of ``input``."""
    check_place(device, layout)
    x = tensor_of(input).array
    return made(_normal(x.shape, dtype or x.dtype, generator, None), requires_grad)


@apart
@keeps_form
def randint_like(
    input: TensorLike,
    low: int,
    high: int | None = None,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    layout: str | None = None,
    device: Device = None,
    requires_grad: bool = False,
    memory_format: None = None,
) -> Tensor:
    """``randint`` in the shape and dtype of ``input``."""
    check_place(device, layout)
    x = tensor_of(input).array
    first, past = (0, low) if high is None else (low, high)
    return made(_integers(first, past, x.shape, dtype or x.dtype, generator, None), requires_grad)


# -- of parameters --------------------------------------------------------------------------------


@apart
@keeps_form
def normal(
    mean: TensorLike,
    std: TensorLike = 1.0,
    size: Ints | None = None,
    *,
    generator: Generator | None = None,
    dtype: DTypeLike | None = None,
    device: Device = None,
    requires_grad: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return numbers of normal distributions with ``mean`` and ``std`` (both broadcast)."""
    check_place(device)
    middle, spread = tensor_of(mean).array, tensor_of(std).array
    alone = not (middle.ndim or spread.ndim)
    if float(spread) < 0 if alone else (spread < 0).any():
        raise ShapeError(f"normal: std={std} is a deviation; it must not be negative")
    if size is None:
        shape = broadcast_shapes(middle.shape, spread.shape)
    else:
        shape = lengths_of((size,), "normal")
    kind = dtype_or(dtype, out, get_default_dtype() if alone else _real_of(middle, spread))
    if kind.kind != "f":
        raise DistgradError(f"normal draws real numbers; got dtype {kind}")
    if alone:
        drawn = normal_numbers(shape, kind, generator, float(middle), float(spread))
    else:
        drawn = middle + spread * normal_numbers(shape, _DOUBLE, generator)
        drawn = drawn.astype(kind, copy=False)
    return made(drawn, requires_grad, out)


def _real_of(*arrays: Any) -> Any:
    real = [a.dtype for a in arrays if a.ndim and a.dtype.kind == "f"]
    return np.result_type(*real) if real else get_default_dtype()


@with_out
@apart
@keeps_form
def bernoulli(
    input: TensorLike, p: float | None = None, *, generator: Generator | None = None
) -> Tensor:
    """Return 1 with the probability that each element of ``input`` is (or ``p``), else 0."""
    x = tensor_of(input).array
    chance = x if p is None else np.full(x.shape, p)
    if not within(chance, 0, 1):
        raise ShapeError("bernoulli: a probability must lie in [0, 1]")
    drawn = unit_numbers(x.shape, _DOUBLE, generator) < chance
    return made(drawn.astype(x.dtype), False)


@apart
@keeps_form
def binomial(count: TensorLike, prob: TensorLike, generator: Generator | None = None) -> Tensor:
    """Return how many of ``count`` trials succeed, each with the probability ``prob``."""
    n, p = tensor_of(count).array, tensor_of(prob).array
    if not (within(n, 0, np.inf) and within(p, 0, 1)):
        raise ShapeError("binomial: counts are ≥ 0, and a probability must lie in [0, 1]")
    return made(
        np.asarray(numbers_of(generator).binomial(n.astype(np.int64), p)).astype(p.dtype), False
    )


@apart
@keeps_form
def poisson(input: TensorLike, generator: Generator | None = None) -> Tensor:
    """Return numbers of Poisson distributions with the rates ``input``."""
    rate = tensor_of(input).array
    if not within(rate, 0, np.inf):
        raise ShapeError("poisson: a rate must not be negative, nor NaN")
    return made(poisson_numbers(rate, generator), False)


@with_out
@apart
@keeps_form
def multinomial(
    input: TensorLike,
    num_samples: int,
    replacement: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Return ``num_samples`` indices per row, drawn in proportion to the weights ``input``.

    Without ``replacement`` no index twice. Errors: ShapeError for weights that are negative, not
    finite or all 0, and for more samples than weights that are not 0. Source: Efraimidis and
    Spirakis (2006) for drawing without replacement.
    """
    weights = tensor_of(input).array.astype(np.float64)
    if weights.ndim not in (1, 2):
        raise ShapeError(f"multinomial takes one or two axes; got shape {weights.shape}")
    rows = weights[None] if weights.ndim == 1 else weights
    largest = np.maximum.reduce(rows, 1, initial=0)
    if not within(rows, 0, _LARGEST) or np.count_nonzero(largest) < len(rows):
        raise ShapeError("multinomial: weights are finite, not negative, and not all 0 in a row")
    if replacement:
        ends = rows.cumsum(1)
        drawn = unit_numbers((len(rows), num_samples), _DOUBLE, generator) * ends[:, -1:]
        found = np.empty(drawn.shape, np.intp)
        for to, row, numbers in zip(found, ends, drawn, strict=True):
            to[:] = row.searchsorted(numbers, "right")
        # Rounded to the end: the last one of a weight.
        if found.size and found.item(found.argmax()) == rows.shape[1]:
            found = np.minimum(found, [[np.flatnonzero(r)[-1]] for r in rows])
    else:
        # One there is in each row.
        least = 1 if num_samples == 1 else int((rows > 0).sum(1).min())
        if num_samples > least:
            raise ShapeError(
                f"multinomial: {num_samples} samples without replacement from {least} weights that "
                f"are not 0; pass replacement=True"
            )
        # Exponential waiting times: who comes first is drawn first.
        with np.errstate(divide="ignore"):
            times = numbers_of(generator).standard_exponential(rows.shape) / rows
        found = first_to_come(times, num_samples)
    return made(
        found.reshape((*weights.shape[:-1], num_samples)).astype(np.int64, copy=False), False
    )


METHODS = {"bernoulli": bernoulli, "multinomial": multinomial}
"""Those that read a tensor; the methods that fill one are in fills.py."""
