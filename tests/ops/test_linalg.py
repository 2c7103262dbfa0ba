"""What linear algebra, einsum and the products refuse and promise, without PyTorch at hand."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd import grad, gradcheck
from distgrad.ops.einsum import plan

RNG = np.random.default_rng(6)
SINGULAR = np.stack([np.eye(3), np.diag([1.0, 2.0, 0.0])])


def leaf(*shape):
    return Tensor(np.random.default_rng(1).normal(size=shape), requires_grad=True)


def transposed(a):
    return np.swapaxes(a, -1, -2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: np.linalg.solve(Tensor(SINGULAR), np.ones((3, 1))),
            r"solve: matrix 1 is singular",
        ),
        (lambda: np.linalg.inv(Tensor(SINGULAR[1])), r"inv: matrix is singular.*np\.eye\(3\)"),
        (lambda: np.linalg.inv(leaf(2, 3)), r"inv expects .*n is 2 in a but 3 in a"),
        (
            lambda: np.linalg.solve(leaf(3, 3), leaf(4, 1)),
            r"solve expects .*n is 3 in a but 4 in b",
        ),
        (lambda: ops.solve_triangular(leaf(3, 3), leaf(4, 1)), r"n is 3 in a but 4 in b"),
        (lambda: ops.solve_triangular(Tensor(np.zeros((3, 3))), leaf(3, 1)), "matrix is singular"),
        (lambda: np.linalg.cholesky(Tensor(-np.eye(2))), r"not positive definite.* is -1;"),
        (lambda: np.linalg.cholesky(leaf(2, 3)), r"cholesky expects .*n is 2 in a but 3 in a"),
        (lambda: np.linalg.svd(leaf(3, 2)), r"pass full_matrices=False"),
        (lambda: np.linalg.svd(leaf(3, 3), hermitian=True), r"use np\.linalg\.eigh"),
        (lambda: np.linalg.qr(leaf(3, 2), "complete"), r"qr\(mode='complete'\).*mode='reduced'"),
        (
            lambda: np.linalg.eigh(Tensor(1j * np.eye(2))),
            r"eigh takes real matrices; got dtype com",
        ),
        (lambda: ops.qr(leaf(2, 3)), r"as many rows as columns or more; got \(2, 3\)"),
        (lambda: np.linalg.norm(leaf(2, 3), 5), r"norms of matrices are 'fro'.*got 5"),
        (lambda: np.linalg.norm(leaf(2, 3, 4), 2), r"one axis of vectors or two of matrices"),
        (lambda: np.linalg.norm(leaf(3), "nuc"), r"'nuc' is a norm of matrices"),
        (lambda: np.linalg.matrix_power(leaf(2, 3), 2), r"takes square matrices; got shape"),
        (lambda: np.linalg.matrix_power(leaf(2, 2), 0.5), r"takes a whole number; got 0\.5"),
        (lambda: np.linalg.multi_dot([leaf(2, 2), leaf(2), leaf(2)]), r"got shapes \[\(2, 2\), \("),
        (lambda: np.cross(leaf(2), leaf(2)), r"vectors of length 3; got lengths 2 and 2"),
        (lambda: np.cross(leaf(3), leaf(3), axis=1), r"axis 1 is out of range for a of shape \(3"),
        (
            lambda: np.tensordot(leaf(2, 3), leaf(2, 3)[:, 1:]),
            r"pairs axis 1 of a with axis 1 of b",
        ),
        (lambda: np.tensordot(leaf(2, 3), leaf(2), axes=2), r"as many axes of a as of b; axes=2"),
        (lambda: np.diag(leaf(2, 2, 2)), r"diag takes a vector or a matrix, not shape \(2, 2, 2\)"),
        (lambda: np.matmul(leaf(3), leaf(2, 4, 5)), r"matmul expects .*k is 3 in a but 4 in b"),
        (lambda: leaf(3) @ 2, r"matmul expects .*got \(3,\), \(\): b has 0 axes, not 1"),
        (lambda: 2.5 @ leaf(3), r"matmul expects .*got \(\), \(3,\): a has 0 axes, not 1"),
        (lambda: np.matmul(leaf(2, 3), leaf(4)), r"'\.\.\. m k, k -> \.\.\. m'.*k is 3 in a but 4"),
    ],
)
def test_what_does_not_fit_is_named_with_its_cure(call, message):
    with pytest.raises(dg.ShapeError, match=message):
        call()


@pytest.mark.parametrize("name", ["eig", "lstsq", "cond"])
def test_what_is_not_there_is_named(name):
    args = (leaf(3, 3), leaf(3)) if name == "lstsq" else (leaf(3, 3),)
    with pytest.raises(dg.GradError, match=rf"np\.linalg\.{name} is not an operation distgrad"):
        getattr(np.linalg, name)(*args)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_det_has_the_cofactors_for_gradient_where_it_is_zero(rank):
    a = np.diag([2.0, 3.0, 0.0][:rank] + [0.0] * (3 - rank)) if rank < 2 else np.diag([2.0, 3, 0])
    x = Tensor(a, requires_grad=True)
    y = np.linalg.det(x)
    assert y.item() == 0
    y.backward()
    np.testing.assert_allclose(
        x.grad.array, np.diag([0.0, 0, 6]) if rank == 2 else np.zeros((3, 3))
    )


def test_det_has_no_second_gradient_where_it_is_zero():
    x = Tensor(SINGULAR, requires_grad=True)
    with pytest.raises(dg.GradError, match="det has gradients of first order only where a matrix"):
        grad(np.sum(np.linalg.det(x)), [x], create_graph=True)


def test_slogdet_refuses_a_gradient_where_the_determinant_is_zero():
    x = Tensor(SINGULAR[1], requires_grad=True)
    y = np.linalg.slogdet(x)
    assert (y.sign.item(), y.logabsdet.item()) == (0, -np.inf)
    with pytest.raises(dg.ShapeError, match="slogdet: matrix is singular"):
        y.logabsdet.backward()


def test_results_have_numpys_names():
    a = Tensor(np.array([[2.0, 1], [1, 3]]))
    assert np.linalg.svd(a).S.shape == (2,)
    assert np.linalg.qr(a).R.shape == (2, 2)
    assert np.linalg.eigh(a).eigenvectors.shape == (2, 2)
    assert np.linalg.slogdet(a).sign.item() == 1


@pytest.mark.parametrize("shape", [(3, 3), (2, 2, 2)])
def test_symmetric_matrices_have_gradients_of_both_orders(shape):
    a = RNG.uniform(-0.2, 0.2, shape) + np.diag([1.0, 2, 3][: shape[-1]])
    gradcheck(lambda x: np.linalg.cholesky(x + transposed(x)), [a], second=True)
    gradcheck(lambda x: tuple(np.linalg.eigh(x + transposed(x))), [a], second=True)
    gradcheck(lambda x: np.linalg.eigvalsh(x + transposed(x), "U"), [a], second=True)


@pytest.mark.parametrize("name", ["cholesky", "eigh"])
def test_gradients_of_functions_of_symmetric_matrices_are_symmetric(name):
    x = Tensor(2 * np.eye(3) + np.diag([0, 1.0, 2]) + 0.1, requires_grad=True)
    result = getattr(np.linalg, name)(x)
    y = result if name == "cholesky" else result.eigenvectors
    y.backward(RNG.normal(size=(3, 3)))
    np.testing.assert_allclose(x.grad.array, x.grad.array.T, atol=1e-15)


def test_coinciding_eigenvalues_and_singular_values_have_gradients_of_their_own():
    for function in (np.linalg.eigvalsh, lambda x: np.linalg.svd(x, compute_uv=False)):
        x = Tensor(2 * np.eye(3), requires_grad=True)
        np.sum(function(x)).backward()
        np.testing.assert_allclose(x.grad.array, np.eye(3), atol=1e-15)


def test_solve_reads_one_axis_as_a_vector_and_more_as_matrices():
    a, b = 3 * np.eye(2) + RNG.normal(size=(4, 2, 2)) / 5, RNG.normal(size=(2, 3))
    np.testing.assert_allclose(
        np.linalg.solve(Tensor(a), b[:, 0]).array, np.linalg.inv(a) @ b[:, 0]
    )
    np.testing.assert_allclose(np.linalg.solve(Tensor(a), b).array, np.linalg.inv(a) @ b)
    gradcheck(np.linalg.solve, [a, b], second=True)


def test_solve_triangular_reads_nothing_of_the_other_triangle():
    n = 75  # more than one block
    a = np.tril(RNG.normal(size=(n, n)) / n) + np.eye(n)
    b = RNG.normal(size=(n, 2))
    for lower in (True, False):
        triangle = a if lower else a.T
        filled = np.where(triangle == 0, np.nan, triangle)
        x = ops.solve_triangular(Tensor(filled), b, lower=lower).array
        np.testing.assert_allclose(triangle @ x, b, atol=1e-12)


@pytest.mark.parametrize(
    "function",
    [
        np.linalg.inv,
        np.linalg.pinv,
        lambda z: np.matmul(z, z),
        lambda z: np.linalg.solve(z, z[..., :1] * 1),
        lambda z: np.matmul(z[0], z),
        lambda z: np.diagonal(np.tril(z)),
    ],
)
def test_complex_matrices_have_gradients_of_both_orders(function):
    re, im = RNG.normal(size=(3, 3)) / 3 + 2 * np.eye(3), RNG.normal(size=(3, 3)) / 3

    def parts(x, y):
        z = function(ops.complex(x, y))
        return np.real(z), np.imag(z)

    gradcheck(parts, [re, im], second=True)


def test_det_of_complex_matrices_has_a_gradient_also_where_it_is_zero():
    regular = RNG.normal(size=(3, 3)) + 1j * RNG.normal(size=(3, 3))
    singular = regular @ np.diag([1, 1, 0]) @ regular.T.conj()
    for z in (regular, singular * 0 + np.diag([1j, 2, 0])):
        gradcheck(
            lambda x, y: np.real(np.linalg.det(ops.complex(x, y))), [z.real.copy(), z.imag.copy()]
        )


def test_matrix_power_zero_is_the_identity():
    np.testing.assert_array_equal(np.linalg.matrix_power(leaf(2, 3, 3), 0).array[1], np.eye(3))


def test_multi_dot_takes_the_cheapest_order():
    product = np.linalg.multi_dot([leaf(50, 2), leaf(2, 50), leaf(50, 1)])
    shapes = [edge[3] for edge in product._node.edges]
    assert shapes == [(50, 2), (2, 1)]


def test_lists_are_taken_for_arrays():
    t = Tensor(np.eye(2))
    for function in (np.matmul, np.dot, np.inner, np.outer, np.kron, np.tensordot, np.linalg.solve):
        rows = [[2.0, 1.0], [1.0, 3.0]]
        np.testing.assert_allclose(function(rows, t).array, function(rows, np.eye(2)))


@pytest.mark.parametrize(
    ("subscripts", "shapes", "message"),
    [
        ("ij,jk->ik", [(2, 3), (4, 2)], r"'ij,jk->ik': 'j' is 3 in operand 0 but 4 in operand 1"),
        ("ii->i", [(1, 3)], r"'i' is 1 in operand 0 but 3 in operand 0"),
        ("i,ii->i", [(3,), (1, 3)], r"'i' is 1 in operand 1 but 3 in operand 1"),
        ("...i,...i", [(2, 3), (4, 3)], r"an axis of the ellipsis is 2 in operand 0 but 4 in op"),
        ("ij,jk", [(2, 3)], r"names 2 operands; got 1"),
        ("ij->ik", [(2, 3)], r"'k' of the result is in no operand"),
        ("ij->ii", [(2, 3)], r"'i' is twice in the result"),
        ("ij", [(2, 3, 4)], r"operand 0 has 3 axes, 'ij' names 2"),
        ("...i->i", [(2, 3)], r"no ellipsis for the 1 axes.*'->\.\.\.i'"),
        ("i!->i", [(2, 3)], r"'i!' is not letters and one ellipsis"),
        ("......", [(2, 3)], r"is not letters and one ellipsis"),
    ],
)
def test_einsum_names_the_letter_and_both_lengths(subscripts, shapes, message):
    with pytest.raises(dg.ShapeError, match=message):
        np.einsum(subscripts, *(leaf(*s) for s in shapes))


def test_einsum_takes_one_string():
    with pytest.raises(dg.ShapeError, match=r"as one string \('ij,jk->ik'\); got Tensor"):
        np.einsum(leaf(2, 2), [0, 1], leaf(2, 2), [1, 2])


def test_einsum_of_arrays_is_an_array_and_numpys():
    for subscripts, shapes in {
        " i j , j k ": [(2, 3), (3, 4)],
        "i...j->...": [(2, 5, 3)],
        "ab,bc,cd,de": [(2, 3), (3, 1), (1, 4), (4, 2)],
        "...,...": [(1, 3), (2, 1, 1)],
        "ij,ij,ij->j": [(2, 3), (1, 3), (2, 1)],
    }.items():
        for dtype in (np.float32, np.int64):
            x = [RNG.integers(-3, 4, size=s).astype(dtype) for s in shapes]
            y = ops.einsum(subscripts, *x)
            assert type(y) is np.ndarray
            assert y.dtype == dtype
            np.testing.assert_array_equal(y, np.einsum(subscripts, *x))


def test_einsum_of_attention_is_one_product_of_matrices():
    (step,) = plan("bhqd,bhkd->bhqk", ((2, 3, 4, 5), (2, 3, 6, 5))).pairs
    assert step.contracts
    assert step.shapes == ((2, 3, 4, 5), (2, 3, 5, 6))


def test_einsum_contracts_first_what_gets_small():
    steps = plan("ij,jk,k->i", ((40, 40), (40, 40), (40,))).pairs
    assert [s.places for s in steps] == [(1, 2), (0, 1)]
