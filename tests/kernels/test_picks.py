"""Twins of masks: what they pick, its way back, and the choice between two, beside NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import kernels
from distgrad.autograd.mode import reference_kernels

picks = pytest.importorskip("distgrad.kernels.picks", reason="needs numba")
RNG = np.random.default_rng(3)
SHAPES = [(2048,), (4099,), (3, 5, 401), (2, 3, 40, 33)]
KINDS = ["f4", "f8", "i4", "i8", "u4", "c8"]
SHARES = [0.0, 0.03, 0.5, 1.0]


def numbers(shape, kind):
    a = (RNG.normal(size=shape) * 9).astype(kind)
    if a.dtype.kind == "f":
        a.reshape(-1)[:3] = -0.0, np.nan, -np.inf
    return a


def same(ours, numpys):
    assert (ours.dtype, ours.shape, ours.strides) == (numpys.dtype, numpys.shape, numpys.strides)
    assert ours.tobytes() == numpys.tobytes()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", SHARES)
def test_a_mask_picks_what_it_picks_in_numpy(shape, kind, part):
    a, mask = numbers(shape, kind), RNG.random(shape) < part
    for x, m in ((a, mask), (a.swapaxes(0, -1), mask.swapaxes(0, -1)), (a[..., ::-1], mask)):
        same(picks.picked(x, m), x[m])
    a.flags.writeable = False
    same(picks.picked(a, mask), a[mask])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", SHARES)
def test_the_choice_between_two_is_numpys_and_lies_as_numpys_does(shape, kind, part):
    a, b, mask = numbers(shape, kind), numbers(shape, kind), RNG.random(shape) < part
    number = a.dtype.type(7)
    for choices in ((a, b), (a, 3), (number, b), (a, np.asarray(number))):
        same(picks.chosen(mask, *choices), np.where(mask, *choices))
    lying = [x.swapaxes(0, -1) for x in (mask, a, b)]
    same(picks.chosen(*lying), np.where(*lying))
    same(picks.chosen(lying[0], lying[1], 0), np.where(lying[0], lying[1], 0))
    row = mask[..., :1] if mask.ndim > 1 else mask[:1]
    same(picks.chosen(row, a, b), np.where(row, a, b))
    last = mask[-1] if mask.ndim > 1 else mask[:1]
    same(picks.chosen(last, a, b), np.where(last, a, b))


def test_what_lies_in_several_ways_has_gaps_or_is_broadcast_lies_as_in_numpy():
    a, mask = numbers((64, 65), "f4"), RNG.random((64, 65)) < 0.5
    turned = np.asfortranarray(a)
    for choices in (
        (mask, a, turned),
        (np.asfortranarray(mask), a, 0),
        (mask[:, ::-1], turned, 0),
        (mask[:, :1], turned, 0),
        (mask[:, :40], numbers((64, 80), "f4")[:, ::2], 0),
        (mask, turned[::-1], a[:, ::-1]),
        (mask, a[:1], a),
        (mask, 0, turned[:, :1]),
        (np.ones((3, 64, 65), bool), a, 0),
        (mask, np.broadcast_to(a[:1], a.shape), a[:, :1]),
        (mask[:0], a[:0], 0),
    ):
        same(picks.chosen(*choices), np.where(*choices))


def test_what_is_promoted_or_of_other_sizes_is_left_to_numpy():
    a, mask = numbers((64, 65), "f4"), RNG.random((64, 65)) < 0.5
    for choices in (
        (mask, a, a.astype("f8")),
        (mask, a, np.float64(3)),
        (mask, a.astype("f2"), 0),
        (mask.astype("i4"), a, 0),
        (mask, 1.0, 0.0),
    ):
        assert picks.chosen(*choices) is None
    assert picks.where(mask[:30, :40], a[:30, :40], 0) is None
    assert picks.picked(a, mask[0]) is None
    assert picks.picked(a.astype("f2"), mask) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("part", SHARES)
def test_gradients_are_those_of_the_references(dtype, part):
    shape = (3, 5, 401)
    x, y = numbers(shape, dtype), numbers(shape, dtype)
    mask = dg.Tensor(RNG.random(shape) < part)
    g = numbers(shape, dtype)

    def gradients():
        a, b = dg.Tensor(x, requires_grad=True), dg.Tensor(y, requires_grad=True)
        results = [
            a[mask],
            dg.where(mask, a, b),
            dg.where(mask, a, 0.0),
            dg.masked_fill(b, mask, 3.0),
            dg.masked_select(b, mask),
        ]
        for r in results:
            r.backward(dg.Tensor(g.reshape(-1)[: r.size].reshape(r.shape)))
        return [t.array.tobytes() for t in (*results, a.grad, b.grad)]

    ours = gradients()
    with reference_kernels():
        assert ours == gradients()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", SHARES)
def test_what_a_mask_names_is_written_as_by_numpy(shape, kind, part):
    a, mask = numbers(shape, kind), RNG.random(shape) < part
    many = numbers(2 * a.size, kind)[::2][: mask.sum()]
    for values in (many, 3, np.float32(2), np.array([5], kind), [4]):
        ours, numpys = dg.Tensor(a.copy()), a.copy()
        ours[mask] = values
        numpys[mask] = values
        same(ours.array, numpys)
        taken = np.ndim(values) == 0 or (values is many and many.size > 0)
        assert picks.put_(a.copy(), mask, values) == taken
    found = dg.index_put(dg.Tensor(a), (dg.Tensor(mask),), dg.Tensor(many))
    numpys[mask] = many
    same(found.array, numpys)


def test_writing_through_a_mask_is_left_to_numpy_where_memory_is_shared_or_errors_are_due():
    a = np.arange(4096.0)
    mask = a % 2 == 0
    assert not picks.put_(a, mask, a[:2048])
    assert not picks.put_(a, mask, np.ones(5))
    assert not picks.put_(a[::2], mask[::2], 1.0)
    assert not picks.put_(a, mask[:5], 1.0)
    a[mask] = a[:2048]
    ours = dg.Tensor(np.arange(4096.0))
    ours[mask] = ours.array[:2048]
    same(ours.array, a)
    with pytest.raises(OverflowError):
        dg.Tensor(np.zeros(4096, np.int32))[mask] = 1 << 40
    with pytest.raises(ValueError, match="5"):
        ours[mask] = np.ones(5)


def test_gradients_through_writing_are_those_of_the_reference():
    x, v, g = (RNG.normal(size=n) for n in (3000, 3000, 3000))
    mask = dg.Tensor(RNG.random(3000) < 0.5)
    v = v[: int(mask.array.sum())]

    def gradients():
        a, b = dg.Tensor(x, requires_grad=True), dg.Tensor(v, requires_grad=True)
        y = dg.index_put(a, (mask,), b) + dg.masked_scatter(a, mask, b)
        y.backward(dg.Tensor(g))
        return [t.array.tobytes() for t in (y, a.grad, b.grad)]

    ours = gradients()
    with reference_kernels():
        assert ours == gradients()


def test_gradients_of_gradients_go_through_masks():
    x = dg.Tensor(RNG.normal(size=2500), requires_grad=True)
    mask = dg.Tensor(RNG.random(2500) < 0.5)
    y = (x[mask] ** 3).sum() + (dg.where(mask, x, 0.5) ** 3).sum()
    (first,) = dg.autograd.grad(y, [x], create_graph=True)
    (second,) = dg.autograd.grad(first.sum(), [x])
    np.testing.assert_allclose(second.array, np.where(mask.array, 12 * x.array, 0))


def test_runs_of_equal_elements_are_numpys():
    a = np.repeat(RNG.integers(0, 5, 4000), 3)
    found = dg.unique_consecutive(a)
    with reference_kernels():
        np.testing.assert_array_equal(dg.unique_consecutive(a).array, found.array)
    assert kernels.twin("picked") is picks.picked
    np.testing.assert_array_equal(found.array, a[np.flatnonzero(np.diff(a, prepend=-1))])
