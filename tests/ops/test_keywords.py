"""A keyword of a call is honoured or refused, never swallowed."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from layer_cases import LAYERS, LOSSES
from op_cases import OPS, cases

import distgrad as dg
from distgrad import Tensor, nn, ops
from distgrad.autograd.op import PLAIN as HANDED_ON
from distgrad.autograd.tensor import FUNCTIONS, UFUNCS
from distgrad.nn import functional as F

REFUSALS = (TypeError, dg.DistgradError)


@pytest.mark.parametrize("declared", OPS, ids=lambda o: o.name)
@pytest.mark.parametrize("mode", [dg.enable_grad, dg.reference_kernels])
def test_an_op_refuses_a_keyword_that_it_does_not_know(declared, mode):
    for inputs, settings in cases(declared):
        with mode(), pytest.raises(REFUSALS):
            declared(*inputs, **settings, another=1)


NAMED = {f"{m.__name__}.{n}": getattr(m, n) for m in (F, ops) for n in m.__all__}
PLAIN = {n: f for n, f in NAMED.items() if inspect.isfunction(f)}


@pytest.mark.parametrize("name", PLAIN)
def test_a_function_has_no_catch_all_for_keywords(name):
    parameters = inspect.signature(PLAIN[name]).parameters.values()
    assert all(p.kind is not p.VAR_KEYWORD for p in parameters)


CALLS = [*LAYERS, *((n, c) for n, calls in LOSSES.items() for c in calls[:1])]


@pytest.mark.parametrize(
    ("name", "call"), CALLS, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CALLS)]
)
def test_a_layer_refuses_a_keyword_that_it_does_not_know(name, call):
    args, settings, draw = call
    layer = getattr(nn, name)(*args, **settings)
    inputs = [Tensor(a) for a in draw(np.random.default_rng(1), 3)]
    with pytest.raises(TypeError, match="another"):
        layer(*inputs, another=1)


X = np.array([[0.3, 0.5, 0.6], [0.7, 0.2, 0.9]])
MASK = np.array([[True, False, True], [False, True, True]])
VALUES = {
    "axis": [0, 1], "append": [1.0], "casting": ["unsafe"], "compute_uv": [False], "copy": [True],
    "correction": [1], "ddof": [1], "decimals": [1], "dtype": [np.float32], "equal_nan": [True],
    "full_matrices": [False], "hermitian": [True], "indexing": ["ij"], "initial": [2.0],
    "interpolation": ["lower"], "k": [1], "keepdims": [True], "kind": ["stable"], "like": [X],
    "mean": [np.zeros((1, 1))], "method": ["lower"], "mode": ["wrap", "clip"], "n": [2],
    "norm": ["ortho"], "offset": [1], "optimize": [True], "order": ["F"], "posinf": [1.0],
    "prepend": [1.0], "rcond": [0.1], "returned": [True], "rowvar": [False], "side": ["right"],
    "shape": [(6,)], "sparse": [True], "stable": [True], "subok": [False], "weights": [X],
    "where": [MASK],
}  # fmt: skip


def same(found, expected):
    if isinstance(expected, tuple | list):
        return len(found) == len(expected) and all(map(same, found, expected))
    a = np.asarray(found.array if isinstance(found, Tensor) else found)
    b = np.asarray(expected)
    equal = a.dtype.kind not in "fciub" or np.allclose(a, b, equal_nan=True)
    return (a.dtype, a.shape) == (b.dtype, b.shape) and equal


def keywords(function):
    if isinstance(function, np.ufunc):  # its signature cannot be read
        # Without out= what a mask leaves out is whatever was in memory.
        handed_on = f"np.{function.__name__}" in HANDED_ON
        return [n for n in VALUES if n != "where" or not handed_on]
    return [n for n in inspect.signature(function).parameters if n in VALUES]


@pytest.mark.parametrize(
    "function",
    [f for f in [*UFUNCS, *FUNCTIONS] if f is not np.empty_like],
    ids=lambda f: f"{getattr(f, '__module__', None) or 'numpy'}.{f.__name__}",
)
@pytest.mark.filterwarnings("ignore")
def test_a_keyword_of_numpys_has_numpys_effect_or_is_refused(function):
    for arrays in ([X], [X[0]], [X, X], [X[:, :2]], [X[:, :2], X[:, :2]]):
        for name in keywords(function):
            for value in VALUES[name]:
                try:
                    expected = function(*arrays, **{name: value})
                except Exception:  # not a call of this function
                    continue
                try:
                    found = function(*map(Tensor, arrays), **{name: value})
                except REFUSALS:
                    continue
                assert same(found, expected), (name, value, [a.shape for a in arrays])


@pytest.mark.parametrize("ufunc", [np.add, np.multiply, np.maximum, np.minimum])
@pytest.mark.parametrize("keyword", [{"dtype": np.float32}, {"initial": 2.0}, {"where": MASK}])
def test_a_reduction_by_a_ufunc_refuses_what_it_does_not_do(ufunc, keyword):
    with pytest.raises(dg.ShapeError, match=rf"does not take {next(iter(keyword))}; it takes axis"):
        ufunc.reduce(Tensor(X), axis=0, **keyword)
