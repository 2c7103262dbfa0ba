"""Linear systems, factorisations, norms, diagonals and triangles beside PyTorch's.

Factors are defined up to signs (and PyTorch's may be others): U diag(f(S)) Vᵀ and its like are not.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, shapes, torch

from distgrad import ops

L = torch.linalg
side = st.sampled_from([1, 2, 3, 4])
batch = shapes(0, 2, min_side=0, max_side=3)


def transposed(a):
    return np.swapaxes(a, -1, -2)


def theirs_diagonal(a, offset=0, axis1=0, axis2=1):
    return torch.diagonal(a, offset, axis1, axis2)


OPS = {
    "solve": (np.linalg.solve, L.solve),
    "inv": (np.linalg.inv, L.inv),
    "det": (np.linalg.det, L.det),
    "slogdet": (lambda a: tuple(np.linalg.slogdet(a)), lambda a: tuple(L.slogdet(a))),
    "pinv": (np.linalg.pinv, L.pinv),
    "solve_triangular": (
        ops.solve_triangular,
        lambda a, b: L.solve_triangular(a, b, upper=False),
    ),
    "cholesky": (np.linalg.cholesky, L.cholesky),
    "eigh": (np.linalg.eigh, L.eigh),
    "singular_values": (ops.singular_values, L.svdvals),
    "svd": (np.linalg.svd, L.svd),
    "diagonal_sum": (np.trace, torch.trace),
    "qr": (np.linalg.qr, L.qr),
    "diagonal": (np.diagonal, theirs_diagonal),
    "diagonal_fill": (ops.diagonal_fill, torch.diagonal_scatter),
    "tril": (np.tril, torch.tril),
    "triu": (np.triu, torch.triu),
}


# The second gradient of these norms is 0 wherever there is one.
PIECEWISE_LINEAR = (1, -1, np.inf, -np.inf)


@st.composite
def regular(draw, dtype, front=batch, n=None, spread=0.3):
    """Draw square matrices far from singular: 2 on the diagonal, little beside it."""
    n = draw(st.sampled_from([0, 1, 2, 3, 4])) if n is None else n
    a = draw(array((*draw(front), n, n), dtype, -spread, spread))
    return (a + 2 * np.eye(n)).astype(dtype)


@st.composite
def symmetric(draw, dtype, n=None):
    """Draw symmetric positive definite matrices whose eigenvalues lie about 1 apart."""
    a = draw(regular(dtype, n=n, spread=0.2))
    n = a.shape[-1]
    return ((a + transposed(a)) / 2 + np.diag(np.arange(n))).astype(dtype)


@st.composite
def rectangular(draw, dtype, tall=None):
    """Draw matrices whose singular values lie about 1 apart, from 1 on."""
    m, n = draw(side), draw(side)
    if tall is not None:
        m, n = (max(m, n), min(m, n)) if tall else (min(m, n), max(m, n))
    a = draw(array((*draw(batch), m, n), dtype, -0.2, 0.2))
    return (a + np.eye(m, n) * np.arange(1, n + 1)).astype(dtype)


@drawn
@given(data=st.data())
def test_solve_of_vectors_matrices_and_batches(data):
    dtype = data.draw(dtypes)
    a = data.draw(regular(dtype))
    n, k = a.shape[-1], data.draw(st.sampled_from([0, 1, 3]))
    for front in (a.shape[:-2], ()):
        b = data.draw(array((*front, n, k), dtype))
        check(np.linalg.solve, lambda x, y: L.solve(x, _like(y, x)), [a, b])
    v = data.draw(array((n,), dtype))
    check(np.linalg.solve, lambda x, y: L.solve(x, y.expand(x.shape[:-1])), [a, v])


def _like(b, a):
    # PyTorch takes some stacks of right sides for vectors; NumPy 2 only what has one axis.
    return b.expand(*a.shape[:-2], *b.shape[-2:])


@pytest.mark.parametrize("name", ["inv", "det", "slogdet"])
@drawn
@given(data=st.data())
def test_functions_of_square_matrices(name, data):
    check(*OPS[name], [data.draw(regular(data.draw(dtypes)))])


@drawn
@given(data=st.data())
def test_pinv(data):
    check(*OPS["pinv"], [data.draw(rectangular(data.draw(dtypes)))])


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("unit", [True, False])
@drawn
@given(data=st.data())
def test_solve_triangular(lower, unit, data):
    dtype = data.draw(dtypes)
    n = data.draw(st.sampled_from([0, 1, 2, 3, 4, 70]))
    front = st.just(()) if n == 70 else batch
    a = data.draw(regular(dtype, front, n, spread=2.0 / max(n, 4)))
    b = data.draw(array((*a.shape[:-2], n, data.draw(side)), dtype))
    check(
        lambda x, y: ops.solve_triangular(x, y, lower=lower, unit_diagonal=unit),
        lambda x, y: L.solve_triangular(x, y, upper=not lower, unitriangular=unit),
        [a, b],
    )


@drawn
@given(data=st.data())
def test_cholesky(data):
    check(*OPS["cholesky"], [data.draw(symmetric(data.draw(dtypes)))])


@drawn
@given(data=st.data())
def test_eigh_of_one_triangle(data):
    a = data.draw(symmetric(data.draw(dtypes)))
    a = a + np.triu(np.ones_like(a), 1) * np.asarray(0.1, a.dtype)  # the other one is not read
    uplo = data.draw(st.sampled_from(["L", "U"]))

    def ours(x):
        w, V = np.linalg.eigh(x, uplo)
        f = V * np.expand_dims(np.exp(-w), -2)
        return w, np.matmul(f, transposed(V)), V * V, np.linalg.eigvalsh(x, uplo)

    def theirs(x):
        w, V = L.eigh(x, uplo)
        f = V * torch.exp(-w).unsqueeze(-2)
        return w, f @ V.mT, V * V, L.eigvalsh(x, uplo)

    check(ours, theirs, [a])


@drawn
@given(data=st.data())
def test_svd(data):
    a = data.draw(rectangular(data.draw(dtypes)))

    def ours(x):
        U, S, Vt = np.linalg.svd(x, full_matrices=False)
        f = U * np.expand_dims(np.exp(-S), -2)
        return (
            S,
            np.matmul(f, Vt),
            U * U,
            Vt * Vt,
            np.linalg.svd(x, compute_uv=False),
            ops.singular_values(x),
        )

    def theirs(x):
        U, S, Vt = L.svd(x, full_matrices=False)
        f = U * torch.exp(-S).unsqueeze(-2)
        return S, f @ Vt, U * U, Vt * Vt, L.svdvals(x), L.svdvals(x)

    check(ours, theirs, [a])


@pytest.mark.parametrize("part", ["U", "S", "V", "U and V"])
def test_svd_with_gradients_through_some_factors(part):
    rng = np.random.default_rng(2)
    for shape in ((4, 3), (3, 4), (3, 3)):
        a = rng.uniform(-0.2, 0.2, shape) + np.eye(*shape) * np.arange(1, shape[1] + 1)

        def picked(U, S, V, product):
            return {"U": U * U, "S": S, "V": V * V, "U and V": product}[part]

        def ours(x, pick=picked):
            U, S, V = np.linalg.svd(x, full_matrices=False)
            return pick(U, S, V, np.matmul(U, V))

        def theirs(x, pick=picked):
            U, S, V = L.svd(x, full_matrices=False)
            return pick(U, S, V, U @ V)

        check(ours, theirs, [a])


@pytest.mark.parametrize("tall", [True, False])
@drawn
@given(data=st.data())
def test_qr(tall, data):
    a = data.draw(rectangular(data.draw(dtypes), tall))

    # Signs of columns are free, |Q| and |R| are not.
    def ours(x):
        Q, R = np.linalg.qr(x)
        return Q * Q, R * R, np.matmul(Q, R), np.matmul(Q * Q, np.abs(R))

    def theirs(x):
        Q, R = L.qr(x)
        return Q * Q, R * R, Q @ R, (Q * Q) @ R.abs()

    check(ours, theirs, [a])
    check(lambda x: np.linalg.qr(x).Q ** 2, lambda x: L.qr(x).Q ** 2, [a])
    check(lambda x: np.linalg.qr(x, "r") ** 2, lambda x: L.qr(x).R ** 2, [a])


@drawn
@given(data=st.data())
def test_diagonals_of_any_two_axes(data):
    a = data.draw(array(shapes(2, 4), dtypes))
    axis1, axis2 = data.draw(st.permutations(range(-a.ndim, 0)))[:2]
    # PyTorch refuses diagonals that lie outside.
    offset = data.draw(st.integers(-max(a.shape[axis1], 1) + 1, max(a.shape[axis2], 1) - 1))

    def diagonal(x):
        return torch.diagonal(x, offset, axis1, axis2)

    check(lambda x: np.diagonal(x, offset, axis1, axis2), diagonal, [a])
    check(lambda x: np.trace(x, offset, axis1, axis2), lambda x: diagonal(x).sum(-1), [a])
    d = data.draw(array(np.diagonal(a, offset, axis1, axis2).shape, dtypes))
    check(
        lambda x: ops.diagonal_fill(x, shape=a.shape, offset=offset, axis1=axis1, axis2=axis2),
        lambda x: torch.diagonal_scatter(
            torch.zeros(a.shape, dtype=x.dtype), x, offset, axis1, axis2
        ),
        [d],
    )


@drawn
@given(data=st.data())
def test_triangles_and_diag(data):
    dtype = data.draw(dtypes)
    k = data.draw(st.integers(-3, 3))
    a = data.draw(array(shapes(2, 4), dtype))
    for name in ("tril", "triu"):
        ours, theirs = OPS[name]
        check(lambda x, f=ours: f(x, k), lambda x, f=theirs: f(x, k), [a])
    v = data.draw(array(shapes(1, 1), dtype))
    check(lambda x: np.diag(x, k), lambda x: torch.diag(x, k), [v])
    check(lambda x: np.diagflat(x, k), lambda x: torch.diagflat(x, k), [a])
    m = data.draw(array(shapes(2, 2, min_side=1), dtype))
    j = max(min(k, m.shape[1] - 1), 1 - m.shape[0])
    check(lambda x: np.diag(x, j), lambda x: torch.diag(x, j), [m])


@pytest.mark.parametrize("order", ["fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf, None])
@drawn
@given(data=st.data())
def test_norms_of_matrices(order, data):
    a = data.draw(rectangular(data.draw(dtypes)))
    if order not in ("fro", "nuc", None) and a.size == 0:
        return  # the largest of nothing
    second = order not in PIECEWISE_LINEAR
    keep = data.draw(st.booleans())
    check(
        lambda x: np.linalg.norm(x, order, (-2, -1), keep),
        lambda x: L.norm(x, order, (-2, -1), keep),
        [a],
        second=second,
    )
    check(
        lambda x: np.linalg.norm(np.transpose(x), order, axis=(0, 1), keepdims=keep),
        lambda x: L.norm(x.permute(*range(x.ndim)[::-1]), order, (0, 1), keep),
        [a],
        second=second,
    )


@pytest.mark.parametrize("order", [None, 2, 1, 3, 0.5, np.inf, -np.inf])
@drawn
@given(data=st.data())
def test_norms_of_vectors(order, data):
    a = data.draw(array(shapes(1, 3, min_side=1), dtypes, 0.5, 2.0, distinct=True))
    axis = data.draw(st.integers(-a.ndim, a.ndim - 1))
    keep = data.draw(st.booleans())
    check(
        lambda x: np.linalg.norm(x, order, axis, keep),
        lambda x: L.vector_norm(x, 2 if order is None else order, axis, keep),
        [a],
        second=order not in PIECEWISE_LINEAR,
    )
    check(np.linalg.norm, L.vector_norm, [a])


@drawn
@given(data=st.data())
def test_powers_and_chains(data):
    dtype = data.draw(dtypes)
    a = data.draw(regular(dtype))
    for n in (1, 2, 3, 5, -1, -2):
        half = (a / 2).astype(dtype)
        check(
            lambda x, n=n: np.linalg.matrix_power(x, n),
            lambda x, n=n: L.matrix_power(x, n),
            [half],
        )
    sizes = [data.draw(side) for _ in range(5)]
    chain = [data.draw(array(s, dtype, -1, 1)) for s in itertools.pairwise(sizes)]
    chain[0] = chain[0][0] if data.draw(st.booleans()) else chain[0]
    chain[-1] = chain[-1][:, 0] if data.draw(st.booleans()) else chain[-1]
    check(lambda *x: np.linalg.multi_dot(x), lambda *x: L.multi_dot(x), chain)


NUMPY2 = {
    "cross": lambda x: (L.cross(x, x * x),),
    "diagonal": lambda x: (torch.diagonal(x, 1, -2, -1),),
    "matmul": lambda x: (x @ x.mT,),
    "matrix_norm": lambda x: (L.matrix_norm(x), L.matrix_norm(x, "nuc", keepdim=True)),
    "matrix_transpose": lambda x: (x.mT,),
    "outer": lambda x: (torch.outer(x[0, 0], x[1, 1]),),
    "svdvals": lambda x: (L.svdvals(x),),
    "tensordot": lambda x: (torch.tensordot(x[0], x[1].mT, 1),),
    "trace": lambda x: (torch.diagonal(x, 0, -2, -1).sum(-1),),
    "vecdot": lambda x: (L.vecdot(x, x * x), L.vecdot(x, x * x, dim=1)),
    "vector_norm": lambda x: (L.vector_norm(x), L.vector_norm(x, 3, (0, 2), keepdim=True)),
}
CALLS = {
    "cross": lambda f, x: (f(x, x * x),),
    "diagonal": lambda f, x: (f(x, offset=1),),
    "matmul": lambda f, x: (f(x, np.swapaxes(x, -1, -2)),),
    "matrix_norm": lambda f, x: (f(x), f(x, ord="nuc", keepdims=True)),
    "outer": lambda f, x: (f(x[0, 0], x[1, 1]),),
    "tensordot": lambda f, x: (f(x[0], np.swapaxes(x[1], 0, 1), axes=1),),
    "vecdot": lambda f, x: (f(x, x * x), f(x, x * x, axis=1)),
    "vector_norm": lambda f, x: (f(x), f(x, ord=3, axis=(0, 2), keepdims=True)),
}


@pytest.mark.parametrize("name", NUMPY2)
def test_the_names_of_numpy_2(name):
    a = np.random.default_rng(3).uniform(-0.2, 0.2, (2, 2, 3)) + np.eye(2, 3) * [1, 2, 3]
    function = getattr(np.linalg, name)
    call = CALLS.get(name, lambda f, x: (f(x),))
    check(lambda x: call(function, x), NUMPY2[name], [a])


@drawn
@given(data=st.data())
def test_products_of_vectors_and_matrices(data):
    dtype = data.draw(dtypes)
    a = data.draw(array((*data.draw(batch), 2, 3), dtype))
    u, v = data.draw(array((2,), dtype)), data.draw(array((*a.shape[:-2], 3), dtype))
    check(ops.matvec, lambda x, y: (x @ y.unsqueeze(-1)).squeeze(-1), [a, v])
    check(ops.vecmat, lambda x, y: x @ y, [u, a])
    check(ops.vecdot, lambda x, y: (x * y).sum(-1), [v, v[..., ::-1]])
    if hasattr(np, "matvec"):  # NumPy 2.2
        check(np.matvec, lambda x, y: (x @ y.unsqueeze(-1)).squeeze(-1), [a, v])
