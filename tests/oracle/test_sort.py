"""Sorting, selection and running extremes beside PyTorch's (and np.median beside NumPy's)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, shapes, torch

from distgrad import ops

REDUCING = st.sampled_from(["linear", "lower", "higher", "midpoint", "nearest"])


def ties(x):
    """Make some elements equal, in the array's own memory layout."""
    x[...] = np.round(x)
    return x


@st.composite
def rows(draw, least=1, distinct=True, side=1):
    x = draw(array(shapes(least, 3, side), dtypes, distinct=distinct))
    return x, draw(st.integers(-x.ndim, x.ndim - 1)) if x.ndim else -1


@pytest.mark.parametrize("descending", [False, True])
@drawn
@given(drawn_=rows(0, distinct=False, side=0))
def test_sort_is_stable_in_both_directions(descending, drawn_):
    x, dim = drawn_
    check(
        lambda t: ops.sort(t * t, dim=dim, descending=descending),
        lambda t: torch.sort(t * t, dim=dim, descending=descending, stable=True),
        [ties(x)],
    )


@drawn
@given(drawn_=rows(side=0))
def test_np_sort(drawn_):
    x, axis = drawn_
    check(lambda t: np.sort(t * t, axis), lambda t: torch.sort(t * t, axis)[0], [x])
    check(lambda t: np.sort(t * t, None), lambda t: torch.sort((t * t).ravel())[0], [x])


@drawn
@given(drawn_=rows())
def test_partition(drawn_):
    x, axis = drawn_
    k = x.shape[axis] - 1
    # The last element is in its place; where the others come to lie is NumPy's secret.
    check(
        lambda t: np.amax(np.partition(t * t, k, axis), axis=axis),
        lambda t: torch.amax(t * t, axis),
        [x],
    )


@pytest.mark.parametrize("largest", [True, False])
@drawn
@given(data=st.data(), drawn_=rows())
def test_topk(largest, data, drawn_):
    x, dim = drawn_
    k = data.draw(st.integers(0, x.shape[dim]))
    check(lambda t: ops.topk(t, k, dim, largest), lambda t: torch.topk(t, k, dim, largest), [x])


@drawn
@given(data=st.data(), drawn_=rows(), keepdim=st.booleans())
def test_kthvalue_and_median(data, drawn_, keepdim):
    x, dim = drawn_
    k = data.draw(st.integers(1, x.shape[dim]))
    check(
        lambda t: ops.kthvalue(t, k, dim, keepdim),
        lambda t: torch.kthvalue(t, k, dim, keepdim),
        [x],
    )
    check(
        lambda t: ops.median(t, dim=dim, keepdim=keepdim),
        lambda t: torch.median(t, dim, keepdim),
        [x],
    )


@drawn
@given(drawn_=rows(), keepdims=st.booleans())
def test_np_median_is_the_half_quantile(drawn_, keepdims):
    x, axis = drawn_
    check(
        lambda t: np.median(t, axis, keepdims=keepdims),
        lambda t: torch.quantile(t, 0.5, axis, keepdims),
        [x],
    )
    check(np.median, lambda t: torch.quantile(t, 0.5), [x])


@drawn
@given(data=st.data(), drawn_=rows(), keepdims=st.booleans(), method=REDUCING)
def test_quantile(data, drawn_, keepdims, method):
    x, axis = drawn_
    # In 64ths, so that q (n - 1) has no rounding to fall to the other side of an element.
    q = np.array(data.draw(st.lists(st.integers(0, 64), min_size=1, max_size=3))) / 64
    check(
        lambda t: np.quantile(t, q, axis, method=method, keepdims=keepdims),
        lambda t: torch.quantile(t, torch.from_numpy(q), axis, keepdims, interpolation=method),
        [x],
    )
    check(
        lambda t: np.percentile(t, 25, axis),
        lambda t: torch.quantile(t, 0.25, axis),
        [x],
    )


@pytest.mark.parametrize("name", ["cummax", "cummin"])
@drawn
@given(drawn_=rows(distinct=False))
def test_running_extremes(name, drawn_):
    x, dim = drawn_
    check(
        lambda t: getattr(ops, name)(t * t, dim),
        lambda t: getattr(torch, name)(t * t, dim),
        [ties(x)],
    )


# What the registry calls these functions' op.
OPS = {"permute_along_axis": test_sort_is_stable_in_both_directions}
