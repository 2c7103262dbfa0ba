"""Complex numbers by PyTorch's names: parts, conjugates, angles, and numbers made from parts."""

from __future__ import annotations

from distgrad import ops
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import DistgradError
from distgrad.functions.arguments import tensor_of
from distgrad.functions.out import with_out
from distgrad.functions.promotion import apply
from distgrad.functions.promotion import real as real_or_complex
from distgrad.ops import complex_numbers

IN_PLACE = ["conj_physical"]

__all__ = [
    "angle",
    "complex",
    "conj",
    "conj_physical",
    "imag",
    "is_conj",
    "is_neg",
    "polar",
    "real",
    "resolve_conj",
    "resolve_neg",
    "view_as_complex",
    "view_as_real",
]


def real(input: TensorLike) -> Tensor:
    """The real part; a real Tensor is its own."""
    x = tensor_of(input)
    return apply(ops.real, x) if x.dtype.kind == "c" else x


def imag(input: TensorLike) -> Tensor:
    """The imaginary part. Errors: DistgradError for real numbers, as in PyTorch."""
    x = tensor_of(input)
    if x.dtype.kind != "c":
        raise DistgradError(f"imag of {x.dtype}: real numbers have none; x.imag is 0 for them")
    return apply(ops.imag, x)


def conj(input: TensorLike) -> Tensor:
    """The conjugate, computed at once; a real Tensor is its own."""
    x = tensor_of(input)
    return apply(ops.conj, x) if x.dtype.kind == "c" else x


@with_out
def conj_physical(input: TensorLike) -> Tensor:
    """The conjugate."""
    return conj(input)


def resolve_conj(input: TensorLike) -> Tensor:
    """``input``: conjugates are never put off here."""
    return tensor_of(input)


def resolve_neg(input: TensorLike) -> Tensor:
    """``input``: signs are never put off here."""
    return tensor_of(input)


def is_conj(input: TensorLike) -> bool:
    """False: conjugates are never put off here."""
    return False


def is_neg(input: TensorLike) -> bool:
    """False: signs are never put off here."""
    return False


@with_out
def angle(input: TensorLike) -> Tensor:
    """The angle from the positive real axis, in (-π, π]; π for negative real numbers."""
    return apply(ops.angle, real_or_complex(input))


@with_out
def complex(real: TensorLike, imag: TensorLike) -> Tensor:
    """``real + i imag``, of two real Tensors of one dtype. Errors: DistgradError."""
    a, b = tensor_of(real), tensor_of(imag)
    if a.dtype != b.dtype or a.dtype.kind != "f":
        raise DistgradError(
            f"complex takes two real Tensors of one dtype; got {a.dtype}, {b.dtype}"
        )
    return apply(ops.complex, a, b)


@with_out
def polar(abs: TensorLike, angle: TensorLike) -> Tensor:
    """``abs * exp(i angle)``, of two real Tensors of one dtype. Errors: DistgradError."""
    r, phi = tensor_of(abs), tensor_of(angle)
    if r.dtype != phi.dtype or r.dtype.kind != "f":
        raise DistgradError(
            f"polar takes two real Tensors of one dtype; got {r.dtype}, {phi.dtype}"
        )
    return apply(ops.complex, r * apply(ops.cos, phi), r * apply(ops.sin, phi))


def view_as_real(input: TensorLike) -> Tensor:
    """(…, 2): a view of the real and imaginary parts. Errors: ShapeError for real numbers."""
    return apply(complex_numbers.view_as_real, tensor_of(input))


def view_as_complex(input: TensorLike) -> Tensor:
    """(…, 2) as complex numbers, of real and imaginary parts: a view. Errors: ShapeError."""
    return apply(complex_numbers.view_as_complex, tensor_of(input))
