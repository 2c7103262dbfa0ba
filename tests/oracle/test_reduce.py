"""Reductions and scans against PyTorch: values, gradients, second gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, shapes, torch

from distgrad import ops


def folded(theirs):
    """A PyTorch reduction of one axis (or all), made one of several axes."""

    def call(x, dim, keepdim, **settings):
        for d in sorted((d % x.ndim for d in dim), reverse=True):
            x = theirs(x, dim=d, keepdim=keepdim, **settings)
        return x

    return call


def values(theirs):
    return lambda x, dim, keepdim: theirs(x, dim=dim, keepdim=keepdim).values


# name: (ours, theirs, whether it takes empty axes)
REDUCTIONS = {
    "sum": (np.sum, torch.sum, True),
    "mean": (np.mean, torch.mean, False),
    "var": (np.var, lambda x, **s: torch.var(x, correction=0, **s), False),
    "std": (np.std, lambda x, **s: torch.std(x, correction=0, **s), False),
    "prod": (np.prod, folded(torch.prod), True),
    "max": (np.max, folded(values(torch.max)), False),
    "min": (np.min, folded(values(torch.min)), False),
    "amax": (np.amax, torch.amax, False),
    "amin": (ops.amin, torch.amin, False),
    "logsumexp": (ops.logsumexp, torch.logsumexp, True),
    "vector_norm": (ops.vector_norm, torch.linalg.vector_norm, True),
    "nansum": (np.nansum, torch.nansum, True),
    "nanmean": (np.nanmean, torch.nanmean, False),
    "ptp": (np.ptp, lambda x, **s: torch.amax(x, **s) - torch.amin(x, **s), False),
}
EXTREMA = {"max", "min", "amax", "amin", "ptp"}
SCANS = {
    "cumsum": (np.cumsum, torch.cumsum),
    "cumprod": (np.cumprod, torch.cumprod),
    "logcumsumexp": (ops.logcumsumexp, torch.logcumsumexp),
}
OPS = {*REDUCTIONS, *SCANS} - {"nanmean", "ptp"}


def axes(shape):
    """Draw an axis, several, or none; counted from either end."""
    if not shape:
        return st.none()
    one = st.integers(-len(shape), len(shape) - 1)
    several = st.sets(st.integers(0, len(shape) - 1), min_size=1)
    signed = several.map(lambda s: tuple(a - len(shape) if a % 2 else a for a in s))
    return st.one_of(st.none(), one, signed)


def as_dims(axis, shape):
    return (
        tuple(range(len(shape))) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    )


@pytest.mark.parametrize("name", REDUCTIONS)
@drawn
@given(data=st.data())
def test_reductions_over_drawn_axes(name, data):
    ours, theirs, empty = REDUCTIONS[name]
    shape = data.draw(shapes(min_side=0 if empty else 1, most=3))
    axis, keep = data.draw(axes(shape)), data.draw(st.booleans())
    x = data.draw(
        array(shape, dtypes, -2, 2, distinct=name in {"max", "min", "amax", "amin", "ptp"})
    )
    if name == "std":
        # The slope at a deviation of 0 is tested apart.
        x = x + 3 * np.arange(x.size, dtype=x.dtype).reshape(x.shape) ** 2
        assume(math.prod(x.shape[d] for d in as_dims(axis, x.shape)) > 1)
    check(
        lambda a: ours(a, axis=axis, keepdims=keep),
        lambda a: theirs(a, dim=as_dims(axis, x.shape), keepdim=keep),
        [x],
    )


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("ddof", [1, 2])
@pytest.mark.parametrize("axis", [None, 1])
def test_degrees_of_freedom(name, ddof, axis):
    check(
        lambda a: getattr(np, name)(a, axis=axis, ddof=ddof),
        lambda a: getattr(torch, name)(a, dim=axis, correction=ddof),
        [np.random.default_rng(1).normal(size=(3, 5))],
    )


TIES = np.array([[2.0, 2, 1, 2], [0, 0, 0, 0], [3, 1, 3, -1]])


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_ties_are_treated_as_by_the_function_of_the_same_name(name, axis):
    ours, theirs, _ = REDUCTIONS[name]
    check(lambda x: ours(x, axis=axis), lambda x: theirs(x, dim=(axis,), keepdim=False), [TIES])


@pytest.mark.parametrize("order", [0, 0.5, 1, 1.5, 2, 3, 4, -1, math.inf, -math.inf])
@drawn
@given(data=st.data())
def test_norms_of_any_order(order, data):
    shape = data.draw(shapes(least=1, most=3, min_side=1, max_side=3))
    axis = data.draw(axes(shape))
    x = data.draw(array(shape, dtypes, 0.2, 2, distinct=True))
    signs = np.where(np.arange(x.size).reshape(shape) % 3, 1, -1).astype(x.dtype)
    check(
        lambda a: ops.vector_norm(a, ord=order, axis=axis),
        lambda a: torch.linalg.vector_norm(a, order, dim=as_dims(axis, shape)),
        [x * signs],
        # PyTorch's second gradient of the sum of |a| and of extrema cannot be read (a ZeroTensor).
        second=order not in {0, 1, math.inf, -math.inf},
    )


@pytest.mark.parametrize("order", [0.5, 1, 2, 3, math.inf])
def test_norms_of_vectors_with_zeros(order):
    x = np.array([[0.0, 0, 0], [0, -2, 2], [1, 0, -3]])
    check(
        lambda a: ops.vector_norm(a, ord=order, axis=1),
        lambda a: torch.linalg.vector_norm(a, order, dim=1),
        [x],
        second=False,
    )


@pytest.mark.parametrize("name", SCANS)
@drawn
@given(data=st.data())
def test_scans_along_drawn_axes(name, data):
    ours, theirs = SCANS[name]
    shape = data.draw(shapes(least=1, most=3, max_side=7))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = data.draw(array(shape, dtypes, -2, 2))
    check(lambda a: ours(a, axis=axis), lambda a: theirs(a, dim=axis), [x])


@pytest.mark.parametrize("zeros", [[0], [1], [4], [0, 4], [1, 2], [0, 1, 2, 3, 4]])
def test_products_with_zeros(zeros):
    x = np.array([1.5, -2, 0.5, 3, -1])
    x[zeros] = 0
    check(np.prod, torch.prod, [x])
    check(lambda a: np.cumprod(a, axis=0), lambda a: torch.cumprod(a, 0), [x])
    wide = np.stack([x, x + 1])
    check(lambda a: np.prod(a, axis=1), lambda a: torch.prod(a, 1), [wide])
    check(np.prod, torch.prod, [wide])


def test_logcumsumexp_of_large_numbers():
    x = np.array([[1e4, -1e4, 0, 1e4], [-700, -800, -900, 5], [88, 89, 90, 800]])
    check(lambda a: ops.logcumsumexp(a, axis=1), lambda a: torch.logcumsumexp(a, 1), [x])


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        ({}, {}),
        ({"n": 2, "axis": 0}, {"n": 2, "dim": 0}),
        ({"axis": 1, "prepend": np.ones((3, 2, 2))}, {"dim": 1, "prepend": torch.ones(3, 2, 2)}),
        ({"append": 0.0}, {"append": torch.zeros(3, 4, 1)}),
    ],
)
def test_diff(settings, theirs):
    x = np.random.default_rng(4).normal(size=(3, 4, 5))
    if "prepend" in settings:
        x = x[:, :, :2]
    check(lambda a: np.diff(a, **settings), lambda a: torch.diff(a, **theirs), [x])


def test_nansum_and_nanmean_skip_nan():
    x = np.array([[1.0, np.nan, 3], [4, 5, 6]])
    check(lambda a: np.nansum(a, axis=1), lambda a: torch.nansum(a, 1), [x])
    check(lambda a: np.nanmean(a, axis=1), lambda a: torch.nanmean(a, 1), [x])


@drawn
@given(y=array(shapes(least=2, most=2, min_side=2), dtypes))
def test_trapezoid(y):
    x = np.cumsum(np.linspace(0.1, 0.5, y.shape[1])).astype(y.dtype)
    check(np.trapezoid, torch.trapezoid, [y])
    check(
        lambda a: np.trapezoid(a, dx=0.5, axis=0), lambda a: torch.trapezoid(a, dx=0.5, dim=0), [y]
    )
    check(np.trapezoid, torch.trapezoid, [y, x])


@drawn
@given(x=array(shapes(), dtypes))
def test_select(x):
    check(
        lambda a: np.select([a > 1, a > 0], [a * a, np.sin(a)], default=a * 3),
        lambda a: torch.where(a > 1, a * a, torch.where(a > 0, torch.sin(a), a * 3)),
        [x],
    )
