"""Dropout beside PyTorch's: the op under a given mask, the modules' arguments and moments."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, assert_close, check, drawn, dtypes, shapes, torch

from distgrad import Tensor, manual_seed, nn, ops

OPS = {"dropout": (ops.dropout, torch.dropout)}


@drawn
@given(data=st.data())
def test_a_given_mask(data):
    shape, p = data.draw(shapes()), data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    x = data.draw(array(shape, data.draw(dtypes)).map(lambda a: a.reshape(shape)))
    # One for each element, or one for all of a channel.
    of_mask = data.draw(st.sampled_from([shape, (*shape[:2], *(1,) * len(shape[2:]))]))
    keep = np.asarray(data.draw(array(of_mask)) > 0).reshape(of_mask)
    scale = 1 / (1 - p) if p < 1 else 0.0
    check(
        lambda a: ops.dropout(a, keep, p=p),
        lambda a: a * (torch.from_numpy(keep).double() * scale),
        [x],
        second=False,  # linear: there is none
    )


@pytest.mark.parametrize(
    "name",
    ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"],
)
def test_dropouts_have_pytorchs_arguments_and_moments(name):
    manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = getattr(nn, name)(0.3), getattr(torch.nn, name)(0.3)
    assert [
        (p.name, p.default) for p in inspect.signature(getattr(nn, name)).parameters.values()
    ] == [
        (p.name, p.default) for p in inspect.signature(getattr(torch.nn, name)).parameters.values()
    ]
    shape = {"Dropout1d": (400, 50, 2), "Dropout3d": (400, 50, 1, 2, 1)}.get(name, (400, 50, 2, 1))
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    found, wanted = ours(Tensor(x)).data, theirs(torch.from_numpy(x)).numpy()
    assert found.dtype == np.float32
    for moment in (1, 2, 3, 4):
        a, b = (found**moment).mean(), (wanted**moment).mean()
        np.testing.assert_allclose(a, b, rtol=0.1, atol=0.05)
    assert_close(ours.eval()(Tensor(x)).data, x)
