"""NumPy's functions that put elements in other places, and those that apply others: composed.

Most are one idea: NumPy's own function moves the elements' numbers, and these say what to read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.methods import UFUNCS
from distgrad.autograd.op import constant, dispatch, plain
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike, Ints
from distgrad.errors import ShapeError
from distgrad.ops.bessel import i0
from distgrad.ops.helpers import data_of
from distgrad.ops.linalg import array_of, arrays
from distgrad.ops.shape import axis_numbers, moveaxis

plain(np.array2string, np.array_repr, np.array_str, np.spacing, np.save, np.savetxt, np.savez)
plain(np.savez_compressed, np.packbits, np.unpackbits, np.einsum_path, np.common_type)
plain(np.diag_indices_from, np.tril_indices_from, np.triu_indices_from, np.ix_)
plain(np.ravel_multi_index, np.setxor1d, np.unique_all, np.unique_counts, np.unique_inverse)
plain(np.unique_values, np.histogram2d, np.histogram_bin_edges, np.histogramdd, np.sort_complex)
plain(np.bitwise_count, np.left_shift, np.right_shift, np.gcd, np.lcm, np.min_scalar_type)
plain(np.can_cast)


def _numbered(parts: Sequence[Any]) -> tuple[Any, list[Array]]:
    """All elements in a row, and their numbers in the shape of each part."""
    rows, numbers, done = [], [], 0
    for part in arrays(*parts):
        rows.append(np.reshape(part, (-1,)))
        numbers.append(np.arange(done, done + part.size).reshape(part.shape))
        done += part.size
    return np.concatenate(rows), numbers


@dispatch(np.block)
def block(arrays: Any) -> Any:
    """``np.block``: a matrix of matrices, as nested lists."""
    leaves: list[Any] = []

    def collect(nested: Any) -> Any:
        if isinstance(nested, list):
            return [collect(x) for x in nested]
        leaves.append(nested)
        return len(leaves) - 1

    places = collect(arrays)
    row, numbers = _numbered(leaves)

    def numbered(nested: Any) -> Any:
        return [numbered(x) for x in nested] if isinstance(nested, list) else numbers[nested]

    return np.take(row, np.block(numbered(places)))


@dispatch(np.insert)
def insert(arr: TensorLike, obj: Any, values: TensorLike, axis: int | None = None) -> Any:
    """``np.insert``: ``values`` before the given places along ``axis`` (of a row if None)."""
    row, (old, new) = _numbered([arr, values])
    return np.take(row, np.insert(old, data_of(obj), new, axis))


@dispatch(np.choose)
def choose(a: TensorLike, choices: Sequence[TensorLike], mode: Any = "raise") -> Any:
    """``np.choose``: of several arrays the one whose number stands in ``a``, place by place."""
    row, numbers = _numbered(list(choices))
    which: Any = data_of(a)
    return np.take(row, np.choose(which, numbers, mode=mode))


@dispatch(np.resize)
def resize(a: TensorLike, new_shape: Ints) -> Any:
    """``np.resize``: the elements over and over, in another shape."""
    row, (numbers,) = _numbered([a])
    return np.take(row, np.resize(numbers, new_shape))


@dispatch(np.trim_zeros)
def trim_zeros(filt: TensorLike, trim: str = "fb") -> Any:
    """``np.trim_zeros``: a row without the zeros at its front, back or both."""
    row: Any = array_of(filt)
    if row.ndim != 1 or not set(trim.lower()) <= {"f", "b"}:
        raise ShapeError(f"trim_zeros takes a row and trim of 'f' and 'b'; got {row.shape}, {trim}")
    some = np.flatnonzero(data_of(row))
    if not some.size:
        return row[:0]
    start = some[0] if "f" in trim.lower() else 0
    return row[start : some[-1] + 1 if "b" in trim.lower() else None]


@dispatch(np.rollaxis)
def rollaxis(a: Array | Tensor, axis: int, start: int = 0) -> Any:
    """``np.rollaxis``: ``axis`` moved before the axis ``start``."""
    (i,) = axis_numbers(axis, a.ndim, "rollaxis")
    place = start + a.ndim if start < 0 else start
    if not 0 <= place <= a.ndim:
        raise ShapeError(f"rollaxis: start={start} is not in 0..{a.ndim}; np.moveaxis is clearer")
    return moveaxis(a, i, place - 1 if i < place else place)


@dispatch(np.piecewise)
def piecewise(x: TensorLike, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """``np.piecewise``: each function (or number) where its condition holds, the last elsewhere."""
    x = array_of(x)
    given = [condlist] if np.ndim(condlist) == x.ndim else condlist
    conditions = [np.asarray(data_of(c), bool) for c in given]
    if len(funclist) == len(conditions) + 1:
        conditions.append(~np.logical_or.reduce(conditions))
    if len(funclist) != len(conditions):
        raise ShapeError(f"piecewise: {len(conditions)} conditions for {len(funclist)} functions")
    parts: list[Any] = [np.zeros(1, x.dtype)]
    numbers, done = np.zeros(x.shape, np.int64), 1
    for condition, function in zip(conditions, funclist, strict=True):
        inside = x[condition]
        value = function(inside, *args, **kw) if callable(function) else function
        parts.append(np.broadcast_to(array_of(value), inside.shape).astype(x.dtype))
        numbers[condition] = np.arange(done, done + inside.size)
        done += inside.size
    return np.take(np.concatenate(parts), numbers)


@dispatch(np.apply_along_axis)
def apply_along_axis(
    func1d: Callable[..., Any], axis: int, arr: Array | Tensor, *args: Any, **kwargs: Any
) -> Any:
    """``np.apply_along_axis``: a function of each row along ``axis``, one call a row."""
    (i,) = axis_numbers(axis, arr.ndim, "apply_along_axis")
    moved = moveaxis(arr, i, -1)
    front = moved.shape[:-1]
    found = [arrays(func1d(moved[at], *args, **kwargs))[0] for at in np.ndindex(*front)]
    if not found:
        raise ShapeError(f"apply_along_axis: no rows along axis {axis} of shape {arr.shape}")
    whole = np.reshape(np.stack(found), (*front, *found[0].shape))
    for k in range(found[0].ndim):
        whole = np.moveaxis(whole, len(front) + k, i + k)
    return whole


@dispatch(np.apply_over_axes)
def apply_over_axes(func: Callable[..., Any], a: Array | Tensor, axes: Ints) -> Any:
    """``np.apply_over_axes``: a function of (a, axis) for one axis after the other."""
    for axis in axis_numbers(axes, a.ndim, "apply_over_axes"):
        found = func(a, axis)
        a = found if found.ndim == a.ndim else np.expand_dims(found, axis)
    return a


# -- ranges between Tensors -----------------------------------------------------------------------


@dispatch(np.linspace)
def linspace(
    start: TensorLike,
    stop: TensorLike,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Any:
    """``np.linspace``: evenly spaced from ``start`` to ``stop``; both have gradients."""
    a, b = arrays(start, stop)
    if num < 0:
        raise ShapeError(f"linspace: num is 0 or more; got {num}")
    shape = np.broadcast_shapes(a.shape, b.shape)
    kind = np.result_type(a.dtype, b.dtype)
    kind = kind if kind.kind in "fc" else np.dtype(np.float64)
    t = (np.arange(num) / max(num - 1 if endpoint else num, 1)).astype(kind)
    t = np.reshape(t, (num,) + (1,) * len(shape))
    found: Any = a * (1 - t) + b * t
    found = np.moveaxis(found, 0, axis) if axis else found
    found = found if dtype is None else found.astype(dtype)
    count = num - 1 if endpoint else num
    return (found, (b - a) / count if count > 0 else np.nan) if retstep else found


@dispatch(np.logspace)
def logspace(
    start: TensorLike,
    stop: TensorLike,
    num: int = 50,
    endpoint: bool = True,
    base: TensorLike = 10.0,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Any:
    """``np.logspace``: ``base`` to evenly spaced powers."""
    powers = linspace(start, stop, num, endpoint, axis=axis)
    found = np.power(base, powers)
    return found if dtype is None else found.astype(dtype)


@dispatch(np.geomspace)
def geomspace(
    start: TensorLike,
    stop: TensorLike,
    num: int = 50,
    endpoint: bool = True,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Any:
    """``np.geomspace``: each element a multiple of the one before. Errors: ShapeError."""
    a, b = arrays(start, stop)
    sign = np.sign(data_of(a))
    if (sign != np.sign(data_of(b))).any() or not sign.all():
        raise ShapeError("geomspace: both ends are positive, or both negative")
    sizes = np.exp(linspace(np.log(a * sign), np.log(b * sign), num, endpoint, axis=axis))
    found = sizes * (np.expand_dims(sign, axis) if np.ndim(sign) else sign)
    return found if dtype is None else found.astype(dtype)


# -- parts of numbers -----------------------------------------------------------------------------


@dispatch(np.real_if_close)
def real_if_close(a: TensorLike, tol: float = 100) -> Any:
    """``np.real_if_close``: the real part if imaginary parts are at most ``tol`` epsilons."""
    z: Any = array_of(a)
    if z.dtype.kind != "c":
        return z
    parts = np.abs(data_of(z).imag)
    limit = tol * np.finfo(z.dtype).eps if tol > 1 else tol
    return np.real(z) if (parts < limit).all() else z


@dispatch(np.cumulative_sum)
def cumulative_sum(
    x: Array | Tensor,
    /,
    *,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    include_initial: bool = False,
) -> Any:
    """``np.cumulative_sum``: running sums, from 0 on if asked."""
    return _running(np.cumsum, 0, x, axis, dtype, include_initial)


@dispatch(np.cumulative_prod)
def cumulative_prod(
    x: Array | Tensor,
    /,
    *,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    include_initial: bool = False,
) -> Any:
    """``np.cumulative_prod``: running products, from 1 on if asked."""
    return _running(np.cumprod, 1, x, axis, dtype, include_initial)


def _running(
    scan: Any, first: int, x: Any, axis: int | None, dtype: Any, include_initial: bool
) -> Any:
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(f"cumulative_sum: say axis= for a tensor of shape {x.shape}")
        axis = 0
    found = scan(x if dtype is None else x.astype(dtype), axis)
    if not include_initial:
        return found
    shape = [1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)]
    return np.concatenate((np.full(shape, first, found.dtype), found), axis=axis)


dispatch(np.i0, of=i0)(lambda x: i0(array_of(x)))


def _divmod(a: TensorLike, b: TensorLike) -> Any:
    return np.floor_divide(a, b), np.remainder(a, b)


def _modf(a: Array | Tensor) -> Any:
    whole = np.trunc(a)
    return a - whole, whole


def _frexp(a: Array | Tensor) -> Any:
    exponent = np.frexp(data_of(a))[1]
    return _ldexp(a, -exponent), exponent


def _ldexp(a: Any, exponent: TensorLike) -> Any:
    power = constant(exponent, "np.ldexp", "the exponent")
    dtype = a.dtype if isinstance(a, Tensor) and a.dtype.kind == "f" else np.float64
    return a * np.ldexp(np.ones((), dtype), power)


def _float_power(a: TensorLike, b: TensorLike) -> Any:
    a, b = (x.astype(np.result_type(x.dtype, np.float64)) for x in arrays(a, b))
    return np.power(a, b)


UFUNCS[np.divmod] = _divmod
UFUNCS[np.modf] = _modf
UFUNCS[np.frexp] = _frexp
UFUNCS[np.ldexp] = _ldexp
UFUNCS[np.float_power] = _float_power
