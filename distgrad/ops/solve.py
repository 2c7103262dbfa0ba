"""Linear systems: solve, inverse and determinant (gradients: Giles 2008)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import OpResult, OpResults, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import GradError, ShapeError
from distgrad.ops.complex_numbers import is_complex
from distgrad.ops.helpers import conjugate, data_of, either_fused
from distgrad.ops.linalg import H, arrays


class SlogdetResult(NamedTuple):
    """What ``np.linalg.slogdet`` returns: the determinant is sign * exp(logabsdet)."""

    sign: Tensor
    logabsdet: Tensor


def regular(rng: np.random.Generator, *shape: int) -> Array:
    """Draw square matrices (…, n, n) that are far from singular."""
    n = shape[-1]
    return np.asarray(rng.normal(size=shape) / max(n, 1) + 2 * np.eye(n))


def _systems(rng: np.random.Generator) -> list[Sample]:
    shapes = [((3, 3), (3, 2)), ((3, 3), (3,)), ((2, 1, 2, 2), (3, 2, 1)), ((2, 3, 3), (3, 2))]
    return [((regular(rng, *a), rng.normal(size=b)), {}) for a, b in shapes]


def _matrices(rng: np.random.Generator) -> list[Sample]:
    return [((regular(rng, *shape),), {}) for shape in ((3, 3), (2, 2, 2), (1, 1))]


@op(
    "... n n, ... n k -> ... n k",
    "... n n, n -> ... n",
    function=np.linalg.solve,
    samples=_systems,
)
def solve(a: Array, b: Array) -> OpResult:
    """The x with a x = b; b is a vector if it has one axis, otherwise (a stack of) matrices."""
    a, b = arrays(a, b)
    vector = b.ndim == 1
    columns = _columns(a, b)
    x = _inverting("solve", np.linalg.solve, a, columns)

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, Array]:
        gb = np.linalg.solve(H(a), np.expand_dims(g, -1) if vector else g)
        ga = -np.matmul(gb, H(x)) if wanted[0] else None
        return ga, np.squeeze(gb, -1) if vector else gb

    return (np.squeeze(x, -1) if vector else x), Joint(vjp)


def _columns(a: Array, b: Array) -> Array:
    """The right sides as columns, of as many axes as a."""
    if b.ndim == 1:
        b = np.expand_dims(b, -1)
    return np.reshape(b, (1,) * (a.ndim - b.ndim) + b.shape) if b.ndim < a.ndim else b


def _inverting(name: str, function: Callable[..., Any], a: Array | Tensor, *rest: Array) -> Any:
    """Call ``function(a, *rest)``. Errors: ShapeError naming the first singular matrix of a."""
    try:
        return function(a, *rest)
    except np.linalg.LinAlgError:
        place = _first_singular(data_of(a))
        if place is None:
            raise  # not square: worded from the signature
        raise ShapeError(
            f"{name}: matrix{place} is singular, it has no inverse; add a small multiple of "
            f"np.eye({a.shape[-1]}) to it, or use np.linalg.pinv or lstsq"
        ) from None


def _first_singular(a: Array) -> str | None:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        return None
    singular = np.linalg.slogdet(a)[0] == 0
    if not singular.any():
        return None
    if a.ndim == 2:
        return ""
    index = np.unravel_index(int(np.argmax(singular)), singular.shape)
    return f" {', '.join(str(int(i)) for i in index)}"


@op("... n n -> ... n n", function=np.linalg.inv, samples=_matrices)
def inv(a: Array) -> OpResult:
    """The inverse of each matrix."""
    y = _inverting("inv", np.linalg.inv, a)
    return y, lambda g: -np.matmul(np.matmul(H(y), g), H(y))


def _any_matrices(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=s),), {}) for s in ((3, 2), (2, 3), (2, 3, 3))]


@op("... m n -> ... n m", samples=_any_matrices)
def pinv(a: Array, *, rcond: float | Array | None = None) -> OpResult:
    """The Moore–Penrose inverse (gradient: Golub & Pereyra 1973; the rank must not change)."""
    settings: dict[str, Any] = {} if rcond is None else {"rcond": rcond}
    p = np.linalg.pinv(a, **settings)

    def vjp(g: Array) -> Any:
        P, G = H(p), H(g)
        left = np.matmul(G, np.matmul(p, P))
        left = left - np.matmul(a, np.matmul(p, left))  # (I - A P) Gᴴ P Pᴴ
        right = np.matmul(np.matmul(P, p), G)
        right = right - np.matmul(np.matmul(right, p), a)  # Pᴴ P Gᴴ (I - P A)
        return left + right - np.matmul(np.matmul(P, g), P)

    return p, vjp


@op("... n n -> ...", function=np.linalg.det, samples=_matrices)
def det(a: Array | Tensor) -> OpResult:
    """The determinant; gradients of gradients need regular matrices."""
    y = np.linalg.det(a)

    def vjp(g: Array) -> Any:
        if np.all(data_of(y) != 0):
            inverse = H(_inverting("det", np.linalg.inv, a))
            return np.expand_dims(g * conjugate(y), (-2, -1)) * inverse
        if isinstance(a, Tensor):
            raise GradError(
                "det has gradients of first order only where a matrix is singular; compute it "
                "without create_graph, or keep the matrices regular"
            )
        return np.expand_dims(g, (-2, -1)) * _cofactors(a)

    return y, vjp


def _cofactors(a: Array) -> Array:
    """The conjugated cofactors, d det / d a, from the singular values: good where det is 0."""
    U, S, V = np.linalg.svd(a)  # V is Vᴴ
    n = S.shape[-1]
    others = np.prod(np.where(np.eye(n, dtype=bool), 1, S[..., None, :]), axis=-1)
    sign = np.conjugate(np.linalg.det(U) * np.linalg.det(V))[..., None, None]
    return np.asarray(sign * np.matmul(U * others[..., None, :], V))


@op("... n n -> ..., ...", samples=_matrices)
def slogdet(a: Array) -> OpResults:
    """The sign of the determinant and the logarithm of its absolute value."""
    sign, logabsdet = np.linalg.slogdet(a)

    def vjp(g_sign: Array | None, g: Array | None) -> Any:
        whole: Any = 0 if g is None else g
        if g_sign is not None and is_complex(a):  # a real sign is constant wherever it is smooth
            whole = whole - 1j * np.imag(conjugate(g_sign) * sign)
        elif g is None:
            return np.zeros(a.shape, a.dtype)
        return np.expand_dims(whole, (-2, -1)) * H(_inverting("slogdet", np.linalg.inv, a))

    return (sign, logabsdet), vjp


@dispatch(np.linalg.slogdet)
def _slogdet(a: Array | Tensor) -> SlogdetResult:
    return SlogdetResult(*slogdet(a))


def _triangular(rng: np.random.Generator) -> list[Sample]:
    shapes = [((3, 3), (3, 2)), ((2, 2, 2), (2, 1)), ((2, 2), (3, 2, 1))]
    settings = [{}, {"lower": False}, {"unit_diagonal": True}]
    return [
        ((regular(rng, *a), rng.normal(size=b)), s)
        for (a, b), s in zip(shapes, settings, strict=True)
    ]


@op("... n n, ... n k -> ... n k", samples=_triangular)
def solve_triangular(
    a: Array, b: Array, *, lower: bool = True, unit_diagonal: bool = False
) -> OpResult:
    """The x with a x = b, reading one triangle of a (and 1 for its diagonal, if asked)."""
    x = _substitute(a, b, lower, unit_diagonal)
    settings = {"lower": not lower, "unit_diagonal": unit_diagonal}

    def vjp(wanted: tuple[bool, ...], g: Array) -> tuple[Array | None, Array]:
        gb = either_fused(solve_triangular, H(a), g, **settings)
        if not wanted[0]:
            return None, gb
        k = 1 if unit_diagonal else 0
        ga = -np.matmul(gb, H(x))
        return (np.tril(ga, -k) if lower else np.triu(ga, k)), gb

    return x, Joint(vjp)


_BLOCK = 32
"""Up to this size a triangle is solved as a full matrix."""


def _substitute(a: Array | Tensor, b: Array | Tensor, lower: bool, unit_diagonal: bool) -> Any:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return solve_triangular(a, b, lower=lower, unit_diagonal=unit_diagonal)
    n = a.shape[-1]
    if b.ndim < 2 or a.shape[-2:] != (n, b.shape[-2]):
        raise ValueError("b is not a matrix, or its rows are not those of a")
    if n > _BLOCK:
        # The half that stands alone, then the other one with what the first one leaves.
        h = n // 2
        first, second = (slice(h), slice(h, n)) if lower else (slice(h, n), slice(h))
        x = _substitute(a[..., first, first], b[..., first, :], lower, unit_diagonal)
        rest = b[..., second, :] - np.matmul(a[..., second, first], x)
        y = _substitute(a[..., second, second], rest, lower, unit_diagonal)
        return np.concatenate((x, y) if lower else (y, x), axis=-2)
    # Upside down a lower triangle is an upper one; Gauss's elimination leaves those as they are.
    turn = slice(None, None, -1) if lower else slice(None)
    a, b = a[..., turn, turn], b[..., turn, :]
    upper = np.triu(a, 1) + np.eye(n, dtype=a.dtype) if unit_diagonal else np.triu(a)
    x = _inverting("solve_triangular", np.linalg.solve, upper, _columns(a, b))
    return x[..., turn, :]
