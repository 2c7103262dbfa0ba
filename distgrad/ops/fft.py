"""Fourier transforms with NumPy's names: each one's gradient is its adjoint, another transform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from distgrad.autograd.op import Op, OpResult, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Ints
from distgrad.errors import ShapeError
from distgrad.ops.helpers import conjugate
from distgrad.ops.linalg import arrays

# The adjoint of a transform runs the other way and is scaled as the transform itself was.
Norm: TypeAlias = "Literal['backward', 'forward', 'ortho'] | None"

ADJOINT: dict[Norm, Norm] = {
    None: "forward",
    "backward": "forward",
    "forward": "backward",
    "ortho": "ortho",
}


def _none(rng: np.random.Generator) -> list[Sample]:
    # Central differences need real results: tests/ops/test_fft.py projects these to real ones.
    return []


def _real_spectra(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(3, 4))
    settings: list[dict[str, Any]] = [{}, {"n": 5}, {"n": 4, "axis": 0, "norm": "ortho"}]
    return [((x,), s) for s in settings]


@op("... -> ...", function=np.fft.fft, samples=_none)
def fft(a: Array, *, n: int | None = None, axis: int = -1, norm: Norm = None) -> OpResult:
    """The discrete Fourier transform along ``axis``, of ``n`` points (cut or zeros appended)."""
    return _transform(np.fft.fft, np.fft.ifft, a, n, axis, norm)


@op("... -> ...", function=np.fft.ifft, samples=_none)
def ifft(a: Array, *, n: int | None = None, axis: int = -1, norm: Norm = None) -> OpResult:
    """The inverse of ``fft``."""
    return _transform(np.fft.ifft, np.fft.fft, a, n, axis, norm)


def _transform(
    there: Callable[..., Array],
    back: Callable[..., Array],
    a: Array,
    n: int | None,
    axis: int,
    norm: Norm,
) -> OpResult:
    length = a.shape[axis]

    def vjp(g: Array) -> Array:
        return _fit(_by_rows(back, g, None, axis, ADJOINT[norm]), length, axis)

    return _by_rows(there, a, n, axis, norm), vjp


@op("... -> ...", function=np.fft.rfft, samples=_none)
def rfft(a: Array, *, n: int | None = None, axis: int = -1, norm: Norm = None) -> OpResult:
    """The first n // 2 + 1 points of the transform of a real array; the others mirror them."""
    length = a.shape[axis]
    points = length if n is None else n

    def vjp(g: Array) -> Array:
        # irfft counts what is mirrored twice, and this gradient has met it once. A product with
        # halves has the bits of a quotient by twos in a sixth of its time.
        halved = g * _weights(points, g, axis, 0.5)
        return _fit(_by_rows(np.fft.irfft, halved, points, axis, ADJOINT[norm]), length, axis)

    return _by_rows(np.fft.rfft, a, n, axis, norm), vjp


@op("... -> ...", function=np.fft.irfft, samples=_real_spectra)
def irfft(a: Array, *, n: int | None = None, axis: int = -1, norm: Norm = None) -> OpResult:
    """The inverse of ``rfft``: ``n`` real points (2 (m - 1) of m if None)."""
    length = a.shape[axis]
    points = 2 * (length - 1) if n is None else n

    def vjp(g: Array) -> Array:
        spectrum = _by_rows(np.fft.rfft, g, None, axis, ADJOINT[norm])
        return _fit(spectrum * _weights(points, g, axis, 2), length, axis)

    return _by_rows(np.fft.irfft, a, n, axis, norm), vjp


@dispatch(np.fft.hfft)
def hfft(a: TensorLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """``np.fft.hfft``: the transform of a signal whose first half is given, the rest mirrored."""
    (a,) = arrays(a)
    return irfft(conjugate(a), n=n, axis=axis, norm=ADJOINT[norm])


@dispatch(np.fft.ihfft)
def ihfft(a: TensorLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """``np.fft.ihfft``: the inverse of ``np.fft.hfft``."""
    return conjugate(rfft(a, n=n, axis=axis, norm=ADJOINT[norm]))


_BLOCK = 1 << 18  # bytes of rows that are transformed together
_LARGE = 4 * _BLOCK
_FEW = 16  # rows: what NumPy prepares for a length is made in each call
_SINGLE = (np.dtype(np.float32), np.dtype(np.complex64))


def _by_rows(
    transform: Callable[..., Array], a: Array, n: int | None, axis: int, norm: Norm
) -> Array:
    """Return ``transform(a, n, axis, norm)``, computed by some rows at a time where that is faster.

    It has the same bits: NumPy transforms row by row. Most of single precision it computes in
    double, by copies in fresh memory, which cost as much as the transform.
    """
    if (
        type(a) is not np.ndarray
        or a.nbytes < _LARGE
        or a.dtype not in _SINGLE
        or not a.flags.c_contiguous
        or axis % a.ndim != a.ndim - 1
        or _stays_single(transform, a, norm)
    ):
        return transform(a, n, axis, norm)
    rows = a.reshape(-1, a.shape[-1])
    many = _BLOCK // rows[0].nbytes
    if many < _FEW:
        return transform(a, n, axis, norm)
    first = transform(rows[:many], n, -1, norm)
    y = np.empty((len(rows), first.shape[1]), first.dtype)
    y[:many] = first
    for begin in range(many, len(rows), many):
        part = slice(begin, begin + many)
        transform(rows[part], n, -1, norm, out=y[part])
    return y.reshape(*a.shape[:-1], first.shape[1])


def _stays_single(transform: Callable[..., Array], a: Array, norm: Norm) -> bool:
    """Whether NumPy computes this in single precision: with a factor, which is no whole number."""
    inverse = transform in (np.fft.ifft, np.fft.irfft)
    scaled = norm == "ortho" or (norm == "forward") != inverse
    return scaled and (a.dtype.kind == "c" or transform is np.fft.rfft)


def _weights(points: int, like: Array, axis: int, mirrored: float) -> Array:
    """Factors of a half spectrum: 1 for the points 0 and n / 2, ``mirrored`` for the others."""
    weights = np.full(points // 2 + 1, mirrored, np.empty(0, like.dtype).real.dtype)
    weights[0] = 1
    if points % 2 == 0:
        weights[-1] = 1
    return weights.reshape((-1,) + (1,) * (like.ndim - 1 - axis % like.ndim))


def _fit(a: Array, length: int, axis: int) -> Array:
    """Cut to ``length`` along ``axis``, or zeros appended."""
    axis %= a.ndim
    missing = length - a.shape[axis]
    if missing > 0:
        return np.pad(a, [(0, missing if i == axis else 0) for i in range(a.ndim)])
    return a if missing == 0 else a[(slice(None),) * axis + (slice(length),)]


def _over_axes(
    numpy_function: Callable[..., Any],
    each: Op,
    last: Op | None,
    axes: Sequence[int] | None,
    real_out: bool,
) -> None:
    """Compose a transform over several axes; ``last`` transforms the last of them."""
    name = numpy_function.__name__
    default = axes

    def composed(
        a: Array | Tensor,
        s: Sequence[int] | None = None,
        axes: Sequence[int] | None = default,
        norm: Norm = None,
    ) -> Any:
        (a,) = arrays(a)
        if axes is None:
            count = a.ndim if s is None else len(s)
            axes = range(-count, 0)
        sizes = [None] * len(axes) if s is None else list(s)
        if len(sizes) != len(axes):
            raise ShapeError(f"{name} got {len(sizes)} lengths s={s} for axes {tuple(axes)}")
        steps = [(each, n, axis) for n, axis in zip(sizes, axes, strict=True)]
        if last is not None and steps:
            steps[-1] = (last, *steps[-1][1:])
        # NumPy's order: the last axis first, but a real result comes from the last axis at the end.
        for transform, n, axis in steps if real_out else reversed(steps):
            a = transform(a, n=n, axis=axis, norm=norm)
        return a

    dispatch(numpy_function)(composed)


for _several, _pair, _each, _last, _real_out in (
    (np.fft.fftn, np.fft.fft2, fft, None, False),
    (np.fft.ifftn, np.fft.ifft2, ifft, None, False),
    (np.fft.rfftn, np.fft.rfft2, fft, rfft, False),
    (np.fft.irfftn, np.fft.irfft2, ifft, irfft, True),
):
    _over_axes(_several, _each, _last, None, _real_out)
    _over_axes(_pair, _each, _last, (-2, -1), _real_out)


@dispatch(np.fft.fftshift)
def fftshift(x: Array | Tensor, axes: Ints | None = None) -> Any:
    """``np.fft.fftshift``: the point of frequency 0 in the middle."""
    return _rolled(x, axes, lambda n: n // 2)


@dispatch(np.fft.ifftshift)
def ifftshift(x: Array | Tensor, axes: Ints | None = None) -> Any:
    """``np.fft.ifftshift``: what undoes ``fftshift``."""
    return _rolled(x, axes, lambda n: -(n // 2) % n if n else 0)


def _rolled(x: Array | Tensor, axes: Ints | None, shift: Callable[[int], int]) -> Any:
    axes = range(x.ndim) if axes is None else [axes] if isinstance(axes, int) else axes
    for axis in axes:
        n = x.shape[axis]
        before = (slice(None),) * (axis % x.ndim)
        cut = n - shift(n)
        x = np.concatenate([x[(*before, slice(cut, n))], x[(*before, slice(0, cut))]], axis=axis)
    return x
