"""Elementwise ops against PyTorch: values, gradients, second gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, broadcastable, check, drawn, dtypes, shapes, torch
from torch_names import BINARY, UNARY

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad

TERNARY = {"where", "clamp", "lerp"}
OPS = {*UNARY, *BINARY, *TERNARY, "nan_to_num"}


@pytest.mark.parametrize("name", UNARY)
@drawn
@given(data=st.data())
def test_functions_of_one_array(name, data):
    ours, theirs, low, high = UNARY[name]
    check(ours, theirs, [data.draw(array(shapes(), dtypes, low, high))])


@pytest.mark.parametrize("name", BINARY)
@drawn
@given(data=st.data())
def test_functions_of_two_arrays(name, data):
    ours, theirs, *ranges = BINARY[name]
    one, two = data.draw(broadcastable(2))
    dtype = data.draw(dtypes)
    a = data.draw(array(one, dtype, *ranges[:2]))
    b = data.draw(array(two, dtype, *ranges[2:]))
    check(ours, theirs, [a, b])


# Whole numbers meet every kink and tie.
KINKS = {
    "absolute": (np.absolute, torch.abs),
    "maximum": (np.maximum, torch.maximum),
    "minimum": (np.minimum, torch.minimum),
    "fmax": (np.fmax, torch.fmax),
    "fmin": (np.fmin, torch.fmin),
    "copysign": (np.copysign, torch.copysign),
    "clip": (lambda a, b: np.clip(a, -1, b), lambda a, b: torch.clamp(a, torch.tensor(-1.0), b)),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks_and_ties(name):
    ours, theirs = KINKS[name]
    a, b = (x.ravel() for x in np.meshgrid(np.arange(-3.0, 4), np.arange(-3.0, 4)))
    # At a kink there is no second gradient to agree on.
    check(ours, theirs, [a] if name == "absolute" else [a, b], second=False)


@drawn
@given(data=st.data())
def test_lerp(data):
    shapes_ = data.draw(broadcastable(3))
    dtype = data.draw(dtypes)
    inputs = [data.draw(array(s, dtype, -2, 2)) for s in shapes_]
    check(dg.lerp, torch.lerp, inputs)
    for weight in (0.3, -2.0, 0.5):
        check(
            lambda a, b, w=weight: dg.lerp(a, b, w),
            lambda a, b, w=weight: torch.lerp(a, b, w),
            inputs[:2],
        )


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logit_at_the_ends_and_outside(fused, dtype):
    x = np.array([-np.inf, -1, -1e-40, 0, 1, 1.5, np.inf, np.nan, 0.25], dtype)
    theirs = torch.from_numpy(x).requires_grad_()
    torch.logit(theirs).sum().backward()
    with dg.enable_grad() if fused else dg.reference_kernels(), np.errstate(all="ignore"):
        ours = Tensor(x, requires_grad=True)
        y = dg.logit(ours)
        y.sum().backward()
    np.testing.assert_allclose(y.array, torch.logit(theirs).detach().numpy(), 1e-6)
    np.testing.assert_allclose(ours.grad.array, theirs.grad.numpy(), 1e-6)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
@pytest.mark.parametrize("eps", [0.0, 0.1, 0.25])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logit_of_limited_numbers(fused, eps, dtype):
    x = np.array([-np.inf, -1, 0, 0.1, 0.2, 0.25, 0.5, 0.75, 0.9, 1, 1.5, np.inf, np.nan], dtype)
    theirs = torch.from_numpy(x).requires_grad_()
    torch.logit(theirs, eps).sum().backward()
    with dg.enable_grad() if fused else dg.reference_kernels(), np.errstate(all="ignore"):
        ours = Tensor(x, requires_grad=True)
        y = dg.logit(ours, eps)
        y.sum().backward()
    np.testing.assert_allclose(y.array, torch.logit(theirs, eps).detach().numpy(), 1e-6, 1e-7)
    np.testing.assert_allclose(ours.grad.array, theirs.grad.numpy(), 1e-6)


@drawn
@given(data=st.data())
def test_where(data):
    one, two, three = data.draw(broadcastable(3))
    condition = data.draw(array(one)) > 0
    a, b = data.draw(array(two)), data.draw(array(three))
    check(np.where, torch.where, [np.array(condition), a, b])


@pytest.mark.parametrize("bounds", ["min", "max", "both"])
@drawn
@given(data=st.data())
def test_clip_with_arrays_for_bounds(bounds, data):
    one, two, three = data.draw(broadcastable(3))
    dtype = data.draw(dtypes)
    a = data.draw(array(one, dtype))
    low, high = data.draw(array(two, dtype, -2, 0.1)), data.draw(array(three, dtype, -0.2, 2))
    if bounds == "both":
        # torch.clamp does not broadcast 0-d bounds on the way back.
        check(np.clip, lambda a, b, c: a.maximum(b).minimum(c), [a, low, high])
    else:
        check(
            lambda a, b: np.clip(a, **{f"a_{bounds}": b}),
            lambda a, b: torch.clamp(a, **{bounds: b}),
            [a, low],
        )


@pytest.mark.parametrize("exponent", [-2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 2.0, 5.0])
@drawn
@given(data=st.data())
def test_powers_with_a_number_for_exponent(exponent, data):
    low = -2 if exponent == int(exponent) and exponent >= 0 else 0.3
    x = data.draw(array(shapes(), dtypes, low, 2))
    check(lambda a: a**exponent, lambda a: a**exponent, [x])


@pytest.mark.parametrize("base", [0.5, 1, 3])
def test_powers_with_a_number_for_base(base):
    check(lambda b: base**b, lambda b: base**b, [np.linspace(-2, 2, 7, dtype=np.float32)])


def test_powers_at_zero():
    a, b = np.array([0.0, 0, 0, 2, 2]), np.array([0.0, 1, 2, 0, 1])
    check(np.power, torch.pow, [a, b], second=False)
    for exponent in (0, 1, 2, 3):
        check(lambda x, n=exponent: x**n, lambda x, n=exponent: x**n, [np.array([0.0, -2, 3])])
    negative = np.array([-2.0, -1, 3])
    check(
        lambda x: x ** np.array([2.0, 3, 0]), lambda x: x ** torch.tensor([2.0, 3, 0]), [negative]
    )


def test_nan_to_num():
    x = np.array([1.0, np.nan, np.inf, -np.inf, -2])
    check(np.nan_to_num, torch.nan_to_num, [x[:2]])
    check(
        lambda a: np.nan_to_num(a, nan=3.0, posinf=9.0, neginf=-9.0),
        lambda a: torch.nan_to_num(a, 3.0, 9.0, -9.0),
        [x],
    )


ARITHMETIC = {
    "add": lambda m, a, b: a + b,
    "subtract": lambda m, a, b: a - b,
    "multiply": lambda m, a, b: a * b,
    "multiply by a number": lambda m, a, b: (2 - 1j) * a * b,
    "divide": lambda m, a, b: a / b,
    "whole powers": lambda m, a, b: a**3 + b**2 + b**-1 + a**4,
    "power": lambda m, a, b: a**b,
    "square": lambda m, a, b: m.square(a) - b,
    "reciprocal": lambda m, a, b: m.reciprocal(b) - a,
    "absolute": lambda m, a, b: m.abs(a) * b,
    "sum": lambda m, a, b: m.sum(a * b, 0),
    "mean": lambda m, a, b: m.mean(a * b, 0),
    "prod": lambda m, a, b: m.prod(a * b, 0),
    "cumsum": lambda m, a, b: m.cumsum(a * b, 0),
    "cumprod": lambda m, a, b: m.cumprod(a * b, 0),
}
HOLOMORPHIC = (
    *("exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "sin", "cos", "tan", "tanh"),
    *("arcsin", "arccos", "arctan", "sinh", "cosh", "arcsinh", "arccosh", "arctanh"),
)
COMPLEX = ARITHMETIC | {
    name: (lambda m, a, b, n=name: getattr(m, n)(a) - b) for name in HOLOMORPHIC
}


@pytest.mark.parametrize("name", COMPLEX)
def test_gradients_to_complex_numbers(name):
    call = COMPLEX[name]
    rng = np.random.default_rng(5)
    a, b, g = (rng.uniform(0.3, 1, (2, 3)) + 1j * rng.uniform(0.3, 1, (2, 3)) for _ in range(3))
    mine = [Tensor(x, requires_grad=True) for x in (a, b)]
    other = [torch.tensor(x, requires_grad=True) for x in (a, b)]
    y, z = call(np, *mine), call(torch, *other)
    np.testing.assert_allclose(y.data, z.detach().numpy(), rtol=1e-12)
    direction = np.broadcast_to(g, y.shape) if y.ndim == 2 else g[0]
    wanted = torch.autograd.grad(z, other, torch.tensor(direction))
    for found, w in zip(grad(y, mine, gradient=direction), wanted, strict=True):
        np.testing.assert_allclose(found.data, w.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", COMPLEX)
def test_second_gradients_through_complex_numbers(name):
    rng = np.random.default_rng(6)
    call = COMPLEX[name]
    check(
        lambda a, b, c, d: call(np, a + 1j * b, c + 1j * d),
        lambda a, b, c, d: call(torch, a + 1j * b, c + 1j * d),
        [rng.uniform(0.3, 1, (2, 3)) for _ in range(4)],
    )
