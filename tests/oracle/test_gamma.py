"""The gamma family and the inverse error functions against PyTorch."""

from __future__ import annotations

import mpmath  # PyTorch brings it along
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, broadcastable, check, drawn, dtypes, shapes, torch

from distgrad import Tensor, ops
from distgrad.autograd import grad
from distgrad.ops.incomplete_numbers import beta_slope, gamma_slope

# name: (ours, theirs, low, high)
RTOL = dict.fromkeys(("lgamma", "digamma", "mvlgamma"), 1e-5)
UNARY = {
    "lgamma": (ops.lgamma, torch.lgamma, 0.3, 6),
    "digamma": (ops.digamma, torch.digamma, 0.3, 6),
    "polygamma": (lambda x: ops.polygamma(x, n=2), lambda x: torch.polygamma(2, x), 0.5, 6),
    "erfinv": (ops.erfinv, torch.erfinv, -0.95, 0.95),
    "ndtri": (ops.ndtri, torch.special.ndtri, 0.02, 0.98),
    "mvlgamma": (lambda x: ops.mvlgamma(x, 3), lambda x: torch.mvlgamma(x, 3), 1.5, 6),
}
OPS = {*UNARY, "igamma", "igammac"} - {"mvlgamma"}


@pytest.mark.parametrize("name", UNARY)
@drawn
@given(data=st.data())
def test_functions_of_one_array(name, data):
    ours, theirs, low, high = UNARY[name]
    # PyTorch's own trigamma is right to 4e-10 (tests below compare with 40 digits).
    check(ours, theirs, [data.draw(array(shapes(), dtypes, low, high))], rtol=RTOL.get(name))


@pytest.mark.parametrize("name", ["igamma", "igammac"])
@drawn
@given(data=st.data())
def test_incomplete_gamma(name, data):
    one, two = data.draw(broadcastable(2))
    dtype = data.draw(dtypes)
    a, x = data.draw(array(one, dtype, 0.2, 4)), data.draw(array(two, dtype, 0.1, 6))
    theirs = torch.special.gammainc if name == "igamma" else torch.special.gammaincc
    # As settings: PyTorch has no gradient to a.
    check(
        lambda x: getattr(ops, name)(a, x),
        lambda x: theirs(torch.tensor(a.copy(order="C")), x),
        [x],
    )


def worst(found, exact, inputs, least=0.0):
    """The largest relative error, counted from ``least`` on, against 40 digits."""
    with mpmath.workdps(40):
        wanted = np.array([float(exact(*map(mpmath.mpf, v))) for v in zip(*inputs, strict=True)])
    error = np.abs(found - wanted) / np.maximum(np.abs(wanted), max(least, 1e-290))
    return np.max(np.where(found == wanted, 0, error))


def log_abs_gamma(x):
    return mpmath.re(mpmath.loggamma(x)) if x > 0 else mpmath.log(abs(mpmath.gamma(x)))


EXACT = {
    "lgamma": (ops.lgamma, log_abs_gamma),
    "digamma": (ops.digamma, mpmath.digamma),
    "trigamma": (lambda x: ops.polygamma(x, n=1), lambda x: mpmath.polygamma(1, x)),
    "polygamma 4": (lambda x: ops.polygamma(x, n=4), lambda x: mpmath.polygamma(4, x)),
}


@pytest.mark.parametrize("name", EXACT)
def test_all_digits_over_the_whole_real_line(name):
    ours, exact = EXACT[name]
    rng = np.random.default_rng(3)
    x = np.concatenate([10.0 ** rng.uniform(-8, 12, 200), rng.uniform(0, 20, 200)])
    assert worst(ours(x).data, exact, [x]) < 1e-13
    negative = np.concatenate([-(10.0 ** rng.uniform(-8, 2, 100)), rng.uniform(-20, 0, 100)])
    assert worst(ours(negative).data, exact, [negative], least=1) < 2e-13


def test_all_digits_of_the_incomplete_gamma_functions_over_orders_of_magnitude():
    rng = np.random.default_rng(4)
    a = 10.0 ** rng.uniform(-3, 4, 200)
    x = np.abs(a * (1 + rng.normal(size=200) / np.sqrt(a + 1)))
    lower = lambda a, x: mpmath.gammainc(a, 0, x, regularized=True)  # noqa: E731
    upper = lambda a, x: mpmath.gammainc(a, x, regularized=True)  # noqa: E731
    assert worst(ops.igamma(a, x).data, lower, [a, x]) < 1e-12
    assert worst(ops.igammac(a, x).data, upper, [a, x]) < 1e-12


@pytest.mark.parametrize("name", ["lgamma", "digamma", "trigamma", "igamma", "igammac"])
def test_poles_and_ends_are_pytorchs(name):
    x = np.array([0.0, -0.0, np.inf, np.nan, 1e308, 5e-324])
    if name.startswith("ig"):
        theirs = torch.special.gammainc if name == "igamma" else torch.special.gammaincc
        a, x = (v.ravel() for v in np.meshgrid([0.0, 1.0, np.inf, -1.0, 3.0], x))
        a, x = a[~np.isnan(x)], x[~np.isnan(x)]  # PyTorch loses a NaN here and there
        found, wanted = getattr(ops, name)(a, x), theirs(*map(torch.from_numpy, (a, x)))
    elif name == "trigamma":
        found, wanted = ops.polygamma(x, n=1), torch.polygamma(1, torch.from_numpy(x))
    else:
        x = np.append(x, [-1.0, -2.0, -np.inf])
        found, wanted = getattr(ops, name)(x), getattr(torch, name)(torch.from_numpy(x))
    np.testing.assert_allclose(found.data, wanted.numpy(), rtol=1e-9, atol=1e-300)


def test_the_slope_of_gamma_samples_is_pytorchs_to_its_precision():
    rng = np.random.default_rng(5)
    a = 10.0 ** rng.uniform(-1, 2, 300)
    x = rng.standard_gamma(a)
    wanted = torch._standard_gamma_grad(torch.from_numpy(a), torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(gamma_slope(a, x), wanted, rtol=5e-3)  # PyTorch's is approximate


def test_the_slope_of_dirichlet_samples_is_pytorchs_to_its_precision():
    rng = np.random.default_rng(6)
    a, b = 10.0 ** rng.uniform(-0.5, 2, (2, 300))
    x = np.clip(rng.beta(a, b), 1e-6, 1 - 1e-6)
    wanted = torch._dirichlet_grad(*map(torch.from_numpy, (x, a, a + b))).numpy()
    np.testing.assert_allclose(beta_slope(a, b, x, 1 - x) / (1 - x), wanted, rtol=2e-2)


@pytest.mark.parametrize("name", ["lgamma", "digamma"])
def test_third_gradients(name):
    x = np.array([0.7, 2.5, 9.0])
    mine, other = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, z = getattr(ops, name)(mine), getattr(torch, name)(other)
    for _ in range(3):
        [y] = grad(np.sum(y), [mine], create_graph=True)
        [z] = torch.autograd.grad(z.sum(), [other], create_graph=True)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-9)
