"""What the tape says when it is used wrongly."""

from __future__ import annotations

import re

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor


def leaf(*shape: int) -> Tensor:
    return Tensor(np.ones(shape), requires_grad=True)


def test_a_product_that_does_not_fit_names_the_axis():
    message = "matmul expects 'm k, k n -> m n'; got (3, 4), (5, 6): k is 4 in a but 5 in b"
    with pytest.raises(dg.ShapeError, match=f"^{re.escape(message)}$"):
        leaf(3, 4) @ leaf(5, 6)


def test_a_product_of_stacks_names_its_own_signature():
    with pytest.raises(dg.ShapeError, match=r"'\.\.\. m k, \.\.\. k n .*k is 4 in a but 5 in b"):
        leaf(2, 3, 4) @ leaf(2, 5, 6)


def test_a_linear_layer_that_does_not_fit_names_the_axis():
    with pytest.raises(dg.ShapeError, match=r"linear expects .*: i is 5 in x but 4 in weight"):
        dg.ops.linear(leaf(2, 5), leaf(3, 4), leaf(3))


def test_a_missing_axis_is_counted():
    with pytest.raises(dg.ShapeError, match=r"weight has 1 axes, not 2 \(o i\)"):
        dg.ops.linear(leaf(2, 3), leaf(3), leaf(3))


def test_a_numpy_function_without_a_gradient_is_named():
    with pytest.raises(dg.GradError, match=r"np\.fft\.hfft is not an operation distgrad can diff"):
        np.fft.hfft(leaf(3))
    with pytest.raises(dg.GradError, match=r"np\.spacing is not an op.*docs/adding-an-op\.md"):
        np.spacing(leaf(3))
    with pytest.raises(dg.GradError, match=r"np\.logaddexp\.reduce is not an operation"):
        np.logaddexp.reduce(leaf(3))


def test_out_would_overwrite_what_backward_needs():
    with pytest.raises(dg.GradError, match=r"np\.add in place .*would overwrite"):
        np.add(leaf(3), 1, out=np.empty(3))


def test_a_setting_by_position_is_told_its_name():
    with pytest.raises(dg.ShapeError, match=r"^sum expects .*: a by position, axis=, keepdims= by"):
        dg.ops.sum(leaf(3), 0)
    with pytest.raises(dg.ShapeError, match=r"^add expects .*: a, b by position, nothing by name$"):
        dg.ops.add(leaf(3), 0, 1)


def test_a_setting_that_an_op_does_not_take_is_named():
    with pytest.raises(dg.ShapeError, match=r"np\.sum on a Tensor does not take where; it takes"):
        np.sum(leaf(3), where=np.array([True, False, True]))


def test_backward_of_several_numbers_needs_a_gradient_of_their_shape():
    with pytest.raises(dg.GradError, match=r"this tensor has shape \(3,\): reduce it"):
        (leaf(3) * 2).backward()
    with pytest.raises(dg.ShapeError, match=r"gradient has shape \(2,\), the tensor \(3,\)"):
        (leaf(3) * 2).backward(np.ones(2))


def test_backward_of_something_that_was_not_recorded_says_why():
    with pytest.raises(dg.GradError, match=r"nothing to differentiate.*no_grad"):
        Tensor(np.ones(3)).sum().backward()


def test_integers_cannot_require_gradients():
    with pytest.raises(dg.GradError, match=r"only floating-point tensors.*int64.*astype"):
        Tensor(np.arange(3), requires_grad=True)


@pytest.mark.parametrize("cut", [np.asarray, Tensor.numpy])
def test_a_tensor_that_requires_gradients_does_not_turn_into_an_array_silently(cut):
    for x in (leaf(3), leaf(3) * 2):
        with pytest.raises(dg.GradError, match=r"silently cut the gradient; write \.detach\(\)\.n"):
            cut(x)
        assert cut(x.detach()) is x.array or (cut(x.detach()) == x.array).all()


def test_numbers_and_lists_leave_the_tape_as_in_pytorch():
    x = leaf(3) * 2
    assert x.tolist() == x.array.tolist()
    assert x[1].item() == float(x[1]) == x.array[1]


def test_a_number_is_formatted_as_a_number():
    x = Tensor(np.array([1.5, 2.25]), requires_grad=True)
    assert f"{x[1]:.3f} {x.sum():8.1e}" == "2.250  3.8e+00"
    assert f"{x[1]}" == str(x[1])
    with pytest.raises(TypeError, match="unsupported format string"):
        f"{x:.3f}"


def test_an_optional_input_that_was_left_out_is_shown_as_none():
    with pytest.raises(dg.ShapeError, match=r"got \(2, 5\), \(3, 4\), None: i is 5 in x but 4"):
        dg.ops.linear(leaf(2, 5), leaf(3, 4), None)
