"""Special functions: values known in closed form, gradients, what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd import grad, gradcheck
from distgrad.functions import polynomials, special

ODD_AND_EVEN = ["i0", "i1", "i0e", "i1e", "bessel_j0", "bessel_j1"]


@pytest.mark.parametrize("name", ODD_AND_EVEN)
def test_bessel_functions_have_gradients_of_both_orders_on_both_sides_of_eight(name):
    x = np.array([-15.0, -8.5, -7.5, -0.3, 0.2, 7.9, 8.1, 20.0])
    x = np.clip(x, -4, 4) if name in ("i0", "i1") else x
    gradcheck(getattr(ops, name), [x], second=True)


@pytest.mark.parametrize("name", ODD_AND_EVEN)
def test_bessel_functions_are_smooth_at_zero(name):
    x = Tensor(np.zeros(1), requires_grad=True)
    (first,) = grad(np.sum(getattr(ops, name)(x)), [x], create_graph=True)
    assert first.array[0] == pytest.approx(0.5 if "1" in name else 0.0, abs=1e-15)
    assert np.isfinite(grad(np.sum(first), [x])[0].array).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["bessel_j0", "bessel_j1"])
def test_bessel_functions_far_out_are_those_of_the_reference(name, dtype):
    x = np.array([-0.0, 0.0, 7.9999, 8, 8.0001, 1e4, 2e8, np.inf, -np.inf, np.nan, -3], dtype)
    for far in ([], [3e8], [-1e30]):
        given = np.append(x, np.array(far, dtype))
        y = getattr(ops, name)(given).array
        with dg.reference_kernels():
            wanted = getattr(ops, name)(given).array
        np.testing.assert_allclose(y, wanted, rtol=1e-6 if dtype is np.float32 else 1e-12)
        np.testing.assert_array_equal(np.signbit(y[:2]), np.signbit(wanted[:2]))
        assert (y[7:9] == 0).all()


def test_bessel_functions_solve_their_differential_equation():
    x = np.linspace(0.5, 40, 80)
    t = Tensor(x, requires_grad=True)
    for order, name in enumerate(("bessel_j0", "bessel_j1")):
        y = getattr(ops, name)(t)
        (first,) = grad(np.sum(y), [t], create_graph=True)
        (second,) = grad(np.sum(first), [t])
        left = x**2 * second.array + x * first.array + (x**2 - order**2) * y.array
        np.testing.assert_allclose(left, 0, atol=1e-11)


@pytest.mark.parametrize(
    ("x", "q", "value"),
    [
        (2.0, 1.0, math.pi**2 / 6),
        (4.0, 1.0, math.pi**4 / 90),
        (2.0, 0.5, math.pi**2 / 2),
        (2.0, 2.0, math.pi**2 / 6 - 1),
        (2.0, -0.5, math.pi**2 / 2 + 4),
        (1.0, 2.0, np.inf),
        (2.0, 0.0, np.inf),
        (2.0, -3.0, np.inf),
    ],
)
def test_zeta_of_known_values(x, q, value):
    np.testing.assert_allclose(special.zeta(x, Tensor(np.array([q]))).array, [value], rtol=1e-14)


def test_the_exponent_of_zeta_has_no_gradient():
    x = Tensor(np.array([2.0]), requires_grad=True)
    with pytest.raises(dg.GradError, match="zeta has no gradient to input"):
        special.zeta(x, 1.5)
    with pytest.raises(dg.ShapeError, match="zeta: q=-1e\\+06 is too far below 0"):
        special.zeta(2.0, Tensor(np.array([-1e6])))


def test_log_ndtr_and_its_gradient_are_exact_far_out():
    x = Tensor(np.array([-1e3, -40.0, 10.0, 40.0]), requires_grad=True)
    y = special.log_ndtr(x)
    (first,) = grad(np.sum(y), [x], create_graph=True)
    (second,) = grad(np.sum(first), [x])
    expected = [-0.5e6 - math.log(1e3 * math.sqrt(2 * math.pi)), -804.608442013754]
    np.testing.assert_allclose(y.array[:2], expected, rtol=1e-6)
    np.testing.assert_allclose(y.array[2], -7.619853024160527e-24, rtol=1e-12)
    np.testing.assert_allclose(first.array[:2], [1e3, 40.0], rtol=1e-3)
    assert first.array[3] == 0
    np.testing.assert_allclose(second.array[[0, 3]], [-1, 0], atol=1e-4)


def test_erfcx_is_exact_where_erfc_vanishes():
    x = Tensor(np.array([100.0, 1e8]))
    np.testing.assert_allclose(special.erfcx(x).array * x.array * math.sqrt(math.pi), 1, rtol=1e-4)
    assert special.erfcx(Tensor(np.array([-40.0]))).item() == np.inf


def test_functions_of_complex_numbers_have_gradients():
    def parts(function):
        def both(a, b):
            z = function(ops.complex(a, b))
            return np.real(z), np.imag(z)

        return both

    a, b = np.random.default_rng(1).normal(size=(2, 2, 3))
    gradcheck(parts(lambda z: special.logsumexp(z, 1)), [a, b], second=True)
    gradcheck(parts(special.sinc), [a, b], second=True)


@pytest.mark.parametrize("name", polynomials.__all__)
def test_polynomials_have_gradients_of_both_orders(name):
    x = np.random.default_rng(1).uniform(0.1, 0.9, size=(2, 3))
    gradcheck(lambda a: getattr(special, name)(a, np.array([0, 1, 4])), [x], second=True)
    with pytest.raises(TypeError, match="takes a Tensor x or n; got two numbers"):
        getattr(special, name)(2, 3)


def test_polynomials_of_one_degree_are_numpys():
    x = np.linspace(-1, 1, 9)
    module = np.polynomial
    for name, kind in (
        ("chebyshev_polynomial_t", module.Chebyshev),
        ("hermite_polynomial_h", module.Hermite),
        ("hermite_polynomial_he", module.HermiteE),
        ("laguerre_polynomial_l", module.Laguerre),
        ("legendre_polynomial_p", module.Legendre),
    ):
        found = getattr(special, name)(Tensor(x), 5)
        np.testing.assert_allclose(found.array, kind.basis(5)(x), atol=1e-13)
    assert (special.legendre_polynomial_p(Tensor(x), -1).array == 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("name", polynomials.__all__)
def test_polynomials_of_one_degree_are_those_of_many_to_the_bit(name, dtype):
    x = np.random.default_rng(2).uniform(-1, 1, (3, 6007)).astype(dtype)  # more than a block
    x[0, :3] = np.nan, np.inf, 0
    function = getattr(special, name)
    for given in (x, x.T, x[:, ::2], x[0, 2], x[:0]):
        for n in range(-1, 5):
            with np.errstate(invalid="ignore"):
                one = function(Tensor(given), n).array
                many = function(Tensor(given), np.full(given.shape, n)).array
            assert (one.dtype, one.shape) == (dtype, given.shape)
            assert one.tobytes() == many.tobytes()


def test_polynomials_of_several_degrees_broadcast_and_keep_the_memory_layout():
    x = np.linspace(-1, 1, 12).reshape(3, 4)
    found = special.legendre_polynomial_p(Tensor(x.T), np.array([3, -1, 0]))
    wanted = np.stack([(5 * x[0] ** 3 - 3 * x[0]) / 2, 0 * x[1], 1 + 0 * x[2]], axis=1)
    np.testing.assert_allclose(found.array, wanted, atol=1e-15)
    assert special.legendre_polynomial_p(Tensor(x.T), 3).array.strides == x.T.strides


def test_whole_numbers_are_taken_in_single_precision():
    for name in ("i0", "entr", "erfcx", "log_ndtr", "expit", "sinc", "exp2"):
        assert getattr(special, name)(Tensor(np.arange(3))).dtype == np.float32, name
