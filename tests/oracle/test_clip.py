"""Clipping beside PyTorch's."""

import copy
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import RTOL, array, assert_close, drawn, shapes, torch

from distgrad import Tensor, clip_grad_norm_, clip_grad_value_, nn
from distgrad.optim import adaptive_clip_grad_, clip_grads_with_norm_, get_total_norm

NORMS = (0.5, 1.0, 2.0, 3.0, math.inf)


def both(data, least=0):
    """Draw parameters and gradients (one may be missing) for distgrad and for PyTorch."""
    dtype = data.draw(st.sampled_from(sorted(RTOL)))
    ours, theirs = [], []
    for i in range(data.draw(st.integers(1, 3))):
        g = data.draw(array(shapes(least), dtype))
        p = nn.Parameter(np.cos(np.arange(g.size)).reshape(g.shape).astype(dtype))
        q = torch.nn.Parameter(torch.from_numpy(p.array.astype(np.float64)))
        if i == 0 or data.draw(st.booleans()):
            p.grad = Tensor(g.copy())
            q.grad = torch.from_numpy(g.astype(np.float64))
        ours.append(p)
        theirs.append(q)
    return ours, theirs, RTOL[dtype]


def assert_same(ours, theirs):
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            assert_close(p.grad.array, q.grad.numpy(), f"gradient {i}")


@pytest.mark.parametrize("norm_type", NORMS)
@drawn
@given(data=st.data())
def test_clipping_by_norm(norm_type, data):
    ours, theirs, rtol = both(data)
    if norm_type == math.inf and any(p.grad is not None and not p.size for p in ours):
        return  # PyTorch knows no largest element of an empty gradient; here it counts for 0
    limit = data.draw(st.sampled_from([0.1, 0.7, 1e6]))
    found = clip_grad_norm_(ours, limit, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, limit, norm_type)
    assert found == pytest.approx(float(expected), rel=rtol)
    assert_same(ours, theirs)


@drawn
@given(data=st.data())
def test_norm_and_scaling_apart(data):
    ours, theirs, rtol = both(data)
    norm_type = data.draw(st.sampled_from([1.0, 2.0]))
    found = get_total_norm([p.grad for p in ours if p.grad is not None], norm_type)
    grads = [q.grad for q in theirs if q.grad is not None]
    expected = torch.nn.utils.get_total_norm(grads, norm_type)
    assert found == pytest.approx(float(expected), rel=rtol)
    clip_grads_with_norm_(ours, 0.3, found)
    torch.nn.utils.clip_grads_with_norm_(theirs, 0.3, expected)
    assert_same(ours, theirs)


@drawn
@given(data=st.data())
def test_clipping_by_value(data):
    ours, theirs, _ = both(data)
    limit = data.draw(st.sampled_from([0.1, 0.7, 5.0]))
    clip_grad_value_(ours, limit)
    torch.nn.utils.clip_grad_value_(theirs, limit)
    assert_same(ours, theirs)


def unit_norms(x):
    return x.norm() if x.ndim < 2 else x.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))


@drawn
@given(data=st.data())
def test_adaptive_clipping_is_the_papers_formula(data):
    # PyTorch has none: equation 3 of Brock et al. 2021 written in its operations.
    ours, theirs, _ = both(data)
    before = copy.deepcopy([p.data for p in ours])
    adaptive_clip_grad_(ours, 0.3, 1e-3)
    for q in theirs:
        if q.grad is not None and q.grad.numel():
            limit = 0.3 * unit_norms(q.detach()).clamp(min=1e-3)
            norm = unit_norms(q.grad)
            q.grad = torch.where(norm > limit, q.grad * limit / norm, q.grad)
    assert_same(ours, theirs)
    assert all(np.array_equal(p.data, b) for p, b in zip(ours, before, strict=True))
