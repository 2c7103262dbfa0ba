"""``torch.fft`` by its names and arguments; computed by NumPy's transforms, in any precision.

A transform of a Hermitian signal (``hfft`` and its like) goes the other way, and so does its scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad import ops
from distgrad.autograd.apart import apart, keeps_form
from distgrad.autograd.device import on_cpu
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.op import Op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike, Ints
from distgrad.errors import ShapeError
from distgrad.functions.arguments import one_axis
from distgrad.functions.counting import line
from distgrad.functions.out import with_out
from distgrad.ops.fft import ADJOINT, Norm
from distgrad.ops.fft import fftn as fftn_at_once
from distgrad.ops.fft import fftshift as numpys_fftshift
from distgrad.ops.fft import ifftn as ifftn_at_once
from distgrad.ops.fft import ifftshift as numpys_ifftshift
from distgrad.ops.indexing import as_tensor
from distgrad.ops.shape import axis_numbers

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "hfft2",
    "hfftn",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "ihfft2",
    "ihfftn",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

_LAST_TWO = (-2, -1)


def _signal(x: TensorLike, name: str, real: bool = False) -> Tensor:
    x = as_tensor(x)
    if real and x.dtype.kind == "c":
        raise ShapeError(f"{name} takes a real signal; got {x.dtype}: use {name.replace('r', '')}")
    if x.dtype.kind in "biu":
        return x.astype(get_default_dtype())  # as PyTorch; NumPy's would be float64
    return x


def _numbers(a: Any, name: str, n: int | None, dim: int, norm: Norm) -> None:
    one_axis(dim, a.ndim, name)
    if (n is not None and n < 1) or (n is None and a.shape[dim] < 1):
        raise ShapeError(f"{name} takes 1 point or more; got n={n}, shape {a.shape}")
    if norm not in ADJOINT:
        raise ShapeError(f"{name}: norm is 'backward', 'forward' or 'ortho'; got {norm!r}")


def _one(
    op: Callable[..., Any], x: TensorLike, n: int | None, dim: int, norm: Norm, real: bool = False
) -> Tensor:
    name = getattr(op, "name", "fft")
    a = _signal(x, name, real)
    points = n
    if name == "irfft" and n is None:
        points = 2 * (a.shape[one_axis(dim, a.ndim, name)] - 1)
    _numbers(a, name, points, dim, norm)
    if a.shape[dim] == 0 and n is not None:  # no point, and zeros appended: NumPy's irfft reads on
        shape = list(a.shape)
        shape[dim] = 1
        a = Tensor(np.zeros(shape, a.dtype))
    return as_tensor(op(a, n=n, axis=dim, norm=norm))


# -- along one axis -------------------------------------------------------------------------------


@with_out
def fft(input: TensorLike, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    """The discrete Fourier transform along ``dim``, of n points (cut or zeros appended)."""
    return _one(ops.fft, input, n, dim, norm)


@with_out
def ifft(input: TensorLike, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    """The inverse of ``fft``."""
    return _one(ops.ifft, input, n, dim, norm)


@with_out
def rfft(input: TensorLike, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    """The first n // 2 + 1 points of the transform of a real signal; the others mirror them."""
    return _one(ops.rfft, input, n, dim, norm, real=True)


@with_out
def irfft(input: TensorLike, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    """The inverse of ``rfft``: n real points (2 (m - 1) of m if None)."""
    return _one(ops.irfft, input, n, dim, norm)


@with_out
def hfft(input: TensorLike, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    """The transform of a Hermitian signal, given by its first half: n real points."""
    _known(norm, "hfft")
    return irfft(_conjugate(input), n, dim, ADJOINT[norm])


@with_out
def ihfft(input: TensorLike, n: int | None = None, dim: int = -1, norm: Norm = None) -> Tensor:
    """The inverse of ``hfft``: the first half of a Hermitian signal."""
    _known(norm, "ihfft")
    return _conjugate(rfft(input, n, dim, ADJOINT[norm]))


def _known(norm: Norm, name: str) -> None:
    if norm not in ADJOINT:
        raise ShapeError(f"{name}: norm is 'backward', 'forward' or 'ortho'; got {norm!r}")


def _conjugate(x: TensorLike) -> Tensor:
    return as_tensor(np.conjugate(as_tensor(x)))


# -- over several axes ----------------------------------------------------------------------------


def _axes(
    input: TensorLike, s: Ints | None, dim: Ints | None, name: str
) -> tuple[Tensor, list[int | None], list[int]]:
    """The signal, the points along each axis (None: its length) and the axes, from 0 on."""
    x = as_tensor(input)
    points = [s] if isinstance(s, int) else None if s is None else list(s)
    dims = [dim] if isinstance(dim, int) else None if dim is None else list(dim)
    if dims is None:
        dims = list(range(-(x.ndim if points is None else len(points)), 0))
    if points is None:
        points = [-1] * len(dims)
    if len(points) != len(dims):
        raise ShapeError(f"{name}: {len(points)} lengths s={s} for the axes {tuple(dims)}")
    if not all(-x.ndim <= d < x.ndim for d in dims):
        raise ShapeError(f"{name}: dims {tuple(dims)} are out of range for shape {x.shape}")
    axes = [d % x.ndim for d in dims]
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{name}: an axis stands twice in {tuple(dims)}")
    return x, [None if n == -1 else n for n in points], axes


def _complex(x: Tensor) -> Tensor:
    """A complex signal, for a transform over no axes."""
    x = _signal(x, "fftn")
    return x if x.dtype.kind == "c" else x.astype(np.result_type(x.dtype, np.complex64))


@with_out
def fftn(
    input: TensorLike, s: Ints | None = None, dim: Ints | None = None, norm: Norm = None
) -> Tensor:
    """``fft`` along several axes (all, or the last len(s))."""
    x, points, axes = _axes(input, s, dim, "fftn")
    return _several(fft, fftn_at_once, x, points, axes, norm)


@with_out
def ifftn(
    input: TensorLike, s: Ints | None = None, dim: Ints | None = None, norm: Norm = None
) -> Tensor:
    """The inverse of ``fftn``."""
    x, points, axes = _axes(input, s, dim, "ifftn")
    return _several(ifft, ifftn_at_once, x, points, axes, norm)


def _several(
    one: Callable[..., Tensor],
    at_once: Op,
    x: Tensor,
    points: Sequence[int | None],
    axes: Sequence[int],
    norm: Norm,
) -> Tensor:
    x = _signal(x, "fftn") if axes else _complex(x)
    if len(axes) < 2 or not all(x.shape[axis] for axis in axes):
        return _each(one, x, points, axes, norm)
    for n, axis in zip(points, axes, strict=True):
        _numbers(x, one.__name__, n, axis, norm)
    return as_tensor(at_once(x, s=points, axes=axes, norm=norm))


def _each(
    one: Callable[..., Tensor],
    x: Tensor,
    points: Sequence[int | None],
    axes: Sequence[int],
    norm: Norm,
) -> Tensor:
    for n, axis in reversed(list(zip(points, axes, strict=True))):
        x = one(x, n, axis, norm)
    return x


@with_out
def rfftn(
    input: TensorLike, s: Ints | None = None, dim: Ints | None = None, norm: Norm = None
) -> Tensor:
    """``rfft`` along the last of several axes, ``fft`` along the others."""
    x, points, axes = _axes(input, s, dim, "rfftn")
    _some(axes, "rfftn")
    x = rfft(x, points[-1], axes[-1], norm)
    return _each(fft, x, points[:-1], axes[:-1], norm)


@with_out
def irfftn(
    input: TensorLike, s: Ints | None = None, dim: Ints | None = None, norm: Norm = None
) -> Tensor:
    """The inverse of ``rfftn``."""
    x, points, axes = _axes(input, s, dim, "irfftn")
    _some(axes, "irfftn")
    x = _each(ifft, _complex(x), points[:-1], axes[:-1], norm)
    return irfft(x, points[-1], axes[-1], norm)


@with_out
def hfftn(
    input: TensorLike, s: Ints | None = None, dim: Ints | None = None, norm: Norm = None
) -> Tensor:
    """``fft`` along all but the last of several axes, ``hfft`` along that."""
    x, points, axes = _axes(input, s, dim, "hfftn")
    _some(axes, "hfftn")
    x = _each(fft, _complex(x), points[:-1], axes[:-1], norm)
    return hfft(x, points[-1], axes[-1], norm)


@with_out
def ihfftn(
    input: TensorLike, s: Ints | None = None, dim: Ints | None = None, norm: Norm = None
) -> Tensor:
    """The inverse of ``hfftn``."""
    x, points, axes = _axes(input, s, dim, "ihfftn")
    _some(axes, "ihfftn")
    x = ihfft(x, points[-1], axes[-1], norm)
    return _each(ifft, x, points[:-1], axes[:-1], norm)


def _some(axes: Sequence[int], name: str) -> None:
    if not axes:
        raise ShapeError(f"{name} transforms one axis or more")


@with_out
def fft2(
    input: TensorLike, s: Ints | None = None, dim: Ints = _LAST_TWO, norm: Norm = None
) -> Tensor:
    """``fftn`` over two axes."""
    return fftn(input, s, dim, norm)


@with_out
def ifft2(
    input: TensorLike, s: Ints | None = None, dim: Ints = _LAST_TWO, norm: Norm = None
) -> Tensor:
    """``ifftn`` over two axes."""
    return ifftn(input, s, dim, norm)


@with_out
def rfft2(
    input: TensorLike, s: Ints | None = None, dim: Ints = _LAST_TWO, norm: Norm = None
) -> Tensor:
    """``rfftn`` over two axes."""
    return rfftn(input, s, dim, norm)


@with_out
def irfft2(
    input: TensorLike, s: Ints | None = None, dim: Ints = _LAST_TWO, norm: Norm = None
) -> Tensor:
    """``irfftn`` over two axes."""
    return irfftn(input, s, dim, norm)


@with_out
def hfft2(
    input: TensorLike, s: Ints | None = None, dim: Ints = _LAST_TWO, norm: Norm = None
) -> Tensor:
    """``hfftn`` over two axes."""
    return hfftn(input, s, dim, norm)


@with_out
def ihfft2(
    input: TensorLike, s: Ints | None = None, dim: Ints = _LAST_TWO, norm: Norm = None
) -> Tensor:
    """``ihfftn`` over two axes."""
    return ihfftn(input, s, dim, norm)


# -- shifts and frequencies -----------------------------------------------------------------------


def fftshift(input: TensorLike, dim: Ints | None = None) -> Tensor:
    """The point of frequency 0 in the middle of ``dim`` (of all axes)."""
    return as_tensor(numpys_fftshift(*_shifted(input, dim, "fftshift")))


def ifftshift(input: TensorLike, dim: Ints | None = None) -> Tensor:
    """What undoes ``fftshift``."""
    return as_tensor(numpys_ifftshift(*_shifted(input, dim, "ifftshift")))


def _shifted(input: TensorLike, dim: Ints | None, name: str) -> tuple[Tensor, Ints | None]:
    x = as_tensor(input)
    return x, None if dim is None else axis_numbers(dim, x.ndim, name)


@with_out
def fftfreq(
    n: int, d: float = 1.0, *, dtype: DTypeLike | None = None, device: Any = None
) -> Tensor:
    """The frequencies of ``fft``'s n points, ``d`` apart."""
    return _both_ways(n, d, dtype, device)


@apart
@keeps_form
def _both_ways(n: int, d: float, dtype: DTypeLike | None, device: Any) -> Tensor:
    found = _frequencies(n, n // 2 + 1, d, dtype, device)
    y = np.empty(n, found.dtype)
    rising = (n + 1) // 2  # the rest are those below 0, from the lowest up
    y[:rising] = found[:rising]
    y[rising:] = -found[n // 2 : 0 : -1]
    return Tensor(y)


@with_out
def rfftfreq(
    n: int, d: float = 1.0, *, dtype: DTypeLike | None = None, device: Any = None
) -> Tensor:
    """The frequencies of ``rfft``'s n // 2 + 1 points, ``d`` apart."""
    return _upwards(n, d, dtype, device)


@apart
@keeps_form
def _upwards(n: int, d: float, dtype: DTypeLike | None, device: Any) -> Tensor:
    return Tensor(_frequencies(n, n // 2 + 1, d, dtype, device))


def _frequencies(n: int, count: int, d: float, dtype: DTypeLike | None, device: Any) -> Array:
    """The first ``count`` frequencies, from 0 up."""
    on_cpu(device)
    if n < 1 or d == 0:
        raise ShapeError(f"fftfreq: 1 point or more, not 0 apart; got n={n}, d={d}")
    step = 1.0 / (n * d)
    kind = np.dtype(get_default_dtype() if dtype is None else dtype)
    return line(count, kind, step)
