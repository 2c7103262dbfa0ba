"""Eigenvalues, LU, exponentials and least squares beside PyTorch's, gradients of both orders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, shapes, torch

from distgrad import ops
from distgrad.functions import decompositions, linalg

L = torch.linalg
batch = shapes(0, 2, min_side=0, max_side=2)

OPS = {
    "eig": (ops.eig, L.eig),
    "from_lower": (ops.from_lower, lambda a: a.tril() + a.tril(-1).mT),
    "lu_factor": (lambda a: ops.lu_factor(a)[0], lambda a: L.lu_factor(a)[0]),
    "lu_unpack": (ops.lu_unpack, lambda a: torch.lu_unpack(a, None)[1:]),
    "matrix_exp": (ops.matrix_exp, L.matrix_exp),
    "qr_complete": (ops.qr_complete, lambda a: L.qr(a, "complete")),
}


@st.composite
def regular(draw, dtype, n=None):
    """Draw square matrices that need no exchange of rows: 2, 3, 4 on their diagonal."""
    n = draw(st.sampled_from([1, 2, 3])) if n is None else n
    a = draw(array((*draw(batch), n, n), dtype, -0.3, 0.3))
    return (a + np.diag(np.arange(2.0, 2 + n))).astype(dtype)


@pytest.mark.parametrize("name", ["lu_factor", "matrix_exp"])
@drawn
@given(data=st.data())
def test_functions_of_square_matrices(name, data):
    check(*OPS[name], [data.draw(regular(data.draw(dtypes)))], rtol=2e-5)


@drawn
@given(data=st.data())
def test_eigenvalues_and_functions_of_eigenvectors(data):
    a = data.draw(regular("float64"))

    def ours(x):
        w, V = ops.eig(x)
        order = np.argsort(w.data.real, axis=-1)
        sizes = np.take_along_axis(np.abs(V), np.expand_dims(order, -2), -1)
        return np.real(np.take_along_axis(w, order, -1)), sizes

    def theirs(x):
        w, V = L.eig(x)
        order = torch.argsort(w.real.detach(), dim=-1)
        sizes = torch.take_along_dim(V.abs(), order.unsqueeze(-2), -1)
        return torch.take_along_dim(w, order, -1).real, sizes

    check(ours, theirs, [a], rtol=1e-8)


@drawn
@given(data=st.data())
def test_lu_with_exchanged_rows(data):
    m, n = (data.draw(st.sampled_from([1, 2, 3, 4])) for _ in range(2))
    a = data.draw(array((*data.draw(batch), m, n), "float64", distinct=True))
    a = a + np.eye(m, n)[::-1] * 3
    check(lambda x: tuple(linalg.lu(x)), lambda x: tuple(L.lu(x)), [a], rtol=1e-8)


@drawn
@given(data=st.data())
def test_the_symmetric_matrix_of_a_lower_half(data):
    # Twice in a row: the gradient to a symmetric matrix is symmetric.
    a = data.draw(regular(data.draw(dtypes)))
    a = (a + np.swapaxes(a, -1, -2)) / 2
    check(
        lambda x: np.linalg.eigvalsh(ops.from_lower(x)),
        L.eigvalsh,
        [a],
        second=False,
    )


def test_a_completed_qr():
    a = np.random.default_rng(4).normal(size=(2, 4, 3))
    for mine, theirs in zip(ops.qr_complete(a), L.qr(torch.tensor(a), "complete"), strict=True):
        np.testing.assert_allclose(mine.data, theirs.numpy(), atol=1e-14)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5, 3), (3, 5)])
def test_low_rank_factors_multiply_to_the_matrix_of_low_rank(shape):
    rng = np.random.default_rng(4)
    a = rng.normal(size=(*shape[:-1], 2)) @ rng.normal(size=(2, shape[-1]))

    def multiplied(factors):
        return (factors[0] * factors[1][..., None, :]) @ factors[2].mT, factors[1]

    for name, settings in (("svd_lowrank", {"q": 2}), ("pca_lowrank", {"q": 2})):
        ours, theirs = getattr(decompositions, name), getattr(torch, name)
        check(
            lambda x, f=ours, s=settings: multiplied(f(x, **s)),
            lambda x, f=theirs, s=settings: multiplied(f(x, **s)),
            [a],
            second=False,
            rtol=1e-8,
        )
