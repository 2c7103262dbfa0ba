"""Clipping: the joint norm, its limits, and bits that do not depend on memory."""

import math

import numpy as np
import pytest
from moving import move_

from distgrad import Tensor, clip_grad_norm_, clip_grad_value_, nn
from distgrad.autograd import reference_kernels
from distgrad.errors import NonFiniteError, ShapeError
from distgrad.optim import (
    clip_grads_with_norm_,
    clip_layer_grad_norm_,
    get_total_norm,
    total_norm,
)

SHAPES = [(3, 5), (7,), (), (100, 200), (8192,), (8193,)]


def make(dtype=np.float32, scale=1.0):
    rng = np.random.default_rng(4)
    params = [nn.Parameter(np.zeros(s, dtype)) for s in SHAPES]
    for i, p in enumerate(params):
        p.grad = Tensor((rng.normal(size=p.shape) * scale * (i + 1)).astype(dtype))
    return params


def flat(params):
    return np.concatenate([p.grad.array.reshape(-1) for p in params]).astype(np.float64)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-13), (np.float32, 1e-6)])
def test_the_2_norm_is_that_of_all_gradients_together(dtype, rtol):
    params = make(dtype)
    before = flat(params)
    norm = clip_grad_norm_(params, 1.0)
    assert norm == pytest.approx(np.linalg.norm(before), rel=rtol)
    np.testing.assert_allclose(flat(params), before / norm, rtol=1e-5)
    assert np.linalg.norm(flat(params)) == pytest.approx(1.0, rel=1e-5)


def test_the_infinity_norm_is_the_largest_element():
    params = make()
    before = flat(params)
    assert clip_grad_norm_(params, 0.5, norm_type=math.inf) == np.abs(before).max()
    assert np.abs(flat(params)).max() == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("norm_type", [2.0, math.inf])
def test_gradients_below_the_limit_are_left_to_the_bit(norm_type):
    params = make(scale=1e-4)
    before = flat(params)
    clip_grad_norm_(params, 1e6, norm_type)
    np.testing.assert_array_equal(flat(params), before)


def layouts():
    yield "apart", make()
    one = make()
    grads = [p.grad for p in one]
    move_(one)
    for p, g in zip(one, grads, strict=True):
        p.grad = None
        p.accumulate_(g)
    yield "one bucket", one
    for offset in (1, 2, 3, 5, 7, 8, 15):
        shifted = make()
        for p in shifted:
            room = np.empty(p.size + offset, np.float32)[offset:].reshape(p.shape)
            room[...] = p.grad.array
            p.grad = Tensor(room)
        yield f"shifted by {offset}", shifted
    strided = make()
    for p in strided:
        room = np.zeros((*p.shape, 2), np.float32)
        room[..., 0] = p.grad.array
        p.grad = Tensor(room[..., 0])
    yield "strided", strided
    fortran = make()
    for p in fortran:
        p.grad = Tensor(np.array(p.grad.array, order="F"))
    yield "transposed", fortran


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
def test_the_bits_do_not_depend_on_how_the_gradients_lie_in_memory(norm_type):
    found = {}
    for name, params in layouts():
        norm = clip_grad_norm_(params, 1.0, norm_type)
        found[name] = (norm.hex(), flat(params).tobytes())
    assert len(found) == 11
    assert len(set(found.values())) == 1, {k: v[0] for k, v in found.items()}


def test_clipping_happens_in_place():
    p = nn.Parameter(np.zeros(3))
    p.grad = Tensor(np.array([3.0, 0.0, 4.0]))
    array = p.grad.array
    clip_grad_norm_(p, 1.0)
    assert p.grad.array is array
    np.testing.assert_allclose(array, [0.6, 0.0, 0.8], rtol=1e-6)


def test_parameters_without_gradient_count_for_nothing():
    params = make()
    params[0].grad = None
    expected = np.linalg.norm(flat(params[1:]))
    assert clip_grad_norm_((p for p in params), 1.0) == pytest.approx(expected, rel=1e-6)
    assert params[0].grad is None


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
def test_no_gradients_have_norm_0(norm_type):
    assert clip_grad_norm_([nn.Parameter(np.zeros(3))], 1.0, norm_type) == 0.0
    assert total_norm([np.zeros(0)], norm_type) == 0.0


def with_values(*values):
    params = [nn.Parameter(np.zeros(2, np.float32)) for _ in values]
    for p, v in zip(params, values, strict=True):
        p.grad = Tensor(np.array([1.0, v], np.float32))
    return params


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("values", [(math.nan, 1.0), (1.0, math.nan), (1.0, math.nan, 2.0)])
def test_a_nan_anywhere_makes_the_norm_a_nan(norm_type, values):
    params = with_values(*values)
    assert math.isnan(clip_grad_norm_(params, 1.0, norm_type))
    assert all(np.isnan(p.grad.array).all() for p in params)


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
def test_an_infinity_makes_the_norm_infinite_and_itself_a_nan(norm_type):
    params = with_values(5.0, -math.inf)
    assert clip_grad_norm_(params, 1.0, norm_type) == math.inf
    np.testing.assert_array_equal(params[0].grad.array, [0, 0])
    np.testing.assert_array_equal(params[1].grad.array, [0, np.nan])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_norm_that_is_not_finite_raises_if_asked_and_changes_nothing(value):
    params = with_values(1.0, value)
    before = [p.grad.array.copy() for p in params]
    with pytest.raises(NonFiniteError, match=f"the gradient norm is {value}; lower the learning"):
        clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    for p, g in zip(params, before, strict=True):
        np.testing.assert_array_equal(p.grad.array, g)


def test_without_a_limit_nothing_is_scaled_whatever_the_norm():
    params = with_values(5.0, math.inf)
    assert clip_grad_norm_(params, math.inf) == math.inf
    np.testing.assert_array_equal(params[1].grad.array, [1, np.inf])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.complex64, np.complex128])
def test_the_2_norm_has_the_bits_of_the_reference(dtype):
    rng = np.random.default_rng(5)
    sizes = [0, 1, 63, 64, 65, 8191, 8193, 40_000]
    arrays = [rng.normal(size=n).astype(dtype) for n in sizes]
    if dtype in (np.complex64, np.complex128):
        arrays = [(a * (1 + 2j)).astype(dtype) for a in arrays]
    strided = np.arange(40_000, dtype=np.float32).reshape(200, 200).T
    for listed in ([a] for a in [*arrays, strided]):
        found = total_norm(listed)
        with reference_kernels():
            assert total_norm(listed) == found
        wide = listed[0].astype(np.complex128).reshape(-1)
        assert found == pytest.approx(np.linalg.norm(wide), rel=1e-12)
    found = total_norm(arrays)
    with reference_kernels():
        assert total_norm(arrays) == found
    assert total_norm(arrays[::-1]) == pytest.approx(found, rel=1e-12)


def test_gradients_that_are_neighbours_in_any_order_are_clipped_as_others_are():
    apart, together = make(), make()
    move_(together[::-1])
    for p in together[:4]:
        gradient = p.grad
        p.grad = None
        p.accumulate_(gradient)
    for params in (apart, together):
        clip_grad_norm_([*params[1:3], params[0], *params[3:]], 1.0)
        clip_grad_value_([params[i] for i in (3, 0, 5)], 1e-3)
    np.testing.assert_array_equal(flat(apart), flat(together))


def test_squares_that_overflow_float32_do_not_make_the_norm_infinite():
    p = nn.Parameter(np.zeros(4, np.float32))
    p.grad = Tensor(np.full(4, 1e30, np.float32))
    assert clip_grad_norm_(p, 1.0) == pytest.approx(2e30, rel=1e-6)
    np.testing.assert_allclose(p.grad.array, 0.5, rtol=1e-6)


@pytest.mark.parametrize("norm_type", [0.5, 1.0, 1.5, 3.0, 10.0])
def test_any_p_norm_is_that_of_all_gradients_together(norm_type):
    params = make(np.float64)
    before = flat(params)
    norm = clip_grad_norm_(params, 1.0, norm_type)
    assert norm == pytest.approx(np.sum(np.abs(before) ** norm_type) ** (1 / norm_type), rel=1e-12)
    np.testing.assert_allclose(flat(params), before / norm, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_high_powers_neither_overflow_nor_vanish(scale):
    p = nn.Parameter(np.zeros(4, np.float32))
    p.grad = Tensor(np.full(4, scale, np.float32))
    assert total_norm([p.grad.array], 20.0) == pytest.approx(scale * 4 ** (1 / 20), rel=1e-6)


@pytest.mark.parametrize("norm_type", [0.0, -1.0, -math.inf, math.nan])
def test_what_is_no_norm_is_refused(norm_type):
    with pytest.raises(ShapeError, match=f"norm_type must be a number above 0 .*{norm_type}"):
        clip_grad_norm_(make(), 1.0, norm_type=norm_type)


def test_norm_and_scaling_apart_are_clipping():
    whole, apart = make(), make()
    norm = clip_grad_norm_(whole, 1.0)
    found = get_total_norm(p.grad for p in apart)
    clip_grads_with_norm_(apart, 1.0, found)
    assert found == norm
    assert flat(whole).tobytes() == flat(apart).tobytes()


def test_a_total_norm_that_is_not_finite_raises_if_asked():
    with pytest.raises(NonFiniteError, match="the norm is inf; lower the learning rate"):
        get_total_norm(Tensor(np.array([1.0, np.inf])), error_if_nonfinite=True)


# -- per layer -----------------------------------------------------------------------------------


def layers():
    names = ["first.weight", "first.bias", "body.0.weight", "body.1.weight", "scale"]
    params = [nn.Parameter(np.zeros(2)) for _ in names]
    for i, p in enumerate(params):
        p.grad = Tensor(np.array([3.0, 4.0]) * 10.0**-i)
    return dict(zip(names, params, strict=True))


def test_each_layer_is_clipped_by_the_norm_of_its_own_parameters():
    named = layers()
    before = {n: p.grad.array.copy() for n, p in named.items()}
    norms = clip_layer_grad_norm_(named.items(), 0.04)
    first = math.hypot(5, 0.5)
    expected = {"first": first, "body.0": 0.05, "body.1": 0.005, "scale": 0.0005}
    assert norms == pytest.approx(expected, rel=1e-12)
    for name in ("first.weight", "first.bias"):  # by one factor: the layer keeps its direction
        found = named[name].grad.array
        np.testing.assert_allclose(found, before[name] * 0.04 / first, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(named["body.0.weight"].grad.array), 0.04, rtol=1e-4)
    np.testing.assert_array_equal(named["scale"].grad.array, before["scale"])


def test_each_parameter_may_be_clipped_by_itself():
    named = layers()
    norms = clip_layer_grad_norm_(named.items(), 0.04, math.inf, by="parameter")
    expected = dict(zip(named, [4, 0.4, 0.04, 0.004, 0.0004], strict=True))
    assert norms == pytest.approx(expected)
    assert np.max(named["first.bias"].grad.array) == pytest.approx(0.04, rel=1e-4)


def test_layers_without_gradient_have_no_norm():
    named = layers()
    named["scale"].grad = None
    assert "scale" not in clip_layer_grad_norm_(named.items(), 1.0)


def test_a_layer_that_is_not_finite_is_named_and_nothing_is_changed():
    named = layers()
    named["body.1.weight"].grad.array[1] = np.nan
    with pytest.raises(NonFiniteError, match=r"the gradient norm of 'body\.1' is nan"):
        clip_layer_grad_norm_(named.items(), 0.01, error_if_nonfinite=True)
    np.testing.assert_array_equal(named["first.weight"].grad.array, [3, 4])


def test_an_unknown_way_to_group_is_refused():
    with pytest.raises(ShapeError, match="by='block': choose 'layer' or 'parameter'"):
        clip_layer_grad_norm_(layers().items(), 1.0, by="block")


def test_values_are_limited_in_place_on_both_sides():
    params = make()
    before = flat(params)
    arrays = [p.grad.array for p in params]
    clip_grad_value_(params, 0.5)
    np.testing.assert_array_equal(flat(params), np.clip(before, -0.5, 0.5))
    assert all(p.grad.array is a for p, a in zip(params, arrays, strict=True))


def assigned(shape, number, dtype=np.float32):
    """A parameter whose gradient the user assigned: numbers of the parameter and the index."""
    p = nn.Parameter(np.zeros(shape, dtype))
    g = (np.arange(p.size) - p.size // 2 + number).reshape(shape) / 4
    p.grad = Tensor(g.astype(dtype))
    return p


def test_many_short_gradients_are_limited_as_each_alone():
    shapes = [(5,), (), (3, 7), (0,), (2, 0, 3), (1,), (129, 127), (20_000,)]
    params = [assigned(s, i) for i, s in enumerate(shapes)]
    params += [assigned((3, 2), 1, np.float64), assigned((4,), 2, np.float64)]
    gapped = params[2].grad.array = np.arange(-20, 22, dtype=np.float32).reshape(3, 14)[:, ::2]
    params[0].grad.array[:] = [np.nan, np.inf, -np.inf, -0.0, 0.25]
    expected = [np.clip(p.grad.array, -0.75, 0.75) for p in params]
    arrays = [p.grad.array for p in params]
    clip_grad_value_(params, 0.75)
    for p, a, e in zip(params, arrays, expected, strict=True):
        assert p.grad.array is a
        assert a.tobytes() == e.tobytes()
    assert not gapped.flags.c_contiguous
    assert gapped.max() == 0.75


def test_short_gradients_within_the_limit_are_not_written_to():
    p = assigned((3,), 0)
    p.grad.array.flags.writeable = False
    clip_grad_value_([p, assigned((4,), 1)], 10.0)


# -- complex gradients ----------------------------------------------------------------------------


def complex_parameter(n=8200, dtype=np.complex64):
    rng = np.random.default_rng(6)
    p = nn.Parameter(np.zeros(n, dtype))
    p.grad = Tensor((rng.normal(size=n) + 1j * rng.normal(size=n)).astype(dtype))
    return p


@pytest.mark.parametrize("norm_type", [0.5, 1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.complex128, 1e-13), (np.complex64, 1e-6)])
def test_the_norm_of_complex_gradients_is_that_of_their_absolute_values(norm_type, dtype, rtol):
    p = complex_parameter(dtype=dtype)
    sizes = np.abs(p.grad.array.astype(np.complex128))
    expected = np.sum(sizes**norm_type) ** (1 / norm_type) if norm_type < math.inf else sizes.max()
    before = p.grad.array.copy()
    norm = clip_grad_norm_([p], 1.0, norm_type)
    assert norm == pytest.approx(expected, rel=rtol)
    np.testing.assert_allclose(p.grad.array, before / norm, rtol=1e-5)


def test_a_complex_norm_is_finite_where_its_squares_overflow():
    p = nn.Parameter(np.zeros(2, np.complex64))
    p.grad = Tensor(np.array([3e30, 4e30j], np.complex64))
    assert get_total_norm([p.grad]) == pytest.approx(5e30)


def test_complex_gradients_have_no_order_to_clip_by_value():
    real, p = make()[0], complex_parameter(4)
    before = real.grad.array.copy()
    with pytest.raises(ShapeError, match="complex64, and complex numbers have no order; use clip"):
        clip_grad_value_([real, p], 0.1)
    np.testing.assert_array_equal(real.grad.array, before)
