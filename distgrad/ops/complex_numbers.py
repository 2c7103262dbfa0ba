"""Complex numbers: their parts, and numbers made from parts.

Gradients follow PyTorch: that of a real loss to z = x + iy is dL/dx + i dL/dy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.op import Op, OpResult, Sample, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError
from distgrad.ops.helpers import conjugate, data_of, either, either_fused


def is_complex(a: Array | Tensor) -> bool:
    """Whether an array or Tensor holds complex numbers."""
    return bool(a.dtype.kind == "c")


def _zeros(g: Array) -> Array:
    return fixed(np.zeros(g.shape, g.dtype))


def _none(rng: np.random.Generator) -> list[Sample]:
    # Central differences need real results: tests/ops/test_fft.py projects these to real ones.
    return []


@op("..., ... -> ...", samples=_none)
def complex_(re: Array, im: Array) -> OpResult:
    """re + i im, from two real arrays."""
    parts = np.asarray(data_of(re)), np.asarray(data_of(im))
    if is_complex(parts[0]) or is_complex(parts[1]):
        raise ShapeError("complex is made from two real arrays; take np.real or np.imag of each")
    dtype = np.result_type(data_of(re), data_of(im), np.complex64)
    z = np.empty(np.broadcast_shapes(parts[0].shape, parts[1].shape), dtype)
    # Not re + 1j * im, which makes NaN of infinite parts.
    z.real, z.imag = parts
    return z, (np.real, np.imag)


@op("... -> ...", function=np.real, view=True)
def real(a: Array) -> OpResult:
    """The real part; a real array is its own."""
    return np.real(a), lambda g: g


@op("... -> ...", function=np.imag, view=True)
def imag(a: Array) -> OpResult:
    """The imaginary part; zeros for a real array."""
    if not is_complex(a):
        return np.zeros_like(data_of(a)), _zeros
    return np.imag(a), lambda g: either_fused(complex_, _zeros(g), g)


def view_as_complex_(a: Array) -> OpResult:
    """The numbers whose real and imaginary parts lie along the last axis, of length 2: a view.

    Of parts that do not lie side by side in memory it is a copy.
    """
    x = data_of(a)
    if x.dtype.char not in "fd" or x.ndim == 0 or x.shape[-1] != 2:
        raise ShapeError(f"view_as_complex takes real parts (…, 2); got {x.dtype} {x.shape}")
    if x.strides[-1] != x.itemsize:
        x = np.ascontiguousarray(x)
    pairs = x.view(np.result_type(x, np.complex64))
    return pairs[..., 0], lambda g: either(view_as_real, g)


def view_as_real_(z: Array) -> OpResult:
    """The real and imaginary parts along a last axis: a view."""
    x = data_of(z)
    if not is_complex(x):
        raise ShapeError(f"view_as_real takes complex numbers; got {x.dtype}")
    return np.expand_dims(x, -1).view(x.real.dtype), lambda g: either(view_as_complex, g)


# No members of the registry, whose walks draw real numbers and compare real results.
view_as_complex = Op(view_as_complex_, ("... pair -> ...",), None, (-2.0, 2.0), True, view=True)
view_as_real = Op(view_as_real_, ("... -> ... pair",), None, (-2.0, 2.0), True, view=True)


@op("... -> ...", ufunc=np.conjugate)
def conj(a: Array) -> OpResult:
    """The complex conjugate; a real array is its own."""
    return np.conjugate(a), conjugate


@op("... -> ...", function=np.angle)
def angle(z: Array, *, deg: bool = False) -> OpResult:
    """The angle from the positive real axis, in (-π, π]; the gradient at 0 is 0."""
    value = np.angle(data_of(z), deg=deg)
    if not is_complex(z):
        return value, _zeros

    def vjp(g: Array) -> Any:
        x, y = np.real(z), np.imag(z)
        square = x * x + y * y
        scale = (180 / np.pi if deg else 1.0) * g / (square + (data_of(square) == 0))
        return either_fused(complex_, -y * scale, x * scale)

    return value, vjp
