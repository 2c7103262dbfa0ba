"""Methods over axes: they reduce some, run along one, or pick a diagonal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.methods.calls import FUNCTIONS, METHODS
from distgrad.autograd.methods.spelling import TwoMeanings, same
from distgrad.autograd.mode import empty_shard

if TYPE_CHECKING:
    from collections.abc import Callable

    from distgrad.autograd.tensor import Tensor
    from distgrad.autograd.types import Array, Axis, DTypeLike, Ints


class ValuesAndIndices(NamedTuple):
    """Elements and where they are along an axis, as PyTorch's ``max(dim)``, ``sort``, ``topk``."""

    values: Tensor
    indices: Tensor


def _max(x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``np.max``: the first of equal elements along an axis gets the gradient."""
    # Over all elements equal ones share it, as PyTorch's max() does.
    return _call(np.amax if axis is None else np.max, x, axis=axis, keepdims=keepdims)


def _max_dim(x: Tensor, *, dim: int, keepdim: bool = False) -> ValuesAndIndices:
    """``torch.max(dim)``: the values and the (first) indices of the largest elements."""
    values = _call(np.max, x, axis=dim, keepdims=keepdim)
    return ValuesAndIndices(values, _places("argmax", x, dim, keepdim))


def _min(x: Tensor, *, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``np.min``: the first of equal elements along an axis gets the gradient."""
    return _call(np.amin if axis is None else np.min, x, axis=axis, keepdims=keepdims)


def _min_dim(x: Tensor, *, dim: int, keepdim: bool = False) -> ValuesAndIndices:
    """``torch.min(dim)``: the values and the (first) indices of the smallest elements."""
    values = _call(np.min, x, axis=dim, keepdims=keepdim)
    return ValuesAndIndices(values, _places("argmin", x, dim, keepdim))


@apart
@keeps_form
def _places(find: str, x: Tensor, dim: int, keepdim: bool) -> Tensor:
    if not x.array.size and empty_shard.get():  # 0, as the values are
        found = np.zeros(np.shape(np.sum(x.array, axis=dim, keepdims=keepdim)), np.intp)
    else:
        # NumPy's function takes seven times as long as its array's method.
        found = np.asarray(getattr(x.array, find)(axis=dim, keepdims=keepdim))
    places: Tensor = x._plain(found)
    return places


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
    unbiased: bool | None = None,
    keepdim: bool = False,
    correction: float | None = None,
) -> Tensor:
    """``torch.var``: over n - correction, which is 1 (0 for ``unbiased=False``)."""
    ddof = _ddof(correction, unbiased)
    if x.dtype.kind == "c":
        parts = (_call(part, x) for part in (np.real, np.imag))
        real, imag = (_call(np.var, p, axis=_axes(dim), ddof=ddof, keepdims=keepdim) for p in parts)
        both: Tensor = real + imag
        return both
    return _call(np.var, x, axis=_axes(dim), ddof=ddof, keepdims=keepdim)


def _std_dim(
    x: Tensor,
    *,
    dim: Ints | None = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    correction: float | None = None,
) -> Tensor:
    """``torch.std``: the root of ``torch.var``."""
    ddof = _ddof(correction, unbiased)
    if x.dtype.kind == "c":
        return _call(np.sqrt, _var_dim(x, dim=dim, correction=ddof, keepdim=keepdim))
    return _call(np.std, x, axis=_axes(dim), ddof=ddof, keepdims=keepdim)


def _ddof(correction: float | None, unbiased: bool | None) -> float:
    if unbiased is not None:
        return int(unbiased)
    return 1 if correction is None else correction


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
    var = TwoMeanings(_var, _var_dim, _spread("var"), bare="pytorch")
    std = TwoMeanings(_std, _std_dim, _spread("std"), bare="pytorch")
    norm = TwoMeanings(
        _norm,
        _norm_dim,
        "x.norm(p=2) for that of all elements as one vector, as PyTorch has it, x.norm(p=2, dim=1) "
        "along an axis, x.norm(ord=2) or x.norm(ord=2, axis=1) for np.linalg.norm, which has the "
        "spectral norm of a matrix there",
    )

    @same
    def sum(
        self, axis: Ints | None = None, keepdims: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """``np.sum``, in ``dtype`` if one is given."""
        return _call(np.sum, self, axis=_axes(axis), keepdims=keepdims, dtype=dtype)

    @same
    def mean(
        self, axis: Ints | None = None, keepdims: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """``np.mean``, in ``dtype`` if one is given."""
        return _call(np.mean, self, axis=_axes(axis), keepdims=keepdims, dtype=dtype)

    @same
    def prod(
        self, axis: Ints | None = None, keepdims: bool = False, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """``np.prod``, in ``dtype`` if one is given."""
        return _call(np.prod, self, axis=_axes(axis), keepdims=keepdims, dtype=dtype)

    @same
    def logsumexp(self, axis: Ints | None = None, keepdims: bool = False) -> Tensor:
        """log Σ exp over ``axis`` (all if None), without overflow."""
        over = _axes(axis) if self.array.ndim else None
        x: Any = self
        if self.array.dtype.kind in "biu":  # of real numbers, as PyTorch has it
            x = x.astype(get_default_dtype())
        return _call(METHODS["logsumexp"], x, axis=over, keepdims=keepdims)

    @same
    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """``np.argmax``: whole numbers."""
        return _call(np.argmax, self, axis=axis, keepdims=keepdims)

    @same
    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """``np.argmin``: whole numbers."""
        return _call(np.argmin, self, axis=axis, keepdims=keepdims)

    @same
    def all(self, axis: Ints | None = None, keepdims: bool = False) -> Tensor:
        """``np.all``: booleans."""
        return _call(np.all, self, axis=_axes(axis), keepdims=keepdims)

    @same
    def any(self, axis: Ints | None = None, keepdims: bool = False) -> Tensor:
        """``np.any``: booleans."""
        return _call(np.any, self, axis=_axes(axis), keepdims=keepdims)

    @same
    def cumsum(self, axis: int | None = None, *, dtype: DTypeLike | None = None) -> Tensor:
        """``np.cumsum``, in ``dtype`` if one is given."""
        return _running(np.cumsum, self, axis, dtype)

    @same
    def cumprod(self, axis: int | None = None, *, dtype: DTypeLike | None = None) -> Tensor:
        """``np.cumprod``, in ``dtype`` if one is given."""
        return _running(np.cumprod, self, axis, dtype)

    @same
    def diagonal(self, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
        """``np.diagonal``; ``dim1`` and ``dim2`` are understood."""
        return _call(np.diagonal, self, offset=offset, axis1=axis1, axis2=axis2)


def _running(
    function: Callable[..., Any], x: Reductions, axis: int | None, dtype: DTypeLike | None
) -> Tensor:
    found = _call(function, x, axis=axis, dtype=dtype)
    # Of a number PyTorch's is a number.
    return found.reshape(()) if axis is not None and x.array.ndim == 0 else found


def _call(function: Callable[..., Any], x: Reductions, **settings: Any) -> Tensor:
    """Call a function on a Tensor, one of NumPy's without the way through NumPy (1 µs)."""
    result: Tensor = FUNCTIONS.get(function, function)(x, **settings)
    return result
