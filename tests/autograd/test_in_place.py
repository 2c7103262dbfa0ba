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
    x.array += 1
    with pytest.raises(dg.GradError, match=CHANGED):
        y.backward()


def test_one_element_of_a_small_array():
    for i in range(3):
        x = tensor(3)
        y = (x * x).sum()
        x.array[i] = 7
        with pytest.raises(dg.GradError, match=r"shape \(3,\) that multiply read"):
            y.backward()


def test_one_element_of_a_large_array_under_detect_anomaly():
    x = tensor(300, 300)
    with dg.detect_anomaly():
        y = (x * x).sum()
    x.array[17, 211] = 7
    with pytest.raises(dg.GradError, match=r"test_in_place\.py:\d+ in test_one_ele.*y = \(x \* x"):
        y.backward()


def test_an_output_that_the_gradient_needs():
    x = tensor(3)
    y = np.exp(x)
    y.array *= 2
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
    x.array[0] = 5
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
    images = np.random.default_rng(4).normal(size=(2, 6, 6, 3)).transpose(0, 3, 1, 2)
    x, w = Tensor(images, requires_grad=True), tensor(4, 3, 3, 3)
    y = F.conv2d(x, w, None).sum()
    x.array[...] = 0
    with pytest.raises(dg.GradError, match=r"that conv\w* read"):
        y.backward()


def test_a_convolution_that_has_a_copy_reads_that():
    pytest.importorskip("numba", reason="the reference reads the images themselves")
    x, w = tensor(2, 3, 6, 6), tensor(4, 3, 3, 3)
    (expected,) = grad(F.conv2d(x, w, None).sum(), [w])
    y = F.conv2d(x, w, None).sum()  # the twin's, channels-last
    x.array[...] = 0
    y.backward()
    assert w.grad is not None
    np.testing.assert_array_equal(w.grad.array, expected.array)


def test_the_states_of_a_recurrence():
    x, h, c = tensor(3, 2, 4), tensor(2, 2), tensor(2, 2)
    with dg.reference_kernels():  # the twin has copies
        y, _ = ops.lstm(x, h, c, tensor(8, 4), tensor(8, 2), None, None)
    c.array += 1  # the initial cell, kept among those of all steps
    with pytest.raises(dg.GradError, match=r"shape \(2, 2\) that lstm read"):
        y.sum().backward()


def test_a_checkpointed_stretch_reads_its_inputs_again():
    x, w = tensor(3), tensor(3)
    y = checkpoint(lambda a: np.exp(a) + w, x * 1.0).sum()
    w.array += 1
    with pytest.raises(dg.GradError, match=r"that checkpoint read"):
        y.backward()


def test_gradients_of_gradients_read_the_inputs_of_linear_ops_too_where_ops_are_run_again():
    x = tensor(3)
    y = (x + 1).sum()
    z = np.square(ops.softmax(x + 1, axis=0)).sum()  # softmax reads what is no input
    x.array += 1
    y.backward()  # first order needs nothing of x
    with pytest.raises(dg.GradError, match=CHANGED):
        grad(z, [x], create_graph=True)


def test_gradients_of_gradients_read_what_the_closures_read_where_that_is_inputs_and_outputs():
    x = tensor(3)
    expected = 2 * (x.array + 1)
    z = np.square(x + 1).sum()
    x.array += 1
    (first,) = grad(z, [x], create_graph=True)
    np.testing.assert_array_equal(first.array, expected)
    (second,) = grad(first.sum(), [x])
    np.testing.assert_array_equal(second.array, np.full(3, 2.0))


def test_changes_that_backward_does_not_read_pass():
    x, noise = tensor(3), np.ones(3)
    y = x + noise
    total = y.sum()
    noise[...] = 5
    y.array[...] = 0
    total.backward()
    np.testing.assert_array_equal(x.grad.array, [1, 1, 1])


def test_writing_the_same_values_and_nan_are_no_change():
    x = Tensor(np.array([np.nan, 1.0, 2.0] * 100), requires_grad=True)
    y = (x * x).sum()
    x.array[...] = x.array.copy()
    y.backward()


def test_in_place_operators_work_where_nothing_is_recorded():
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    held = x.array
    with dg.no_grad():
        x -= 0.5 * x
        x[1] = 7
        x[np.array([True, False, False])] += 1
    assert x.array is held
    assert x.requires_grad
    np.testing.assert_array_equal(held, [1.5, 7, 0.5])
    plain = Tensor(np.zeros(3))
    plain += 1
    plain[:2] = 5
    np.testing.assert_array_equal(plain.array, [5, 5, 1])


def test_a_leaf_that_requires_gradients_is_not_changed_in_place():
    x = tensor(3)
    with pytest.raises(dg.GradError, match=r"x -= y in place on a leaf.*inside dg\.no_grad\(\)"):
        x -= 1
    with pytest.raises(dg.GradError, match=r"x\[index\] = value in place on a leaf"):
        x[0] = 1
    with pytest.raises(dg.GradError, match=r"x\.exp_\(\) in place on a leaf"):
        x.exp_()
    with pytest.raises(dg.GradError, match=r"np\.add in place \(out=…\) would overwrite"):
        np.add(x, 1, out=x)


def test_in_place_on_the_tape_a_tensor_stands_for_its_new_value():
    x = tensor(3)
    y = x * 2
    before = y * y
    alias = y
    y += x
    y *= y
    y[1] = x[0] * 5
    y.exp_()
    assert alias is y
    wanted = np.exp((3 * x.array) ** 2)
    wanted[1] = np.exp(5 * x.array[0])
    np.testing.assert_allclose(y.array, wanted)
    (before.sum() + y.sum()).backward()
    slopes = 8 * x.array + 18 * x.array * np.exp((3 * x.array) ** 2)
    slopes[0] += 5 * wanted[1]
    slopes[1] = 8 * x.array[1]
    np.testing.assert_allclose(x.grad.array, slopes)


def test_a_constant_tensor_that_takes_a_recorded_value_is_on_the_tape():
    x, total = tensor(3), Tensor(np.zeros(()))
    for value in x:
        total += value * value
    rows = Tensor(np.zeros((2, 3)))
    rows[1] = x * 3
    (total + rows.sum()).backward()
    np.testing.assert_allclose(x.grad.array, 2 * x.array + 3)


def test_a_recorded_value_in_a_view_is_refused_and_an_augmented_view_leaves_its_base():
    x, rows = tensor(3), Tensor(np.zeros((2, 3)))
    row = rows[0]
    with pytest.raises(dg.GradError, match=r"x\.add_\(\) on a view .*write into that one"):
        row.add_(x)
    with pytest.raises(dg.GradError, match=r"x\[index\] = value on a view"):
        row[0] = x[0]
    recorded = (x * 1).reshape(3, 1)
    with pytest.raises(dg.GradError, match=r"x\.exp_\(\) on a view"):
        recorded.exp_()
    row += x
    np.testing.assert_array_equal(row.array, x.array)
    np.testing.assert_array_equal(rows.array, 0)
    rows[0] += x
    np.testing.assert_array_equal(rows.array, [x.array, np.zeros(3)])
    with dg.no_grad():
        rows[1].add_(5)
    np.testing.assert_array_equal(rows.array[1], 5)


def test_a_tensor_that_took_anothers_value_has_memory_of_its_own():
    x, constant = tensor(3), Tensor(np.arange(3.0))
    h, g, recorded = x * 2, x * 3, x * 4
    h.copy_(constant)
    h += 1
    g.copy_(recorded)
    with dg.no_grad():
        g.zero_()
    np.testing.assert_array_equal(constant.array, [0, 1, 2])
    np.testing.assert_array_equal(recorded.array, 4 * x.array)


def test_in_place_keeps_shape_and_kind_of_number():
    x = Tensor(np.zeros(3, np.int64))
    with pytest.raises(TypeError, match="float"):
        x += 0.5
    with pytest.raises(dg.ShapeError, match=r"x\.add_\(\) in place cannot change the shape"):
        x.add_(np.zeros((2, 3)))
    with pytest.raises(TypeError, match=r"x \+= y in place cannot put float64 into .* int64"):
        x += tensor(3) * 1
    y = tensor(3).astype(np.float32) * 1
    y += np.ones(3)
    assert y.dtype == np.float32


def test_relu_of_zero_strides():
    x = Tensor(np.broadcast_to(np.float32(2), (50, 50)), requires_grad=True)
    ops.relu(x * x).sum().backward()
    np.testing.assert_array_equal(x.grad.array, np.full((50, 50), 4))


def test_index_arrays_are_the_tapes_own_inside_a_tuple_and_noticed_alone():
    x, i = tensor(3, 3), np.array([0, 1])
    y = (x[:, i] * 2).sum()
    i[:] = 2
    y.backward()
    np.testing.assert_array_equal(x.grad.array[0], [2, 2, 0])
    z = x[i].sum()
    i[:] = 0
    with pytest.raises(dg.GradError, match=CHANGED):
        z.backward()


def test_the_fused_convolution_of_a_line():
    x = Tensor(np.random.default_rng(0).normal(size=(2, 6, 3)).transpose(0, 2, 1))
    y = F.conv1d(x, tensor(2, 3, 3)).sum()
    x.array *= 2
    with pytest.raises(dg.GradError, match=CHANGED):
        y.backward()


def test_a_product_reads_the_other_factor_alone():
    w = tensor(3, 4)
    y = (np.ones((2, 3)) @ w).sum()
    w.array *= 0.9
    y.backward()
    np.testing.assert_array_equal(w.grad.array, np.full((3, 4), 2))


@pytest.mark.parametrize("width", [3, 300])
def test_parameters_that_an_optimizer_moves_are_still_the_same(width):
    layer = nn.Linear(width, 2)
    x = Tensor(np.ones((1, width), np.float32), requires_grad=True)
    y = (layer(x) * layer(x)).sum()
    optim.SGD(layer.parameters(), lr=0.1)  # lays the parameters side by side in a buffer of its own
    (g,) = grad(y, [x], create_graph=True)
    assert g.shape == (1, width)
