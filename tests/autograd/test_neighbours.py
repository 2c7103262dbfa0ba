"""Gradients side by side: found where they are so, and never taken for what they are not."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn, optim
from distgrad.autograd.neighbours import neighbours
from distgrad.autograd.parts import gradients_to_write
from distgrad.optim.clip import gradient_norm, gradients
from distgrad.optim.norms import total_norm


def trained(*more: nn.Module) -> list[nn.Parameter]:
    """Parameters of one buffer after a backward pass; of sizes 15, 3, 9000, 3000."""
    dg.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 3000), *more)
    optim.SGD(model.parameters(), lr=0.1)
    x = np.arange(35, dtype=np.float32).reshape(7, 5) / 10
    (model(dg.tensor(x)) ** 2).mean().backward()
    return [*model.parameters()]


@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_the_norm_has_the_bits_of_looking_at_each(order: tuple[int, ...]) -> None:
    params = trained()
    listed = [params[i] for i in order]
    assert neighbours(listed) is not None
    assert gradient_norm(listed) == total_norm(gradients(listed))


def test_one_stretch_for_all_and_two_around_a_gap() -> None:
    params = trained()
    assert [g.size for g in gradients_to_write(params)] == [12018]
    without = [params[0], params[2], params[3]]
    assert [g.size for g in gradients_to_write(without)] == [15, 12000]
    assert gradient_norm(without) == total_norm(gradients(without))


def test_a_gradient_that_was_replaced_is_the_one_that_counts() -> None:
    params = trained()
    before = gradient_norm(params)
    params[1].grad = dg.tensor(np.full(3, 100, np.float32))
    assert neighbours(params) is None
    after = gradient_norm(params)
    assert after == total_norm(gradients(params))
    assert after > before
    optim.clip_grad_norm_(params, 1.0)
    assert gradient_norm(params) == pytest.approx(1.0, rel=1e-5)


def test_what_lies_elsewhere_later_is_found_again() -> None:
    params = trained()
    gradient_norm(params)
    for p in params:
        p.grad = None
    params[0].grad = dg.tensor(np.ones((3, 5), np.float32))
    assert gradient_norm(params) == np.sqrt(15)
    model = nn.Linear(5, 3)
    model.weight, model.bias = params[0], params[1]
    model(dg.tensor(np.ones((2, 5), np.float32))).sum().backward()
    assert gradient_norm(params) == total_norm(gradients(params))


def test_of_two_buffers() -> None:
    first, second = trained(), trained()
    mixed = [p for pair in zip(first, second, strict=True) for p in pair]
    assert len(gradients_to_write(mixed)) == 2
    assert gradient_norm(mixed) == total_norm(gradients(mixed))


def test_without_a_place_there_is_none() -> None:
    x = dg.tensor(np.ones(3, np.float32), requires_grad=True)
    (x * x).sum().backward()
    assert neighbours([x]) is None
    assert neighbours([]) is None
    assert gradient_norm([x]) == np.sqrt(12)
    assert gradient_norm([]) == 0
