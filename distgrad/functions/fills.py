"""Methods that fill a tensor with random numbers, by PyTorch's names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.dtypes import of_one_number
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Shape
from distgrad.errors import DistgradError
from distgrad.functions.arguments import tensor_of
from distgrad.functions.draws import (
    Generator,
    integer_numbers,
    normal_numbers,
    numbers_of,
    uniform_numbers,
    unit_numbers,
)

__all__: list[str] = []  # torch has them as methods alone


class Form(NamedTuple):
    """What is filled, without its elements."""

    shape: Shape
    dtype: np.dtype[Any]


def _filled(
    x: Tensor,
    name: str,
    draw: Callable[..., Any],
    generator: Generator | None,
    *settings: Any,
    kinds: str = "f",
) -> Tensor:
    if x.dtype.kind not in kinds:
        raise DistgradError(f"x.{name}() draws real numbers; x is {x.dtype}{of_one_number(x)}")
    return x._become(_drawn(draw, generator, Form(x.shape, x.dtype), *settings), f"x.{name}()")


@apart
@keeps_form
def _drawn(
    draw: Callable[..., Any], generator: Generator | None, like: Form, *settings: Any
) -> Tensor:
    return Tensor(np.asarray(draw(generator, like, *settings)).astype(like.dtype))


def uniform_(
    input: Tensor, from_: float = 0.0, to: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers spread evenly over [from, to)."""
    return _filled(input, "uniform_", _uniform, generator, from_, to)


def _uniform(generator: Generator | None, like: Form, low: float, high: float) -> Any:
    return uniform_numbers(like.shape, low, high, like.dtype, generator)


def normal_(
    input: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers of a normal distribution."""
    return _filled(input, "normal_", _normal, generator, mean, std)


def _normal(generator: Generator | None, like: Form, mean: float, std: float) -> Any:
    return normal_numbers(like.shape, np.dtype(np.float64), generator, mean, std)


def bernoulli_(input: Tensor, p: TensorLike = 0.5, *, generator: Generator | None = None) -> Tensor:
    """Fill with 1 with probability ``p``, else 0."""
    return _filled(input, "bernoulli_", _bernoulli, generator, p, kinds="biufc")


def _bernoulli(generator: Generator | None, like: Form, p: TensorLike) -> Any:
    return unit_numbers(like.shape, np.dtype(np.float64), generator) < tensor_of(p).array


def exponential_(
    input: Tensor, lambd: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with waiting times of rate ``lambd``."""
    return _filled(input, "exponential_", _exponential, generator, lambd)


def _exponential(generator: Generator | None, like: Form, rate: float) -> Any:
    return numbers_of(generator).standard_exponential(like.shape) / rate


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
    return _filled(input, "random_", _integers, generator, low, high, kinds="biuf")


def _integers(generator: Generator | None, like: Form, low: int, high: int) -> Any:
    return integer_numbers(like.shape, low, high, generator)


def cauchy_(
    input: Tensor, median: float = 0.0, sigma: float = 1.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers of a Cauchy distribution."""
    return _filled(input, "cauchy_", _cauchy, generator, median, sigma)


def _cauchy(generator: Generator | None, like: Form, median: float, sigma: float) -> Any:
    return median + sigma * numbers_of(generator).standard_cauchy(like.shape)


def log_normal_(
    input: Tensor, mean: float = 1.0, std: float = 2.0, *, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers whose logarithms are of a normal distribution."""
    return _filled(input, "log_normal_", _log_normal, generator, mean, std)


def _log_normal(generator: Generator | None, like: Form, mean: float, std: float) -> Any:
    return np.exp(_normal(generator, like, mean, std))


def geometric_(input: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Fill with the numbers of trials, each of probability ``p``, up to the first success."""
    return _filled(input, "geometric_", _geometric, generator, p, kinds="iuf")


def _geometric(generator: Generator | None, like: Form, p: float) -> Any:
    return numbers_of(generator).geometric(p, like.shape)


_FILLS = [uniform_, normal_, bernoulli_, exponential_, random_, cauchy_, log_normal_, geometric_]

METHODS = {fill.__name__: fill for fill in _FILLS}
