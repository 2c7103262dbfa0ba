"""detect_anomaly: the first non-finite value, with op, shapes, rank and the user's line."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, nn
from distgrad.autograd.mode import rank_label
from distgrad.nn import functional as F
from distgrad.perrank import isolated

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def tensor(*values: float) -> Tensor:
    return Tensor(np.array(values, float), requires_grad=True)


def test_forward_names_op_shapes_range_and_line():
    x = tensor(1, 0.5, -2)
    with (
        dg.detect_anomaly(),
        pytest.raises(
            dg.NonFiniteError,
            match=r"forward pass: log made nan at index \(2,\) of shape \(3,\) \(1 of 3 elements "
            r"are not finite\); its inputs: a \(3,\) float64 in \[-2, 1\]; .*test_anomaly\.py:\d+ "
            r"in test_forward_names_op_shapes_range_and_line: np\.log\(x\)",
        ),
    ):
        np.log(x)


def test_the_line_is_the_users_also_below_a_layer():
    model = nn.Linear(3, 2)
    model.weight.array[...] = 3e38
    with dg.detect_anomaly(), pytest.raises(dg.NonFiniteError, match=r"linear made .*: model\("):
        model(np.full((1, 3), 10, np.float32))


def test_backward_names_the_op_whose_gradient_it_is_and_the_line_of_forward():
    x = tensor(4, 0, 1)
    with dg.detect_anomaly():
        y = np.sqrt(x).sum()
        with pytest.raises(
            dg.NonFiniteError,
            match=r"backward pass: sqrt made the gradient to 'a' inf at index \(1,\) .*"
            r"in test_backward_names.*: y = np\.sqrt\(x\)\.sum\(\)",
        ):
            y.backward()


def test_it_names_the_rank():
    def body():
        rank_label.set("[rank 1/4] ")
        with (
            dg.detect_anomaly(),
            pytest.raises(dg.NonFiniteError, match=r"^\[rank 1/4\] the first non-finite value"),
        ):
            np.log(tensor(-1))

    isolated(body)


def test_data_that_is_nan_already_is_blamed_on_the_input():
    with (
        dg.detect_anomaly(),
        pytest.raises(dg.NonFiniteError, match="linear was given 'x' with"),
    ):
        F.linear(np.array([[1, np.nan]], np.float32), np.ones((3, 2), np.float32))


def test_infinity_that_was_put_in_on_purpose_passes():
    mask = np.array([0, -np.inf, 0])
    x = tensor(1, 2, 3)
    with dg.detect_anomaly():
        F.softmax(x + mask, -1).sum().backward()
        np.clip(x, -np.inf, 2).sum().backward()


def test_overflow_is_found_without_a_tape():
    with dg.detect_anomaly(), dg.no_grad(), pytest.raises(dg.NonFiniteError, match="exp made inf"):
        np.exp(tensor(1000))


def test_off_means_off():
    with dg.detect_anomaly(), dg.detect_anomaly(enabled=False):
        assert np.isnan(np.log(tensor(-1)).array).all()
    assert np.isnan(np.log(tensor(-1)).array).all()


def test_a_healthy_step_has_the_same_bits_inside():
    def step():
        dg.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        F.cross_entropy(model(np.ones((5, 4), np.float32)), np.arange(5) % 3).backward()
        return [p.grad.array for p in model.parameters()]

    plain = step()
    with dg.detect_anomaly():
        watched = step()
    for a, b in zip(plain, watched, strict=True):
        np.testing.assert_array_equal(a, b)
