"""Elementwise ops of arrays with gaps between long rows have the bits of arrays in one piece."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, kernels, ops
from distgrad.autograd.op import REGISTRY
from distgrad.kernels.unbuffered import LARGE, twin_of

ROW = 701
ELEMENTWISE = [op for op in REGISTRY.values() if op.elementwise]
every_op = pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda o: o.name)


def numbers(op: Any, rows: int, dtype: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(rows)
    low, high = op.domain
    drawn = [rng.uniform(low, high, (rows, ROW)).astype(dtype) for _ in op.inputs]
    for x in drawn:
        x[0, :3] = np.nan, np.inf, 0
    return drawn


def sliced(x: np.ndarray) -> np.ndarray:
    wide = np.full((x.shape[0], 2 * x.shape[1] + 5), 7, x.dtype)
    part = wide[:, 3 : 3 + x.shape[1]]
    part[...] = x
    return part


def turned(x: np.ndarray) -> np.ndarray:
    return sliced(np.ascontiguousarray(x.T)).T


def results(op: Any, inputs: list[np.ndarray]) -> list[Any]:
    tensors = [Tensor(x, requires_grad=True) for x in inputs]
    with np.errstate(all="ignore"):
        y = op(*tensors)
        if not y.requires_grad:
            return [y.array]
        g = np.linspace(1, 2, y.size).reshape(y.shape).astype(y.dtype)
        grads = dg.autograd.grad([y], tensors, gradient=[Tensor(g)], allow_unused=True)
    return [y.array, *(t.array for t in grads if t is not None)]


@every_op
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
def test_slices_have_the_bits_of_whole_arrays(op, dtype):
    inputs = numbers(op, 70, dtype)
    assert inputs[0].nbytes >= LARGE
    wanted = results(op, inputs)
    assert wanted[0].shape == inputs[0].shape
    for found in (
        results(op, [sliced(x) for x in inputs]),
        results(op, [inputs[0], *(sliced(x) for x in inputs[1:])]),
    ):
        for f, w in zip(found, wanted, strict=True):
            assert f.tobytes() == w.tobytes()


@every_op
def test_a_number_depends_on_one_of_each_input(op):
    inputs = numbers(op, 3, np.float64)
    (whole, *_), (part, *_) = results(op, inputs), results(op, [x[1:2] for x in inputs])
    assert part.tobytes() == whole[1:2].tobytes()


def test_every_op_whose_signature_says_so_takes_this_road_or_has_a_kernel():
    assert {ops.exp, ops.divide, ops.igamma, REGISTRY["where"]} < set(ELEMENTWISE)
    assert not {ops.sum, ops.fft, ops.join, ops.reshape, ops.logsumexp} & set(ELEMENTWISE)
    for op in ELEMENTWISE:
        assert op in kernels.TWINS or op.asked_from == LARGE


@pytest.mark.parametrize(
    ("shape", "taken"),
    [((33, 701), True), ((3, 5, 701), True), ((33, 100), False), ((3, 9000), False), ((0, 701), 0)],
)
def test_it_is_for_rows_that_numpy_would_copy(shape, taken):
    twin = twin_of(ops.exp.function)
    wide = np.ones((*shape[:-1], 2 * shape[-1]))
    assert (twin(wide[..., 1 : 1 + shape[-1]]) is not None) == taken
    assert twin(np.ones(shape)) is None
    assert twin(np.ones(shape).T) is None
    assert twin(wide[..., ::2]) is None


def test_rows_are_those_of_all_inputs_in_the_order_of_memory():
    twin = twin_of(ops.divide.function)
    x = np.arange(1, 40 * 701 + 1.0).reshape(40, 701)
    column, row = x[:, :1].copy(), x[:1].copy()
    for a, b in [
        (sliced(x), x),
        (x, sliced(x)),
        (x, column),
        (column, x),
        (sliced(x), row),
        (turned(x.T), turned(x.T)),
        (sliced(x), 3.0),
    ]:
        found = twin(a, b)
        assert found is not None
        assert found[0].tobytes() == (a / b).tobytes()
        assert found[0].strides == (a / b).strides
    for a, b in [(x, x), (sliced(x), sliced(x).astype("f4")), (sliced(x), np.ones((40, 3)))]:
        assert twin(a, b) is None


def test_the_users_buffer_stays_as_it_was():
    before = np.setbufsize(4096)
    try:
        ops.exp(sliced(np.ones((40, 701))))
        assert np.getbufsize() == 4096
        with pytest.raises(ZeroDivisionError):
            twin_of(lambda a: 1 // 0)(sliced(np.ones((40, 701))))
        assert np.getbufsize() == 4096
    finally:
        np.setbufsize(before)


def test_numpys_buffer_is_no_longer_than_a_row():
    seen = []

    def body(a):
        seen.append(np.getbufsize())
        return a, lambda g: (seen.append(np.getbufsize()), g * a)[1]

    twin = twin_of(body)
    value, back = twin(sliced(np.ones((40, 701))))
    assert back(value).shape == (40, 701)
    assert seen == [688, 688]


def chain(a: Any, b: Any) -> list[Any]:
    y = ops.hardtanh(np.exp(a / b)) * ops.softplus(b)
    return [y, *dg.autograd.grad(y.sum(), [a, b])]


def test_eager_and_captured_steps_have_the_same_bits():
    captured = dg.capture(chain)
    for i in range(3):
        rng = np.random.default_rng(i)
        given = [
            Tensor(rng.uniform(1, 2, (90, 999)).astype(np.float32)[:, k : k + 701]) for k in (3, 9)
        ]
        for t in given:
            t.requires_grad = True
        wanted = [t.array.tobytes() for t in chain(*given)]
        assert [t.array.tobytes() for t in captured(*given)] == wanted
        dense = [Tensor(t.array.copy(), requires_grad=True) for t in given]
        assert [t.array.tobytes() for t in chain(*dense)] == wanted
