"""Sums and means of arrays that are transposed, sliced, reversed or read-only."""

from __future__ import annotations

import numpy as np
import pytest

from distgrad import Tensor, ops


def layouts(r):
    x, deep = r.normal(size=(70, 200)), r.normal(size=(20, 30, 40))
    read_only = x.T.copy().T
    read_only.flags.writeable = False
    yield from (x.T, x[:, 3:150], x[3:], x[::2], x[:, ::2], x[::-1], x[:1, 5:], read_only)
    yield from (np.asfortranarray(deep), deep[:, 2:], deep.transpose(1, 0, 2))
    yield np.broadcast_to(x[:1], x.shape)


@pytest.mark.parametrize("op", [ops.sum, ops.mean], ids=lambda o: o.name)
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1), -1])
def test_sums_are_right_in_every_layout(op, axis):
    for x in layouts(np.random.default_rng(12)):
        for keepdims in (False, True):
            settings = {"axis": axis, "keepdims": keepdims}
            wanted = getattr(np, op.name)(x, **settings)
            found = op(Tensor(x), **settings).array
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, 1e-12, 1e-11)
