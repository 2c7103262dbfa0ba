"""Eigenvalues and eigenvectors of any square matrices (gradient: Boeddeker et al. 2017)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.op import OpResults, Sample, dispatch, op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.ops.helpers import conjugate, data_of
from distgrad.ops.linalg import H


class EigResult(NamedTuple):
    """What ``np.linalg.eig`` returns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


def _none(rng: np.random.Generator) -> list[Sample]:
    # Central differences need real results: tests/ops/test_complex_linalg.py projects these.
    return []


@op("... n n -> ... n, ... n n", samples=_none)
def eig(a: Array | Tensor) -> OpResults:
    """Eigenvalues and eigenvectors (columns of length 1), complex always.

    Where eigenvalues coincide, the gradient is not defined: NaN or infinite.
    """
    w, V = eig(a) if isinstance(a, Tensor) else _complex_eig(a)
    n = a.shape[-1]

    def vjp(gw: Array | None, gV: Array | None) -> Any:
        inner: Any = 0
        off = 1 - np.eye(n, dtype=data_of(w).real.dtype)
        if gV is not None:
            X = np.matmul(H(V), gV)
            gaps = conjugate(np.expand_dims(w, -2) - np.expand_dims(w, -1)) + (1 - off)
            kept = np.expand_dims(np.real(np.diagonal(X, 0, -2, -1)), -2)
            inner = (X - np.matmul(H(V), V) * kept) / gaps * off
        if gw is not None:
            inner = inner + np.expand_dims(gw, -1) * (1 - off)
        return np.linalg.solve(H(V), np.matmul(inner, H(V)))

    return (w, V), vjp


def _complex_eig(a: Array) -> tuple[Array, Array]:
    dtype = np.result_type(a.dtype, np.complex64)
    w, V = np.linalg.eig(a)
    return w.astype(dtype), V.astype(dtype)


@dispatch(np.linalg.eig)
def _eig(a: Array | Tensor) -> EigResult:
    return EigResult(*_numpys(a, *eig(a)))


@dispatch(np.linalg.eigvals)
def eigvals(a: Array | Tensor) -> Any:
    """``np.linalg.eigvals``: the eigenvalues of ``np.linalg.eig`` alone."""
    return _numpys(a, eig(a)[0])[0]


def _numpys(a: Array | Tensor, *found: Tensor) -> tuple[Tensor, ...]:
    """Real numbers where NumPy's are: of a real matrix all of whose eigenvalues are."""
    if a.dtype.kind != "c" and not np.any(np.imag(data_of(found[0]))):
        return tuple(np.real(x) for x in found)
    return found
