"""Random tensors by PyTorch's names, on ``dg.random``: the same on any number of ranks in a shard.

The numbers are distgrad's, not PyTorch's: keyed by (seed, step, shard, call), so that a
``generator=`` is refused but for ``dg.Generator``, whose numbers are keyed by its own seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from distgrad.autograd import random as draw
from distgrad.autograd import stream
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.device import Device
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike, Ints, Shape
from distgrad.errors import DistgradError, ShapeError
from distgrad.functions.arguments import check_place, dtype_or, lengths_of, made, tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.shapes import broadcast_shapes

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


class Generator:
    """A stream of random numbers of its own, keyed by its seed: the same on every rank."""

    def __init__(self, device: Device = None) -> None:
        check_place(device)
        self.manual_seed(0)

    def manual_seed(self, seed: int) -> Generator:
        """Start again from ``seed``, and return the generator."""
        self._seed = int(seed)
        self._numbers = np.random.Generator(np.random.Philox(self._seed & 0xFFFF_FFFF_FFFF_FFFF))
        return self

    def initial_seed(self) -> int:
        """Return what it was started from."""
        return self._seed

    def numbers(self) -> np.random.Generator:
        """Return NumPy's generator of the stream."""
        return self._numbers


def numbers_of(generator: Generator | None) -> np.random.Generator:
    """Return NumPy's generator of a stream, to draw from at once: the rank's or shard's if None."""
    return stream.lent_generator() if generator is None else generator.numbers()


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

    def uniform(kind: np.dtype[Any]) -> Any:
        return uniform_numbers(shape, 0.0, 1.0, kind, generator)

    return made(_drawn("rand", uniform, dtype, out), requires_grad, out)


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

    def normal(kind: np.dtype[Any]) -> Any:
        return normal_numbers(shape, kind, generator)

    drawn = _drawn("randn", normal, dtype, out)
    if drawn.dtype.kind == "c":  # of variance 1 in all
        drawn *= 0.5**0.5
    return made(drawn, requires_grad, out)


def _drawn(
    name: str, draw: Callable[[Any], Any], dtype: DTypeLike | None, out: Tensor | None
) -> Any:
    """``draw`` of a real dtype, both parts of a complex one. Errors: DistgradError for others."""
    kind = dtype_or(dtype, out, get_default_dtype())
    if kind.kind == "c":
        part = np.zeros(0, kind).real.dtype
        return draw(part) + 1j * draw(part)
    if kind.kind != "f":
        raise DistgradError(f"{name} draws real numbers; got dtype {kind}: use randint")
    return draw(kind)


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
    if int(high) <= int(low):
        raise ShapeError(f"randint: there is no whole number in [{low}, {high})")
    shape = lengths_of((size,), "randint")
    drawn = numbers_of(generator).integers(int(low), int(high), shape)
    return made(np.asarray(drawn).astype(dtype_or(dtype, out, np.int64)), requires_grad, out)


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
    order = numbers_of(generator).permutation(n)
    return made(order.astype(dtype_or(dtype, out, np.int64)), requires_grad, out)


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
    x = tensor_of(input)
    return rand(
        x.shape,
        generator=generator,
        dtype=dtype or x.dtype,
        layout=layout,
        device=device,
        requires_grad=requires_grad,
    )


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
    x = tensor_of(input)
    return randn(
        x.shape,
        generator=generator,
        dtype=dtype or x.dtype,
        layout=layout,
        device=device,
        requires_grad=requires_grad,
    )


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
    x = tensor_of(input)
    first, past = (0, low) if high is None else (low, high)
    return randint(
        first,
        past,
        x.shape,
        generator=generator,
        dtype=dtype or x.dtype,
        layout=layout,
        device=device,
        requires_grad=requires_grad,
    )


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
    if np.any(spread < 0):
        raise ShapeError(f"normal: std={std} is a deviation; it must not be negative")
    if size is None:
        shape = broadcast_shapes(middle.shape, spread.shape)
    else:
        shape = lengths_of((size,), "normal")
    kind = dtype_or(dtype, out, _real_of(middle, spread))
    if kind.kind != "f":
        raise DistgradError(f"normal draws real numbers; got dtype {kind}")
    if middle.ndim or spread.ndim:
        drawn = middle + spread * normal_numbers(shape, np.dtype(np.float64), generator)
    else:
        drawn = normal_numbers(shape, kind, generator, float(middle), float(spread))
    return made(drawn.astype(kind, copy=False), requires_grad, out)


def _real_of(*arrays: Any) -> Any:
    real = [a.dtype for a in arrays if a.dtype.kind == "f" and a.ndim]
    return np.result_type(*real) if real else get_default_dtype()


@with_out
@apart
@keeps_form
def bernoulli(
    input: TensorLike, p: float | None = None, *, generator: Generator | None = None
) -> Tensor:
    """Return 1 with the probability that each element of ``input`` is (or ``p``), else 0."""
    x = tensor_of(input)
    chance = x.array if p is None else np.full(x.shape, p)
    if not np.all((chance >= 0) & (chance <= 1)):
        raise ShapeError("bernoulli: a probability must lie in [0, 1]")
    return made((numbers_of(generator).random(x.shape) < chance).astype(x.dtype), False)


@apart
@keeps_form
def binomial(count: TensorLike, prob: TensorLike, generator: Generator | None = None) -> Tensor:
    """Return how many of ``count`` trials succeed, each with the probability ``prob``."""
    n, p = tensor_of(count).array, tensor_of(prob).array
    if not (np.all(n >= 0) and np.all((p >= 0) & (p <= 1))):
        raise ShapeError("binomial: counts are ≥ 0, and a probability must lie in [0, 1]")
    return made(
        np.asarray(numbers_of(generator).binomial(n.astype(np.int64), p)).astype(p.dtype), False
    )


@apart
@keeps_form
def poisson(input: TensorLike, generator: Generator | None = None) -> Tensor:
    """Return numbers of Poisson distributions with the rates ``input``."""
    rate = tensor_of(input).array
    if not np.all(rate >= 0):
        raise ShapeError("poisson: a rate must not be negative, nor NaN")
    return made(np.asarray(numbers_of(generator).poisson(rate)).astype(rate.dtype), False)


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
    rows = np.atleast_2d(weights)
    if not (np.isfinite(rows).all() and (rows >= 0).all() and (rows.sum(1) > 0).all()):
        raise ShapeError("multinomial: weights are finite, not negative, and not all 0 in a row")
    numbers = numbers_of(generator)
    if replacement:
        ends = np.cumsum(rows, 1)
        drawn = numbers.random((len(rows), num_samples)) * ends[:, -1:]
        found = np.stack([np.searchsorted(e, d, "right") for e, d in zip(ends, drawn, strict=True)])
        found = np.minimum(found, [[np.flatnonzero(r)[-1]] for r in rows])
    else:
        least = int((rows > 0).sum(1).min())
        if num_samples > least:
            raise ShapeError(
                f"multinomial: {num_samples} samples without replacement from {least} weights that "
                f"are not 0; pass replacement=True"
            )
        # Exponential waiting times: who comes first is drawn first.
        with np.errstate(divide="ignore"):
            times = numbers.standard_exponential(rows.shape) / rows
        found = np.argsort(times, 1, kind="stable")[:, :num_samples]
    return made(found.reshape((*weights.shape[:-1], num_samples)).astype(np.int64), False)


def normal_numbers(
    shape: Shape,
    dtype: np.dtype[Any],
    generator: Generator | None,
    mean: float = -0.0,
    std: float = 1.0,
) -> Array:
    """Return an array of numbers of a normal distribution."""
    if generator is None:
        return stream.normal(shape, dtype, mean, std)
    return np.asarray(mean + std * generator.numbers().standard_normal(shape)).astype(dtype)


def uniform_numbers(
    shape: Any, low: float, high: float, dtype: DTypeLike, generator: Generator | None
) -> Any:
    """Return an array of numbers spread evenly over [low, high)."""
    if generator is None:
        return draw.uniform(shape, low=low, high=high, dtype=dtype).array
    drawn = generator.numbers().uniform(low, high, shape)
    return np.minimum(np.asarray(drawn).astype(dtype), np.nextafter(np.asarray(high, dtype), low))


METHODS = {"bernoulli": bernoulli, "multinomial": multinomial}
"""Those that read a tensor; the methods that fill one are in fills.py."""
