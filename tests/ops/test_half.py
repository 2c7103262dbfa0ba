"""Sums in float16 are taken in float32: what fits the result does not overflow on the way."""

from __future__ import annotations

import numpy as np
import pytest
from layer_cases import LOSSES

import distgrad as dg
from distgrad import Tensor, nn, ops
from distgrad.autograd import grad
from distgrad.nn import functional as F

RNG = np.random.default_rng(8)
MANY = RNG.uniform(0.5, 2, 70_000)  # their sum, and the number of them, exceed 65504
LARGE = RNG.uniform(270, 400, (4, 3, 8)) * RNG.choice([-1, 1], (4, 3, 8))  # their squares do
CALLS = {
    "mean": (np.mean, MANY),
    "mean of axes": (lambda x: x.mean((0, 2)), LARGE),
    "average": (np.average, MANY),
    "var": (lambda x: np.var(x, axis=0), LARGE[:, :, :1] / 2),
    "std": (lambda x: np.std(x, axis=2), LARGE),
    "np.linalg.norm": (np.linalg.norm, LARGE),
    "vector_norm": (lambda x: ops.vector_norm(x, ord=3, axis=1), LARGE),
    "1-norm": (lambda x: ops.vector_norm(x / 16, ord=1), LARGE),
    "logsumexp": (ops.logsumexp, MANY),
    "softmax": (lambda x: ops.softmax(x, axis=0), MANY),
    "log_softmax": (lambda x: ops.log_softmax(x, axis=0), MANY),
    "layer_norm": (lambda x: F.layer_norm(x, 8), LARGE),
    "rms_norm": (lambda x: F.rms_norm(x, 8, eps=1e-5), LARGE),
    "group_norm": (lambda x: F.group_norm(x, 1), LARGE),
    "instance_norm": (F.instance_norm, LARGE),
    "batch_norm": (lambda x: F.batch_norm(x, None, None, training=True), LARGE),
    "local_response_norm": (lambda x: F.local_response_norm(x, 3), LARGE),
    "normalize": (F.normalize, LARGE),
    "cosine_similarity": (lambda x: F.cosine_similarity(x, x[::-1]), LARGE),
    "pairwise_distance": (lambda x: F.pairwise_distance(x, x[::-1]), LARGE),
    "avg_pool": (lambda x: F.avg_pool1d(x[None], 70_000), MANY),
    "adaptive_avg_pool": (lambda x: F.adaptive_avg_pool1d(x[None], 1), MANY),
    "lp_pool": (lambda x: F.lp_pool1d(x, 2, 4), LARGE),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_sum_of_squares_or_of_many_is_that_of_float32(name):
    call, data = CALLS[name]
    half = data.astype(np.float16)
    found, expected = [], []
    for results, dtype in ((found, np.float16), (expected, np.float64)):
        x = Tensor(half.astype(dtype), requires_grad=True)
        y = call(x)
        g = np.random.default_rng(2).normal(size=y.shape).astype(np.float16)
        results += [y, *grad(y, [x], gradient=g.astype(dtype))]
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == np.float16
        # Gradients of one among 70,000 are subnormal: a step is 2 ** -24.
        atol = 2e-3 * np.abs(e.array).max() + 2.0**-23
        np.testing.assert_allclose(f.array, e.array, rtol=2e-3, atol=atol)


NAMED = {
    "normalize": ("input",),
    "cosine_similarity": ("x1", "x2"),
    "pairwise_distance": ("x1", "x2"),
    "triplet_margin_loss": ("anchor", "positive", "negative"),
    "cosine_embedding_loss": ("input1", "input2", "target"),
    "local_response_norm": ("x",),
    "lp_pool1d": ("x",),
}
SETTINGS = {"local_response_norm": {"size": 3}, "lp_pool1d": {"norm_type": 2, "kernel_size": 4}}


@pytest.mark.parametrize("name", NAMED)
def test_inputs_given_by_name_are_summed_in_float32_too(name):
    half = LARGE.astype(np.float16)
    half = half.reshape(-1, 8) if name.endswith("_loss") else half
    inputs = [half, half[::-1], half[:, ::-1]][: len(NAMED[name])]
    if name == "cosine_embedding_loss":
        inputs[2] = np.where(half[:, 0] > 0, 1, -1).astype(np.float16)
    function, settings = getattr(F, name), SETTINGS.get(name, {})
    found = function(**dict(zip(NAMED[name], inputs, strict=True)), **settings)
    expected = function(*(a.astype(np.float64) for a in inputs), **settings)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found.array, expected.array, rtol=2e-3)


@pytest.mark.parametrize("mask", [None, "causal", "numbers"])
def test_attention_of_float16_is_that_of_float32(mask):
    half = [RNG.uniform(90, 120, (2, 5, 8)).astype(np.float16) for _ in range(3)]
    slope = RNG.normal(size=(2, 5, 8)).astype(np.float16)
    results = []
    for dtype in (np.float16, np.float64):
        q, k, v = (Tensor(a.astype(dtype), requires_grad=True) for a in half)
        given = {"attn_mask": np.eye(5, dtype=dtype)} if mask == "numbers" else {}
        # The products of queries and keys exceed 65504 before they are scaled.
        y = F.scaled_dot_product_attention(q, k, v, **given, scale=1e-3, is_causal=mask == "causal")
        first = grad(y, [q, k, v], gradient=slope.astype(dtype), create_graph=True)
        results.append([y, *first, *grad(np.sum(first[0] * 8), [k])])
    for f, e in zip(*results, strict=True):
        assert f.dtype == np.float16
        np.testing.assert_allclose(f.array, e.array, rtol=1e-2, atol=1e-2 * np.abs(e.array).max())


def test_ctc_of_float16_is_that_of_float32():
    half = F.log_softmax(RNG.normal(size=(6, 2, 4)), 2).array.astype(np.float16)
    results = []
    for dtype in (np.float16, np.float64):
        x = Tensor(half.astype(dtype), requires_grad=True)
        loss = F.ctc_loss(x, [[1, 2], [3, 3]], [6, 5], [2, 2], reduction="none")
        loss.sum().backward()
        results.append((loss, x.grad))
    for f, e in zip(*results, strict=True):
        assert f.dtype == np.float16
        np.testing.assert_allclose(f.array, e.array, rtol=2e-3, atol=2e-3)


def test_gradients_of_gradients_are_taken_in_float16_too():
    x = Tensor(LARGE[0].astype(np.float16), requires_grad=True)
    (first,) = grad(np.sum(F.layer_norm(x, 8) ** 2 / 8), [x], create_graph=True)
    (second,) = grad(np.sum(first * 64), [x])
    assert first.dtype == second.dtype == np.float16
    assert np.isfinite(second.array).all()


def test_statistics_of_float16_stay_in_float32():
    norm = nn.BatchNorm1d(3, momentum=1.0)
    _, mean, var = ops.batch_norm(Tensor((LARGE * 2).astype(np.float16)), None, None)
    assert mean.dtype == var.dtype == np.float32
    norm(Tensor((LARGE * 2).astype(np.float16)))
    assert (norm.running_var.array > 65504).all()
    assert np.isfinite(norm.running_var.array).all()


def test_float32_parameters_keep_the_result_in_float32():
    x = Tensor(LARGE.astype(np.float16), requires_grad=True)
    y = nn.LayerNorm(8)(x)
    y.sum().backward()
    assert y.dtype == np.float32
    assert x.grad.dtype == np.float16


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "CTCLoss"])
@pytest.mark.parametrize("mode", [dg.enable_grad, dg.reference_kernels])
def test_the_mean_loss_of_many_samples_does_not_overflow(name, mode):
    for args, settings, draw in LOSSES[name]:
        arrays = draw(np.random.default_rng(1), 70_000)
        values = []
        for dtype in (np.float16, np.float64):
            cast = [
                a.astype(np.float16).astype(dtype) if a.dtype.kind == "f" else a for a in arrays
            ]
            with mode():
                x = Tensor(cast[0], requires_grad=True)
                loss = getattr(nn, name)(*args, **settings)(x, *cast[1:])
                loss.backward()
            values.append(loss.item())
            assert np.isfinite(x.grad.array).all()
        assert np.isfinite(values[0])
        np.testing.assert_allclose(*values, rtol=5e-3)
