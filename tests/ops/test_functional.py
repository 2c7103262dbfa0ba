"""What nn.functional computes and refuses, without PyTorch at hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import random, stream
from distgrad.nn import functional as F

X = np.random.default_rng(2).normal(size=(3, 4, 5)).astype(np.float32)


def test_all_names_are_sorted_and_there():
    assert F.__all__ == sorted(F.__all__)
    assert all(callable(getattr(F, name)) for name in F.__all__)


def test_conv2d_equals_the_sum_it_is_defined_by():
    rng = np.random.default_rng(4)
    x, w, b = rng.normal(size=(2, 4, 5, 6)), rng.normal(size=(6, 2, 3, 2)), rng.normal(size=6)
    y = F.conv2d(x, w, b, stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2).array
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)))
    for n, o, i, j in np.ndindex(*y.shape):
        group = slice(2 * (o // 3), 2 * (o // 3) + 2)
        window = padded[n, group, 2 * i : 2 * i + 3, j : j + 3 : 2]
        assert math.isclose(y[n, o, i, j], (window * w[o]).sum() + b[o], rel_tol=1e-9)


def test_max_pool_gives_the_gradient_to_the_first_of_equal_elements():
    x = Tensor(np.ones((1, 1, 4, 4)), requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    np.testing.assert_array_equal(np.flatnonzero(x.grad.array), [0, 2, 8, 10])


@pytest.mark.parametrize("fused", [True, False])
def test_max_pool_passes_nan_on_and_survives_windows_of_minus_infinity(fused):
    x = Tensor(np.full((1, 1, 4, 4), -np.inf), requires_grad=True)
    x.array[0, 0, 3, 3] = np.nan
    with dg.enable_grad() if fused else dg.reference_kernels():
        y = F.max_pool2d(x, 2, padding=1)
        y.backward(np.arange(9.0).reshape(1, 1, 3, 3))
    assert np.isnan(y.array[0, 0, 2, 2])
    assert np.isneginf(y.array[0, 0, 0, 0])
    assert x.grad.array.sum() == 36
    assert x.grad.array[0, 0, 3, 3] == 8


def test_a_query_that_sees_no_key_gets_zeros():
    q = np.ones((2, 3))
    mask = np.array([[True, True], [False, False]])
    y = F.scaled_dot_product_attention(q, q, q, attn_mask=mask)
    np.testing.assert_array_equal(y.array, [[1, 1, 1], [0, 0, 0]])


def test_causal_attention_does_not_look_ahead():
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(3, 4)) for _ in range(3))
    before = F.scaled_dot_product_attention(q, k, v, is_causal=True).array
    k[2], v[2] = 9, 9
    after = F.scaled_dot_product_attention(q, k, v, is_causal=True).array
    np.testing.assert_array_equal(before[:2], after[:2])
    assert np.abs(before[2] - after[2]).max() > 0.1


def test_attention_weights_are_dropped_out_and_scaled():
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    v = np.broadcast_to(np.eye(3), (2, 3, 3)).copy()
    dg.manual_seed(1)
    dropped = F.scaled_dot_product_attention(q, k, v, dropout_p=0.5).array
    whole = F.scaled_dot_product_attention(q, k, v).array
    kept = dropped != 0
    assert 0 < kept.sum() < kept.size
    np.testing.assert_allclose(dropped[kept], 2 * whole[kept])


def test_dropout_depends_on_seed_step_shard_and_call_only():
    def mask(seed: int, step: int, shard: int) -> list[bool]:
        dg.manual_seed(seed)
        with stream.in_shard(step, shard, {}):
            return (F.dropout(np.ones(64, np.float32), 0.5).array > 0).tolist()

    first = mask(1, 2, 3)
    assert mask(1, 2, 3) == first
    with stream.in_shard(2, 3, {3: 1}):  # its next call
        assert (F.dropout(np.ones(64, np.float32), 0.5).array > 0).tolist() != first
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert mask(*other) != first


def test_dropout_scales_what_it_keeps_and_its_gradient_has_the_same_mask():
    dg.manual_seed(3)
    x = Tensor(np.ones((50, 40), np.float32), requires_grad=True)
    y = F.dropout(x, 0.25)
    y.sum().backward()
    assert set(np.unique(y.array)) == {np.float32(0), np.float32(4 / 3)}
    assert abs((y.array > 0).mean() - 0.75) < 0.03
    np.testing.assert_array_equal(x.grad.array, y.array)


def test_dropout_in_evaluation_draws_no_number():
    random.manual_seed(0)
    x = Tensor(X)
    assert F.dropout(x, 0.5, training=False) is x
    a = F.dropout(np.ones(64), 0.5).array
    random.manual_seed(0)
    np.testing.assert_array_equal(F.dropout(np.ones(64), 0.5).array, a)
    assert not F.dropout(np.ones(64), 1.0).array.any()


def test_cross_entropy_of_ignored_labels_alone_is_nan_and_large_logits_are_finite():
    assert np.isnan(F.cross_entropy(np.zeros((2, 3)), [-100, -100]).item())
    loss = F.cross_entropy(np.array([[1e30, 0, 0], [0, -1e30, 0]], np.float32), [0, 0]).item()
    assert math.isclose(loss, math.log(2) / 2, rel_tol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("label", [3, -1, 250])
def test_a_label_out_of_range_is_named_with_its_index_and_the_classes(label, fused):
    message = rf"label {label} at index 1 is out of range for 3 classes \(0\.\.2, or ignore_index"
    with dg.enable_grad() if fused else dg.reference_kernels():
        with pytest.raises(dg.ShapeError, match=message):
            F.cross_entropy(np.zeros((4, 3)), np.array([0, label, 1, 2]))
        with pytest.raises(dg.ShapeError, match=rf"label {label} at index 0, 1 is out of range"):
            F.cross_entropy(np.zeros((1, 3, 2)), np.array([[0, label]]))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("index", [5, -1])
def test_an_embedding_index_out_of_range_is_named(index, fused):
    message = rf"index {index} at position 1, 0 is out of range for a table of 5 rows \(0\.\.4\)"
    with (
        dg.enable_grad() if fused else dg.reference_kernels(),
        pytest.raises(dg.ShapeError, match=message),
    ):
        F.embedding(np.array([[0], [index]]), np.zeros((5, 2)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.cross_entropy(X[0], np.ones(4)), r"labels must be integers; got dtype float64"),
        (lambda: F.cross_entropy(X[0], [0, 1]), r"n is 4 in logits but 2 in labels"),
        (lambda: F.cross_entropy(X[0], [0, 1, 2, 3], reduction="avg"), r"'mean', 'sum' or 'none'"),
        (lambda: F.mse_loss(X, X[0]), r"mse_loss compares equal shapes; got \(3, 4, 5\) and \(4"),
        (lambda: F.gelu(X, approximate="erf"), r"approximate is 'none' or 'tanh'; got 'erf'"),
        (lambda: F.dropout(X, 1.5), r"p is a probability, from 0 to 1; got 1\.5"),
        (lambda: F.layer_norm(X, 4), r"layer_norm over \(4,\) needs .*; got \(3, 4, 5\)"),
        (lambda: F.layer_norm(X, 5, np.ones(4)), r"d is 5 in x but 4 in weight"),
        (lambda: F.batch_norm_training(X, np.ones(5)), r"c is 4 in x but 5 in weight"),
        (lambda: F.max_pool2d(X[None], 2, padding=2), r"padding \(2, 2\) is more than half of the"),
        (lambda: F.max_pool2d(X[None], 7), r"a window of 7 .* does not fit in a length of 4"),
        (lambda: F.max_pool2d(X[0], 2), r"takes \(n, c, h, w\) or \(c, h, w\); got .* \(4, 5\)"),
        (lambda: F.conv2d(X[None], np.ones((2, 4, 3, 3))), r"images have 3 channels; .* needs 4"),
        (
            lambda: F.conv2d(X[None], np.ones((2, 3, 3, 3)), np.ones(3)),
            r"o is 2 in weight but 3 in bias",
        ),
        (lambda: F.conv2d(X[None], np.ones((2, 3, 3, 3)), stride=0), r"start at 1.*stride=0"),
        (lambda: F.pad(X, (1, 2, 3)), r"pad needs \(before, after\).*got \(1, 2, 3\)"),
        (lambda: F.pad(X, (1, 1), "mirror"), r"'replicate' or 'circular'; got 'mirror'"),
        (lambda: F.one_hot([0, 3], 3), r"label 3 at index 1 is out of range for 3 classes"),
        (
            lambda: F.scaled_dot_product_attention(X, X[..., :4], X),
            r"d is 5 in q but 4 in k",
        ),
    ],
)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
def test_bad_input_is_named(call, message, fused):
    with (
        dg.enable_grad() if fused else dg.reference_kernels(),
        pytest.raises(dg.ShapeError, match=message),
    ):
        call()


def test_one_hot_counts_the_classes():
    np.testing.assert_array_equal(F.one_hot([2, 0]).array, [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize("fused", [True, False])
def test_gelu_is_exact_to_float64_in_both_tails(fused):
    x = np.linspace(-8, 8, 201)
    exact = [v * math.erfc(-v / math.sqrt(2)) / 2 for v in x]
    with dg.enable_grad() if fused else dg.reference_kernels():
        np.testing.assert_allclose(F.gelu(x).array, exact, rtol=2e-14)
