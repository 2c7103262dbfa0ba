"""The backward pass: what it adds up, what it frees, what it refuses."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad
from distgrad.autograd.node import Joint


def leaf(*values: float) -> Tensor:
    return Tensor(np.array(values, float), requires_grad=True)


def test_gradients_accumulate_over_backward_passes_in_place():
    x = leaf(1, 2, 3)
    (x * 2).sum().backward()
    held = x.grad.array
    (x * np.array([1.0, 10.0, 100.0])).sum().backward()
    assert x.grad.array is held
    np.testing.assert_array_equal(x.grad.array, [3, 12, 102])


def test_a_shared_subexpression_gets_the_sum_of_its_gradients_once():
    x = leaf(1, 2, 3)
    shared = x * x
    ((shared * 3) + (shared * shared) + shared).sum().backward()
    np.testing.assert_allclose(x.grad.array, 8 * x.array + 4 * x.array**3)


def test_a_sum_of_a_tensor_with_itself_does_not_add_into_a_shared_array():
    x, y = leaf(1, 2, 3), leaf(4, 5, 6)
    s = x + y  # one gradient array goes to both
    (s + s * 2).sum().backward()
    np.testing.assert_array_equal(x.grad.array, [3, 3, 3])
    np.testing.assert_array_equal(y.grad.array, [3, 3, 3])


@pytest.mark.parametrize(("a", "b"), [((3, 1), (1, 4)), ((4,), (3, 4)), ((), (2, 3)), ((1,), (3,))])
def test_broadcasting_is_undone(a, b):
    x, y = Tensor(np.full(a, 2.0), True), Tensor(np.full(b, 3.0), True)
    (x * y).sum().backward()
    size = np.broadcast(x.array, y.array).size
    np.testing.assert_allclose(x.grad.array, np.full(a, 3.0 * size / x.size))
    np.testing.assert_allclose(y.grad.array, np.full(b, 2.0 * size / y.size))


def test_a_gradient_comes_in_the_dtype_of_its_tensor():
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    (x * np.ones(3)).sum().backward()
    assert x.grad.dtype == np.float32


def test_a_second_pass_needs_retain_graph_and_the_error_says_so():
    x = leaf(1, 2, 3)
    y = np.exp(x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.array, 2 * np.exp(x.array))
    with pytest.raises(dg.GradError, match=r"freed by an earlier.*pass retain_graph=True"):
        y.backward()


def test_memory_is_freed_while_the_graph_is_walked():
    freed: list[int] = []

    class Residual:
        def __init__(self, number: int) -> None:
            self.number = number

        def __del__(self) -> None:
            freed.append(self.number)

    @dg.op("... -> ...")
    def holding(a, *, number):
        """Keep a residual until its gradient has been computed."""
        residual = Residual(number)

        def vjp(g):
            assert residual.number == number
            order.append((number, tuple(freed)))
            return g

        return a + 0, vjp

    order: list[tuple[int, tuple[int, ...]]] = []
    try:
        y = leaf(1, 2, 3)
        for i in range(3):
            y = holding(y, number=i)
        y = y.sum()
        y.backward()
    finally:
        del dg.autograd.REGISTRY["holding"]
    assert order == [(2, ()), (1, (2,)), (0, (2, 1))]


def test_nothing_is_left_for_the_garbage_collector():
    np.tanh(leaf(1, 2, 3)).sum().backward()  # a kernel that is compiled now leaves something
    gc.collect()
    gc.disable()
    try:
        x = leaf(1, 2, 3)
        y = np.tanh(x * 2).sum()
        node = weakref.ref(y)
        y.backward()
        del y
        assert node() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_ten_thousand_ops_in_a_chain_need_no_recursion():
    x = leaf(1, 2, 3)
    y = x
    for _ in range(10_000):
        y = y + 1.0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.array, [1, 1, 1])


def test_a_long_chain_is_differentiated_twice_without_recursion():
    x = leaf(1, 2, 3)
    y = x * x
    for _ in range(3000):
        y = y + 1.0
    (first,) = grad(y.sum(), [x], create_graph=True)
    (second,) = grad(first.sum(), [x])
    np.testing.assert_array_equal(second.array, [2, 2, 2])


def test_grad_reaches_tensors_that_are_not_leaves_and_leaves_dot_grad_alone():
    x = leaf(1, 2, 3)
    h = x * x
    y = (h * h).sum()
    to_h, to_x = grad(y, [h, x])
    np.testing.assert_allclose(to_h.array, 2 * x.array**2)
    np.testing.assert_allclose(to_x.array, 4 * x.array**3)
    assert x.grad is None


def test_second_gradients_reach_a_tensor_in_the_middle():
    x = leaf(1, 2, 3)
    h = np.exp(x)
    (first,) = grad((h * h * h).sum(), [h], create_graph=True)
    (second,) = grad(first.sum(), [h])
    np.testing.assert_allclose(second.array, 6 * h.array)


def test_third_gradients():
    x = leaf(0.3, 1.0, 2.0)
    y = np.sin(x).sum()
    for _ in range(3):
        (g,) = grad(y, [x], create_graph=True)
        y = g.sum()
    np.testing.assert_allclose(g.array, -np.cos(x.array), rtol=1e-12)


def test_backward_with_create_graph_leaves_gradients_that_can_be_differentiated():
    x = leaf(1, 2, 3)
    (x * x * x).sum().backward(create_graph=True)
    (penalty,) = grad((x.grad * x.grad).sum(), [x])
    np.testing.assert_allclose(penalty.array, 36 * x.array**3)


def test_an_unused_input_is_an_error_unless_allowed():
    x, z = leaf(1, 2, 3), leaf(4)
    with pytest.raises(dg.GradError, match=r"inputs \[1\] were not used.*allow_unused=True"):
        grad(x.sum(), [x, z])
    assert grad(x.sum(), [x, z], allow_unused=True)[1] is None


def test_outputs_of_one_op_that_were_not_used_count_as_zeros():
    x = Tensor(np.arange(6.0), requires_grad=True)
    parts = np.split(x, 3)
    (parts[1] * 5).sum().backward()
    np.testing.assert_array_equal(x.grad.array, [0, 0, 5, 5, 0, 0])


def test_a_joint_closure_is_told_which_gradients_are_wanted_and_runs_once():
    calls = []

    @dg.op("..., ... -> ...")
    def product(a, b):
        """a b, with one closure for both."""

        def vjp(wanted, g):
            calls.append(wanted)
            return (g * b if wanted[0] else None, g * a if wanted[1] else None)

        return a * b, Joint(vjp)

    try:
        x, y = leaf(1, 2, 3), leaf(4, 5, 6)
        product(x, y.array).sum().backward()
        product(x, y).sum().backward()
        dg.gradcheck(product, [x.array, y.array], second=True)
    finally:
        del dg.autograd.REGISTRY["product"]
    assert calls[:2] == [(True, False), (True, True)]
    np.testing.assert_array_equal(x.grad.array, 2 * y.array)
    np.testing.assert_array_equal(y.grad.array, x.array)


def test_a_wrong_number_of_closures_is_named():
    @dg.op("..., ... -> ...")
    def forgetful(a, b):
        """a + b, with one closure missing."""
        return a + b, (lambda g: g,)

    try:
        with pytest.raises(dg.GradError, match="2 inputs returned 1 gradient closures"):
            forgetful(leaf(1), leaf(2))
    finally:
        del dg.autograd.REGISTRY["forgetful"]


def test_a_leaf_is_reported_ready_once_after_its_last_consumer():
    events = []

    class Listener:
        early = False

        def backward_started(self):
            events.append("started")
            return 0.5

        def grad_ready(self, tensor):
            events.append(tensor.grad.array.tolist())

        def optimizer_stepped(self, optimizer):
            pass

        def backward_finished(self):
            events.append("finished")

    x = leaf(1, 2, 3)
    x._listener = Listener()
    (x * 2 + x * x).sum().backward()
    assert events == ["started", [2.0, 3.0, 4.0], "finished"]


def layer_events(first, *, early, hooked):
    """Run a layer's backward pass; return in which order what was told of or computed."""
    events = []

    class Listener:
        def __init__(self):
            self.early = early

        def backward_started(self):
            return 1.0

        def grad_ready(self, tensor):
            events.append("ready")

        def poll(self):
            events.append("poll")

        def optimizer_stepped(self, optimizer):
            pass

        def backward_finished(self):
            events.append("finished")

    @dg.op("..., ... -> ...")
    def layer(a, b):
        """a * b, which notes when the gradient of the input is computed."""

        def of(other, is_input):
            def vjp(g):
                events.extend(["input"] * is_input)
                return g * other

            return vjp

        return a * b, (of(b, first == "x"), of(a, first == "weight"))

    try:
        x, weight = leaf(1, 2, 3), leaf(4, 5, 6)
        weight._listener = Listener()
        if hooked:
            weight.register_hook(lambda g: None)
        layer(*((x * 2, weight) if first == "x" else (weight, x * 2))).sum().backward()
    finally:
        del dg.autograd.REGISTRY["layer"]
    np.testing.assert_array_equal(x.grad.array, 2 * weight.array)
    np.testing.assert_array_equal(weight.grad.array, 2 * x.array)
    return events


@pytest.mark.parametrize("first", ["x", "weight"])
@pytest.mark.parametrize("hooked", [False, True])
def test_a_leaf_is_told_of_when_all_gradients_of_its_layer_are_computed(hooked, first):
    events = layer_events(first, early=False, hooked=hooked)
    assert events == ["input", "ready", "finished"]


@pytest.mark.parametrize("first", ["x", "weight"])
def test_a_listener_may_hear_of_a_leaf_before_the_gradient_of_the_input_is_computed(first):
    events = layer_events(first, early=True, hooked=False)
    assert [e for e in events if e != "poll"] == ["ready", "input", "finished"]
    assert events.count("poll") == 3  # after the sum, the layer and x * 2


@pytest.mark.parametrize("first", ["x", "weight"])
def test_a_hooked_leaf_is_told_of_last_as_hooks_may_change_what_the_layer_reads(first):
    events = layer_events(first, early=True, hooked=True)
    assert [e for e in events if e != "poll"] == ["input", "ready", "finished"]


def test_grad_mode_belongs_to_the_thread():
    inside: list[bool] = []
    with dg.no_grad():
        worker = threading.Thread(target=lambda: inside.append((leaf(1) * 2).requires_grad))
        worker.start()
        worker.join()
        assert not (leaf(1) * 2).requires_grad
    assert inside == [True]


def test_no_grad_records_nothing_and_enable_grad_inside_it_records():
    x = leaf(1, 2, 3)
    with dg.no_grad():
        assert (x * 2)._node is None
        with dg.enable_grad():
            assert (x * 2)._node is not None
        assert not dg.is_grad_enabled()
    assert dg.is_grad_enabled()


def test_a_gradient_given_as_a_tensor_is_cast_and_lists_are_operands():
    x = Tensor(np.ones(3, np.float32), requires_grad=True)
    x.backward(Tensor(np.ones(3)))
    assert x.grad.dtype == np.float32
    z = leaf(2, 2, 2)
    (g,) = grad((z ** [1, 2, 3]).sum(), [z], create_graph=True)
    np.testing.assert_allclose(g.array, [1, 4, 12])
    found = grad([z * 2], [z], gradient=np.ones((1, 3)))
    np.testing.assert_array_equal(found[0].array, [2, 2, 2])


def test_an_index_of_small_integers_reaches_past_their_range():
    x = Tensor(np.ones((300, 2)), requires_grad=True)
    x[np.array([1, 2], np.uint8)].sum().backward()
    assert x.grad.array.sum() == 4


def test_ops_of_real_numbers_refuse_complex_gradients():
    z = Tensor(np.array([0.3 + 0.7j]), requires_grad=True)
    with pytest.raises(dg.GradError, match=r"softplus has gradients for real numbers alone"):
        dg.ops.softplus(z)


@pytest.mark.parametrize(
    ("function", "second"),
    [
        (lambda x: x * x.detach(), lambda x: 0 * x),
        (lambda x: x.detach() * x, lambda x: 0 * x),
        (lambda x: x * x * x.detach(), lambda x: 2 * x),
        (lambda x: x * x, lambda x: 2 + 0 * x),
        (lambda x: np.where(x.array > 1, x * x, x.detach()), lambda x: 2.0 * (x > 1)),
    ],
)
def test_second_gradients_tell_a_tensor_from_one_that_shares_its_memory(function, second):
    x = leaf([1.0, 2.0, 3.0])
    (first,) = grad(function(x).sum(), [x], create_graph=True)
    found = [None]
    if first.requires_grad:
        found = grad(first.sum(), [x], allow_unused=True)
    expected = second(x.array)
    np.testing.assert_array_equal(0 if found[0] is None else found[0].array, expected)


@pytest.mark.parametrize(("before", "deep", "after"), [(700, 5000, 40000), (0, 5000, 0)])
def test_a_deep_graph_makes_the_collector_wait(before, deep, after):
    usual = gc.get_threshold()
    try:
        gc.set_threshold(before, 10, 10)
        x = y = Tensor(np.ones(1), requires_grad=True)
        for _ in range(deep):
            y = y * 1.0
        y.backward()
        assert gc.get_threshold() == (after, 10, 10)
        (x * 1.0).backward()
        assert gc.get_threshold() == (after, 10, 10)
    finally:
        gc.set_threshold(*usual)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_gradient_of_two_copies_has_the_bits_of_numpys_sum(dtype, axis):
    shape = [47, 33, 31]
    shape[axis] = 1
    x = dg.tensor(np.zeros(shape, dtype), requires_grad=True)
    y = dg.broadcast_to(x, [2 if i == axis else n for i, n in enumerate(shape)])
    g = np.random.default_rng(3).normal(size=y.shape).astype(dtype)
    g[::5] = -0.0
    y.backward(gradient=dg.tensor(g))
    wanted = np.add.reduce(g, axis=axis, keepdims=True)
    assert x.grad.numpy().tobytes() == wanted.tobytes()
