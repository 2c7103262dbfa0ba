"""Kernels over large slices, some rows at a time: bits, memory, what is left to a whole copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops

pytest.importorskip("numba", reason="numba is not installed: there are no twins")

from distgrad.kernels.strips import has_gaps, over_strips  # needs numba


def numbers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).uniform(-3, 3, shape)
    x.reshape(-1)[::97] = np.nan
    x.reshape(-1)[::89] = -np.inf
    return x


def results(op: Any, inputs: list[np.ndarray], g: np.ndarray) -> list[bytes]:
    tensors = [Tensor(x, requires_grad=True) for x in inputs]
    with np.errstate(all="ignore"):
        y = op(*tensors)
        grads = dg.autograd.grad([y], tensors, gradient=[Tensor(g)])
    return [t.array.tobytes() for t in (y, *grads)]


@pytest.mark.parametrize("op", [ops.hardtanh, ops.gelu, ops.softplus, ops.maximum, ops.hypot])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slices_of_several_axes_have_the_bits_of_whole_arrays(op, dtype):
    wide = [numbers((7, 90, 5, 37), seed).astype(dtype) for seed in range(len(op.inputs))]
    parts = [a[:, 3:83, :3, 2:35] for a in wide]  # 80 rows of 3 × 33 in each of 7
    parts[-1].flags.writeable = False
    g = np.linspace(1, 2, parts[0].size).reshape(parts[0].shape).astype(dtype)
    wanted = results(op, [a.copy() for a in parts], g)
    assert has_gaps(parts[0])
    assert results(op, parts, g) == wanted
    assert results(op, [*(a.copy() for a in parts[:-1]), parts[-1]], g) == wanted
    spread = np.repeat(g, 2, axis=0)[::2]
    assert results(op, parts, spread) == wanted


def test_what_is_kept_for_the_way_back_is_the_slice():
    part = np.ones((400, 300), np.float32)[:, :200]
    _, back = ops.hardtanh.fused(part)
    kept = [c.cell_contents for c in back.__closure__ if type(c.cell_contents) is list]
    assert any(a is part for arrays in kept for a in arrays)


def test_a_slice_that_changes_before_backward_is_noticed():
    wide = np.full((400, 300), 0.5, np.float32)
    x = Tensor(wide[:, :200], requires_grad=True)
    y = ops.hardtanh(x).sum()
    wide[...] = 3
    with pytest.raises(dg.GradError, match="changed in place"):
        y.backward()


@pytest.mark.parametrize(
    ("a", "gaps"),
    [
        (np.ones((400, 300))[:, :200], True),
        (np.ones((3, 400, 300))[:, 7:390], True),
        (np.ones((400, 300)), False),
        (np.ones((400, 300)).T, False),
        (np.ones((400, 300))[:, :200].T, False),
        (np.ones((400, 300))[:, ::2], False),
        (np.ones((400, 300))[::-1, :200], False),
        (np.ones((40, 30))[:, :20], False),
        (np.ones((400, 300))[:, :1], False),
        (np.broadcast_to(np.ones(300), (400, 300)), False),
    ],
)
def test_gaps_lie_between_the_rows_of_large_arrays_in_order(a, gaps):
    assert has_gaps(a) == gaps


@pytest.mark.parametrize("rows", [1, 3, 81, 82, 83, 164, 165])
def test_strips_make_up_the_whole(rows):
    wide = np.arange(rows * 300.0).reshape(rows, 300)

    def double(x: np.ndarray, y: np.ndarray, factor: float) -> None:
        np.multiply(x, factor, out=y)

    assert (over_strips(double, [wide[:, :200]], [2.0]) == 2 * wide[:, :200]).all()


def chain(a: Any, b: Any) -> list[Any]:
    y = ops.hardtanh(np.exp(a / b)) * ops.softplus(b)
    return [y, *dg.autograd.grad(y.sum(), [a, b])]


def test_eager_and_captured_steps_have_the_same_bits():
    captured = dg.capture(chain)
    for i in range(3):
        rng = np.random.default_rng(i)
        given = [
            Tensor(rng.uniform(1, 2, (90, 999)).astype(np.float32)[:, k : k + 701]) for k in (3, 9)
        ]
        for t in given:
            t.requires_grad = True
        wanted = [t.array.tobytes() for t in chain(*given)]
        assert [t.array.tobytes() for t in captured(*given)] == wanted
        dense = [Tensor(t.array.copy(), requires_grad=True) for t in given]
        assert [t.array.tobytes() for t in chain(*dense)] == wanted
