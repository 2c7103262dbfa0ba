"""Values and gradients beside PyTorch's, in float64, where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad
from distgrad.nn import functional as F

torch = pytest.importorskip("torch", reason="PyTorch is not installed: nothing to compare with")
TF = torch.nn.functional

RNG = np.random.default_rng(5)
X = RNG.normal(size=(3, 4, 7, 6))
TIES = RNG.integers(0, 3, size=(2, 3, 7, 6)).astype(float)
LOGITS, LABELS = RNG.normal(size=(5, 3)), np.array([2, 0, -100, 1, 1])
PIXELS = RNG.integers(0, 4, size=(3, 7, 6))
ROWS = RNG.normal(size=(5, 3, 4)) * 6
Q, K, V = (RNG.normal(size=(2, 3, n, 4)) for n in (5, 7, 7))
MASK = RNG.random((5, 7)) < 0.6
MASK[:, 0] = True
BIAS = RNG.normal(size=(5, 7))

CASES = {
    "linear": (lambda f, x, w, b: f.linear(x, w, b), ROWS, RNG.normal(size=(2, 4)), np.ones(2)),
    "linear without bias": (lambda f, x, w: f.linear(x, w), ROWS, RNG.normal(size=(2, 4))),
    **{
        f"conv2d {s}": (
            lambda f, x, w, b, s=s: f.conv2d(x, w, b, **s),
            X,
            RNG.normal(size=(6, 4 // s.get("groups", 1), 3, 2)),
            RNG.normal(size=6),
        )
        for s in (
            {},
            {"padding": 1},
            {"stride": 2, "padding": (0, 2)},
            {"stride": (1, 3), "dilation": (2, 1)},
            {"dilation": (1, 2), "padding": 2},
            {"groups": 2, "padding": 1},
        )
    },
    **{
        f"max_pool2d {s}": (lambda f, x, s=s: f.max_pool2d(x, *s), TIES)
        for s in ((2,), (3, 1, 1), ((2, 3), (1, 2), (1, 1)))
    },
    **{
        f"avg_pool2d {s}": (lambda f, x, s=s: f.avg_pool2d(x, *s), X)
        for s in ((2,), (3, 1, 1), ((2, 3), (1, 2), (1, 1)))
    },
    "layer_norm": (
        lambda f, x, w, b: f.layer_norm(x, (3, 4), w, b),
        ROWS,
        RNG.normal(size=(3, 4)),
        np.ones((3, 4)),
    ),
    "layer_norm without parameters": (lambda f, x: f.layer_norm(x, (4,), eps=0.1), ROWS),
    "relu": (lambda f, x: f.relu(x), ROWS),
    "gelu": (lambda f, x: f.gelu(x), ROWS),
    "gelu tanh": (lambda f, x: f.gelu(x, approximate="tanh"), ROWS),
    "tanh": (lambda f, x: f.tanh(x), ROWS),
    "sigmoid": (lambda f, x: f.sigmoid(x), ROWS),
    "softmax": (lambda f, x: f.softmax(x, dim=1), ROWS),
    "log_softmax": (lambda f, x: f.log_softmax(x, dim=-1), ROWS),
    **{
        f"cross_entropy {s}": (
            lambda f, x, s=s: f.cross_entropy(x, integers(f, LABELS), **s),
            LOGITS,
        )
        for s in (
            {},
            {"reduction": "sum"},
            {"reduction": "none", "label_smoothing": 0.2},
            {"label_smoothing": 0.1},
        )
    },
    "cross_entropy of pixels": (
        lambda f, x: f.cross_entropy(x, integers(f, PIXELS), ignore_index=2, label_smoothing=0.3),
        X,
    ),
    **{
        f"{name} {r}": (
            lambda f, x, y, n=name, r=r: getattr(f, n)(x, y, reduction=r),
            ROWS,
            RNG.random(ROWS.shape),
        )
        for name in ("mse_loss", "binary_cross_entropy_with_logits")
        for r in ("mean", "sum", "none")
    },
    "attention": (lambda f, *qkv: f.scaled_dot_product_attention(*qkv), Q, K, V),
    "causal attention": (
        lambda f, *qkv: f.scaled_dot_product_attention(*qkv, is_causal=True),
        Q,
        K,
        V,
    ),
    "attention with a boolean mask": (
        lambda f, *qkv: f.scaled_dot_product_attention(*qkv, attn_mask=plain(f, MASK)),
        Q,
        K,
        V,
    ),
    "attention with a bias": (
        lambda f, q, k, v, b: f.scaled_dot_product_attention(q, k, v, attn_mask=b, scale=0.3),
        Q,
        K,
        V,
        BIAS,
    ),
    "pad": (lambda f, x: f.pad(x, (1, 2, 0, 3)), X),
}


def plain(f, array):
    return torch.from_numpy(array) if f is TF else array


integers = plain


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_pytorchs(name, fused):
    call, *inputs = CASES[name]
    theirs = [torch.tensor(x, requires_grad=True) for x in inputs]
    wanted = call(TF, *theirs)
    direction = np.random.default_rng(1).normal(size=tuple(wanted.shape))
    wanted_grads = torch.autograd.grad((wanted * torch.from_numpy(direction)).sum(), theirs)

    ours = [Tensor(x, requires_grad=True) for x in inputs]
    mode = dg.enable_grad() if fused else dg.reference_kernels()
    with mode:
        found = call(F, *ours)
        found_grads = grad(np.sum(found * direction), ours)
    np.testing.assert_allclose(found.data, wanted.detach().numpy(), rtol=1e-10, atol=1e-13)
    for g, w in zip(found_grads, wanted_grads, strict=True):
        np.testing.assert_allclose(g.data, w.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 6), (3, 4, 7, 6)])
def test_batch_norm_is_pytorchs_in_training_and_evaluation(shape):
    x, w, b = RNG.normal(size=shape), RNG.normal(size=4), RNG.normal(size=4)
    mean, var = np.zeros(4), np.ones(4)
    theirs = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    running = [torch.tensor(a) for a in (mean, var)]
    wanted = TF.batch_norm(theirs[0], *running, *theirs[1:], training=True, momentum=1.0)
    (wanted**2).sum().backward()

    ours = [Tensor(a, requires_grad=True) for a in (x, w, b)]
    y, found_mean, found_var = F.batch_norm_training(*ours)
    (y * y).sum().backward()
    n = x.size // 4
    np.testing.assert_allclose(y.data, wanted.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(found_mean, running[0].numpy(), rtol=1e-10)
    np.testing.assert_allclose(found_var * n / (n - 1), running[1].numpy(), rtol=1e-10)
    for g, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(g.grad.data, t.grad.numpy(), rtol=1e-9, atol=1e-10)

    wanted = TF.batch_norm(theirs[0], *running, *theirs[1:], training=False)
    found = F.batch_norm(ours[0], found_mean, found_var * n / (n - 1), *ours[1:])
    np.testing.assert_allclose(found.data, wanted.detach().numpy(), rtol=1e-10)


def test_embedding_gradients_are_pytorchs_with_repeated_rows():
    tokens, table = RNG.integers(0, 9, size=(4, 5)), RNG.normal(size=(11, 3))
    g = RNG.normal(size=(4, 5, 3))
    theirs, ours = torch.tensor(table, requires_grad=True), Tensor(table, requires_grad=True)
    TF.embedding(torch.from_numpy(tokens), theirs).backward(torch.from_numpy(g))
    F.embedding(tokens, ours).backward(g)
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), rtol=1e-12)
