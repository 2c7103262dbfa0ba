"""Hooks on tensors: when they run, what they see, what they may change."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import checkpoint, grad


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values, float), requires_grad=True)


def test_a_hook_sees_the_sum_of_all_consumers_once():
    seen = []
    x = leaf(1, 2, 3)
    h = x * 2
    for t in (x, h):
        t.register_hook(lambda g: seen.append(g.array.copy()))
    (h * 3 + h * h + x).sum().backward()
    np.testing.assert_allclose(seen, [3 + 2 * h.array, 7 + 4 * h.array])
    np.testing.assert_allclose(x.grad.array, 7 + 4 * h.array)


def test_hooks_replace_gradients_in_their_order():
    x = leaf(1, 2, 3)
    h = x * 2
    h.register_hook(lambda g: g + 1)
    h.register_hook(lambda g: g * np.float64(10))
    x.register_hook(lambda g: -g)
    h.sum().backward()
    np.testing.assert_array_equal(x.grad.array, [-40, -40, -40])
    (found,) = grad((x * 5).sum(), [x])
    np.testing.assert_array_equal(found.array, [-5, -5, -5])


def test_a_removed_hook_is_not_called_and_removing_twice_is_fine():
    x = leaf(1)
    handle = x.register_hook(lambda g: g * 100)
    with x.register_hook(lambda g: g * 7):
        pass
    handle.remove()
    handle.remove()
    x.sum().backward()
    (x * 2).sum().backward()
    np.testing.assert_array_equal(x.grad.array, [3])


def test_a_hook_outlives_its_tensor():
    seen = []
    x = leaf(1, 2, 3)
    h = x * 2
    h.register_hook(lambda g: seen.append(g.shape))
    y = h.sum()
    del h
    y.backward()
    assert seen == [(3,)]


def test_a_hook_under_create_graph_gets_a_recorded_gradient():
    x = leaf(1, 2, 3)
    h = x * x
    h.register_hook(lambda g: g * g)
    (first,) = grad((h * h).sum(), [x], create_graph=True)  # (2h)^2 2x = 8 x^5
    np.testing.assert_allclose(first.array, 8 * x.array**5)
    (second,) = grad(first.sum(), [x])  # the hook squares what reaches h here, too
    np.testing.assert_allclose(second.array, [520, 65664, 1120392])  # PyTorch's


def test_each_output_of_an_op_has_hooks_of_its_own():
    x = leaf(1, 2, 3, 4)
    a, b = np.split(x, 2)
    b.register_hook(lambda g: g * 10)
    (a.sum() + b.sum()).backward()
    np.testing.assert_array_equal(x.grad.array, [1, 1, 10, 10])


def test_retain_grad_keeps_the_gradient_of_an_intermediate():
    x = leaf(1, 2, 3)
    h = x * 2
    h.retain_grad()
    x.retain_grad()  # a leaf keeps it anyway
    (h * h).sum().backward()
    np.testing.assert_allclose(h.grad.array, 2 * h.array)


def test_a_listener_is_told_after_the_hooks():
    events = []

    class Listener:
        early = False

        def backward_started(self):
            return 1.0

        def grad_ready(self, tensor):
            events.append(tensor.grad.array.tolist())

        def optimizer_stepped(self, optimizer):
            pass

        def backward_finished(self):
            pass

    x = leaf(1, 2, 3)
    x._listener = Listener()
    x.register_hook(lambda g: g + 1)
    (x * 2 + x * x).sum().backward()
    assert events == [[5.0, 7.0, 9.0]]


@pytest.mark.parametrize("left", [True, False])
def test_an_optimizer_inside_backward_moves_no_weight_that_the_pass_still_reads(left):
    weight, x = leaf(1, 2, 3), leaf(4, 5, 6)
    before = weight.array.copy()

    def step(p):
        with dg.no_grad():
            p.sub_(p.grad)

    weight.register_post_accumulate_grad_hook(step)
    (weight * (x * 2) if left else (x * 2) * weight).sum().backward()
    np.testing.assert_array_equal(x.grad.array, 2 * before)
    np.testing.assert_array_equal(weight.array, before - 2 * x.array)


def test_wrong_hooks_are_refused():
    with pytest.raises(dg.GradError, match="requires no gradient: it would never be called"):
        Tensor(np.ones(3)).register_hook(print)
    x = leaf(1, 2, 3)
    x.register_hook(lambda g: g[:2])
    with pytest.raises(dg.GradError, match=r"returned a gradient of shape \(2,\) for one of \(3,"):
        x.sum().backward()


def test_a_hooked_leaf_whose_other_consumer_got_nothing_keeps_its_gradient():
    w, x = leaf(1, 1, 1), leaf(1, 1, 1)
    w.register_hook(lambda g: None)
    a, _ = checkpoint(lambda a, b: (a * 2, b * 3), x, w * 2)
    (a.sum() + w.sum()).backward()
    np.testing.assert_array_equal(w.grad.array, [1, 1, 1])


def test_retain_grad_counts_once_and_keeps_what_hooks_made():
    h = leaf(1, 2, 3) * 2
    h.retain_grad()
    h.register_hook(lambda g: g * 10)
    h.retain_grad()
    h.sum().backward()
    np.testing.assert_array_equal(h.grad.array, [10, 10, 10])


def test_a_hook_after_accumulation_sees_the_leaf_with_its_whole_gradient():
    x, seen = leaf(1, 2), []
    handle = x.register_post_accumulate_grad_hook(lambda x: seen.append(x.grad.tolist()))
    x.register_hook(lambda g: g * 10)
    (x * 3 + x).sum().backward()
    x.backward(np.ones(2))
    assert seen == [[40, 40], [50, 50]]
    handle.remove()
    x.sum().backward()
    assert len(seen) == 2
    with pytest.raises(dg.GradError, match="is for leaves that require gradients; use register_ho"):
        (x * 2).register_post_accumulate_grad_hook(print)


def test_a_tensor_says_whether_it_retains_its_gradient():
    x = leaf(1, 2)
    y = x * 2
    assert not x.retains_grad
    assert not y.retains_grad
    y.retain_grad()
    assert y.retains_grad
