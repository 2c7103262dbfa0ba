"""Formulas of inputs that are broadcast or have gaps: the bits of inputs that are written out."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import values_and_gradients

import distgrad as dg
from distgrad import Tensor, kernels, ops

pytest.importorskip("numba", reason="numba is not installed: there are no twins")

from distgrad.kernels import blocks

PAIRS = [
    *(ops.maximum, ops.minimum, ops.logaddexp, ops.logaddexp2, ops.hypot, ops.arctan2),
    ops.copysign,
]
SHAPES = [
    ((7, 5), (5,)),
    ((7, 5), (7, 1)),
    ((5,), (7, 5)),
    ((7, 1), (1, 5)),
    ((3, 7, 5), (7, 1)),
    ((3, 7, 5), (3, 1, 5)),
    ((1, 37), (37,)),
    ((37,), ()),
    ((), (1,)),
    ((3, 1, 1), (1,)),
]
every_pair = pytest.mark.parametrize("op", PAIRS, ids=lambda o: o.name)


def in_parts(op, inputs):
    """The value and the gradients, as the twin has them."""
    value, backs = op.fused(*inputs)
    g = np.random.default_rng(1).normal(size=value.shape).astype(value.dtype)
    return [value, *[back(g) for back in backs]]


def same_bits(op, inputs, layout=None):
    """Compare with the same inputs written out; the result lies in memory as ``layout`` does."""
    given = [x for x in inputs if isinstance(x, np.ndarray)]
    shape = np.broadcast_shapes(*[x.shape for x in given])
    whole = [np.array(np.broadcast_to(np.asarray(x, given[0].dtype), shape)) for x in inputs]
    for found, wanted in zip(in_parts(op, inputs), in_parts(op, whole), strict=True):
        assert found.dtype == given[0].dtype
        assert found.shape == shape
        assert found.tobytes() == wanted.tobytes()
        if layout is not None:
            assert found.strides == layout.strides


@pytest.fixture(params=[16, 1 << 15], ids=["cut", "whole"], autouse=True)
def block(request, monkeypatch):
    monkeypatch.setattr(blocks, "_BLOCK", request.param)


@every_pair
@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_that_are_broadcast(op, shapes, dtype):
    r = np.random.default_rng(3)
    same_bits(op, [r.normal(size=s).astype(dtype) for s in shapes])


@every_pair
@pytest.mark.parametrize("number", [2, -0.5])
def test_a_number_beside_an_array(op, number):
    x = np.random.default_rng(3).normal(size=(9, 7)).astype(np.float32)
    same_bits(op, [x, number])
    same_bits(op, [number, x])


@pytest.mark.parametrize("op", [ops.maximum, ops.hypot], ids=lambda o: o.name)
def test_arrays_in_other_orders_with_gaps_and_read_only(op):
    r = np.random.default_rng(3)
    x = r.normal(size=(3, 7, 5)).astype(np.float32)
    row = r.normal(size=(3, 1)).astype(np.float32)
    same_bits(op, [x.transpose(2, 1, 0), row[:, 0]], x.transpose(2, 1, 0))
    same_bits(op, [row[:, 0], x.transpose(2, 1, 0)], x.transpose(2, 1, 0))
    same_bits(op, [x[:, ::2, 1:4], row[:, :, None]])
    same_bits(op, [x[::-1], row[:, :, None]])
    x.flags.writeable = False
    same_bits(op, [x, x[0]])


@pytest.mark.parametrize("shapes", [((7, 5),) * 3, ((7, 5), (5,), (7, 1)), ((5,), (7, 1), ())])
def test_three_arrays(shapes):
    r = np.random.default_rng(3)
    inputs = [r.uniform(-2, 2, s) for s in shapes]
    same_bits(ops.lerp, inputs)
    found = values_and_gradients(ops.lerp, inputs, {})
    with dg.reference_kernels():
        wanted = values_and_gradients(ops.lerp, inputs, {})
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, 1e-12, 1e-12)


@every_pair
def test_the_reference_agrees(op):
    r = np.random.default_rng(4)
    inputs = [r.normal(size=(37, 67)), np.abs(r.normal(size=67)) + 0.1]
    found = values_and_gradients(op, inputs, {})
    with dg.reference_kernels():
        wanted = values_and_gradients(op, inputs, {})
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, 1e-10, 1e-12)


def test_other_inputs_are_left_to_the_reference():
    a, row = np.ones((2, 3), np.float32), np.ones(3, np.float32)
    for b in (row.astype(np.float64), row.astype(int), np.float32(2), None, [1.0, 2, 3], True):
        assert ops.maximum.fused(a, b) is None
    assert ops.maximum.fused(a[:0], row) is None
    assert ops.maximum.fused(a.astype(np.float16), 2.0) is None
    assert ops.lerp.fused(a, a, 0.3) is None


def test_shapes_that_do_not_fit_are_refused_in_the_ops_words():
    with pytest.raises(dg.ShapeError, match=r"maximum .*\(2, 3\), \(2,\)"):
        ops.maximum(np.ones((2, 3), np.float32), np.ones(2, np.float32))


def test_what_is_read_may_not_change_before_backward():
    x, row = (Tensor(np.ones(s, np.float32), requires_grad=True) for s in ((3, 4), 4))
    y = ops.logaddexp(x, row)
    row.array[0] = 5
    with pytest.raises(dg.GradError, match="changed in place"):
        y.sum().backward()


def test_every_formula_of_operands_is_tried_here():
    assert kernels.TWINS[ops.copysign] == "pairs"
    taken = [
        op
        for op, module in kernels.TWINS.items()
        if module == "pairs" and len(op.inputs) == 2
        if op.fused(np.ones((2, 3), np.float32), np.ones(3, np.float32)) is not None
    ]
    assert {op.name for op in taken} == {op.name for op in PAIRS}
