"""Limits that are found, not given: from the weights (AGC), from past norms (AutoClip)."""

import json
import math

import numpy as np
import pytest

from distgrad import Tensor, nn
from distgrad.errors import ShapeError
from distgrad.optim import AutoClip, adaptive_clip_grad_, clip_grad_norm_


def parameter(value, gradient):
    p = nn.Parameter(np.array(value, np.float64))
    p.grad = Tensor(np.array(gradient, np.float64))
    return p


def adapted(p, **settings):
    count = adaptive_clip_grad_([p], **settings)
    return count, p.grad.array.tolist()


# -- adaptive gradient clipping -------------------------------------------------------------------


def test_only_the_rows_over_their_limit_are_scaled_to_it():
    p = parameter([[3, 4], [3, 4], [30, 40]], [[0.6, 0.8], [0.003, 0.004], [0.3, 0.4]])
    assert adapted(p)[0] == 1
    np.testing.assert_allclose(p.grad.array[0], [0.03, 0.04], rtol=1e-12)  # norm 0.01 · 5
    np.testing.assert_array_equal(p.grad.array[1:], [[0.003, 0.004], [0.3, 0.4]])


def test_a_bias_is_one_unit():
    count, found = adapted(parameter([3, 4, 0], [0, 0, 2]), clip_factor=0.1)
    assert (count, found) == (1, pytest.approx([0, 0, 0.5]))


def test_a_scalar_is_one_unit():
    count, found = adapted(parameter(-2.0, 3.0), clip_factor=0.1)
    assert (count, found) == (1, pytest.approx(0.2))


def test_a_filter_of_a_convolution_is_one_unit():
    value = np.ones((3, 2, 2, 2))
    p = parameter(value, value * np.array([1.0, 2.0, 1e-4]).reshape(3, 1, 1, 1))
    assert adapted(p)[0] == 2
    np.testing.assert_allclose(p.grad.array[:, 0, 0, 0], [0.01, 0.01, 1e-4], rtol=1e-12)


def test_weights_of_zero_may_still_move():
    _, found = adapted(parameter([[0, 0]], [[3, 4]]), clip_factor=0.01, eps=1e-3)
    assert found == [pytest.approx([0.6e-5, 0.8e-5])]


def test_complex_units_are_measured_by_their_absolute_values():
    p = nn.Parameter(np.array([[3, 4j], [3, 4j]], np.complex64))
    p.grad = Tensor(np.array([[0.6j, 0.8], [0.003, 0.004]], np.complex64))
    before = p.grad.array.copy()
    assert adaptive_clip_grad_([p]) == 1
    np.testing.assert_allclose(p.grad.array[0], before[0] * 0.05, rtol=1e-6)  # norm 0.01 · 5
    np.testing.assert_array_equal(p.grad.array[1], before[1])
    assert p.grad.dtype == np.complex64


def test_memory_order_does_not_count_and_float32_stays():
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=(2, 5, 7)).astype(np.float32)
    plain, turned = nn.Parameter(w), nn.Parameter(w)
    plain.grad, turned.grad = Tensor(g.copy()), Tensor(np.asfortranarray(g))
    adaptive_clip_grad_([plain, turned])
    assert plain.grad.array.dtype == np.float32
    np.testing.assert_array_equal(plain.grad.array, turned.grad.array)


def test_no_gradient_and_no_elements_are_left_alone():
    empty = parameter(np.zeros((0, 3)), np.zeros((0, 3)))
    assert adaptive_clip_grad_([nn.Parameter(np.zeros(3)), empty]) == 0


def test_a_nan_counts_as_over_the_limit_and_takes_its_unit_with_it():
    count, found = adapted(parameter([[3, 4], [3, 4]], [[np.nan, 1], [0.001, 0]]))
    assert count == 1
    assert np.isnan(found[0]).all()
    assert found[1] == [0.001, 0]


# -- AutoClip --------------------------------------------------------------------------------------


def run(clip, norms):
    """Clip gradients of the given norms one after another; return the norms after clipping."""
    after = []
    for norm in norms:
        p = parameter([0, 0], [0.6 * norm, 0.8 * norm])
        assert clip([p]) == pytest.approx(norm, nan_ok=True)
        after.append(float(np.linalg.norm(p.grad.array)))
    return after


NORMS = (np.random.default_rng(3).lognormal(size=60) * 5).tolist()


@pytest.mark.parametrize("percentile", [0, 10, 37.5, 100])
def test_the_limit_is_the_percentile_of_all_norms_so_far(percentile):
    found = run(AutoClip(percentile), NORMS)
    limits = [np.percentile(NORMS[: i + 1], percentile) for i in range(len(NORMS))]
    np.testing.assert_allclose(found, np.minimum(NORMS, limits), rtol=1e-5)


def test_a_bounded_history_forgets_the_oldest_norms():
    clip = AutoClip(20, history=7)
    run(clip, NORMS)
    assert clip.max_norm == pytest.approx(np.percentile(NORMS[-7:], 20), rel=1e-12)
    assert len(clip.state_dict()["norms"]) == 7


def test_norms_that_are_not_finite_are_not_remembered():
    clip = AutoClip()
    with np.errstate(invalid="ignore"):
        run(clip, [2.0, math.nan])
    assert clip.state_dict() == {"norms": [2.0]}


def test_a_step_without_gradients_is_not_remembered():
    clip = AutoClip()
    assert clip([nn.Parameter(np.zeros(2))]) == 0.0
    assert clip.max_norm == math.inf


def test_the_first_norm_is_its_own_limit():
    assert run(AutoClip(10), [7.0]) == [pytest.approx(7.0)]


def test_a_resumed_history_goes_on_as_if_nothing_had_happened():
    whole, first, second = (AutoClip(15, history=20) for _ in range(3))
    expected = run(whole, NORMS)
    found = run(first, NORMS[:31])
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert found + run(second, NORMS[31:]) == expected


def test_another_norm_may_be_taken():
    p, q = parameter([0, 0], [3, 4]), parameter([0, 0], [3, 4])
    assert AutoClip(50, norm_type=math.inf)([p]) == clip_grad_norm_([q], 4.0, math.inf) == 4.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"percentile": 101}, r"percentile=101 must lie"),
        ({"history": 0}, "history=0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ShapeError, match=message):
        AutoClip(**settings)
