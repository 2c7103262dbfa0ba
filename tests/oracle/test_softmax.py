"""The softmax family beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, shapes, torch

from distgrad import ops
from distgrad.nn import functional as F

TF = torch.nn.functional
OPS = {"softmax": (ops.softmax, TF.softmax), "log_softmax": (ops.log_softmax, TF.log_softmax)}
every_op = pytest.mark.parametrize("name", OPS)


@every_op
@drawn
@given(data=st.data())
def test_any_axis_of_any_shape(name, data):
    ours, theirs = OPS[name]
    shape, large = data.draw(shapes()), data.draw(st.sampled_from([2.0, 30.0]))
    x = data.draw(array(shape, data.draw(dtypes), -large, large).map(lambda a: a.reshape(shape)))
    axis = data.draw(st.integers(-max(len(shape), 1), max(len(shape) - 1, 0)))
    check(lambda a: ours(a, axis=axis), lambda a: theirs(a, axis), [x])


EXTREME = {
    "large": [1e30, -1e30, 0.0],
    "a masked entry": [0.0, -np.inf, 1.0],
    "a masked row": [-np.inf, -np.inf, -np.inf],
    "infinity": [np.inf, 0.0, 1.0],
    "nan": [np.nan, 0.0, 1.0],
}


@every_op
@pytest.mark.parametrize("row", EXTREME)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_rows(name, row, dtype):
    ours, theirs = OPS[name]
    x = np.array([EXTREME[row], [0.5, 1.0, 2.0]], dtype)
    check(lambda a: ours(a, axis=-1), lambda a: theirs(a, -1), [x], second=False)


def test_gumbel_softmax_is_distributed_as_pytorchs():
    logits = np.log(np.array([0.5, 0.2, 0.2, 0.1], np.float32))
    x = np.broadcast_to(logits, (20_000, 4))
    ours, theirs = (
        F.gumbel_softmax(x, tau=0.7).data,
        TF.gumbel_softmax(torch.tensor(x), tau=0.7).numpy(),
    )
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours.sum(1), 1, rtol=1e-5)
    for moment in (1, 2, 3):
        np.testing.assert_allclose((ours**moment).mean(0), (theirs**moment).mean(0), atol=0.01)
    one = F.gumbel_softmax(x, tau=0.7, hard=True).data
    np.testing.assert_allclose(one.mean(0), np.exp(logits), atol=0.015)
