"""Transformers as machine-level calls: attention and what stands around it, with eager's bits."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from captured import Step, classifying_step, lines_of_python
from jobs import ROOT

import distgrad as dg
from distgrad import kernels, nn
from distgrad.nn import functional as F

sys.path.insert(0, str(ROOT / "examples"))
import models

pytestmark = pytest.mark.skipif(
    kernels.part("machine", "works") is None, reason="needs numba, whose kernels are called"
)


def gpt(context: int, dropout: float = 0.0) -> Step:
    dg.manual_seed(3)
    model = models.GPT(11, context, layers=2, heads=2, width=12, dropout=dropout)
    return classifying_step(model)


def text(i: int, context: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(i)
    return rng.integers(0, 11, (3, context)), rng.integers(0, 11, 3 * context)


# Below 64 keys attention is one block; above, several of which the last is shorter.
@pytest.mark.parametrize("context", [5, 64, 150])
def test_a_gpt_is_native_but_for_what_is_beside_the_tape(context: int) -> None:
    eager, captured = gpt(context), dg.capture(gpt(context))
    for i in range(7):
        batch = text(i, context)
        assert eager(*batch).array.tobytes() == captured(*batch).array.tobytes()
    assert lines_of_python(captured.program) == ["AdamW.zero_grad"]


def test_dropout_is_drawn_by_python_and_done_natively() -> None:
    found = []
    for change in (lambda step: step, dg.capture):
        step = change(gpt(6, dropout=0.3))
        dg.manual_seed(5)
        found.append([step(*text(i, 6)).array.tobytes() for i in range(9)])
    assert found[0] == found[1]
    assert {*lines_of_python(step.program)} == {"AdamW.zero_grad", "_keep"}


MASKS: dict[str, Callable[[Any], Any]] = {
    "none": lambda rng: None,
    "added": lambda rng: rng.normal(size=(4, 1, 7, 9)).astype(np.float32),
    "boolean": lambda rng: (rng.random((7, 9)) < 0.6) & (np.arange(7) != 2)[:, None],
    "keys": lambda rng: rng.random((4, 1, 1, 9)) < 0.6,
}


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("mask", MASKS)
def test_attention_of_every_kind_is_native(mask: str, dropout: float, is_causal: bool) -> None:
    def made() -> Step:
        dg.manual_seed(2)
        weights = [nn.Parameter(dg.randn(3, n, 5)) for n in (7, 9, 9)]

        def step(x: Any, mask: Any) -> Any:
            q, k, v = [x * w for w in weights]
            y = F.scaled_dot_product_attention(q, k, v, mask, dropout, is_causal)
            return y, dg.autograd.grad((y * y).sum(), weights)

        return step

    found = []
    for change in (lambda step: step, dg.capture):
        step = change(made())
        for i in range(6):
            rng = np.random.default_rng(i)
            x, given = rng.normal(size=(4, 3, 1, 1)).astype(np.float32), MASKS[mask](rng)
            y, gradients = step(dg.tensor(x), given)
            found.append([a.array.tobytes() for a in (y, *gradients)])
    assert found[:6] == found[6:]
    assert {*lines_of_python(step.program)} <= {"_keep"}


def test_a_mask_that_is_learned_has_its_gradient() -> None:
    def made() -> Step:
        dg.manual_seed(2)
        bias = nn.Parameter(dg.randn(3, 6, 6))

        def step(x: Any) -> Any:
            y = F.scaled_dot_product_attention(x, x, x, bias)
            return dg.autograd.grad((y * y).sum(), [bias])[0]

        return step

    eager, captured = made(), dg.capture(made())
    for i in range(6):
        x = np.random.default_rng(i).normal(size=(2, 3, 6, 4)).astype(np.float32)
        assert eager(x).array.tobytes() == captured(x).array.tobytes()
    assert lines_of_python(captured.program) == []


@pytest.mark.parametrize("index", [11, -1])
def test_a_token_out_of_range_is_named_as_ever(index: int) -> None:
    captured = dg.capture(gpt(5))
    for i in range(5):
        captured(*text(i, 5))
    x, y = text(9, 5)
    x[1, 2] = index
    with pytest.raises(dg.ShapeError, match=f"embedding: index {index} at position"):
        captured(x, y)
    assert np.isfinite(captured(*text(10, 5)).array)


def test_rows_of_padding_get_no_gradient() -> None:
    table = nn.Parameter(np.ones((6, 3), np.float32))

    def step(x: Any) -> Any:
        return dg.autograd.grad(F.embedding(x, table, padding_idx=2).sum(), [table])[0]

    captured = dg.capture(step)
    for i in range(6):
        x = np.random.default_rng(i).integers(0, 6, (4, 5))
        assert step(x).array.tobytes() == captured(x).array.tobytes()
    assert not captured(np.full((4, 5), 2)).array.any()
    assert lines_of_python(captured.program) == []
