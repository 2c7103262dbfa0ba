"""Complex linear algebra, LU, exponentials, least squares: gradients of both orders, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd import gradcheck
from distgrad.ops import lu_factor, lu_unpack
from distgrad.ops.linalg import H
from distgrad.ops.lu_factors import permutation_of, reflected

RNG = np.random.default_rng(16)


def leaf(*shape):
    return Tensor(np.random.default_rng(1).normal(size=shape), requires_grad=True)


def check_complex(function, *shapes, shift=0.0, second=True):
    """Gradients to the parts of complex matrices, of the parts of all results."""

    def of_parts(*parts):
        made = [ops.complex(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        found = function(*made)
        found = found if isinstance(found, tuple) else (found,)
        return tuple(p for z in found for p in ((np.real(z), np.imag(z))))

    parts = []
    for shape in shapes:
        unit = np.eye(*shape[-2:]) if len(shape) > 1 else 0
        parts += [RNG.normal(size=shape) / 3 + shift * unit, RNG.normal(size=shape) / 3]
    gradcheck(of_parts, parts, second=second)


@pytest.mark.parametrize(
    "function",
    [
        np.linalg.inv,
        np.linalg.det,
        lambda a: tuple(np.linalg.slogdet(a)),
        lambda a: tuple(np.linalg.qr(a)),
        lambda a: np.linalg.cholesky(a @ H(a)),
        lambda a: np.linalg.cholesky(H(a) @ a, upper=True),
        lambda a: np.linalg.eigvalsh(a + H(a)),
        lambda a: np.abs(np.linalg.eigh(a + H(a)).eigenvectors),
        np.linalg.eigvals,
        lambda a: np.abs(np.linalg.eig(a).eigenvectors),
        lambda a: np.linalg.svd(a, compute_uv=False),
        lambda a: np.abs(np.linalg.svd(a).U),
        lambda a: np.abs(np.linalg.svd(a).Vh),
        lambda a: lu_unpack(lu_factor(a)[0]),
        ops.matrix_exp,
        np.linalg.cond,
        lambda a: np.linalg.norm(a, "nuc"),
    ],
    ids=str,
)
def test_functions_of_complex_matrices_have_gradients_of_both_orders(function):
    check_complex(function, (3, 3), shift=2)


@pytest.mark.parametrize("shape", [(4, 2), (2, 4)])
def test_functions_of_rectangular_complex_matrices_have_gradients_of_both_orders(shape):
    check_complex(np.linalg.pinv, shape)
    check_complex(lambda a: tuple(np.linalg.qr(a)), shape)
    check_complex(lambda a: lu_unpack(lu_factor(a)[0]), shape)
    for i in range(3):
        check_complex(lambda a, i=i: np.abs(np.linalg.svd(a, False)[i]), shape)


def test_systems_of_complex_matrices_have_gradients_of_both_orders():
    check_complex(np.linalg.solve, (3, 3), (3, 2), shift=2)
    check_complex(ops.solve_triangular, (3, 3), (3, 2), shift=2)
    check_complex(lambda a, b: np.linalg.lstsq(a, b)[0], (4, 2), (4,))
    check_complex(lambda a, b: reflected(a, b, np.eye(4)), (4, 2), (2,))


def test_eigenvalues_of_real_matrices_have_gradients_and_are_real_where_numpys_are():
    a = np.array([[2.0, 1, 0.3], [0.5, 1, 0.2], [0.1, 0.3, 4]])
    assert np.linalg.eig(Tensor(a)).eigenvalues.dtype == np.float64
    assert np.linalg.eigvals(Tensor(a - a.T)).dtype == np.complex128
    assert ops.eig(Tensor(a.astype(np.float32)))[0].dtype == np.complex64
    gradcheck(np.linalg.eigvals, [a], second=True)
    gradcheck(lambda x: np.abs(ops.eig(x - x.T + a)[0]), [a], second=True)
    np.testing.assert_allclose(np.linalg.eigvals(Tensor(a)).array, np.linalg.eigvals(a))


def test_vectors_that_complete_a_basis_have_values_but_no_gradient():
    x = leaf(3, 2)
    U, S, Vh = np.linalg.svd(x)
    assert U.shape == (3, 3)
    (np.sum(S) + np.sum(U[:, :2]) + np.sum(Vh)).backward()
    with pytest.raises(dg.GradError, match=r"full_matrices=True adds have no gradient.*=False"):
        np.sum(np.linalg.svd(x)[0]).backward()
    Q, R = np.linalg.qr(x, "complete")
    np.testing.assert_allclose((Q @ R).array, x.array)
    with pytest.raises(dg.GradError, match=r"qr\(mode='complete'\) of shape \(3, 2\).*'reduced'"):
        np.sum(R).backward()


def test_svd_of_symmetric_matrices_is_numpys():
    a = RNG.normal(size=(3, 3))
    a = a + a.T
    found = np.linalg.svd(Tensor(a), hermitian=True)
    for mine, numpys in zip(found, np.linalg.svd(a, hermitian=True), strict=True):
        np.testing.assert_allclose(mine.array, numpys, atol=1e-14)
    mine = np.linalg.svd(Tensor(a), compute_uv=False, hermitian=True)
    np.testing.assert_allclose(mine.array, np.linalg.svd(a, compute_uv=False))


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (2, 3, 3), (0, 3), (2, 0, 2)])
def test_lu_with_exchanged_rows_multiplies_to_the_matrix(shape):
    a = RNG.normal(size=shape)
    y, pivots = lu_factor(a)
    L, U = lu_unpack(y)
    order = permutation_of(pivots.array, shape[-2])
    np.testing.assert_allclose(
        (L @ U).array, np.take_along_axis(a, order[..., None], -2), atol=1e-14
    )


@pytest.mark.parametrize("size", [0.01, 3.0, 300.0])
def test_matrix_exp_is_the_exponential_of_the_eigenvalues(size):
    a = size * RNG.normal(size=(2, 3, 3))
    a = (a - np.swapaxes(a, -1, -2)) / 2  # the exponential of larger ones overflows
    w, V = np.linalg.eig(a)
    expected = (V * np.exp(w)[..., None, :]) @ np.linalg.inv(V)
    np.testing.assert_allclose(ops.matrix_exp(a).array, expected.real, atol=1e-11)


@pytest.mark.parametrize("b", [(5,), (5, 2)])
def test_lstsq_has_numpys_results_and_gradients_of_both_orders(b):
    a, b = RNG.normal(size=(5, 3)), RNG.normal(size=b)
    for mine, numpys in zip(np.linalg.lstsq(Tensor(a), b), np.linalg.lstsq(a, b), strict=True):
        np.testing.assert_allclose(np.asarray(mine), numpys, rtol=1e-12)
    gradcheck(lambda x, y: np.linalg.lstsq(x, y)[:2], [a, b], second=True)


@pytest.mark.parametrize("p", [None, 1, -1, 2, -2, np.inf, -np.inf, "fro", "nuc"])
def test_cond_is_numpys_and_has_a_gradient(p):
    a = RNG.normal(size=(2, 3, 3))
    np.testing.assert_allclose(np.linalg.cond(Tensor(a), p).array, np.linalg.cond(a, p))
    gradcheck(lambda x: np.linalg.cond(x, p), [a])


def test_tensorinv_and_tensorsolve_are_numpys_and_have_gradients():
    a, b = RNG.normal(size=(2, 3, 6)), RNG.normal(size=(2, 3))
    np.testing.assert_allclose(np.linalg.tensorinv(Tensor(a)).array, np.linalg.tensorinv(a))
    np.testing.assert_allclose(
        np.linalg.tensorsolve(Tensor(a), b).array, np.linalg.tensorsolve(a, b)
    )
    gradcheck(np.linalg.tensorinv, [a], second=True)
    gradcheck(np.linalg.tensorsolve, [a, b], second=True)
    turned = np.moveaxis(a, 1, 2)
    found = np.linalg.tensorsolve(Tensor(turned), b, axes=(1,))
    np.testing.assert_allclose(found.array, np.linalg.tensorsolve(turned, b, axes=(1,)))


def test_pinv_takes_numpys_settings():
    a = np.diag([3.0, 1.0, 1e-4])
    for settings in ({"rcond": 1e-3}, {"rtol": 1e-3}, {"hermitian": True}):
        found = np.linalg.pinv(Tensor(a), **settings)
        np.testing.assert_allclose(found.array, np.linalg.pinv(a, **settings), atol=1e-12)
    assert np.linalg.matrix_rank(Tensor(a), 1e-3) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: np.linalg.lstsq(leaf(3, 2), leaf(2)), r"lstsq expects 'm n, m k -> n k'; got \(3"),
        (
            lambda: np.linalg.tensorinv(leaf(2, 3)),
            r"first 2 axes of shape \(2, 3\) hold 6 elements",
        ),
        (lambda: np.linalg.tensorinv(leaf(2, 3), 0), r"needs ind ≥ 1"),
        (lambda: np.linalg.tensorsolve(leaf(2, 3, 5), leaf(2, 3)), r"tensorsolve: a of shape"),
        (lambda: np.linalg.pinv(leaf(2, 3), 0.1, rtol=0.1), r"two names of one setting"),
        (lambda: np.linalg.eig(leaf(2, 3)), r"eig expects '\.\.\. n n"),
        (lambda: ops.matrix_exp(leaf(2, 3)), r"matrix_exp expects .*n is 2 in a but 3 in a"),
        (lambda: ops.lu_factor(leaf(2)), r"lu_factor expects"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(dg.ShapeError, match=message):
        call()
