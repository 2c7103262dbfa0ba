"""Tensors that meet are promoted by PyTorch's rules, beside NumPy's arrays by NumPy's."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.pow]
F32, I64 = np.float32, np.int64


def reals(*shape: int, requires_grad: bool = False, dtype: type = F32) -> Tensor:
    return Tensor((np.arange(np.prod(shape)) + 1).reshape(shape).astype(dtype), requires_grad)


@pytest.mark.parametrize("function", OPERATORS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_whole_numbers_beside_real_ones_take_their_dtype(function, requires_grad):
    x, n = reals(3, requires_grad=requires_grad), Tensor(np.arange(1, 4))
    for result in (function(x, n), function(n, x)):
        assert result.dtype == F32
        assert result.requires_grad == requires_grad
    if requires_grad:
        function(x, n).sum().backward()
        assert x.grad.dtype == F32


@pytest.mark.parametrize("function", OPERATORS, ids=lambda f: f.__name__)
def test_a_tensor_of_no_axes_does_not_widen_one_that_has_some(function):
    x = reals(3, requires_grad=True)
    scale = Tensor(np.float64(2), requires_grad=True)
    result = function(x, scale)
    assert result.dtype == F32
    result.sum().backward()
    assert (x.grad.dtype, scale.grad.dtype) == (F32, np.float64)


def test_whole_numbers_divided_or_beside_a_float_are_of_the_default_dtype():
    n = Tensor(np.arange(1, 4))
    assert (n / n).dtype == (n / 2).dtype == (2 / n).dtype == (n * 0.5).dtype == F32
    assert (n / n == 1).all()
    assert (n * n).dtype == (n + True).dtype == I64
    assert (n * 1j).dtype == np.complex64
    dg.set_default_dtype(np.float64)
    try:
        assert (n / n).dtype == (n * 0.5).dtype == np.float64
    finally:
        dg.set_default_dtype(F32)


def test_numpys_arrays_and_functions_keep_numpys_rules():
    x, n = reals(3), Tensor(np.arange(1, 4))
    assert (x * np.arange(3)).dtype == (np.arange(3) * x).dtype == np.float64
    assert np.multiply(x, n).dtype == np.true_divide(n, n).dtype == np.float64
    assert np.concatenate([x, n]).dtype == np.where(x.array > 1, x, n).dtype == np.float64


def test_promotion_is_the_same_where_anomalies_are_looked_for():
    x, n = reals(3, requires_grad=True), Tensor(np.arange(1, 4))
    with dg.detect_anomaly():
        assert (x * n).dtype == (n / n).dtype == (n * 0.5).dtype == F32


def test_second_gradients_keep_the_dtype():
    x, n = reals(3, requires_grad=True), Tensor(np.arange(1, 4))
    (first,) = dg.autograd.grad((x * x * x / n).sum(), [x], create_graph=True)
    (second,) = dg.autograd.grad(first.sum(), [x])
    assert first.dtype == second.dtype == F32
    np.testing.assert_allclose(second.array, 6 * x.array / n.array, rtol=1e-6)


SCALARS = [np.float64(2), np.float32(2), np.int64(2), np.uint8(2), np.bool_(True)]


@pytest.mark.parametrize("scalar", SCALARS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("function", OPERATORS, ids=lambda f: f.__name__)
def test_numpys_scalars_count_as_pythons_numbers(function, scalar):
    number, n = scalar.item(), Tensor(np.arange(1, 4))
    for x in (reals(3), reals(3, requires_grad=True), reals(3).sum(), n):
        for one, other in ((function(x, scalar), function(x, number)),):
            assert (one.dtype, one.requires_grad) == (other.dtype, other.requires_grad)
            np.testing.assert_array_equal(one.array, other.array)
    x = reals(3)
    assert function(scalar, x).dtype == F32  # NumPy's scalar asks its own function
    x += scalar
    assert x.dtype == F32


def test_numpys_scalars_do_not_widen_what_functions_and_settings_make():
    x, two = reals(3), np.float64(2)
    found = {
        "clamp": x.clamp(np.float64(0), two),
        "where": dg.where(x > 1, x, two),
        "two numbers": dg.where(x > 1, two, np.float64(1)),
        "full": dg.full((2,), two),
        "add": dg.add(x, x, alpha=two),
        "leaky_relu": dg.nn.functional.leaky_relu(x, np.float64(0.1)),
        "masked_fill": x.masked_fill(x > 1, two),
        "of no axes": dg.ones([]) * np.log(1 / 0.07),
        "captured": dg.capture(lambda x: x / np.sqrt(3) + two)(x),
        "with gradients": dg.vmap(lambda x: x * two)(x),
    }
    assert {name: t.dtype for name, t in found.items() if t.dtype != F32} == {}


PRODUCTS = {
    "x @ y": operator.matmul,
    "x.matmul(y)": lambda x, y: x.matmul(y),
    "divmod": lambda x, y: divmod(x, y)[1],
    "divmod, quotient": lambda x, y: divmod(x, y)[0],
    **{name: getattr(dg, name) for name in ("matmul", "dot", "inner", "vdot")},
    "linalg.matmul": dg.linalg.matmul,
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_promoted_as_their_operator_is(name):
    x, n = reals(3), Tensor(np.arange(1, 4))
    assert PRODUCTS[name](x, n).dtype == PRODUCTS[name](n, x).dtype == F32
    assert np.asarray(PRODUCTS[name](x, n)).tolist() == np.asarray(PRODUCTS[name](x, x)).tolist()
