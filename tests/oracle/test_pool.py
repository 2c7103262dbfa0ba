"""Pooling beside PyTorch's, over drawn settings, shapes, ties and layouts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, torch

from distgrad import Tensor, nn
from distgrad.nn import functional as F

TF = torch.nn.functional
OPS = ("max_pool", "avg_pool", "adaptive_max_pool")


def numbers(draw, axes, low, high):
    """One number for all axes or one for each."""
    values = draw(st.tuples(*[st.integers(low, high)] * axes))
    return draw(st.sampled_from([values, values[0]]))


def each(value, axes):
    return (value,) * axes if isinstance(value, int) else value


@st.composite
def pooling(draw, axes, dilated, distinct=False):
    kernel = numbers(draw, axes, 1, 3)
    chosen = {"kernel_size": kernel, "ceil_mode": draw(st.booleans())}
    if draw(st.booleans()):
        chosen["stride"] = numbers(draw, axes, 1, 4)
    chosen["padding"] = tuple(draw(st.integers(0, k // 2)) for k in each(kernel, axes))
    if dilated:
        chosen["dilation"] = numbers(draw, axes, 1, 2)
    dilation = each(chosen.get("dilation", 1), axes)
    lengths = tuple(
        draw(st.integers(d * (k - 1) + 1, 8 if axes < 3 else 6))
        for k, d in zip(each(kernel, axes), dilation, strict=True)
    )
    batch = draw(st.sampled_from([(), (1,), (3,)]))
    return draw(array((*batch, 2, *lengths), dtypes, distinct=distinct)), chosen


@pytest.mark.parametrize("axes", [1, 2, 3])
@drawn
@given(data=st.data())
def test_max_pool(axes, data):
    x, chosen = data.draw(pooling(axes, dilated=True, distinct=True))
    name = f"max_pool{axes}d"
    chosen["return_indices"] = data.draw(st.booleans())
    check(lambda x: getattr(F, name)(x, **chosen), lambda x: getattr(TF, name)(x, **chosen), [x])


@pytest.mark.parametrize("axes", [1, 2, 3])
@drawn
@given(data=st.data())
def test_max_pool_of_ties_gives_the_gradient_to_the_same_elements(axes, data):
    x, chosen = data.draw(pooling(axes, dilated=True))
    x = np.round(x)
    name = f"max_pool{axes}d"
    chosen["return_indices"] = data.draw(st.booleans())
    check(lambda x: getattr(F, name)(x, **chosen), lambda x: getattr(TF, name)(x, **chosen), [x])


@pytest.mark.parametrize("axes", [1, 2, 3])
@drawn
@given(data=st.data())
def test_avg_pool(axes, data):
    x, chosen = data.draw(pooling(axes, dilated=False))
    chosen["count_include_pad"] = data.draw(st.booleans())
    if axes > 1:
        chosen["divisor_override"] = data.draw(st.sampled_from([None, None, 3, -2]))
    name = f"avg_pool{axes}d"
    check(lambda x: getattr(F, name)(x, **chosen), lambda x: getattr(TF, name)(x, **chosen), [x])


@pytest.mark.parametrize("axes", [1, 2, 3])
@settings(drawn, max_examples=8)
@given(data=st.data())
def test_lp_pool(axes, data):
    x, chosen = data.draw(pooling(axes, dilated=False, distinct=True))
    del chosen["padding"]
    if axes == 1:  # PyTorch takes numbers only
        chosen["kernel_size"] = each(chosen["kernel_size"], 1)[0]
    p = data.draw(st.sampled_from([1.0, 2.0, 3, 1.5, np.inf, -np.inf]))
    name = f"lp_pool{axes}d"
    check(
        lambda x: getattr(F, name)(x, p, **chosen),
        lambda x: getattr(TF, name)(x, p, **chosen),
        [np.abs(x) + x.dtype.type(0.3)],  # the root of zero has no slope
    )


@st.composite
def adaptive(draw, axes):
    lengths = draw(st.tuples(*[st.integers(1, 7)] * axes))
    size = draw(
        st.tuples(*[st.sampled_from([1, 2, 3, 5, None] if axes > 1 else [1, 2, 3, 5])] * axes)
    )
    size = draw(st.sampled_from([size, 3])) if axes > 1 else size[0]
    batch = draw(st.sampled_from([(), (1,), (3,)]))
    return draw(array((*batch, 2, *lengths), dtypes, distinct=True)), size


@pytest.mark.parametrize("axes", [1, 2, 3])
@drawn
@given(data=st.data())
def test_adaptive_avg_pool(axes, data):
    x, size = data.draw(adaptive(axes))
    ours, theirs = (getattr(f, f"adaptive_avg_pool{axes}d") for f in (F, TF))
    check(lambda x: ours(x, size), lambda x: theirs(x, size), [x])


@pytest.mark.parametrize("axes", [1, 2, 3])
@drawn
@given(data=st.data())
def test_adaptive_max_pool(axes, data):
    x, size = data.draw(adaptive(axes))
    x = np.round(x) if data.draw(st.booleans()) else x  # ties
    ours, theirs = (getattr(f, f"adaptive_max_pool{axes}d") for f in (F, TF))
    check(lambda x: ours(x, size), lambda x: theirs(x, size), [x])
    check(lambda x: ours(x, size, True), lambda x: theirs(x, size, True), [x])


@pytest.mark.parametrize(
    "make",
    [
        lambda n: n.MaxPool1d(2),
        lambda n: n.MaxPool1d(3, 1, 1, dilation=2, return_indices=True),
        lambda n: n.AvgPool1d(2, padding=1),
        lambda n: n.AvgPool1d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        lambda n: n.LPPool1d(2, 3),
        lambda n: n.AdaptiveAvgPool1d(3),
        lambda n: n.AdaptiveMaxPool1d(4, return_indices=True),
        lambda n: n.MaxPool2d((2, 3), stride=(1, 2), ceil_mode=True),
        lambda n: n.MaxPool2d(3, 2, 1, return_indices=True),
        lambda n: n.AvgPool2d(2, 1, 1, True, False, 3),
        lambda n: n.LPPool2d(3, 2, 1, ceil_mode=True),
        lambda n: n.AdaptiveAvgPool2d((None, 3)),
        lambda n: n.AdaptiveMaxPool2d(2),
        lambda n: n.MaxPool3d(2, 1, 1, 1, True, True),
        lambda n: n.AvgPool3d((1, 2, 3)),
        lambda n: n.LPPool3d(2, 2),
        lambda n: n.AdaptiveAvgPool3d((1, None, 2)),
        lambda n: n.AdaptiveMaxPool3d((1, None, 2)),
    ],
)
def test_modules_print_and_compute_as_pytorchs(make):
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    axes = int(type(ours).__name__[-2])
    x = np.random.default_rng(0).uniform(0.1, 1, size=(2, 3, *(7, 6, 5)[:axes]))
    found, wanted = ours(Tensor(x)), theirs(torch.from_numpy(x))
    if not isinstance(found, tuple):
        found, wanted = (found,), (wanted,)
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f.data, w.numpy(), rtol=1e-12)
