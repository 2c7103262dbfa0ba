"""The first gradient of a leaf: taken over where nobody else has it, copied otherwise."""

from __future__ import annotations

import numpy as np

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.autograd import engine


def test_a_gradient_that_somebody_else_holds_is_copied():
    kept = np.ones((2, 3))

    class Keeping(dg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return Tensor(kept)

    for function, seed in (
        (Keeping.apply, np.ones((2, 3))),
        (lambda x: x + 1, np.ones((2, 3))),
        (lambda x: x.reshape(3, 2), np.ones((3, 2))),
        (lambda x: x.T, np.ones((3, 2))),
        (lambda x: x[1:], np.ones((1, 3))),
        (np.sum, np.ones(())),
    ):
        x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
        function(x).backward(Tensor(seed))
        x.grad.array += 7
        assert not np.shares_memory(x.grad.array, seed)
        np.testing.assert_array_equal(seed, 1)
        np.testing.assert_array_equal(kept, 1)


def test_two_leaves_do_not_share_their_gradient():
    x, y = (Tensor(np.ones(3), requires_grad=True) for _ in range(2))
    (np.tanh(x) + np.tanh(y)).sum().backward()
    (x * 1 + y * 1).sum().backward()
    assert not np.shares_memory(x.grad.array, y.grad.array)
    assert x.grad.array.flags.owndata or x.grad.array.base.base is None


def test_a_gradient_that_nobody_else_holds_is_not_copied(monkeypatch):
    copied = []
    monkeypatch.setattr(Tensor, "accumulate_", lambda leaf, g: copied.append(leaf))
    x = Tensor(np.ones((2, 3)), requires_grad=True)
    np.tanh(x).backward(Tensor(np.ones((2, 3))))
    assert copied == []
    assert x.grad.array.flags.writeable


def test_what_one_closure_returns_for_all_inputs_is_taken_over_and_never_shared(monkeypatch):
    copied, accumulate = [], Tensor.accumulate_
    monkeypatch.setattr(
        Tensor, "accumulate_", lambda leaf, g: (copied.append(leaf), accumulate(leaf, g))
    )
    layer = nn.LayerNorm(4)
    x = Tensor(np.arange(12, dtype="f4").reshape(3, 4) ** 2, requires_grad=True)
    layer(x).sum().backward()
    assert copied == []
    cell = nn.RNNCell(4, 3)  # whose two biases have one gradient
    cell(np.ones((2, 4), "f4")).sum().backward()
    assert not np.shares_memory(cell.bias_ih.grad.array, cell.bias_hh.grad.array)
    np.testing.assert_array_equal(cell.bias_ih.grad.array, cell.bias_hh.grad.array)


def test_a_part_of_a_larger_gradient_is_copied_so_that_the_rest_is_freed():
    large = np.ones(100)
    small = large[:1]
    del large
    whole = np.ones(6).reshape(2, 3)
    assert [engine._is_whole(small), engine._is_whole(whole)] == [False, True]


def test_a_first_gradient_is_computed_where_its_parameter_wants_it(monkeypatch):
    layer = nn.Linear(4, 3)
    optim.SGD(layer.parameters(), lr=0.1)  # the parameters have places in its buffer
    copied = []
    monkeypatch.setattr(Tensor, "accumulate_", lambda leaf, g: copied.append(leaf))
    layer(np.ones((2, 4), "f4")).sum().backward()
    assert copied == []
    for p in layer.parameters():
        assert p.grad.array is p._place.gradient
    assert layer.weight.grad.array.tolist() == [[2.0] * 4] * 3
    assert layer.bias.grad.array.tolist() == [2.0] * 3


def test_a_second_gradient_is_added_to_the_first():
    layer = nn.Linear(4, 3)
    optim.SGD(layer.parameters(), lr=0.1)
    x = np.ones((2, 4), "f4")
    (layer(x).sum() + layer(2 * x).sum()).backward()
    layer(x).sum().backward()
    assert layer.weight.grad.array.tolist() == [[8.0] * 4] * 3
    assert layer.bias.grad.array.tolist() == [6.0] * 3
