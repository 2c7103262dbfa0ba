"""Attention, whose scores are held of a part of the batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import ops
from distgrad.nn import functional as F

pytest.importorskip("numba", reason="numba is not installed: there are no twins")

from distgrad.kernels import attend  # needs numba

LEAD, QUERIES, KEYS = (5, 3), 70, 130


def mask_of(kind: str | None, rng: np.random.Generator) -> Any:
    scores = (*LEAD, QUERIES, KEYS)
    return {
        None: None,
        "boolean": rng.random((QUERIES, KEYS)) < 0.5,
        "by key": rng.normal(size=(LEAD[0], 1, 1, KEYS)).astype(np.float32),
        "whole": dg.Tensor(rng.normal(size=scores).astype(np.float32), requires_grad=True),
    }[kind]


def results(mask: str | None, causal: bool, swapped: bool) -> list[bytes]:
    rng = np.random.default_rng(4)
    tensors = []
    for rows, width in ((QUERIES, 8), (KEYS, 8), (KEYS, 6)):
        a = rng.normal(size=(*LEAD, rows, width)).astype(np.float32)
        if swapped:  # as heads are cut from a projection: (batch, rows, heads, width) in memory
            a = np.ascontiguousarray(a.swapaxes(1, 2)).swapaxes(1, 2)
        tensors.append(dg.Tensor(a, requires_grad=True))
    given = mask_of(mask, rng)
    y = F.scaled_dot_product_attention(*tensors, attn_mask=given, is_causal=causal)
    y.backward(np.asarray(rng.normal(size=y.shape), np.float32))
    learned = [given] if isinstance(given, dg.Tensor) else []
    return [y.array.tobytes(), *(t.grad.array.tobytes() for t in (*tensors, *learned))]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("mask", "causal"),
    [(None, False), (None, True), ("boolean", False), ("by key", False), ("whole", False)],
)
def test_the_bits_do_not_depend_on_how_many_scores_are_held(mask, causal, swapped, monkeypatch):
    whole = results(mask, causal, swapped)
    for held in (1, 2 * LEAD[1] * QUERIES * KEYS * 4):  # a sample a part; two, and a last one
        monkeypatch.setattr(attend, "_HELD", held)
        assert results(mask, causal, swapped) == whole


def test_a_captured_step_has_eagers_bits_in_parts_too(monkeypatch):
    monkeypatch.setattr(attend, "_HELD", 1)

    def step(q: Any, k: Any, v: Any) -> Any:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return [y, *dg.autograd.grad((y * y).sum(), [q, k, v])]

    captured = dg.capture(step)
    for i in range(4):
        rng = np.random.default_rng(i)
        shapes = [(3, 2, 66, 4), (3, 2, 67, 4), (3, 2, 67, 5)]
        given = [dg.Tensor(rng.normal(size=s).astype("f4"), requires_grad=True) for s in shapes]
        for found, wanted in zip(captured(*given), step(*given), strict=True):
            assert found.array.tobytes() == wanted.array.tobytes()


def test_more_parts_than_a_captured_step_can_show_are_not_made(monkeypatch):
    monkeypatch.setattr(attend, "_HELD", 1)
    a = np.ones((1000, 2, 3), np.float32)
    parts = attend._parts(a, a, a, [attend._Block(0, 2, 2, 2)])
    assert len(parts) <= attend._MOST_PARTS
    assert [i for part in parts for i in range(1000)[part]] == [*range(1000)]


def test_the_same_weights_for_several_values_have_the_references_gradients():
    rng = np.random.default_rng(6)
    shapes = [(2, 3, 4), (2, 5, 4), (3, 2, 5, 4)]
    given = [rng.normal(size=s).astype(np.float32) for s in shapes]

    def gradients() -> list[Any]:
        tensors = [dg.Tensor(a, requires_grad=True) for a in given]
        y = ops.scaled_dot_product_attention(*tensors, None)
        y.backward(np.arange(y.size, dtype=np.float32).reshape(y.shape))
        return [t.grad.array for t in tensors]

    found = gradients()
    with dg.reference_kernels():
        wanted = gradients()
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-4, atol=1e-4)
