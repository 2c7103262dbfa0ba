"""Methods that fill a tensor with random numbers, by PyTorch's names."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import DistgradError
from distgrad.functions.arguments import tensor_of
from distgrad.functions.random import Generator, numbers_of, uniform_numbers

__all__: list[str] = []  # torch has them as methods alone


def _filled(x: Tensor, drawn: Any, name: str, kinds: str = "f") -> Tensor:
    if x.dtype.kind not in kinds:
        raise DistgradError(f"x.{name}() draws real numbers; x is {x.dtype}")
    return x._become(Tensor(np.asarray(drawn).astype(x.dtype)), f"x.{name}()")


def uniform_(
    input: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers spread evenly over [from, to)."""
    dtype = input.dtype
    return _filled(input, uniform_numbers(input.shape, from_, to, dtype, generator), "uniform_")


def normal_(
    input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers of a normal distribution."""
    drawn = mean + std * numbers_of(generator).standard_normal(input.shape)
    return _filled(input, drawn, "normal_")


def bernoulli_(input: Tensor, p: TensorLike = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability ``p``, else 0."""
    drawn = numbers_of(generator).random(input.shape) < tensor_of(p).array
    return _filled(input, drawn, "bernoulli_", "biufc")


def exponential_(
    input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with waiting times of rate ``lambd``."""
    drawn = numbers_of(generator).standard_exponential(input.shape) / lambd
    return _filled(input, drawn, "exponential_")


def random_(
    input: Tensor,
    from_: int = 0,
    to: int | None = None,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with whole numbers from ``from`` to ``to`` - 1; of one number, from 0 below it."""
    low, high = (from_, to) if to is not None or from_ == 0 else (0, from_)
    if high is None:
        kind = input.dtype
        high = 2 ** (np.finfo(kind).nmant + 1) if kind.kind == "f" else int(np.iinfo(kind).max)
    return _filled(input, numbers_of(generator).integers(low, high, input.shape), "random_", "biuf")


def cauchy_(
    input: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers of a Cauchy distribution."""
    drawn = median + sigma * numbers_of(generator).standard_cauchy(input.shape)
    return _filled(input, drawn, "cauchy_")


def log_normal_(
    input: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers whose logarithms are of a normal distribution."""
    drawn = np.exp(mean + std * numbers_of(generator).standard_normal(input.shape))
    return _filled(input, drawn, "log_normal_")


def geometric_(input: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the numbers of trials, each of probability ``p``, up to the first success."""
    return _filled(input, numbers_of(generator).geometric(p, input.shape), "geometric_", "iuf")


_FILLS = [uniform_, normal_, bernoulli_, exponential_, random_, cauchy_, log_normal_, geometric_]

METHODS = {fill.__name__: fill for fill in _FILLS}
