"""Scaled dot-product attention beside PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, torch

from distgrad import ops
from distgrad.nn import functional as F

TF = torch.nn.functional
theirs = TF.scaled_dot_product_attention
OPS = {"scaled_dot_product_attention": (ops.scaled_dot_product_attention, theirs)}


@pytest.fixture(autouse=True, scope="module")
def plain_mathematics():
    # PyTorch's fused attention has no second gradient.
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        yield


def qkv(data, least=1):
    """Draw queries (…, t, d), keys (…, s, d), values (…, s, v)."""
    lead = data.draw(st.sampled_from([(), (2,), (2, 3), (3, 1, 2), (0,)]))
    t, s, d, v = (data.draw(st.integers(least, 4)) for _ in range(4))
    dtype = data.draw(dtypes)
    return [data.draw(array((*lead, *rest), dtype)) for rest in ((t, d), (s, d), (s, v))]


def mask_shape(data, q, k):
    full = (*q.shape[:-1], k.shape[-2])
    cut = data.draw(st.integers(0, max(len(full) - 2, 0)))
    return tuple(1 if data.draw(st.integers(0, 3)) == 0 else n for n in full[cut:])


@drawn
@given(data=st.data())
def test_attention_and_its_scale(data):
    inputs, scale = qkv(data), data.draw(st.sampled_from([None, 0.3, 2.0]))
    causal = data.draw(st.booleans())
    check(
        lambda *a: F.scaled_dot_product_attention(*a, is_causal=causal, scale=scale),
        lambda *a: theirs(*a, is_causal=causal, scale=scale),
        inputs,
    )


@drawn
@given(data=st.data())
def test_a_boolean_mask_broadcasts_and_may_hide_all_keys(data):
    q, k, v = qkv(data)
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    mask = rng.random(mask_shape(data, q, k)) < 0.6
    check(
        lambda *a: F.scaled_dot_product_attention(*a, attn_mask=mask),
        lambda *a: theirs(*a, attn_mask=torch.from_numpy(mask)),
        [q, k, v],
    )


@drawn
@given(data=st.data())
def test_an_added_mask_has_a_gradient(data):
    q, k, v = qkv(data)
    bias = data.draw(array(mask_shape(data, q, k), q.dtype.name))
    check(F.scaled_dot_product_attention, theirs, [q, k, v, bias])


@drawn
@given(data=st.data())
def test_a_mask_and_causality_hold_both(data):
    # PyTorch wants them joined by hand.
    q, k, v = qkv(data)
    both = (q.shape[-2], k.shape[-2])
    mask = np.random.default_rng(data.draw(st.integers(0, 999))).random(both) < 0.6
    joined = torch.from_numpy(mask & np.tri(*both, dtype=bool))
    check(
        lambda *a: F.scaled_dot_product_attention(*a, attn_mask=mask, is_causal=True),
        lambda *a: theirs(*a, attn_mask=joined),
        [q, k, v],
    )


@drawn
@given(data=st.data())
def test_heads_share_keys_and_values(data):
    heads, of_keys, of_values = data.draw(
        st.sampled_from([(4, 2, 2), (3, 1, 1), (6, 3, 3), (2, 2, 2), (4, 2, 4)])
    )
    dtype, causal = data.draw(dtypes), data.draw(st.booleans())
    shapes = [(2, heads, 3, 2), (2, of_keys, 4, 2), (2, of_values, 4, 3)]
    check(
        lambda *a: F.scaled_dot_product_attention(*a, is_causal=causal, enable_gqa=True),
        lambda *a: theirs(*a, is_causal=causal, enable_gqa=True),
        [data.draw(array(s, dtype)) for s in shapes],
    )


@pytest.mark.parametrize("sizes", [(0, 3, 2, 2), (3, 0, 2, 2), (3, 2, 0, 2), (3, 2, 2, 0)])
def test_empty_axes(sizes):
    t, s, d, v = sizes
    q, k, value = np.ones((2, t, d)), np.ones((2, s, d)), np.ones((2, s, v))
    check(F.scaled_dot_product_attention, theirs, [q, k, value], second=False)


def test_large_scores_do_not_overflow():
    rng = np.random.default_rng(0)
    q, k, v = (1e3 * rng.normal(size=(2, 3, 4)) for _ in range(3))
    check(F.scaled_dot_product_attention, theirs, [q, k, v], second=False)
    x = [a.astype(np.float32) for a in (q, k, v)]
    assert np.isfinite(F.scaled_dot_product_attention(*x, scale=1 / math.sqrt(4)).data).all()
