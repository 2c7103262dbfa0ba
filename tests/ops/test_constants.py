"""An argument that requires gradients is differentiated or refused by name, never a constant."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import OPS, cases

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd import gradcheck
from distgrad.nn import functional as F

SETTINGS = [(op, name) for op in OPS for name in op.attribute_names]


def leaf(*values):
    return Tensor(np.array(values), requires_grad=True)


@pytest.mark.parametrize(
    ("declared", "name"), SETTINGS, ids=[f"{op.name}-{name}" for op, name in SETTINGS]
)
def test_a_setting_of_an_op_is_refused(declared, name):
    for inputs, settings in cases(declared):
        with pytest.raises(dg.GradError, match=rf"{declared.name} has no gradient to {name}, whi"):
            declared(*inputs, **{**settings, name: leaf(0.5)})


X, W = np.array([3.0, 1.0, 2.0, 5.0]), np.full(4, 0.5)
LABELS = np.array([0, 1, 1, 0])
REFUSED = {
    "the condition": [
        lambda t: np.where(t, X, W),
        lambda t: np.select([t], [X]),
        lambda t: np.compress(t, Tensor(X)),
        lambda t: np.extract(t, Tensor(X)),
    ],
    "q": [
        lambda t: np.quantile(Tensor(X), t / 9, method="lower"),
        lambda t: np.percentile(Tensor(X), t, method="nearest"),
    ],
    "an argument": [
        lambda t: np.bincount(LABELS, t),
        lambda t: np.bincount(LABELS, weights=t),
        lambda t: np.full_like(Tensor(X), t[0]),
        np.unique,
        lambda t: np.union1d(X, t),
    ],
    "weight": [
        lambda t: F.cross_entropy(np.eye(4), LABELS, weight=t),
        lambda t: F.cross_entropy(np.eye(4), np.eye(4), weight=t),
        lambda t: F.nll_loss(np.eye(4), LABELS, weight=t),
        lambda t: F.multi_margin_loss(np.eye(4), LABELS, weight=t),
    ],
    "target": [
        lambda t: F.cosine_embedding_loss(np.eye(4), np.eye(4), t),
        lambda t: F.hinge_embedding_loss(X, t),
    ],
    "constant_values": [lambda t: np.pad(Tensor(X), 1, constant_values=t[0])],
    "scale": [lambda t: F.scaled_dot_product_attention(*[np.eye(4)] * 3, scale=t[0])],
    "negative_slope": [lambda t: F.leaky_relu(X, t[0])],
    "p": [lambda t: F.dropout(X, t[1] / 4)],
}
CALLS = [(name, call) for name, calls in REFUSED.items() for call in calls]


@pytest.mark.parametrize(
    ("name", "call"), CALLS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CALLS)]
)
def test_an_argument_that_has_no_gradient_is_refused(name, call):
    with pytest.raises(dg.GradError, match=rf"has no gradient to {name}, which requires one"):
        call(leaf(*X))
    call(leaf(*X).detach())
    with dg.no_grad():
        call(leaf(*X))


DIFFERENTIATED = {
    "the bounds of np.clip": (lambda a, b: np.clip(X, a, b), [X * 0 + 1.5, X * 0 + 2.5]),
    "the weights of np.average": (lambda w: np.average(X, weights=w), [W]),
    "the levels of np.quantile": (lambda q: np.quantile(Tensor(X), q), [np.array([0.3, 0.75])]),
    "the level of np.percentile": (lambda q: np.percentile(Tensor(X), q), [np.array(40.0)]),
    "the edges of np.diff": (lambda a, b: np.diff(X, prepend=a, append=b), [W, W]),
    "the points of np.trapezoid": (lambda x: np.trapezoid(X, x), [np.sort(X)]),
    "the variance of a normal": (lambda v: F.gaussian_nll_loss(X, W, v), [W]),
    "the weight of a positive": (
        lambda p: F.binary_cross_entropy_with_logits(X, W, pos_weight=p),
        [W],
    ),
    "the running variance": (lambda v: F.batch_norm(X[:, None], np.zeros(1), v), [W[:1]]),
    "the factor of ops.index_add": (
        lambda a: ops.index_add(X, 0, np.array([0]), X[:1], alpha=a),
        [np.array(0.5)],
    ),
}


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_an_argument_has_its_gradient(name):
    call, inputs = DIFFERENTIATED[name]
    gradcheck(call, inputs)
