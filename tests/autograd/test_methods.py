"""Every method of a Tensor is the function of its name, recorded."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.autograd.methods import Conversion, Facts, Leaves, Methods, Writing

X = np.random.default_rng(4).uniform(0.2, 2, (3, 3, 4))
SQUARE = X[0, :, :3]
INDEX = np.array([[[0, 3, 3]], [[1, 0, 2]], [[2, 2, 1]]])

# name: (arguments, settings, the function)
METHODS = {
    **{
        name: ((), {"axis": 1, "keepdims": True}, getattr(np, name))
        for name in ("sum", "mean", "prod", "max", "min", "all", "any")
    },
    **{name: ((), {"axis": (0, 2), "ddof": 1}, getattr(np, name)) for name in ("var", "std")},
    **{name: ((), {"axis": 1}, getattr(np, name)) for name in ("argmax", "argmin")},
    **{name: ((), {"axis": 1}, getattr(np, name)) for name in ("cumsum", "cumprod")},
    **{
        name: ((), {}, getattr(np, name, np.positive))
        for name in ("ravel", "trace", "conj", "diagonal", "contiguous")
    },
    "logsumexp": ((), {"axis": 1}, ops.logsumexp),
    "norm": ((), {"ord": 3, "axis": 1}, np.linalg.norm),
    "round": ((1,), {}, np.round),
    "masked_fill": ((X > 1, -5.0), {}, ops.masked_fill),
    "reshape": ((4, -1), {}, lambda x, *s: np.reshape(x, s)),
    "view": (((9, 4),), {}, np.reshape),
    "flatten": ((1,), {}, lambda x, start: np.reshape(x, (3, 12))),
    "transpose": ((2, 0, 1), {}, lambda x, *a: np.transpose(x, a)),
    "permute": (((1, 0, 2),), {}, np.transpose),
    "swapaxes": ((0, 2), {}, np.swapaxes),
    "squeeze": ((), {}, np.squeeze),
    "unsqueeze": ((-1,), {}, np.expand_dims),
    "expand": ((2, -1, 3, 4), {}, lambda x, *s: np.broadcast_to(x, (2, 3, 3, 4))),
    "real": (None, {}, np.real),
    "imag": (None, {}, np.imag),
    "T": (None, {}, np.transpose),
    "mT": (None, {}, lambda x: np.swapaxes(x, 1, 2)),
    "mH": (None, {}, lambda x: np.swapaxes(x, 1, 2)),
    "repeat": ((2,), {"axis": 1}, np.repeat),
    "take": (([0, 2, 2],), {"axis": 2}, np.take),
    "chunk": ((2, 2), {}, ops.chunk),
    "unbind": ((1,), {}, ops.unbind),
    "dot": ((X[0].T,), {}, np.dot),
    "matmul": ((X[0].T,), {}, np.matmul),
}


def values(result):
    parts = result if isinstance(result, tuple) else (result,)
    return [p.array if isinstance(p, Tensor) else np.asarray(p) for p in parts]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_its_function(name):
    arguments, settings, function = METHODS[name]
    x = Tensor(X, requires_grad=True)
    attribute = getattr(x, name)
    found = attribute if arguments is None else attribute(*arguments, **settings)
    expected = function(X, *(arguments or ()), **settings)
    for a, b in zip(values(found), values(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12 if a.dtype != np.float32 else 1e-6)
    for part in found if isinstance(found, tuple) else (found,):
        assert not isinstance(part, Tensor) or part.requires_grad == (part.dtype.kind == "f")


def test_no_method_is_left_out():
    inherited = (Conversion, Facts, Leaves, Writing)  # tests/autograd/test_conversion.py and others
    elsewhere = {n for c in inherited for n in vars(c)}
    named = {n for n in dir(Methods) if not n.startswith("_") and n != "data"}
    assert named - elsewhere == set(METHODS) | {"H"}


def test_an_expansion_that_does_not_fit_is_refused():
    with pytest.raises(dg.ShapeError, match="broadcast_to"):
        Tensor(X).expand(2, 3, 5, 4)


def test_in_asks_for_an_element():
    assert 2.0 in Tensor(np.array([1.0, 2.0]))
    assert 3.0 not in Tensor(np.array([1.0, 2.0]))
