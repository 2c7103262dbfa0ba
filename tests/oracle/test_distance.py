"""Distances and the losses made of them beside PyTorch's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, broadcastable, check, drawn, dtypes, shapes, torch

import distgrad as dg
from distgrad.functions import decompositions
from distgrad.nn import functional as F

TF = torch.nn.functional
OPS = ("distances", "pair_distances")
reductions = st.sampled_from(["mean", "sum", "none"])
orders = st.sampled_from([1.0, 2.0, 2.5, 3.0, math.inf])


@drawn
@given(data=st.data())
def test_normalize(data):
    shape, p = data.draw(shapes(least=1, min_side=1)), data.draw(orders)
    # No zeros, where PyTorch's second gradient of the 2-norm is NaN.
    x = data.draw(array(shape, data.draw(dtypes), high=1.7, distinct=True))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    check(lambda a: F.normalize(a, p, dim), lambda a: TF.normalize(a, p, dim), [x])


@drawn
@given(data=st.data())
def test_pairwise_distance(data):
    dtype, p, keepdim = data.draw(dtypes), data.draw(orders), data.draw(st.booleans())
    c = data.draw(st.integers(1, 4))
    one, other = ((*s, c) for s in data.draw(broadcastable(2)))
    x = data.draw(array(one, dtype, -1.9, -0.1, distinct=True))
    y = data.draw(array(other, dtype, 0.3, 2.2))
    check(
        lambda a, b: F.pairwise_distance(a, b, p, keepdim=keepdim),
        lambda a, b: TF.pairwise_distance(a, b, p, keepdim=keepdim),
        [x, y],
        second=p not in (1.0, math.inf),  # nothing at all in PyTorch
    )


@drawn
@given(data=st.data())
def test_cosine_similarity(data):
    dtype = data.draw(dtypes)
    one, other = ((3, *s) for s in data.draw(broadcastable(2)))
    n = max(len(one), len(other))
    dim = data.draw(st.integers(-n, n - 1))
    one, other = ((3, *(1,) * (n - len(s)), *s[1:]) for s in (one, other))
    x, y = (data.draw(array(s, dtype, 0.2)) for s in (one, other))
    check(
        lambda a, b: F.cosine_similarity(a, b, dim),
        lambda a, b: TF.cosine_similarity(a, b, dim),
        [x, y],
    )


@drawn
@given(data=st.data())
def test_embedding_and_ranking_losses(data):
    n, dtype = data.draw(st.integers(0, 4)), data.draw(dtypes)
    lead = data.draw(st.sampled_from([(), (n,)]))
    x, y = (data.draw(array((*lead, 3), dtype)) for _ in range(2))
    target = np.asarray(np.where(np.arange(n) % 2, 1, -1) if lead else -1)
    settings = {
        "margin": data.draw(st.sampled_from([0.0, 0.4])),
        "reduction": data.draw(reductions),
    }
    check(
        lambda a, b: F.cosine_embedding_loss(a, b, target, **settings),
        lambda a, b: TF.cosine_embedding_loss(a, b, torch.from_numpy(target), **settings),
        [x, y],
    )
    ranks = np.where(x.astype(np.float32) > 0.3, 1, -1)
    check(
        lambda a, b: F.margin_ranking_loss(a, b, ranks, **settings),
        lambda a, b: TF.margin_ranking_loss(a, b, torch.from_numpy(ranks), **settings),
        [x, y],
    )


@pytest.mark.parametrize("own", [False, True], ids=["norms", "own distance"])
@drawn
@given(data=st.data())
def test_triplet_losses(own, data):
    lead, dtype = data.draw(shapes(most=2)), data.draw(dtypes)
    x, y, z = (data.draw(array((*lead, 3), dtype)) for _ in range(3))
    settings = {
        "margin": data.draw(st.sampled_from([0.5, 1.0])),
        "swap": data.draw(st.booleans()),
        "reduction": data.draw(reductions),
    }
    if own:
        settings["distance_function"] = lambda a, b: ((a - b) * (a - b)).sum(-1)
    else:
        settings["p"] = data.draw(st.sampled_from([1.5, 2.0, 3.0]))
    name = "triplet_margin_with_distance_loss" if own else "triplet_margin_loss"
    check(
        lambda *a: getattr(F, name)(*a, **settings),
        lambda *a: getattr(TF, name)(*a, **settings),
        [x, y, z],
    )


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf])
@pytest.mark.parametrize(
    ("first", "second"),
    [((3, 5), (7, 5)), ((2, 7, 1), (3, 1)), ((3, 1, 0, 2), (2, 5, 2)), ((3, 0), (2, 0))],
)
def test_cdist_for_every_p(first, second, p):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=first), rng.normal(size=second)
    if x.size and y.size:
        x[..., -1, :] = y[..., -1, :]  # their gradient is 0
    check(lambda a, b: dg.cdist(a, b, p), lambda a, b: torch.cdist(a, b, p), [x, y], second=False)


@pytest.mark.parametrize("p", [1.0, math.inf])
def test_differences_that_are_alike_have_pytorchs_gradient(p):
    x, y = np.array([[1.0, 2, 3], [0, 0, 0]]), np.array([[2.0, 1, 3], [1, -1, 1], [0, 0, 2]])
    check(lambda a, b: dg.cdist(a, b, p), lambda a, b: torch.cdist(a, b, p), [x, y], second=False)


@pytest.mark.parametrize("mode", decompositions._PRODUCTS)
@pytest.mark.parametrize("rows", [3, 33])
def test_cdist_in_every_mode(rows, mode):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(rows, 41)), rng.normal(size=(2, 5, 41))
    check(
        lambda a, b: dg.cdist(a, b, compute_mode=mode),
        lambda a, b: torch.cdist(a, b, compute_mode=mode),
        [x, y],
        second=False,
    )


@pytest.mark.parametrize("shape", [(3, 0), (2, 1), (3, 5), (67, 3)])
@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, 2.5, math.inf])
def test_pdist_of_any_number_of_rows(shape, p):
    x = np.random.default_rng(5).normal(size=shape)
    check(lambda a: dg.pdist(a, p), lambda a: torch.pdist(a, p), [x], second=False)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (0, 0)])  # PyTorch's backward crashes
@pytest.mark.parametrize("p", [2.0, 2.5])
def test_pdist_of_no_pair(shape, p):
    x = dg.Tensor(np.ones(shape), requires_grad=True)
    found = dg.pdist(x, p)
    assert found.shape == (0,)
    found.sum().backward()
    np.testing.assert_array_equal(x.grad.array, np.zeros(shape))


@pytest.mark.parametrize("p", [0.0, 1.0, 2.0, math.inf])
def test_a_nan_is_not_lost_in_distances(p):
    x = np.ones((3, 4), np.float32)
    x[0, 0], x[1, 1] = np.nan, np.inf
    y = np.full((2, 4), 2, np.float32)
    for mode in (dg.enable_grad, dg.reference_kernels):
        with mode():
            found, pairs = dg.cdist(x, y, p).array, dg.pdist(x, p).array
        assert np.isnan(found[0]).all()
        assert np.isnan(pairs[:2]).all()
        assert (found[1] == (4 if p == 0 else np.inf)).all()
