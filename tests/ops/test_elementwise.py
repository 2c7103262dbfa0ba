"""Elementwise ops where a drawn number does not go: kinks, zeros, infinities, calling forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd import grad
from distgrad.errors import GradError, ShapeError


def leaf(*values, dtype=np.float64):
    return Tensor(np.array(values, dtype), requires_grad=True)


def slope(call, x):
    return grad(np.sum(call(x)), [x])[0].array


@pytest.mark.parametrize(
    "function", [np.floor, np.ceil, np.trunc, np.rint, np.round, np.around, np.fix, np.sign]
)
def test_a_step_function_has_a_gradient_of_zeros(function):
    x = leaf(-1.5, 0.4, 2.6, dtype=np.float32)
    np.testing.assert_array_equal(function(x).array, function(x.array))
    g = slope(function, x)
    assert g.dtype == np.float32
    assert g.tolist() == [0, 0, 0]


def test_floor_divide_and_remainder_are_operators_from_both_sides():
    x = leaf(2.0, -3.0, 5.0)
    assert (x // 2).array.tolist() == [1, -2, 2]
    assert (x % 2).array.tolist() == [0, 1, 1]
    assert (7 // x).array.tolist() == [3, -3, 1]
    assert (7 % x).array.tolist() == [1, -2, 2]
    assert slope(lambda a: 7 % a, x).tolist() == [-3, 3, -1]
    assert slope(lambda a: a // 2, x).tolist() == [0, 0, 0]


def test_clip_takes_numpys_forms():
    x = leaf(-2.0, -1.0, 0.5, 3.0)
    forms = [
        np.clip(x, -1, 1),
        np.clip(x, a_min=-1, a_max=1),
        ops.clip(x, -1, 1),
    ]
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":  # which names them anew
        forms += [np.clip(x, -1, max=1), np.clip(x, min=-1, max=np.ones(4))]
    for y in forms:
        assert y.array.tolist() == [-1, -1, 0.5, 1]
        assert grad(np.sum(y), [x])[0].array.tolist() == [0, 1, 1, 0]
    assert np.clip(x, None, 1).array.tolist() == [-2, -1, 0.5, 1]
    assert np.clip(x, a_min=None, a_max=1).array.tolist() == [-2, -1, 0.5, 1]
    assert np.clip(x, 0, None).array.tolist() == [0, 0, 0.5, 3]
    assert slope(lambda a: np.clip(a, None, None), x).tolist() == [1, 1, 1, 1]


def test_a_bound_of_clip_gets_the_gradient_where_it_cuts():
    low, high = leaf(0.0, 0.0, 4.0), leaf(1.0, 1.0, 1.0)
    y = np.clip(np.array([-1.0, 0.5, 0.5]), low, high)
    assert y.array.tolist() == [0, 0.5, 1]
    to_low, to_high = grad(np.sum(y), [low, high])
    assert to_low.array.tolist() == [1, 0, 0]
    assert to_high.array.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: np.clip(x, 0, 1, max=2),
            r"a bound as a_min or as min=, a_max or max=; drop one",
        ),
        (lambda x: ops.clip(x, 0, 1, out=x), r"np\.clip on a Tensor does not take out="),
        (lambda x: np.nan_to_num(x, copy=False), r"np\.nan_to_num on a Tensor always copies"),
        (lambda x: np.sin(x, where=True), r"sin expects .*unexpected keyword argument 'where'"),
        (
            lambda x: np.add(x, np.ones(4)),
            r"add expects '\.\.\., \.\.\. -> \.\.\.'; got \(3,\), \(4,",
        ),
    ],
)
def test_a_call_that_cannot_work_is_named(call, message):
    with pytest.raises(dg.ShapeError, match=message):
        call(leaf(1.0, 2.0, 3.0))


def test_where_with_a_condition_alone_finds_its_indices():
    (found,) = np.where(Tensor(np.array([False, True, True])))
    assert found.tolist() == [1, 2]
    x = leaf(1.0, 2.0, 3.0)
    y = np.where(Tensor(np.array([False, True, True])), x, 0)
    assert grad(np.sum(y), [x])[0].array.tolist() == [0, 1, 1]


def test_comparisons_of_tensors_are_tensors_outside_the_tape():
    x = leaf(1.0, np.nan, -np.inf)
    assert type(x > 0) is dg.Tensor
    assert (x > 0).dtype == np.bool_
    assert not (x > 0).requires_grad
    assert type(x > 0) is type(x == x.array) is type(x.array == x) is dg.Tensor
    assert x.array[x > 0].tolist() == [1]
    assert np.isclose(x, x, equal_nan=True).all()
    assert np.signbit(x).tolist() == [False, False, True]
    assert np.heaviside(x, 1)[0] == 1


def test_numpys_other_names_reach_the_same_ops():
    x = leaf(-2.0, 3.0)
    assert slope(np.fabs, x).tolist() == [-1, 1]
    np.testing.assert_allclose(np.radians(x).array, np.deg2rad(x.array))
    np.testing.assert_allclose(np.degrees(x).array, np.rad2deg(x.array))
    assert np.mod(x, 2).array.tolist() == [0, 1]


@pytest.mark.parametrize("exponent", [0, 0.0, 1, 2, 3, np.zeros(3)])
def test_powers_of_zero_have_finite_gradients(exponent):
    n = float(np.max(exponent))
    x = leaf(0.0, 0.0, -2.0)
    wanted = [n * (1 if n == 1 else 0)] * 2 + [n * (-2.0) ** (n - 1) if n else 0]
    assert slope(lambda a: a**exponent, x).tolist() == wanted


def test_the_zeroth_power_of_infinity_is_one():
    assert (leaf(np.inf, np.nan) ** 0).array.tolist() == [1, 1]


def test_the_gradient_to_the_exponent_of_zero_is_zero():
    b = leaf(0.0, 1.0, 2.0)
    assert slope(lambda e: np.power(np.zeros(3), e), b).tolist() == [0, 0, 0]
    assert slope(lambda e: 0**e, b).tolist() == [0, 0, 0]


@pytest.mark.parametrize("function", [np.hypot, np.arctan2])
def test_the_origin_has_gradient_zero(function):
    a, b = leaf(0.0, 3.0), leaf(0.0, 4.0)
    first, second = grad(np.sum(function(a, b)), [a, b])
    assert first.array[0] == second.array[0] == 0


def test_functions_of_two_numbers_do_not_overflow():
    a, b = leaf(1e30, 3, dtype=np.float32), leaf(1e30, 4, dtype=np.float32)
    for function in (np.hypot, np.arctan2, np.logaddexp, np.logaddexp2):
        for g in grad(np.sum(function(a, b)), [a, b]):
            assert np.isfinite(g.array).all(), function


@pytest.mark.parametrize("function", [np.logaddexp, np.logaddexp2])
def test_equal_infinities_share_the_gradient_of_logaddexp(function):
    a, b = leaf(-np.inf, -np.inf, 1e4, np.inf), leaf(-np.inf, 0.0, -1e4, np.inf)
    first, second = grad(function(a, b), [a, b], gradient=np.ones(4))
    assert first.array.tolist() == [0.5, 0, 1, 0.5]
    assert second.array.tolist() == [0.5, 1, 0, 0.5]


def test_sinc_is_smooth_at_zero():
    x = leaf(0.0, 1e-8, 1e-3)
    (first,) = grad(np.sum(np.sinc(x)), [x], create_graph=True)
    (second,) = grad(np.sum(first), [x])
    np.testing.assert_allclose(first.array, -(math.pi**2) / 3 * x.array, rtol=1e-5)
    np.testing.assert_allclose(second.array, -(math.pi**2) / 3, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 3e-14), (np.float32, 6e-6)])
def test_error_functions_are_exact_in_the_middle_and_in_both_tails(dtype, rtol):
    x = np.concatenate([np.linspace(-9, 9, 361), [1e-30, -1e-10, 1e-3, 0.5, -0.5]]).astype(dtype)
    for function, exact in ((ops.erf, math.erf), (ops.erfc, math.erfc)):
        found = function(Tensor(x)).array
        assert found.dtype == dtype
        wanted = np.array([exact(float(v)) for v in x])
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=np.finfo(dtype).tiny)
    ends = np.array([-np.inf, np.inf, np.nan])
    np.testing.assert_array_equal(ops.erf(ends).array, [-1, 1, np.nan])
    np.testing.assert_array_equal(ops.erfc(ends).array, [2, 0, np.nan])


def test_xlogy_of_zero_is_zero_with_finite_gradients():
    a, b = leaf(0.0, 0.0, 2.0), leaf(0.0, -1.0, 3.0)
    y = ops.xlogy(a, b)
    np.testing.assert_allclose(y.array, [0, 0, 2 * math.log(3)])
    first, second = grad(np.sum(y), [a, b])
    np.testing.assert_allclose(first.array, [0, 0, math.log(3)])
    np.testing.assert_allclose(second.array, [0, 0, 2 / 3])


def test_fmax_and_fmin_pass_over_nan():
    a, b = leaf(np.nan, 1.0, 2.0), leaf(0.0, np.nan, 2.0)
    for function in (np.fmax, np.fmin):
        y = function(a, b)
        assert y.array.tolist() == [0, 1, 2]
        first, second = grad(np.sum(y), [a, b])
        assert first.array.tolist() == [0, 1, 1]
        assert second.array.tolist() == [1, 0, 0]


def test_a_complex_function_that_is_not_one_is_refused():
    z = Tensor(np.array([1 + 1j]), requires_grad=True)
    for function in (np.cbrt, np.floor, np.arctan2):
        with pytest.raises(dg.ShapeError, match="not supported for the input types"):
            function(z, z) if function is np.arctan2 else function(z)


def test_select_needs_a_choice_for_each_condition():
    x = leaf(1.0, 2.0, 3.0)
    with pytest.raises(dg.ShapeError, match="got 2 conditions and 1 choices"):
        np.select([x > 1, x > 2], [x])


def test_what_has_no_gradient_works_on_the_data():
    x = leaf(3.0, 1.0, 2.0)
    assert np.argsort(x).tolist() == [1, 2, 0]
    assert np.bincount(Tensor(np.array([0, 2, 2]))).tolist() == [1, 0, 2]
    assert np.bincount([0, 1, 1], weights=x.detach()).tolist() == [3, 3]
    assert np.lexsort((x, x)).tolist() == [1, 2, 0]
    assert np.isrealobj(x)
    assert np.result_type(x, np.float32) == np.float64
    assert np.shares_memory(x, x.array[::2])
    assert np.setdiff1d(x.detach(), [1.0]).tolist() == [2, 3]


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 4, 2.0, 3.0, 0.5, np.float64(3), np.array(2)])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, complex])
def test_powers_have_numpys_values_and_dtypes(dtype, exponent):
    a = np.array([0, 1, 1], dtype)
    found = np.power(Tensor(a), exponent)
    number = exponent.item() if isinstance(exponent, np.generic) else exponent
    expected = np.power(a, number)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found.array, expected)
    np.testing.assert_allclose((Tensor(a) ** exponent).array, expected)


def test_negative_powers_of_whole_numbers_are_refused():
    with pytest.raises(dg.ShapeError, match="Integers to negative integer powers"):
        Tensor(np.array([1, 2])) ** -1


@pytest.mark.parametrize("function", [np.multiply, np.divide])
@pytest.mark.parametrize("second", [False, True])
def test_a_list_beside_a_complex_tensor_is_an_array_in_its_gradient(function, second):
    z = leaf(1 + 2j, -1j, dtype=complex)
    factors = [2 + 1j, 3.0]
    found, same = (
        grad(np.sum(np.real(function(z, b) ** 2)), [z], create_graph=second)[0].array
        for b in (factors, np.array(factors))
    )
    np.testing.assert_array_equal(found, same)


def test_a_list_that_changes_after_the_forward_pass_does_not_change_the_gradient():
    x, factors = leaf(1.0, 2.0), [3.0, 4.0]
    y = np.sum(np.multiply(x, factors))
    factors[0] = 7.0
    y.backward()
    assert x.grad.array.tolist() == [3, 4]


def test_plus_x_is_the_same_memory_and_a_view_on_the_tape():
    x = Tensor(np.arange(3.0))
    assert np.shares_memory((+x).array, x.array)
    assert np.shares_memory(np.positive(x).array, x.array)
    assert not np.shares_memory(np.copy(x).array, x.array)
    leaf = Tensor(np.arange(3.0), requires_grad=True)
    with pytest.raises(GradError, match="on a view"):
        (+(leaf * 2)).add_(1)
    with pytest.raises(ShapeError, match="positive"):
        +Tensor(np.array([True]))
