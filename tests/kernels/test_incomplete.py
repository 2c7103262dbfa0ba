"""The twins of the incomplete gamma functions: all digits of float32, the edges, broadcasting."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import ops
from distgrad.ops.incomplete_numbers import lower_and_upper

pytest.importorskip("numba", reason="numba is not installed: there are no twins")
both = pytest.mark.parametrize("op", [ops.igamma, ops.igammac], ids=lambda o: o.name)


def exact(op, a, x):
    a, x = (np.asarray(v, np.float64) for v in (a, x))
    return lower_and_upper(a, x)[op is ops.igammac]


@both
@pytest.mark.parametrize("decades", [(-8, 0), (-1, 1), (1, 4), (4, 11)], ids=str)
def test_both_tails_have_the_digits_of_float32(op, decades):
    r = np.random.default_rng(3)
    a = (10 ** r.uniform(*decades, 3001)).astype(np.float32)
    beside = np.abs(a * (1 + 4 * r.normal(size=a.size) / np.sqrt(a + 1)))
    x = np.where(r.random(a.size) < 0.5, beside, 10 ** r.uniform(-8, 3, a.size)).astype(np.float32)
    wanted = exact(op, a, x)
    found, _ = op.fused(a, x)
    some = wanted > 1e-36
    np.testing.assert_allclose(found[some], wanted[some], rtol=1e-7)
    assert (found[~some] <= 1.1e-36).all()


@both
def test_ends_and_what_is_no_order_are_the_references(op):
    edges = [0.0, -0.0, 1e-40, 1e-30, 0.5, 1, 1.5, 8, 1e11, 1e13, 3e38, np.inf, np.nan, -1.0]
    a, x = (v.astype(np.float32).ravel() for v in np.meshgrid(edges, edges))
    with np.errstate(all="ignore"):
        found, _ = op.fused(a, x)
        wanted = op.function(a, x)[0]
    np.testing.assert_allclose(found, wanted, rtol=2e-7, atol=1e-38)


@both
@pytest.mark.parametrize(
    ("one", "two"), [((), (5, 3)), ((5, 1), (3,)), ((257,), ()), ((), ()), ((1,), (300, 257))]
)
def test_orders_and_variables_are_broadcast(op, one, two):
    r = np.random.default_rng(5)
    a, x = (r.uniform(0.3, 5, s).astype(np.float32) for s in (one, two))
    found, (to_a, to_x) = op.fused(a, x)
    with dg.reference_kernels():
        wanted, (wanted_a, wanted_x) = op.function(a, x)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=2e-7)
        g = np.ones_like(found)
        pairs = (to_a(g), wanted_a(g)), (to_x(g), wanted_x(g))
    for f, w in pairs:
        np.testing.assert_allclose(f, w, rtol=1e-5)


@both
def test_numbers_are_taken_and_strangers_left_to_the_reference(op):
    x = np.linspace(0, 4, 7, dtype=np.float32)
    np.testing.assert_allclose(op.fused(2.0, x)[0], exact(op, 2.0, x), rtol=1e-6)
    np.testing.assert_allclose(op.fused(x + 1, 2)[0], exact(op, x + 1, 2), rtol=1e-6)
    turned = np.asfortranarray(np.linspace(0.1, 4, 12, dtype=np.float32).reshape(3, 4))
    found = op.fused(turned, turned)[0]
    np.testing.assert_allclose(found, exact(op, turned, turned), rtol=1e-6)
    assert found.strides == turned.strides
    assert op.fused(x.astype(np.float64), x) is None
    assert op.fused(x, np.ones(3, np.float32)) is None
    assert op.fused(x[:0], x[:0]) is None
    with pytest.raises(dg.ShapeError, match=op.name):
        op(x, np.ones(3, np.float32))
