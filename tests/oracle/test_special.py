"""Bessel functions, zeta, scaled tails and entropies beside PyTorch's, gradients of both orders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, broadcastable, check, drawn, dtypes, shapes, torch

import distgrad as dg
from distgrad import ops
from distgrad.functions import polynomials, special

S = torch.special
NO_GRADIENT = ("bessel_j0", "bessel_j1")  # PyTorch has none
OPS = {
    "bessel_j0": (ops.bessel_j0, S.bessel_j0),
    "bessel_j1": (ops.bessel_j1, S.bessel_j1),
    "entr": (ops.entr, S.entr),
    "erfcx": (ops.erfcx, S.erfcx),
    "i0": (ops.i0, S.i0),
    "i0e": (ops.i0e, S.i0e),
    "i1": (ops.i1, S.i1),
    "i1e": (ops.i1e, S.i1e),
    "log_ndtr": (ops.log_ndtr, S.log_ndtr),
    "three_term": (special.legendre_polynomial_p, S.legendre_polynomial_p),
    "xlog1py": (ops.xlog1py, S.xlog1py),
    "zeta": (ops.zeta, S.zeta),
}


@pytest.mark.parametrize("name", sorted(set(OPS) - {"three_term", "xlog1py", "zeta", *NO_GRADIENT}))
@drawn
@given(data=st.data())
def test_functions_of_one_input(name, data):
    low, high = {"entr": (0.1, 5), "erfcx": (-2, 20)}.get(name, (-12, 12))
    check(*OPS[name], [data.draw(array(shapes(), dtypes, low, high))], rtol=2e-5)
    check(*OPS[name], [data.draw(array(shapes(), "float64", low, high))], rtol=1e-9)


@pytest.mark.parametrize("name", NO_GRADIENT)
def test_bessel_functions_of_the_first_kind(name):
    x = np.linspace(-30, 30, 121)
    ours, theirs = OPS[name]
    np.testing.assert_allclose(ours(x).data, theirs(torch.tensor(x)).numpy(), atol=3e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", polynomials.__all__)
def test_polynomials(name, dtype):
    x = np.random.default_rng(3).uniform(0.1, 0.9, (5, 7)).astype(dtype)
    degrees = np.arange(-1, 6).astype(dtype)
    ours, theirs = getattr(special, name), getattr(S, name)
    for n in (0, 1, 5):
        wanted = theirs(torch.from_numpy(x), n).numpy()
        np.testing.assert_allclose(ours(dg.Tensor(x), n).array, wanted, 1e-5, 1e-6)
    found = ours(dg.Tensor(x), dg.Tensor(degrees)).array
    wanted = theirs(torch.from_numpy(x), torch.from_numpy(degrees)).numpy()
    np.testing.assert_allclose(found, wanted, 1e-5, 1e-6)


@drawn
@given(data=st.data())
def test_xlog1py(data):
    dtype = data.draw(dtypes)
    a, b = (data.draw(array(s, dtype, -0.9, 2)) for s in data.draw(broadcastable(2)))
    check(*OPS["xlog1py"], [a, b])


@drawn
@given(data=st.data())
def test_zeta(data):
    x, q = (data.draw(array(s, "float64", 1.2, 6)) for s in data.draw(broadcastable(2)))
    check(
        lambda a: special.zeta(x, a), lambda a: S.zeta(torch.tensor(np.array(x)), a), [q], rtol=1e-9
    )


@pytest.mark.parametrize("name", ["entr", "log_ndtr", "erfcx", "i0", "i1", "i0e", "i1e"])
def test_gradients_at_special_places_are_pytorchs(name):
    x = np.array([-40.0, -1.0, -0.0, 0.0, 0.5, 40.0])
    with np.errstate(all="ignore"):
        check(*OPS[name], [x], second=False)


@pytest.mark.parametrize("x", [0.0, 1.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("y", [0.0, -1.0, 2.0, np.nan, np.inf])
def test_xlog1py_at_special_places_is_pytorchs(x, y):
    given_x, given_y = np.array([x]), np.array([y])
    theirs = S.xlog1py(torch.tensor(given_x), torch.tensor(given_y)).numpy()
    with np.errstate(all="ignore"):
        found = special.xlog1py(given_x, given_y).data
        np.testing.assert_allclose(found, theirs, rtol=1e-14)
