"""autograd.Function: PyTorch's form of a user's own operation."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import Function, grad
from distgrad.autograd.function import once_differentiable


def leaf(*values):
    return Tensor(np.array(values), requires_grad=True)


class Scale(Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        ctx.save_for_backward(x)
        return x * factor

    @staticmethod
    def backward(ctx, g):
        assert ctx.needs_input_grad == (True, False)
        return g * ctx.factor, None


def test_its_backward_gives_the_gradient():
    x = leaf(1.0, 2.0, 3.0)
    Scale.apply(x, 4.0).sum().backward()
    assert x.grad.array.tolist() == [4, 4, 4]


def test_under_no_grad_and_of_constants_nothing_is_recorded():
    with dg.no_grad():
        assert not Scale.apply(leaf(1.0), 2.0).requires_grad
    assert not Scale.apply(Tensor(np.ones(2)), 2.0).requires_grad


def test_results_that_are_marked_or_whole_numbers_have_no_gradient():
    class Parts(Function):
        @staticmethod
        def forward(ctx, x):
            whole = Tensor(np.floor(x.array))
            sign = Tensor(np.sign(x.array).astype(int))
            ctx.mark_non_differentiable(whole)
            return x - whole, whole, sign

        @staticmethod
        def backward(ctx, g, zero, none):
            np.testing.assert_array_equal(zero.array, 0)
            return g

    x = leaf(1.5, -0.25)
    rest, whole, sign = Parts.apply(x)
    assert [t.requires_grad for t in (rest, whole, sign)] == [True, False, False]
    rest.sum().backward()
    assert x.grad.array.tolist() == [1, 1]


def test_an_unused_result_has_zeros_or_none():
    seen = []

    class Two(Function):
        @staticmethod
        def forward(ctx, x, materialize):
            ctx.set_materialize_grads(materialize)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, g, h):
            seen.append(h)
            return g * 2, None

    for materialize in (True, False):
        x = leaf(1.0, 2.0)
        Two.apply(x, materialize)[0].sum().backward()
        assert x.grad.array.tolist() == [2, 2]
    assert seen[0].array.tolist() == [0, 0]
    assert seen[1] is None


def test_gradients_of_gradients_go_through_saved_inputs_and_results():
    class Cube(Function):
        @staticmethod
        def forward(x):
            return x * x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs, output)

        @staticmethod
        def backward(ctx, g):
            x, y = ctx.saved_tensors
            return 3 * g * y / x

    x = leaf(1.0, 2.0, -3.0)
    [g] = grad(np.sum(Cube.apply(x)), [x], create_graph=True)
    [h] = grad(np.sum(g), [x], create_graph=True)
    [k] = grad(np.sum(h), [x])
    np.testing.assert_allclose(h.array, 6 * x.array)
    np.testing.assert_allclose(k.array, 6)


def test_once_differentiable_refuses_a_second_gradient():
    class Square(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return Tensor(2 * g.array * x.array)

    x = leaf(3.0)
    assert grad(Square.apply(x), [x])[0].array.tolist() == [6]
    with pytest.raises(dg.GradError, match="Square has gradients of first order only"):
        grad(Square.apply(x), [x], create_graph=True)


def test_what_was_saved_is_freed_by_backward():
    kept = []

    class Keep(Function):
        @staticmethod
        def forward(ctx, x):
            big = Tensor(x.array * 2)
            kept.append(weakref.ref(big))
            ctx.save_for_backward(big)
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return g

    gc.disable()
    try:
        y = Keep.apply(leaf(1.0))
        assert kept[0]() is not None
        y.sum().backward()
        assert kept[0]() is None
    finally:
        gc.enable()


def test_a_saved_tensor_that_was_changed_in_place_is_noticed():
    x = leaf(1.0, 2.0)
    y = Scale.apply(x, 2.0)
    x.array[...] = 5
    with pytest.raises(dg.GradError, match=r"that Scale .*changed in place before backward"):
        y.sum().backward()


BAD = {
    "several": (lambda g: (g, g), r"incorrect number of gradients \(expected 1, got 2\)"),
    "shape": (lambda g: g[:2], r"invalid gradient at index 0 - got \(2,\) but expected .* \(3,\)"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_backward_that_returns_something_else_is_told_so(name):
    returned, message = BAD[name]

    class Wrong(Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return returned(g)

    with pytest.raises(dg.GradError, match=message):
        Wrong.apply(leaf(1.0, 2.0, 3.0)).sum().backward()


def test_forward_has_to_return_tensors_and_save_tensors():
    class Number(Function):
        @staticmethod
        def forward(ctx, x):
            return 3.0

    class Saves(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(3.0)

    class Dirty(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)

    with pytest.raises(dg.GradError, match=r"Number\.forward returned float"):
        Number.apply(leaf(1.0))
    with pytest.raises(dg.GradError, match="can only save Tensors, but got float"):
        Saves.apply(leaf(1.0))
    with pytest.raises(dg.GradError, match="mark_dirty: a Function that changes its inputs"):
        Dirty.apply(leaf(1.0))
    with pytest.raises(NotImplementedError, match="must implement the forward"):
        Function.apply(leaf(1.0))
