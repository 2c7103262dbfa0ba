"""Functions that are recorded as one op, since they read values: structure, bits, settings."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import distgrad as dg
from distgrad.autograd import grad
from distgrad.autograd.whole import whole

CALLS = 4


class Found(NamedTuple):
    """What the function below returns."""

    values: Any
    more: Any


@whole
def read(x: Any, y: Any, factors: Any = (1.0,), *, sign: float = 1.0) -> Found:
    """Uses each input several times, one of them under two names, and reads values."""
    place = int(np.argmax(x.data))
    largest = x * x * factors[0] + y * x * sign + y / (1 + x * x)
    return Found(largest, (dg.tensor(place), {"size": x.size}, [(x * 0.7).detach()]))


def results(step: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(CALLS):
        given = rng.normal(size=7).astype(np.float32)
        seen.append([t.array.tobytes() for t in step(given)])
    return seen


def test_named_tuples_and_whole_numbers_come_back_as_they_are() -> None:
    def step(x: Any) -> Any:
        leaf = dg.tensor(x, requires_grad=True)
        found = read(leaf, leaf * 2)
        place, sizes, (part,) = found.more
        assert type(found) is Found
        assert sizes == {"size": 7}
        assert not place.requires_grad
        assert not part.requires_grad
        assert found.values.requires_grad
        return found.values, place, part, leaf[place]

    assert results(dg.capture(step)) == results(step)


@pytest.mark.parametrize("twice", [True, False])
def test_gradients_of_several_uses_are_added_up_in_the_eager_order(twice: bool) -> None:
    def step(x: Any) -> Any:
        leaf = dg.tensor(x, requires_grad=True)
        y = leaf * 1.1
        other = y if twice else leaf * 0.9
        before = (y * 0.3).exp()
        found = read(y, other, [y]).values
        after = (y * y * 0.1).sin()
        return found, *grad((found + before + after).sum(), [leaf, y])

    assert results(dg.capture(step)) == results(step)


def test_a_setting_that_changes_is_noticed() -> None:
    sign = 1.0

    @dg.capture
    def step(x: Any) -> Any:
        return read(x, x, sign=sign).values

    x = dg.ones(3)
    step(x)
    sign = -1.0
    with pytest.raises(dg.CaptureError, match="does something else than when it was captured"):
        step(x)


def test_an_outcome_of_another_structure_is_refused() -> None:
    @whole
    def places(x: Any) -> Any:
        return tuple([x[i] for i in range(len(x)) if x.data[i] > 0])

    step = dg.capture(lambda x: places(x)[0])
    for _ in range(2):
        step(dg.ones(3))
    with pytest.raises(dg.CaptureError, match=r"places\(\) returned something else in a replay"):
        step(dg.tensor([1.0, -1.0, 1.0]))


def test_gradients_of_its_gradients_are_refused_by_line() -> None:
    def step(x: Any) -> Any:
        leaf = dg.tensor(x, requires_grad=True)
        total = read(leaf, leaf).values.sum()
        (slope,) = grad(total, [leaf], create_graph=True)
        return grad((slope * slope).sum(), [leaf])

    assert len(results(step)) == CALLS
    with pytest.raises(dg.CaptureError, match=r"test_whole.py:\d+ .* gradients of read cannot"):
        results(dg.capture(step))
