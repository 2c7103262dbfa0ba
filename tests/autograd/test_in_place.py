"""Arrays changed in place between forward and backward are noticed; harmless changes pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import distgrad as dg
from distgrad import Tensor, nn, ops, optim
from distgrad.autograd import checkpoint, grad
from distgrad.nn import functional as F

CHANGED = r"of shape .* that .* read in the forward pass was changed in place before backward"


def tensor(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(len(shape)).normal(size=shape), requires_grad=True)


@pytest.mark.parametrize("size", [3, 100, 1000, 100_000])
def test_an_input_that_was_changed_everywhere(size):
    x = tensor(size)
    y = (x * x).sum()
    x.data += 1
    with pytest.raises(dg.GradError, match=CHANGED):
        y.backward()


def test_one_element_of_a_small_array():
    for i in range(3):
        x = tensor(3)
        y = (x * x).sum()
        x.data[i] = 7
        with pytest.raises(dg.GradError, match=r"shape \(3,\) that multiply read"):
            y.backward()


def test_one_element_of_a_large_array_under_detect_anomaly():
    x = tensor(300, 300)
    with dg.detect_anomaly():
        y = (x * x).sum()
    x.data[17, 211] = 7
    with pytest.raises(dg.GradError, match=r"test_in_place\.py:\d+ in test_one_ele.*y = \(x \* x"):
        y.backward()


def test_an_output_that_the_gradient_needs():
    x = tensor(3)
    y = np.exp(x)
    y.data *= 2
    with pytest.raises(dg.GradError, match=r"that exp read"):
        y.sum().backward()


def test_a_plain_array_that_was_an_input():
    x, noise = tensor(3), np.ones(3)
    y = (x * noise).sum()
    noise[1] = 0
    with pytest.raises(dg.GradError, match=CHANGED):
        y.backward()


def test_a_view_and_its_base():
    x = tensor(3, 4)
    y = (x.T[1] * x.T[2]).sum()
    x.data[0] = 5
    with pytest.raises(dg.GradError, match=CHANGED):
        y.backward()


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_in_any_layout(order):
    base = np.asarray(np.random.default_rng(2).normal(size=(60, 70, 3)), order=order)
    for view in (base, base[::2, ::-1], base.transpose(2, 0, 1)):
        x = Tensor(view, requires_grad=True)
        y = (x * x).sum()
        view[...] = view * 2
        with pytest.raises(dg.GradError, match=CHANGED):
            y.backward()


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    shape=st.lists(st.integers(1, 300), min_size=1, max_size=4).filter(
        lambda s: 129 <= np.prod(s) <= 50_000
    ),
    step=st.integers(1, 3),
    turned=st.booleans(),
)
@example(shape=[256, 1], step=2, turned=False)  # fewer elements along both axes than are wanted
def test_large_views_of_any_shape(shape, step, turned):
    base = np.zeros([n * step for n in shape])
    view = base[tuple(slice(None, None, step) for _ in shape)]
    x = Tensor(view.T if turned else view, requires_grad=True)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    view += 1
    with pytest.raises(dg.GradError, match=CHANGED):
        y.backward()


def test_an_optimizer_step_before_backward():
    layer = nn.Linear(4, 3)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    x = tensor(5, 4)
    y = layer(x.astype(np.float32)).sum()
    for p in layer.parameters():
        p.grad = Tensor(np.ones(p.shape, np.float32))
    optimizer.step()
    with pytest.raises(dg.GradError, match=r"an optimizer's step changes parameters in place"):
        y.backward()


def test_fused_kernels_and_convolutions():
    x, w = tensor(2, 3, 6, 6), tensor(4, 3, 3, 3)
    y = F.conv2d(x, w, None).sum()
    x.data[...] = 0
    with pytest.raises(dg.GradError, match=r"that conv\w* read"):
        y.backward()


def test_the_states_of_a_recurrence():
    x, h, c = tensor(3, 2, 8), tensor(2, 2), tensor(2, 2)
    y, _ = ops.lstm(x, h, c, tensor(8, 2))
    c.data += 1  # the initial cell, kept among those of all steps
    with pytest.raises(dg.GradError, match=r"shape \(2, 2\) that lstm read"):
        y.sum().backward()


def test_a_checkpointed_stretch_reads_its_inputs_again():
    x, w = tensor(3), tensor(3)
    y = checkpoint(lambda a: np.exp(a) + w, x * 1.0).sum()
    w.data += 1
    with pytest.raises(dg.GradError, match=r"that checkpoint read"):
        y.backward()


def test_gradients_of_gradients_read_the_inputs_of_linear_ops_too_where_ops_are_run_again():
    x = tensor(3)
    y = (x + 1).sum()
    z = np.square(ops.softmax(x + 1, axis=0)).sum()  # softmax reads what is no input
    x.data += 1
    y.backward()  # first order needs nothing of x
    with pytest.raises(dg.GradError, match=CHANGED):
        grad(z, [x], create_graph=True)


def test_gradients_of_gradients_read_what_the_closures_read_where_that_is_inputs_and_outputs():
    x = tensor(3)
    expected = 2 * (x.data + 1)
    z = np.square(x + 1).sum()
    x.data += 1
    (first,) = grad(z, [x], create_graph=True)
    np.testing.assert_array_equal(first.data, expected)
    (second,) = grad(first.sum(), [x])
    np.testing.assert_array_equal(second.data, np.full(3, 2.0))


def test_changes_that_backward_does_not_read_pass():
    x, noise = tensor(3), np.ones(3)
    y = x + noise
    total = y.sum()
    noise[...] = 5
    y.data[...] = 0
    total.backward()
    np.testing.assert_array_equal(x.grad.data, [1, 1, 1])


def test_writing_the_same_values_and_nan_are_no_change():
    x = Tensor(np.array([np.nan, 1.0, 2.0] * 100), requires_grad=True)
    y = (x * x).sum()
    x.data[...] = x.data.copy()
    y.backward()


def test_in_place_operators_work_where_nothing_is_recorded():
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    held = x.data
    with dg.no_grad():
        x -= 0.5 * x
        x[1] = 7
        x[np.array([True, False, False])] += 1
    assert x.data is held
    assert x.requires_grad
    np.testing.assert_array_equal(held, [1.5, 7, 0.5])
    plain = Tensor(np.zeros(3))
    plain += 1
    plain[:2] = 5
    np.testing.assert_array_equal(plain.data, [5, 5, 1])


def test_in_place_operators_are_refused_while_recording():
    x = tensor(3)
    with pytest.raises(dg.GradError, match=r"np\.subtract in place.*inside dg\.no_grad\(\)"):
        x -= 1
    with pytest.raises(dg.GradError, match=r"use np\.where, distgrad\.ops\.index_put"):
        x[0] = 1
    with pytest.raises(dg.GradError, match=r"use np\.where"):
        Tensor(np.zeros(3))[0] = x[0]


def test_relu_of_zero_strides():
    x = Tensor(np.broadcast_to(np.float32(2), (50, 50)), requires_grad=True)
    ops.relu(x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.data, np.full((50, 50), 4))


def test_index_arrays_are_the_tapes_own_inside_a_tuple_and_noticed_alone():
    x, i = tensor(3, 3), np.array([0, 1])
    y = (x[:, i] * 2).sum()
    i[:] = 2
    y.backward()
    np.testing.assert_array_equal(x.grad.data[0], [2, 2, 0])
    z = x[i].sum()
    i[:] = 0
    with pytest.raises(dg.GradError, match=CHANGED):
        z.backward()


def test_the_fused_convolution_of_a_line():
    x = Tensor(np.random.default_rng(0).normal(size=(2, 3, 6)))
    y = F.conv1d(x, tensor(2, 3, 3)).sum()
    x.data *= 2
    with pytest.raises(dg.GradError, match=CHANGED):
        y.backward()


def test_a_product_reads_the_other_factor_alone():
    w = tensor(3, 4)
    y = (np.ones((2, 3)) @ w).sum()
    w.data *= 0.9
    y.backward()
    np.testing.assert_array_equal(w.grad.data, np.full((3, 4), 2))


@pytest.mark.parametrize("width", [3, 300])
def test_parameters_that_an_optimizer_moves_are_still_the_same(width):
    layer = nn.Linear(width, 2)
    x = Tensor(np.ones((1, width), np.float32), requires_grad=True)
    y = (layer(x) * layer(x)).sum()
    optim.SGD(layer.parameters(), lr=0.1)  # lays the parameters side by side in a buffer of its own
    (g,) = grad(y, [x], create_graph=True)
    assert g.shape == (1, width)
