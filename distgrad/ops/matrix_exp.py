"""The exponential of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.op import OpResult, Sample, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.ops.helpers import either_fused
from distgrad.ops.linalg import H

# Padé's approximation of degree 13 to eˣ, good to double precision up to the 1-norm _REACH
# (Higham 2005, The scaling and squaring method for the matrix exponential revisited).
_PADE = (
    64764752532480000.0,
    32382376266240000.0,
    7771770303897600.0,
    1187353796428800.0,
    129060195264000.0,
    10559470521600.0,
    670442572800.0,
    33522128640.0,
    1323241920.0,
    40840800.0,
    960960.0,
    16380.0,
    182.0,
    1.0,
)
_REACH = 5.371920351148152


def _matrices(rng: np.random.Generator) -> list[Sample]:
    return [((rng.normal(size=s),), {}) for s in ((3, 3), (2, 2, 2))]


@op("... n n -> ... n n", samples=_matrices)
def matrix_exp(a: Array | Tensor) -> OpResult:
    """Σ aᵏ / k!, by scaling and squaring (gradient: Mathias 1996, a corner of a larger one)."""
    y = matrix_exp(a) if isinstance(a, Tensor) else _exponential(a)

    def vjp(g: Array) -> Any:
        A, n = H(a), a.shape[-1]
        upper = np.concatenate((A, g), axis=-1)
        lower = np.concatenate((np.zeros(g.shape, g.dtype), A), axis=-1)
        return either_fused(matrix_exp, np.concatenate((upper, lower), axis=-2))[..., :n, n:]

    return y, vjp


def _exponential(a: Array) -> Array:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError("a is not square")
    if a.dtype.kind not in "fc":
        a = a.astype(np.float64)
    norm = np.abs(a).sum(axis=-2, keepdims=True).max(axis=-1, keepdims=True, initial=0.0)
    halvings = np.ceil(np.log2(np.maximum(np.where(np.isfinite(norm), norm, 0) / _REACH, 1)))
    y = _pade(a * (0.5**halvings).astype(norm.dtype))
    for i in range(int(halvings.max(initial=0))):
        y = np.where(halvings > i, y @ y, y)
    return np.asarray(y, a.dtype)


def _pade(a: Array) -> Array:
    b = [x / _PADE[0] for x in _PADE]  # near 1: float32 would overflow
    unit = np.eye(a.shape[-1], dtype=a.dtype)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    high = a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2)
    odd = a @ (high + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * unit)
    high = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2)
    even = high + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * unit
    return np.asarray(np.linalg.solve(even - odd, even + odd))
