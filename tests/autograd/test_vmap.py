"""vmap: a loop over samples, stacked."""

from __future__ import annotations

import numpy as np
import pytest
from training import alone

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd.func import grad, jacfwd, jacrev, linearize, vmap

rng = np.random.default_rng(2)
X, W = rng.normal(size=(5, 3)), rng.normal(size=(3, 4))


def test_it_maps_over_the_first_axis_and_shares_what_has_none():
    found = vmap(lambda x, w: x @ w, in_dims=(0, None))(X, Tensor(W))
    np.testing.assert_allclose(found.array, X @ W)


def test_dims_may_be_negative_nested_and_of_the_results_too():
    def f(pair, scale):
        return pair["a"] * scale, (pair["b"].sum(),)

    pair = {"a": Tensor(X.T), "b": Tensor(X)}
    y, (z,) = vmap(f, in_dims=({"a": -1, "b": 0}, None), out_dims=(1, (0,)))(pair, 2.0)
    np.testing.assert_allclose(y.array, 2 * X.T)
    np.testing.assert_allclose(z.array, X.sum(1))


def test_it_nests():
    found = vmap(vmap(lambda a, b: a * b, in_dims=(None, 0)), in_dims=(0, None))(X[0], X[1])
    np.testing.assert_allclose(found.array, np.outer(X[0], X[1]))


def test_gradients_per_sample_and_gradients_through_it():
    w = Tensor(W, requires_grad=True)

    def loss(w, x):
        return np.sum(np.tanh(x @ w))

    each = vmap(grad(loss), in_dims=(None, 0))(w, X)
    assert each.shape == (5, 3, 4)
    whole = grad(lambda w: np.sum(vmap(loss, in_dims=(None, 0))(w, X)))(w)
    np.testing.assert_allclose(each.array.sum(0), whole.array)
    rows = dg.jacobian(lambda w: vmap(loss, in_dims=(None, 0))(w, X))(w)
    np.testing.assert_allclose(rows.array, each.array)


def test_random_numbers_are_refused_different_or_the_same():
    def noisy(x):
        return x + dg.random.normal(x.shape, dtype=np.float64)

    with pytest.raises(ValueError, match="random operation while in randomness error mode"):
        vmap(noisy)(X)

    def draw(kind):
        noise = vmap(noisy, randomness=kind)(X).array - X
        return noise, dg.random.normal((3,), dtype=np.float64).array

    same, after = alone(lambda: draw("same"))
    np.testing.assert_allclose(same, np.broadcast_to(same[0], (5, 3)))
    assert not np.allclose(after, same[0])
    different, _ = alone(lambda: draw("different"))
    assert len(np.unique(different)) == 15


REFUSED = {
    "sizes": (lambda: vmap(lambda a, b: a)(X, W), r"same size .* got sizes \[5, 3\]"),
    "none": (lambda: vmap(lambda a: a, in_dims=(None,))(X), "at least one must be a number"),
    "number": (lambda: vmap(lambda a: a)(3.0), r"Got in_dim=0 .* type float.*use None"),
    "range": (lambda: vmap(lambda a: a, in_dims=2)(X), r"Got in_dim=2 .* dimensionality 2"),
    "structure": (lambda: vmap(lambda a: a, in_dims=(0, 0))(X), "not compatible with the struct"),
    "no inputs": (vmap(lambda: 1), "got no inputs"),
    "empty": (lambda: vmap(lambda a: a)(X[:0]), "mapped dimension has length 0"),
    "result": (lambda: vmap(lambda a: "x")(X), "must only return Tensors, got type str"),
    "out_dims": (lambda: vmap(lambda a: a, out_dims=(0, 1))(X), r"out_dims \(0, 1\) is not comp"),
    "randomness": (lambda: vmap(lambda a: a, randomness="maybe"), "Only allowed values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_mapped_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_jacobians_forward_and_backward_agree():
    def f(x, w):
        return {"y": np.tanh(x @ w), "s": np.sum(x * x)}

    x, w = X[0], W
    for argnums in (0, 1, (0, 1)):
        one, two = jacrev(f, argnums)(x, w), jacfwd(f, argnums)(x, w)
        for key in ("y", "s"):
            a, b = one[key], two[key]
            for u, v in zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]:
                assert u.shape == v.shape
                np.testing.assert_allclose(u.array, v.array, atol=1e-12)


def test_linearize_is_linear():
    value, along = linearize(np.sin, X[0])
    np.testing.assert_allclose(value.array, np.sin(X[0]))
    np.testing.assert_allclose(along(2 * X[1]).array, 2 * np.cos(X[0]) * X[1])
