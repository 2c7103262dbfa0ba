"""Transforms, checkpoint and hooks beside torch.func and torch.autograd."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import RTOL, array, assert_close, drawn, dtypes, shapes, torch

import distgrad as dg

# torch.func loads code of PyTorch's own that PyTorch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

FUNCTIONS = {
    "polynomial": (lambda n, x: n.sum(x * x * x - 2 * x)),
    "waves": (lambda n, x: n.sum(n.sin(x) * n.exp(-x * x)) * n.sum(x)),
    "saturating": (lambda n, x: n.sum(n.tanh(x) ** 2) / (1 + n.sum(x * x))),
}
every = pytest.mark.parametrize("name", FUNCTIONS)
inputs = array(shapes(least=1, most=2, min_side=1, max_side=3), dtypes)


def both(name):
    f = FUNCTIONS[name]
    return (lambda x: f(np, x)), (lambda x: f(torch, x))


def double(x):
    return torch.from_numpy(np.array(x, np.float64))


def close(found, expected, x):
    assert found.dtype == x.dtype
    assert_close(found.data, expected.detach().numpy(), rtol=RTOL[x.dtype.name] * 10)


@every
@drawn
@given(x=inputs)
def test_grad_and_hessian(name, x):
    ours, theirs = both(name)
    close(dg.grad(ours)(x), torch.func.grad(theirs)(double(x)), x)
    close(dg.hessian(ours)(x), torch.func.hessian(theirs)(double(x)), x)


@every
@drawn
@given(x=inputs, seed=st.integers(0, 99))
def test_products_with_hessian_and_jacobian(name, x, seed):
    ours, theirs = both(name)
    v = np.random.default_rng(seed).normal(size=x.shape).astype(x.dtype)
    _, (product,) = dg.hvp(ours, (x,), (v,))
    _, expected = torch.autograd.functional.hvp(theirs, double(x), double(v))
    close(product, expected, x)

    def slope(x):
        return dg.grad(ours)(x) * x

    def their_slope(x):
        return torch.func.grad(theirs)(x) * x

    value, forward = dg.jvp(slope, (x,), (v,))
    expected = torch.func.jvp(their_slope, (double(x),), (double(v),))
    close(value, expected[0], x)
    close(forward, expected[1], x)
    value, pull = dg.vjp(slope, x)
    close(pull(v)[0], torch.func.vjp(their_slope, double(x))[1](double(v))[0], x)
    close(dg.jacobian(slope)(x), torch.func.jacrev(their_slope)(double(x)), x)


def summed(add, grad, f):
    return lambda x: add(grad(f)(x))


@every
@drawn
@given(x=array((3,), "float64", low=-1, high=1))
def test_third_and_fourth_derivatives(name, x):
    ours, theirs = both(name)
    for _ in range(3):
        ours, theirs = summed(np.sum, dg.grad, ours), summed(torch.sum, torch.func.grad, theirs)
    close(dg.grad(ours)(x), torch.func.grad(theirs)(double(x)), x)


@drawn
@given(x=array((2, 3), dtypes), w=array((3, 3), "float64"))
def test_a_derivative_inside_a_loss(x, w):
    """A physics-informed loss: second derivatives to the input, then a gradient to the weights."""

    def loss(n, grad, weight, x):
        def u(x):
            return n.sum(n.tanh(x @ weight) ** 2)

        def residual(x):
            return grad(lambda y: n.sum(grad(u)(y) * y))(x)

        return n.sum(residual(x) ** 2)

    w = w.astype(x.dtype)
    found = dg.grad(lambda weight: loss(np, dg.grad, weight, x))(w)
    expected = torch.func.grad(lambda weight: loss(torch, torch.func.grad, weight, double(x)))(
        double(w)
    )
    close(found, expected, x)
