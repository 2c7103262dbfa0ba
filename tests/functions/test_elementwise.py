"""Functions of each element: whole numbers, several names, out=, in place, positions."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad
from distgrad.autograd.mode import reference_kernels
from distgrad.functions import FAMILIES, IN_PLACE, arithmetic, elementwise, rounding
from distgrad.functions.complex_numbers import polar, view_as_complex, view_as_real
from distgrad.functions.promotion import can_cast, promote_types, result_type

X = np.array([-1.5, 0.25, 3.0])


@pytest.mark.parametrize("name", ["exp", "sin", "sqrt", "sigmoid", "log1p", "erf", "sinc"])
def test_whole_numbers_and_booleans_are_taken_for_real_ones(name):
    function = getattr(elementwise, name)
    for data in (np.array([0, 1, 3]), np.array([0, 1, 3], np.int8), np.array([True, False])):
        found = function(Tensor(data))
        assert found.dtype == np.float32
        wanted = function(Tensor(data.astype(np.float64)))
        np.testing.assert_allclose(found.array, wanted.array, rtol=1e-6, atol=1e-7)


def test_whole_numbers_stay_what_they_are_where_they_can():
    x = Tensor(np.array([-2, 0, 3]))
    for function in (
        elementwise.abs,
        elementwise.neg,
        rounding.floor,
        rounding.round,
        rounding.sign,
    ):
        assert function(x).dtype == np.int64
    assert rounding.clamp(x, 0, 1).array.tolist() == [0, 0, 1]
    assert rounding.clamp(x, min=0.5).dtype == np.float32


def test_a_number_beside_a_tensor_takes_its_dtype():
    x = Tensor(X.astype(np.float32))
    for found in (
        arithmetic.add(x, 2),
        arithmetic.mul(x, 0.1),
        arithmetic.pow(2, x),
        arithmetic.rsub(x, 1.5),
        arithmetic.xlogy(2, elementwise.abs(x)),
        arithmetic.atan2(x, Tensor(np.array([1, 2, 3]))),
    ):
        assert found.dtype == np.float32


def test_alpha_scales_the_other_operand():
    x, y = Tensor(X), Tensor(X + 1)
    np.testing.assert_array_equal(arithmetic.add(x, y, alpha=2).array, X + 2 * (X + 1))
    np.testing.assert_array_equal(arithmetic.sub(x, y, alpha=2).array, X - 2 * (X + 1))
    np.testing.assert_array_equal(arithmetic.rsub(x, y, alpha=2).array, (X + 1) - 2 * X)
    with pytest.raises(dg.DistgradError, match=r"alpha=0\.5 for whole numbers"):
        arithmetic.add(Tensor([1, 2]), Tensor([3, 4]), alpha=0.5)


def test_quotients_are_rounded_as_asked():
    x, y = Tensor(np.array([7.0, -7.0, 7.0])), Tensor(np.array([2.0, 2.0, -2.0]))
    assert arithmetic.div(x, y).array.tolist() == [3.5, -3.5, -3.5]
    assert arithmetic.div(x, y, rounding_mode="trunc").array.tolist() == [3, -3, -3]
    assert arithmetic.div(x, y, rounding_mode="floor").array.tolist() == [3, -4, -4]
    whole = Tensor(np.array([-(2**62) - 1, 7, -7]))
    found = arithmetic.div(whole, Tensor(np.array([3, -2, 2])), rounding_mode="trunc")
    assert found.array.tolist() == [-((2**62 + 1) // 3), -3, -3]
    with pytest.raises(dg.DistgradError, match="None, 'trunc' or 'floor'; got 'up'"):
        arithmetic.div(x, y, rounding_mode="up")


def test_booleans_are_refused_where_they_have_no_difference():
    flags = Tensor(np.array([True, False]))
    with pytest.raises(dg.DistgradError, match="subtraction of booleans; write x \\^ y"):
        arithmetic.sub(flags, flags)
    with pytest.raises(dg.DistgradError, match="neg of booleans; write ~x"):
        elementwise.neg(flags)


def test_whole_numbers_have_no_negative_powers():
    with pytest.raises(dg.DistgradError, match=r"negative power are none; use x\.double\(\)"):
        arithmetic.pow(Tensor(np.array([1, 2])), -1)


def test_frexp_and_ldexp_are_each_others_inverse_down_to_the_smallest_numbers():
    x = Tensor(np.array([0.0, 5e-324, -3.7, 1.7e308]), requires_grad=True)
    mantissa, exponent = arithmetic.frexp(x)
    wanted = np.frexp(x.array)
    np.testing.assert_array_equal(mantissa.array, wanted[0])
    np.testing.assert_array_equal(exponent.array, wanted[1])
    assert mantissa.requires_grad
    assert arithmetic.ldexp(mantissa[2:3], exponent[2:3]).array == x.array[2]


def test_complex_numbers_are_made_of_parts_and_taken_apart():
    z = polar(Tensor(np.array([1.0, 2.0])), Tensor(np.array([0.0, np.pi / 2])))
    np.testing.assert_allclose(z.array, [1, 2j], atol=1e-15)
    parts = view_as_real(z)
    assert parts.shape == (2, 2)
    np.testing.assert_array_equal(view_as_complex(parts).array, z.array)
    with pytest.raises(dg.ShapeError, match=r"real parts \(…, 2\); got float64 \(3,\)"):
        view_as_complex(Tensor(X))
    with pytest.raises(dg.ShapeError, match="view_as_real takes complex numbers; got float64"):
        view_as_real(Tensor(X))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_complex_numbers_and_their_parts_share_memory(dtype):
    x = np.arange(24, dtype=dtype).reshape(3, 4, 2)
    for parts in (x, x.transpose(1, 0, 2), x[::2, ::-1], x[:0], x[1, 1]):
        z = view_as_complex(Tensor(parts)).array
        np.testing.assert_array_equal(z, parts[..., 0] + 1j * parts[..., 1])
        assert np.shares_memory(z, parts) == bool(parts.size)
        back = view_as_real(Tensor(z)).array
        assert np.shares_memory(back, parts) == bool(parts.size)
        np.testing.assert_array_equal(back, parts)
    apart = np.arange(8, dtype=dtype).reshape(2, 4).T
    np.testing.assert_array_equal(
        view_as_complex(Tensor(apart)).array, apart[:, 0] + 1j * apart[:, 1]
    )


def test_gradients_of_pairs_of_numbers_of_every_layout():
    x = Tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    np.sum(np.real(view_as_complex(x))).backward()  # whose gradient has no memory of its own
    np.testing.assert_array_equal(x.grad.array, [[1, 0]] * 3)
    z = Tensor(np.arange(3) + 1j, requires_grad=True)
    view_as_real(z).backward(Tensor(np.arange(6.0).reshape(2, 3).T))
    np.testing.assert_array_equal(z.grad.array, [3j, 1 + 4j, 2 + 5j])


def test_dtypes_that_come_out():
    assert result_type(Tensor(X), 2) == np.float64
    assert result_type(Tensor(X.astype(np.float32)), 2.5) == np.float32
    assert result_type(1, 2.5) == np.float32
    assert promote_types(np.float32, np.int8) == np.float32
    assert can_cast(np.float64, np.float32)
    assert not can_cast(np.float32, np.int64)
    assert not can_cast(np.complex64, np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nextafter_is_numpys_to_the_bit(dtype):
    info = np.finfo(dtype)
    ends = [0.0, 1.0, 1.5, np.inf, info.max, info.tiny, info.smallest_subnormal, 3e-42]
    numbers = np.array([*ends, *(-x for x in ends), np.nan], dtype)
    a, b = np.meshgrid(numbers, numbers)
    found, wanted = arithmetic.nextafter(a, b).array, np.nextafter(a, b)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found[a == a]), np.signbit(wanted[a == a]))
    column = numbers[:, None]
    np.testing.assert_array_equal(arithmetic.nextafter(column[:2], numbers).array, found.T[:2])
    others = arithmetic.nextafter(numbers[1:9:2], dtype(2)).array
    np.testing.assert_array_equal(others, np.nextafter(numbers[1:9:2], dtype(2)))
    assert arithmetic.nextafter(numbers[1], numbers[2]).array == np.nextafter(dtype(1), dtype(2))
    assert arithmetic.nextafter(column[:0], numbers).shape == (0, len(numbers))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nextafter_of_many_numbers_is_numpys_with_and_without_its_kernel(dtype):
    info = np.finfo(dtype)
    ends = [0.0, 1.0, 1.5, np.inf, info.max, info.tiny, info.smallest_subnormal, 3e-42]
    numbers = np.array([*ends, *(-x for x in ends), np.nan], dtype)
    a, b = np.meshgrid(np.tile(numbers, 5), np.tile(numbers, 5))
    for x, z in ((a, b), (a.T, b), (a[1:, ::2], b[1:, ::2]), (a, dtype(1))):
        wanted = np.nextafter(x, z)
        found = [arithmetic.nextafter(x, z).array]
        with reference_kernels():
            found.append(arithmetic.nextafter(x, z).array)
        for y in found:
            np.testing.assert_array_equal(y, wanted)
            np.testing.assert_array_equal(np.signbit(y[x == x]), np.signbit(wanted[x == x]))


# -- out= and in place ----------------------------------------------------------------------------


def test_out_takes_the_result_and_is_on_the_tape():
    x, out = Tensor(X, requires_grad=True), Tensor(np.empty(0))
    found = arithmetic.mul(x, x, out=out)
    assert found is out
    np.testing.assert_array_equal(out.array, X * X)
    np.testing.assert_array_equal(grad(out.sum(), [x])[0].array, 2 * X)
    with pytest.raises(dg.ShapeError, match=r"out= has shape \(2,\), the result \(3,\)"):
        elementwise.exp(x, out=Tensor(np.zeros(2)))


@pytest.mark.parametrize("name", IN_PLACE)
def test_every_twin_in_place_is_a_function_and_a_method_with_its_function(name):
    assert getattr(Tensor, name) is IN_PLACE[name]
    assert any(name[:-1] in family.__all__ for family in FAMILIES)
    assert IN_PLACE[name].__doc__


def test_in_place_writes_into_the_same_memory_off_the_tape():
    x = Tensor(np.array([1.0, 4.0, 9.0]))
    held = x.numpy()
    assert x.sqrt_() is x
    assert x.add_(1, alpha=2).mul_(2).clamp_(max=9) is x
    assert x.numpy() is held
    assert held.tolist() == [6, 8, 9]
    x.lt_(8)
    assert held.tolist() == [1, 0, 0]
