"""Clipping beside PyTorch's."""

import math

import numpy as np
import pytest

from distgrad import Tensor, clip_grad_norm_, nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")

SHAPES = [(3, 4), (5,), (2, 1, 3)]


def make_both(dtype=np.float64):
    rng = np.random.default_rng(5)
    values = [rng.normal(size=s).astype(dtype) for s in SHAPES]
    theirs = [torch.nn.Parameter(torch.from_numpy(v.copy())) for v in values]
    return [nn.Parameter(v) for v in values], theirs


def give(ours, theirs, step):
    rng = np.random.default_rng(50 + step)
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        g = rng.normal(size=p.shape).astype(p.dtype)
        # One parameter has no gradient every third step.
        absent = i == 1 and step % 3 == 1
        p.grad = None if absent else Tensor(g)
        q.grad = None if absent else torch.from_numpy(g.copy())


@pytest.mark.parametrize("norm_type", [2.0, math.inf])
def test_clipping_is_pytorchs(norm_type):
    ours, theirs = make_both()
    give(ours, theirs, 0)
    found = clip_grad_norm_(ours, 0.7, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, 0.7, norm_type)
    assert found == pytest.approx(float(expected), rel=1e-12)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.data, q.grad.numpy(), rtol=1e-12)
