"""Fourier transforms with NumPy's names: each one's gradient is its adjoint, another transform."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from distgrad.autograd.apart import count_of
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
        return _fit(_single(back, g, None, axis, ADJOINT[norm]), length, axis)

    return _single(there, a, n, axis, norm), vjp


@op("... -> ...", function=np.fft.rfft, samples=_none)
def rfft(a: Array, *, n: int | None = None, axis: int = -1, norm: Norm = None) -> OpResult:
    """The first n // 2 + 1 points of the transform of a real array; the others mirror them."""
    length = a.shape[axis]
    points = length if n is None else n

    def vjp(g: Array) -> Array:
        # irfft counts what is mirrored twice, and this gradient has met it once. A product with
        # halves has the bits of a quotient by twos in a sixth of its time.
        halved = g * _weights(points, g, axis, 0.5)
        return _fit(_single(np.fft.irfft, halved, points, axis, ADJOINT[norm]), length, axis)

    return _single(np.fft.rfft, a, n, axis, norm), vjp


@op("... -> ...", function=np.fft.irfft, samples=_real_spectra)
def irfft(a: Array, *, n: int | None = None, axis: int = -1, norm: Norm = None) -> OpResult:
    """The inverse of ``rfft``: ``n`` real points (2 (m - 1) of m if None)."""
    length = a.shape[axis]
    points = 2 * (length - 1) if n is None else n

    def vjp(g: Array) -> Array:
        spectrum = _single(np.fft.rfft, g, None, axis, ADJOINT[norm])
        return _fit(spectrum * _weights(points, g, axis, 2), length, axis)

    return _single(np.fft.irfft, a, n, axis, norm), vjp


@dispatch(np.fft.hfft)
def hfft(a: TensorLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """``np.fft.hfft``: the transform of a signal whose first half is given, the rest mirrored."""
    (a,) = arrays(a)
    return irfft(conjugate(a), n=n, axis=axis, norm=ADJOINT[norm])


@dispatch(np.fft.ihfft)
def ihfft(a: TensorLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """``np.fft.ihfft``: the inverse of ``np.fft.hfft``."""
    return conjugate(rfft(a, n=n, axis=axis, norm=ADJOINT[norm]))


_SINGLE = (np.dtype(np.float32), np.dtype(np.complex64))


def _single(
    transform: Callable[..., Array], a: Array, n: int | None, axis: int, norm: Norm
) -> Array:
    """Return ``transform(a, n, axis, norm)``, float32 and complex64 computed in single precision.

    NumPy computes in the precision of the factor, and that of what is not scaled is a whole number:
    a sixth as fast. So it is scaled, and multiplied afterwards.
    """
    if type(a) is not np.ndarray or a.dtype not in _SINGLE or not -a.ndim <= axis < a.ndim:
        return transform(a, n, axis, norm)
    if a.dtype.kind == "f" and transform is np.fft.fft:
        return _mirrored(a, n, axis, norm)
    if a.dtype.kind == "f" and transform is np.fft.ifft:
        y = _mirrored(a, n, axis, ADJOINT[norm])
        return np.conjugate(y, out=y)
    if a.dtype.kind == "f" and transform is np.fft.irfft:
        a = a.astype(np.complex64)  # NumPy would take complex128
    inverse = transform in (np.fft.ifft, np.fft.irfft)
    scaling: Norm = "backward" if inverse else "forward"
    if norm in ("ortho", scaling) or (inverse and norm is None):
        return transform(a, n, axis, norm)
    y = transform(a, n, axis, scaling)
    points = a.shape[axis] if n is None else n
    if n is None and transform is np.fft.irfft:
        points = 2 * (points - 1)
    return np.multiply(y, np.float32(points), out=y)


def _mirrored(a: Array, n: int | None, axis: int, norm: Norm) -> Array:
    """``fft`` of a real array: half of it is transformed, the others are its conjugates."""
    half = _single(np.fft.rfft, a, n, axis, norm)
    points, done = a.shape[axis] if n is None else n, half.shape[axis]
    before = (slice(None),) * (axis % a.ndim)
    y = np.empty_like(
        half, shape=(*a.shape[: axis % a.ndim], points, *half.shape[axis % a.ndim + 1 :])
    )
    y[(*before, slice(done))] = half
    others = half[(*before, slice(points - done, 0, -1))]
    np.conjugate(others, out=y[(*before, slice(done, None))])
    return y


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
    return np.roll(x, [shift(count_of(x, axis)) for axis in axes], tuple(axes))
