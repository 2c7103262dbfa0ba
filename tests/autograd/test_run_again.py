"""Gradients of gradients: an op that has to be run again on Tensors has the same ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from op_cases import OPS, cases, is_float

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad, rerun


def second(op: Any, inputs: list[Any], settings: dict[str, Any]) -> list[Any]:
    # Of products with 1, so that the op is no leaf's neighbour, and what it read not a leaf's.
    leaves = [Tensor(x, requires_grad=True) for x in inputs if is_float(x)]
    rest = iter(leaves)
    given = [next(rest) * 1.0 if is_float(x) else x for x in inputs]
    result = op(*given, **settings)
    results = result if isinstance(result, tuple) else (result,)
    rng = np.random.default_rng(11)
    total = sum(np.sum(r * r * rng.normal(size=r.shape)) for r in results if r.dtype.kind == "f")
    first = grad(total, leaves, create_graph=True, allow_unused=True)
    slope = sum(np.sum(g * g) for g in first if g is not None and g.requires_grad)
    if not isinstance(slope, Tensor):
        return []
    return [g.array for g in grad(slope, leaves, allow_unused=True) if g is not None]


REFUSED = {"igamma", "igammac"}  # in words, through one of their inputs
AGAIN = [o for o in OPS if o.second_order and o.name not in REFUSED]


@pytest.mark.parametrize("op", AGAIN, ids=lambda o: o.name)
def test_an_op_that_is_run_again_has_the_same_gradients_of_gradients(
    op: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for inputs, settings in cases(op):
        if not any(is_float(x) for x in inputs):
            continue
        with dg.reference_kernels(), np.errstate(all="ignore"):
            wanted = second(op, inputs, settings)
            monkeypatch.setattr(rerun, "_refilled", lambda node: None)
            found = second(op, inputs, settings)
            monkeypatch.undo()
        assert len(found) == len(wanted)
        for one, two in zip(found, wanted, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9)
