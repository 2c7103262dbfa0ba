"""Attention: layouts, masks, heads and dropout, without PyTorch."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import distgrad as dg
from distgrad import ShapeError, Tensor, kernels
from distgrad.nn import functional as F

RNG = np.random.default_rng(7)
Q, K, V = (RNG.normal(size=(2, 4, n, 3)).astype(np.float32) for n in (5, 6, 6))
G = RNG.normal(size=(2, 4, 5, 3)).astype(np.float32)
attention = F.scaled_dot_product_attention


@pytest.mark.parametrize("axes", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
@pytest.mark.parametrize("mode", [dg.enable_grad, dg.reference_kernels])
def test_the_layout_in_memory_does_not_matter(axes, mode):
    def run(change):
        leaves = [Tensor(change(a), requires_grad=True) for a in (Q, K, V)]
        y = attention(*leaves)
        y.backward(change(G))
        return [y.array, *(t.grad.array for t in leaves)]

    def moved(a):
        return np.ascontiguousarray(a.transpose(axes)).transpose(np.argsort(axes))

    with mode():
        for found, wanted in zip(run(moved), run(np.ascontiguousarray), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_shared_heads_are_repeated_ones():
    k, v = K[:, :2], V[:, :2]
    leaves = [Tensor(a, requires_grad=True) for a in (Q, k, v)]
    y = attention(*leaves, enable_gqa=True)
    wanted = attention(Q, np.repeat(k, 2, axis=1), np.repeat(v, 2, axis=1))
    np.testing.assert_array_equal(y.array, wanted.array)
    y.sum().backward()
    assert leaves[1].grad.shape == k.shape


def test_dropped_weights_have_the_same_mask_for_the_same_seed_and_scale_exactly():
    v = np.broadcast_to(np.eye(6, dtype=np.float32), (2, 4, 6, 6)).copy()

    def run(p):
        dg.manual_seed(4)
        return attention(Q, K, v, dropout_p=p).array

    first, whole = run(0.4), run(0.0)
    np.testing.assert_array_equal(run(0.4), first)
    kept = first != 0
    assert 0.4 < kept.mean() < 0.8
    np.testing.assert_array_equal(first[kept], (whole * np.float32(1 / 0.6))[kept])
    assert not run(1.0).any()


def test_gradients_of_dropped_weights_are_those_of_the_same_mask():
    q, k, v = (a.astype(np.float64) for a in (Q[0, 0], K[0, 0], V[0, 0]))

    def call(*inputs):
        dg.manual_seed(4)
        return attention(*inputs, dropout_p=0.4)

    dg.gradcheck(call, [q, k, v], second=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: attention(Q, K, V, np.ones((5, 6), int)),
            r"attn_mask is boolean .* got int64: use \.astype\(bool\)",
        ),
        (lambda: attention(Q, K[:, :3], V[:, :3], enable_gqa=True), r"a multiple of those of keys"),
        (lambda: attention(Q[0, 0], K, V, enable_gqa=True), r"heads of queries \(axis -3\)"),
        (lambda: attention(Q, K, V, dropout_p=-1), r"p is a probability, from 0 to 1; got -1"),
        (
            lambda: attention(Q, K, V, np.ones((4, 6), bool)),
            r"scaled_dot_product_attention expects",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ShapeError, match=message):
        call()


@pytest.mark.parametrize("mask", [None, np.tril(np.ones((200, 200), bool))])
def test_weights_are_not_kept_for_the_backward_pass(mask):
    q, k, v = [Tensor(RNG.normal(size=(6, 200, 2)).astype("f4"), requires_grad=True) for _ in "qkv"]
    attention(q, k, v, mask).sum().backward()  # what is compiled is there
    tracemalloc.start()
    y = attention(q, k, v, mask)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    y.sum().backward()
    weights = 4 * 6 * 200 * 200
    if kernels.part("attend", "scaled_dot_product_attention") is not None:
        assert held < weights / 3


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("is_causal", [False, True])
def test_what_is_no_number_goes_as_far_as_in_the_reference(value, is_causal):
    def run():
        leaves = [Tensor(a.copy(), requires_grad=True) for a in (Q, K, V)]
        leaves[0].array[0, 1, 3, 2] = value
        y = attention(*leaves, is_causal=is_causal)
        y.backward(G)
        return [np.isfinite(a) for a in (y.array, *(t.grad.array for t in leaves))]

    with np.errstate(all="ignore"):
        found = run()
        with dg.reference_kernels():
            wanted = run()
    # The reference's gradients pass NaN on to keys that no query has seen.
    for a, b in zip(found[: 1 if is_causal else 4], wanted, strict=False):
        np.testing.assert_array_equal(a, b)
    assert found[0][0, 1, 2].all()
    assert not found[1][0, 1, 3].any()
