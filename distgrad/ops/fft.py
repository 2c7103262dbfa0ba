"""Fourier transforms with NumPy's names: each one's gradient is its adjoint, another transform."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from distgrad.autograd.apart import count_of
from distgrad.autograd.op import Op, OpResult, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, Ints
from distgrad.errors import ShapeError
from distgrad.ops.helpers import conjugate, data_of, either
from distgrad.ops.linalg import arrays

# The adjoint of a transform runs the other way and is scaled as the transform itself was.
Norm: TypeAlias = "Literal['backward', 'forward', 'ortho'] | None"

Index: TypeAlias = "tuple[slice, ...]"

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
    if a.size >= _HALVED_FROM and a.dtype.char in "fd":
        return _of_real(a, (n,), (axis,), norm, there is np.fft.ifft)

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


def fftn_(a: Array, *, s: Sequence[int | None], axes: Sequence[int], norm: Norm = None) -> OpResult:
    """``fft`` along several ``axes``, none of them twice, of ``s`` points each (None: all)."""
    return _several(np.fft.fft, np.fft.ifft, a, s, axes, norm)


def ifftn_(
    a: Array, *, s: Sequence[int | None], axes: Sequence[int], norm: Norm = None
) -> OpResult:
    """The inverse of ``fftn``."""
    return _several(np.fft.ifft, np.fft.fft, a, s, axes, norm)


def _several(
    there: Callable[..., Array],
    back: Callable[..., Array],
    a: Array,
    s: Sequence[int | None],
    axes: Sequence[int],
    norm: Norm,
) -> OpResult:
    if a.size >= _HALVED_FROM and a.dtype.char in "fd":
        return _of_real(a, s, axes, norm, there is np.fft.ifft)
    lengths = [a.shape[axis] for axis in axes]

    def vjp(g: Array) -> Array:
        for axis, length in zip(axes, lengths, strict=True):
            g = _fit(_single(back, g, None, axis, ADJOINT[norm]), length, axis)
        return g

    for axis, n in zip(reversed(axes), reversed(s), strict=True):  # NumPy begins with the last
        a = _single(there, a, n, axis, norm)
    return a, vjp


def _of_real(
    a: Array, s: Sequence[int | None], axes: Sequence[int], norm: Norm, inverse: bool
) -> OpResult:
    """Transform half of the spectrum of real numbers; the other half mirrors it."""
    *others, last = axes
    lengths = [a.shape[axis] for axis in axes]
    points = lengths[-1] if s[-1] is None else s[-1]
    if inverse:  # the conjugate of ``fftn`` in the other scale (NumPy refuses what is none)
        norm = ADJOINT.get(norm, norm)

    def vjp(g: Array) -> Array:
        # The gradient is real, too: the part of g that is not Hermitian would be dropped at last.
        half = either(hermitian, g, axes=axes, conjugated=inverse)
        for axis, length in zip(others, lengths[:-1], strict=True):
            half = _fit(_single(np.fft.ifft, half, None, axis, ADJOINT[norm]), length, axis)
        real = _single(np.fft.irfft, half, points, last, ADJOINT[norm])
        return _fit(real, lengths[-1], last)

    half = _single(np.fft.rfft, a, points, last, norm)
    for axis, n in zip(reversed(others), reversed(s[:-1]), strict=True):
        half = _single(np.fft.fft, half, n, axis, norm)
    return either(mirrored, half, points=points, axes=axes, conjugated=inverse), vjp


def mirrored_(
    half: Array, *, points: int, axes: Sequence[int], conjugated: bool = False
) -> OpResult:
    """The spectrum (or its conjugate) whose first half along the last of ``axes`` is given.

    (…, points // 2 + 1) -> (…, points), with y[-i, -j] the conjugate of y[i, j].
    """
    h = data_of(half)
    shape = list(h.shape)
    shape[axes[-1]] = points
    y = np.empty_like(h, shape=shape)
    _put(h, y[_along(axes[-1], slice(points // 2 + 1), h.ndim)], conjugated)
    for there, here in _mirror(points, axes, h.ndim):
        _put(h[here], y[there], not conjugated)

    def vjp(g: Array) -> Array:
        mean: Array = either(hermitian, g, axes=axes, conjugated=conjugated)
        return mean * _weights(points, g, axes[-1], 2)

    return y, vjp


def hermitian_(a: Array, *, axes: Sequence[int], conjugated: bool = False) -> OpResult:
    """The first half of the mean of a spectrum (or its conjugate) and its mirror image.

    (…, points) -> (…, points // 2 + 1). Points 0 and n / 2 of the last of ``axes`` are kept, as
    what they mirror is in the first half as well.
    """
    z = data_of(a)
    last, shape = axes[-1], list(z.shape)
    points = shape[last]
    shape[last] = points // 2 + 1
    half = np.empty_like(z, shape=shape)
    own = _along(last, slice(1) if points % 2 else slice(None, None, points // 2), z.ndim)
    _put(z[own], half[own], conjugated)
    for there, here in _mirror(points, axes, z.ndim):
        _put(z[there], half[here], not conjugated)
    others = _along(last, slice(1, (points + 1) // 2), z.ndim)
    pairs = half[others]
    pairs += np.conjugate(z[others]) if conjugated else z[others]
    pairs *= 0.5

    def vjp(g: Array) -> Array:
        halved = g * _weights(points, g, axes[-1], 0.5)
        image: Array = either(mirrored, halved, points=points, axes=axes, conjugated=conjugated)
        return image

    return half, vjp


# No members of the registry, whose walks draw real numbers and compare real results.
fftn = Op(fftn_, ("... -> ...",), None, (-2.0, 2.0), True)
ifftn = Op(ifftn_, ("... -> ...",), None, (-2.0, 2.0), True)
mirrored = Op(mirrored_, ("... -> ...",), None, (-2.0, 2.0), True)
hermitian = Op(hermitian_, ("... -> ...",), None, (-2.0, 2.0), True)


def _put(z: Array, where: Array, conjugated: bool) -> None:
    if conjugated:
        np.conjugate(z, out=where)
    else:
        where[...] = z  # a third of the time of np.positive


def _along(axis: int, part: slice, ndim: int) -> Index:
    index = [slice(None)] * ndim
    index[axis] = part
    return tuple(index)


def _mirror(points: int, axes: Sequence[int], ndim: int) -> Iterator[tuple[Index, Index]]:
    """Where the other points lie, and the points of the first half that each mirrors.

    Along an axis 0 mirrors itself, so that every other axis has two parts.
    """
    *others, last = axes
    there, here = [slice(None)] * ndim, [slice(None)] * ndim
    there[last], here[last] = slice(points // 2 + 1, None), slice((points - 1) // 2, 0, -1)
    for parts in itertools.product((True, False), repeat=len(others)):
        for axis, zero in zip(others, parts, strict=True):
            there[axis] = slice(1) if zero else slice(1, None)
            here[axis] = slice(1) if zero else slice(None, 0, -1)
        yield tuple(there), tuple(here)


@dispatch(np.fft.hfft)
def hfft(a: TensorLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """``np.fft.hfft``: the transform of a signal whose first half is given, the rest mirrored."""
    (a,) = arrays(a)
    return irfft(conjugate(a), n=n, axis=axis, norm=ADJOINT[norm])


@dispatch(np.fft.ihfft)
def ihfft(a: TensorLike, n: int | None = None, axis: int = -1, norm: Norm = None) -> Any:
    """``np.fft.ihfft``: the inverse of ``np.fft.hfft``."""
    return conjugate(rfft(a, n=n, axis=axis, norm=ADJOINT[norm]))


_HALVED_FROM = 1 << 14
"""Numbers from which the half of a spectrum saves more than mirroring it costs."""
_SINGLE = (np.dtype(np.float32), np.dtype(np.complex64))


def _single(
    transform: Callable[..., Array], a: Array, n: int | None, axis: int, norm: Norm
) -> Array:
    """Return ``transform(a, n, axis, norm)``, float32 and complex64 computed in single precision.

    NumPy computes in the precision of the factor, and that of what is not scaled is a whole number:
    a sixth as fast. So it is scaled, and multiplied afterwards.
    """
    if type(a) is not np.ndarray or a.dtype not in _SINGLE:
        return transform(a, n, axis, norm)
    if norm not in ADJOINT or not -a.ndim <= axis < a.ndim:  # NumPy says what is wrong
        return transform(a, n, axis, norm)
    if a.dtype.kind == "f":
        if transform is np.fft.irfft:
            a = a.astype(np.complex64)  # NumPy would take complex128
        elif transform is not np.fft.rfft and a.size >= _HALVED_FROM:
            return _of_real(a, (n,), (axis,), norm, transform is np.fft.ifft)[0]
    inverse = transform in (np.fft.ifft, np.fft.irfft)
    scaling: Norm = "backward" if inverse else "forward"
    if norm in ("ortho", scaling) or (inverse and norm is None):
        return transform(a, n, axis, norm)
    y = transform(a, n, axis, scaling)
    points = a.shape[axis] if n is None else n
    if n is None and transform is np.fft.irfft:
        points = 2 * (points - 1)
    return np.multiply(y, np.float32(points), out=y)


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
    at_once: Op | None,
) -> None:
    """Compose a transform over several axes; ``last`` transforms the last of them.

    Where no axis stands twice ``at_once`` does it.
    """
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
        if at_once is not None and _are_different(axes, a.ndim):
            return at_once(a, s=sizes, axes=axes, norm=norm)
        steps = [(each, n, axis) for n, axis in zip(sizes, axes, strict=True)]
        if last is not None and steps:
            steps[-1] = (last, *steps[-1][1:])
        # NumPy's order: the last axis first, but a real result comes from the last axis at the end.
        for transform, n, axis in steps if real_out else reversed(steps):
            a = transform(a, n=n, axis=axis, norm=norm)
        return a

    dispatch(numpy_function)(composed)


def _are_different(axes: Sequence[int], ndim: int) -> bool:
    """Whether these are axes, one or more, none of them twice."""
    if not axes or not all(-ndim <= axis < ndim for axis in axes):
        return False
    return len({axis % ndim for axis in axes}) == len(axes)


for _many, _pair, _each, _last, _real_out, _at_once in (
    (np.fft.fftn, np.fft.fft2, fft, None, False, fftn),
    (np.fft.ifftn, np.fft.ifft2, ifft, None, False, ifftn),
    (np.fft.rfftn, np.fft.rfft2, fft, rfft, False, None),
    (np.fft.irfftn, np.fft.irfft2, ifft, irfft, True, None),
):
    _over_axes(_many, _each, _last, None, _real_out, _at_once)
    _over_axes(_pair, _each, _last, (-2, -1), _real_out, _at_once)


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
