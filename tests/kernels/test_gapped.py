"""Sums, differences and products of arrays with gaps between their rows, beside NumPy's."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import ops

pytest.importorskip("numba", reason="numba is not installed: there are no twins")

from distgrad.kernels import gapped  # needs numba

SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -3.5]
UFUNCS = [(gapped.add, np.add), (gapped.subtract, np.subtract), (gapped.multiply, np.multiply)]


def numbers(shape: tuple[int, ...], dtype: Any, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a = rng.normal(size=shape)
    return np.where(rng.random(shape) < 0.2, rng.choice(SPECIAL, shape), a).astype(dtype)


def layouts(dtype: Any, seed: int) -> dict[str, np.ndarray]:
    """Arrays that broadcast to (3, 4, 5, 37), in memory in many ways."""
    whole = numbers((3, 4, 5, 37), dtype, seed)
    wide = numbers((3, 4, 7, 60), dtype, seed)
    swapped = numbers((3, 5, 4, 37), dtype, seed).swapaxes(1, 2)
    read_only = wide[:, :, :5, 3:40]
    read_only.flags.writeable = False
    return {
        "whole": whole,
        "slice of elements": numbers((3, 4, 5, 60), dtype, seed)[..., 3:40],
        "slice of both, read-only": read_only,
        "slice of rows": wide[:, :, :5, :37],
        "every second": numbers((3, 4, 5, 74), dtype, seed)[..., ::2],
        "rows backwards": whole[:, :, ::-1],
        "elements backwards": whole[..., ::-1],
        "swapped axes": swapped,
        "transposed": numbers((37, 5, 4, 3), dtype, seed).T,
        "a column": numbers((5, 1), dtype, seed),
        "a row": numbers((37,), dtype, seed),
        "a column of others": numbers((3, 4, 1, 1), dtype, seed),
        "some of both": numbers((3, 1, 5, 37), dtype, seed),
        "a number": numbers((), dtype, seed),
        "broadcast": np.broadcast_to(numbers((4, 1, 37), dtype, seed), (3, 4, 5, 37)),
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_memory_layout_are_numpys_or_it_is_left_to_numpy(dtype):
    taken = set()
    mine, others = layouts(dtype, 1), layouts(dtype, 2)
    for (one, a), (two, b) in itertools.product(mine.items(), others.items()):
        for twin, ufunc in UFUNCS:
            found = twin(a, b)
            if found is None:
                continue
            taken.add((one, two))
            with np.errstate(all="ignore"):
                wanted = ufunc(a, b)
            assert found[0].tobytes() == wanted.tobytes(), (one, two, ufunc)
            assert found[0].strides == wanted.strides, (one, two, ufunc)
    assert ("slice of elements", "slice of both, read-only") in taken
    assert ("whole", "a column") in taken
    assert ("a row", "a column of others") in taken
    assert ("whole", "whole") not in taken
    assert not any("swapped axes" in pair or "transposed" in pair for pair in taken)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.ones((3, 8))[:, :5], 2.0),
        (np.ones((3, 8))[:, :5], np.ones((3, 8), np.float32)[:, :5]),
        (np.ones((3, 8), int)[:, :5], np.ones((3, 8), int)[:, :5]),
        (np.ones((3, 8))[:, :0], np.ones((3, 8))[:, :0]),
        (np.ones((3, 9), "u1")[:, 1:].view("f4")[:, :1], np.ones((3, 2), "f4")[:, :1]),
        (np.ones((4, 4, 4, 4, 4))[:2, :2, :2, :2, :3], np.ones((2, 2, 2, 2, 3))),
    ],
)
def test_other_arrays_are_numpys(a, b):
    for twin, _ in UFUNCS:
        assert twin(a, b) is None


def test_shapes_that_do_not_fit_are_named():
    a, b = dg.Tensor(np.ones((300, 90))), dg.Tensor(np.ones((300, 91)))
    with pytest.raises(dg.ShapeError, match=r"multiply .*\(300, 90\), \(300, 91\)"):
        a * b


def products(a: Any, b: Any, c: Any) -> list[Any]:
    y = (a * b - c) * b + a
    return [y, *dg.autograd.grad(y.sum(), [a, b, c])]


def test_eager_and_captured_steps_have_the_references_bits():
    captured = dg.capture(products)
    for i in range(4):
        rng = np.random.default_rng(i)
        wide = [rng.normal(size=(400, 150)).astype(np.float32) for _ in range(2)]
        column = rng.normal(size=(400, 1)).astype(np.float32)
        given = [dg.Tensor(a, requires_grad=True) for a in (wide[0][:, :99], wide[1][:, 7:106])]
        given.append(dg.Tensor(column, requires_grad=True))
        assert given[0].array.nbytes >= ops.multiply.asked_from > 0
        with dg.reference_kernels():
            wanted = [t.array.tobytes() for t in products(*given)]
        assert [t.array.tobytes() for t in products(*given)] == wanted
        assert [t.array.tobytes() for t in captured(*given)] == wanted


def test_small_arrays_are_not_looked_at(monkeypatch):
    def refuse(a: Any, b: Any) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(ops.multiply, "fused", refuse)
    small = dg.Tensor(np.ones((8, 8))[:, :4])
    assert ((small * small).array == 1).all()
    large = dg.Tensor(np.ones((300, 90))[:, :80])
    with pytest.raises(AssertionError, match="asked"):
        large * large
