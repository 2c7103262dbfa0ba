"""Methods over axes: they reduce some, run along one, or pick a diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from distgrad.autograd.methods.calls import FUNCTIONS, METHODS
from distgrad.autograd.methods.spelling import TwoMeanings, same
from distgrad.autograd.mode import empty_shard

if TYPE_CHECKING:
    from collections.abc import Callable

    from distgrad.autograd.tensor import Tensor
    from distgrad.autograd.types import Array, Axis, Ints


class ValuesAndIndices(NamedTuple):
    """Elements and where they are along an axis, as PyTorch's ``max(dim)``, ``sort``, ``topk``."""

    values: Tensor
    indices: Array


def _max(x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``np.max``: the first of equal elements along an axis gets the gradient."""
    # Over all elements equal ones share it, as PyTorch's max() does.
    return _call(np.amax if axis is None else np.max, x, axis=axis, keepdims=keepdims)


def _max_dim(x: Tensor, *, dim: int, keepdim: bool = False) -> ValuesAndIndices:
    """``torch.max(dim)``: the values and the (first) indices of the largest elements."""
    values = _call(np.max, x, axis=dim, keepdims=keepdim)
    return ValuesAndIndices(values, _places(np.argmax, x.array, dim, keepdim))


def _min(x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``np.min``: the first of equal elements along an axis gets the gradient."""
    return _call(np.amin if axis is None else np.min, x, axis=axis, keepdims=keepdims)


def _min_dim(x: Tensor, *, dim: int, keepdim: bool = False) -> ValuesAndIndices:
    """``torch.min(dim)``: the values and the (first) indices of the smallest elements."""
    values = _call(np.min, x, axis=dim, keepdims=keepdim)
    return ValuesAndIndices(values, _places(np.argmin, x.array, dim, keepdim))


def _places(find: Any, data: Array, dim: int, keepdim: bool) -> Array:
    if not data.size and empty_shard.get():  # 0, as the values are
        return np.zeros(np.shape(np.sum(data, axis=dim, keepdims=keepdim)), np.intp)
    return np.asarray(find(data, axis=dim, keepdims=keepdim))


def _extremum(name: str) -> str:
    return (
        f"x.{name}(axis=1) for the values, x.{name}(dim=1) for (values, indices), "
        f"np.{name}imum(x, y) for each pair"
    )


def _var(x: Tensor, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """``np.var``: squared distances from the mean, summed, over n - ddof."""
    return _call(np.var, x, axis=axis, ddof=ddof, keepdims=keepdims)


def _std(x: Tensor, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """``np.std``: the root of ``np.var``."""
    return _call(np.std, x, axis=axis, ddof=ddof, keepdims=keepdims)


def _var_dim(
    x: Tensor,
    *,
    dim: Ints | None = None,
    correction: float = 1,
    unbiased: bool | None = None,
    keepdim: bool = False,
) -> Tensor:
    """``torch.var``: over n - correction, which is 1 (0 for ``unbiased=False``)."""
    ddof = correction if unbiased is None else int(unbiased)
    return _call(np.var, x, axis=_axes(dim), ddof=ddof, keepdims=keepdim)


def _std_dim(
    x: Tensor,
    *,
    dim: Ints | None = None,
    correction: float = 1,
    unbiased: bool | None = None,
    keepdim: bool = False,
) -> Tensor:
    """``torch.std``: the root of ``torch.var``."""
    ddof = correction if unbiased is None else int(unbiased)
    return _call(np.std, x, axis=_axes(dim), ddof=ddof, keepdims=keepdim)


def _spread(name: str) -> str:
    return (
        f"x.{name}(axis=1, ddof=0) to divide by n as NumPy does, x.{name}(dim=1, correction=1) by "
        f"n - 1 as PyTorch does (axis=None, dim=None for all elements)"
    )


def _norm(
    x: Tensor, *, ord: float | str | None = None, axis: Axis = None, keepdims: bool = False
) -> Tensor:
    """``np.linalg.norm``: of a matrix for two axes, where ``ord=2`` is the spectral norm."""
    return _call(np.linalg.norm, x, ord=ord, axis=axis, keepdims=keepdims)


def _norm_dim(
    x: Tensor, *, p: float | str | None = 2, dim: Ints | None = None, keepdim: bool = False
) -> Tensor:
    """``torch.norm``: of all elements along ``dim`` as one vector ("nuc": of a matrix)."""
    if p == "nuc":
        dim = tuple(range(x.ndim)) if dim is None else _axes(dim)
        return _call(np.linalg.norm, x, ord=p, axis=dim, keepdims=keepdim)
    ord = 2 if p in {"fro", None} else p
    sizes = _call(np.absolute, x) if x.dtype.kind == "c" else x
    return _call(METHODS["vector_norm"], sizes, ord=ord, axis=_axes(dim), keepdims=keepdim)


def _axes(dim: Ints | None) -> Any:
    return tuple(dim) if isinstance(dim, list) else dim


class Reductions:
    """Sums, extremes, moments and norms, running sums and products, diagonals."""

    __slots__ = ()

    array: Array

    max = TwoMeanings(_max, _max_dim, _extremum("max"))
    min = TwoMeanings(_min, _min_dim, _extremum("min"))
    var = TwoMeanings(_var, _var_dim, _spread("var"), bare=False)
    std = TwoMeanings(_std, _std_dim, _spread("std"), bare=False)
    norm = TwoMeanings(
        _norm,
        _norm_dim,
        "x.norm(p=2) for that of all elements as one vector, as PyTorch has it, x.norm(p=2, dim=1) "
        "along an axis, x.norm(ord=2) or x.norm(ord=2, axis=1) for np.linalg.norm, which has the "
        "spectral norm of a matrix there",
    )

    @same
    def sum(self, axis: Ints | None = None, keepdims: bool = False) -> Tensor:
        """``np.sum``."""
        return _call(np.sum, self, axis=_axes(axis), keepdims=keepdims)

    @same
    def mean(self, axis: Ints | None = None, keepdims: bool = False) -> Tensor:
        """``np.mean``."""
        return _call(np.mean, self, axis=_axes(axis), keepdims=keepdims)

    @same
    def prod(self, axis: Ints | None = None, keepdims: bool = False) -> Tensor:
        """``np.prod``."""
        return _call(np.prod, self, axis=_axes(axis), keepdims=keepdims)

    @same
    def logsumexp(self, axis: Ints | None = None, keepdims: bool = False) -> Tensor:
        """log Σ exp over ``axis`` (all if None), without overflow."""
        return _call(METHODS["logsumexp"], self, axis=_axes(axis), keepdims=keepdims)

    @same
    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Array:
        """``np.argmax``: a plain integer array."""
        return np.asarray(np.argmax(self.array, axis=axis, keepdims=keepdims))

    @same
    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Array:
        """``np.argmin``: a plain integer array."""
        return np.asarray(np.argmin(self.array, axis=axis, keepdims=keepdims))

    @same
    def all(self, axis: Ints | None = None, keepdims: bool = False) -> Array:
        """``np.all``: a plain boolean array."""
        return np.asarray(np.all(self.array, axis=_axes(axis), keepdims=keepdims))

    @same
    def any(self, axis: Ints | None = None, keepdims: bool = False) -> Array:
        """``np.any``: a plain boolean array."""
        return np.asarray(np.any(self.array, axis=_axes(axis), keepdims=keepdims))

    @same
    def cumsum(self, axis: int | None = None) -> Tensor:
        """``np.cumsum``."""
        return _call(np.cumsum, self, axis=axis)

    @same
    def cumprod(self, axis: int | None = None) -> Tensor:
        """``np.cumprod``."""
        return _call(np.cumprod, self, axis=axis)

    @same
    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """``np.diagonal``; ``dim1`` and ``dim2`` are understood."""
        return _call(np.diagonal, self, offset=offset, axis1=axis1, axis2=axis2)


def _call(function: Callable[..., Any], x: Reductions, **settings: Any) -> Tensor:
    """Call a function on a Tensor, one of NumPy's without the way through NumPy (1 µs)."""
    result: Tensor = FUNCTIONS.get(function, function)(x, **settings)
    return result
