"""torch.linalg and PyTorch's functions of matrices: results by name, clear errors, no PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import gradcheck
from distgrad.errors import DistgradError
from distgrad.functions import decompositions, linalg, matrices, places

RNG = np.random.default_rng(3)
SINGULAR = np.stack([np.eye(3), np.diag([1.0, 2.0, 0.0])])


def leaf(*shape):
    return Tensor(np.random.default_rng(1).normal(size=shape), requires_grad=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linalg.inv(leaf(3)), r"inv takes matrices \(…, m, n\); got shape \(3,\)"),
        (
            lambda: linalg.det(leaf(2, 3)),
            r"det takes square matrices \(…, n, n\); got shape \(2, 3",
        ),
        (lambda: linalg.inv(Tensor(SINGULAR)), r"inv: matrix 1 is singular"),
        (lambda: linalg.solve(leaf(2, 2), leaf(2), left=False), r"left=False takes matrices B"),
        (lambda: linalg.solve(leaf(2, 3, 3), leaf(2, 4, 1)), r"n is 3 in a but 4 in b"),
        (lambda: linalg.cholesky(Tensor(-np.eye(2))), r"smallest eigenvalue is -1"),
        (lambda: linalg.lu_factor(Tensor(SINGULAR)), r"a pivot is zero, the matrix is singular"),
        (lambda: linalg.lu(leaf(2, 2), pivot=False), r"pivot=False is not stable, and on CPUs"),
        (lambda: linalg.lu_solve(leaf(2, 2), [1, 2], leaf(3, 1)), r"B of shape \(3, 1\) does not"),
        (lambda: linalg.qr(leaf(2, 2), "raw"), r"the modes are 'reduced', 'complete' and 'r'"),
        (lambda: linalg.svd(leaf(2, 2), driver="gesvd"), r"chooses among GPU libraries; leave it"),
        (lambda: linalg.lstsq(leaf(3, 2), leaf(2, 1)), r"lstsq expects '… m n, … m k'; got \(3, 2"),
        (lambda: linalg.lstsq(leaf(3, 2), leaf(3), driver="qr"), r"the drivers are gels, gelsy"),
        (lambda: linalg.householder_product(leaf(2, 3), leaf(2)), r"A \(…, m, n\), m ≥ n"),
        (lambda: linalg.cross(leaf(2), leaf(2)), r"vectors of length 3; got \(2,\) and \(2,\)"),
        (lambda: linalg.vander(leaf(3), N=0), r"N ≥ 1 powers; got 0"),
        (lambda: matrices.mm(leaf(2, 3), leaf(3)), r"mm takes tensors of 2 and 2 axes; got shapes"),
        (lambda: matrices.bmm(leaf(2, 3, 1), leaf(3, 1, 2)), r"stacks of equal length"),
        (lambda: matrices.addmm(leaf(5), leaf(2, 3), leaf(3, 4)), r"addmm: input of shape \(5,\)"),
        (lambda: matrices.diag_embed(leaf(3), dim1=0, dim2=0), r"needs two axes; got 0 twice"),
        (lambda: matrices.block_diag(leaf(1, 2, 3)), r"takes up to 2 axes; got \[\(1, 2, 3\)\]"),
        (lambda: matrices.tensordot(leaf(2), leaf(2), -1), r"dims is how many axes, ≥ 0; got -1"),
        (lambda: decompositions.cdist(leaf(2, 3), leaf(2, 4)), r"rows of one length"),
        (lambda: decompositions.cdist(leaf(2, 3), leaf(2, 3), p=-1), r"p is a number ≥ 0 or inf"),
        (lambda: decompositions.cdist(leaf(2, 3), leaf(2, 3), 2.0, "mm"), r"is none of PyTorch's"),
        (lambda: decompositions.pdist(leaf(3)), r"a matrix of rows; got shape \(3,\)"),
        (lambda: decompositions.renorm(leaf(3), 2, 0, 1), r"2 axes or more, p > 0, maxnorm ≥ 0"),
        (lambda: decompositions.svd_lowrank(leaf(3, 2), 3), r"q=3 is not in 0\.\.2"),
        (lambda: decompositions.ormqr(leaf(3, 2), leaf(2), leaf(2, 1)), r"other of shape \(2, 1\)"),
    ],
)
def test_what_does_not_fit_is_named_with_its_cure(call, message):
    with pytest.raises(dg.ShapeError, match=message):
        call()


@pytest.mark.parametrize("name", ["ldl_factor", "ldl_factor_ex", "ldl_solve"])
def test_ldl_is_not_here_and_says_what_to_use(name):
    with pytest.raises(AttributeError, match=r"linalg\.cholesky for positive definite matrices"):
        getattr(dg.linalg, name)


def test_what_has_no_gradient_refuses_one():
    with pytest.raises(dg.GradError, match="geqrf has no gradient to input"):
        decompositions.geqrf(leaf(3, 2))
    with pytest.raises(dg.DistgradError, match="addcdiv of whole numbers"):
        matrices.addcdiv(Tensor([1]), Tensor([1]), Tensor([1]))
    with pytest.raises(dg.DistgradError, match="there are no GPUs here; leave it out"):
        places.tril_indices(2, 2, device="cuda")


def test_results_have_pytorchs_names():
    A = leaf(3, 3)
    fields = {
        "eig": ("eigenvalues", "eigenvectors"),
        "eigh": ("eigenvalues", "eigenvectors"),
        "svd": ("U", "S", "Vh"),
        "qr": ("Q", "R"),
        "lu": ("P", "L", "U"),
        "lu_factor": ("LU", "pivots"),
        "lu_factor_ex": ("LU", "pivots", "info"),
        "slogdet": ("sign", "logabsdet"),
        "inv_ex": ("inverse", "info"),
        "cholesky_ex": ("L", "info"),
    }
    for name, expected in fields.items():
        assert getattr(linalg, name)(A)._fields == expected
    solved = linalg.lstsq(A, A)
    assert solved._fields == ("solution", "residuals", "rank", "singular_values")
    assert linalg.solve_ex(A, A)._fields == ("result", "info")


def test_functions_with_info_do_not_raise_and_mark_what_is_not_there():
    found = linalg.inv_ex(Tensor(SINGULAR, requires_grad=True))
    assert found.info.array.tolist() == [0, 3]
    assert np.isnan(found.inverse.array[1]).all()
    np.testing.assert_allclose(found.inverse.array[0], np.eye(3))
    definite = np.stack([np.eye(3), np.diag([1.0, -1.0, 1.0])])
    found = linalg.cholesky_ex(Tensor(definite))
    assert found.info.array.tolist() == [0, 2]
    assert np.isnan(found.L.array[1]).all()
    assert linalg.solve_ex(Tensor(SINGULAR), np.ones((2, 3, 1))).info.array.tolist() == [0, 3]
    with pytest.raises(linalg.LinAlgError, match="singular"):
        linalg.inv_ex(Tensor(SINGULAR), check_errors=True)


def test_cholesky_ex_finds_the_minor_of_each_matrix():
    a = np.zeros((2, 3, 4, 4)) + np.eye(4)
    a[0, 1, 2, 2], a[1, 0, 0, 0], a[1, 2, 3, 3] = -5, 0, np.nan
    found = linalg.cholesky_ex(Tensor(a))
    assert found.info.array.tolist() == [[0, 3, 0], [1, 0, 4]]
    assert np.isnan(found.L.array).any(axis=(2, 3)).tolist() == [[0, 1, 0], [1, 0, 1]]
    assert linalg.cholesky_ex(Tensor(a[0, 1])).info.array.tolist() == 3
    assert linalg.cholesky_ex(Tensor(np.stack([-a[0, 0]] * 2))).info.array.tolist() == [1, 1]
    assert linalg.cholesky_ex(Tensor(a[:, :0])).info.shape == (2, 0)


def test_einsum_takes_lists_of_axes_and_sums_over_an_ellipsis_that_is_left_out():
    a, b = RNG.normal(size=(2, 3)), RNG.normal(size=(3, 4))
    found = matrices.einsum(Tensor(a), [0, 1], Tensor(b), [1, 2], [2, 0])
    np.testing.assert_allclose(found.array, (a @ b).T)
    np.testing.assert_allclose(matrices.einsum("...i->i", Tensor(a)).array, a.sum(0))


def test_a_beta_of_zero_leaves_out_what_input_holds():
    nothing = Tensor(np.full((2, 2), np.nan))
    found = matrices.addmm(nothing, np.eye(2), np.eye(2), beta=0)
    np.testing.assert_array_equal(found.array, np.eye(2))


def test_lerp_is_exact_at_both_ends():
    x, y = Tensor(np.array([1e20, 1.0])), Tensor(np.array([1.0, 1e20]))
    np.testing.assert_array_equal(matrices.lerp(x, y, 0.0).array, x.array)
    np.testing.assert_array_equal(matrices.lerp(x, y, 1.0).array, y.array)
    np.testing.assert_array_equal(matrices.lerp(x, y, Tensor([0.0, 1.0])).array, [1e20, 1e20])


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0, np.inf])
def test_distances_of_equal_rows_have_gradient_zero(p):
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    np.sum(decompositions.cdist(x, x.detach(), p)).backward()
    assert (x.grad.array == 0).all()


def test_distances_by_a_product_do_not_see_where_the_rows_are():
    x = np.random.default_rng(0).normal(size=(33, 37)).astype(np.float32)
    far, y = x + np.float32(1024), x[::-1].copy()
    exact = decompositions.cdist(far, y + 1024, compute_mode="donot_use_mm_for_euclid_dist")
    found = decompositions.cdist(far, y + 1024)
    assert not np.array_equal(found.array, exact.array)  # it is a product
    np.testing.assert_allclose(found.array, exact.array, atol=0.02)


def test_distances_refuse_complex_numbers():
    for function in (decompositions.pdist, lambda x: decompositions.cdist(x, x)):
        with pytest.raises(DistgradError, match=r"dist takes real numbers; got complex"):
            function(np.ones((2, 3), complex))


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("adjoint", [True, False])
def test_lu_solve_has_gradients_of_both_orders(left, adjoint):
    a, b = RNG.normal(size=(2, 3, 3)), RNG.normal(size=(3, 3))

    def solved(A, B):
        LU, pivots = linalg.lu_factor(A)
        return linalg.lu_solve(LU, pivots, B, left=left, adjoint=adjoint)

    gradcheck(solved, [a, b], second=True)


@pytest.mark.parametrize("kind", ["f4", "f8", "i8", "c8"])
@pytest.mark.parametrize("shape", [(0,), (3,), (63,), (64,), (2, 50)])
@pytest.mark.parametrize("count", [1, 2, 4, 5, 31, 32, 33, 70])
def test_powers_are_products_of_those_of_powers_of_two(count, shape, kind):
    x = RNG.uniform(-1.2, 1.2, shape).astype(kind)
    if x.size and kind == "f4":
        x.flat[:3] = np.nan, np.inf, -0.0
    expected = np.ones((*shape, count), kind)
    with np.errstate(invalid="ignore"):
        power, half = x, 1  # x to the power of half
        for i in range(1, count):
            power, half = (power * power, i) if i == 2 * half else (power, half)
            expected[..., i] = expected[..., i - half] * power
        for row in (x, np.repeat(x, 2, axis=-1)[..., ::2]):
            found = linalg.vander(Tensor(row), N=count).array
            np.testing.assert_array_equal(found, expected)
    assert found.dtype == x.dtype
    assert found.flags.c_contiguous


def test_many_powers_have_gradients_of_both_orders():
    gradcheck(lambda v: linalg.vander(v, N=5), [RNG.normal(size=70)], second=True)
