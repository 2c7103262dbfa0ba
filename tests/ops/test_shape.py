"""NumPy's shape functions on Tensors: its own values, gradients, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from distgrad import ShapeError, Tensor, nn, ops
from distgrad.autograd import gradcheck
from distgrad.nn import functional as F
from distgrad.ops.join import split_

RNG = np.random.default_rng(3)
X = RNG.normal(size=(2, 3, 4))
M = RNG.normal(size=(3, 4))

# Called with an array and with a Tensor, they give the same.
CALLS = {
    "ravel": np.ravel,
    "moveaxis": lambda x: np.moveaxis(x, [2, 0], [0, 1]),
    "moveaxis, exchanged": lambda x: np.moveaxis(x, [0, 1], [1, 0]),
    "atleast_3d of a vector": lambda x: np.atleast_3d(x[0, 0]),
    "atleast_2d of several": lambda x: np.atleast_2d(x[0, 0], x)[0],
    "dstack": lambda x: np.dstack([x[0], x[1]]),
    "dstack of vectors": lambda x: np.dstack([x[0, 0], x[1, 0]]),
    "column_stack": lambda x: np.column_stack([x[0, :, 0], x[1]]),
    "hstack of vectors": lambda x: np.hstack([x[0, 0], x[1, 0]]),
    "vstack": lambda x: np.vstack([x[0, 0], x[1]]),
    "append": lambda x: np.append(x, [[[1.0, 2, 3, 4]]] * 2, axis=1),
    "append to all": lambda x: np.append(x, 2.0),
    "meshgrid xy": lambda x: np.meshgrid(x[0, 0], x[1, :, 1], x[:, 0, 0])[0],
    "meshgrid ij, sparse": lambda x: np.meshgrid(x[0, 0], x[1, :, 1], indexing="ij", sparse=True)[
        1
    ],
    "split at the ends": lambda x: np.split(x, [0, 2, 9], axis=-1)[2],
    "split from the end": lambda x: np.split(x, [1, -1], axis=-1)[1],
    "split in equal parts": lambda x: np.split(x, 2, axis=-1)[1],
    "array_split": lambda x: np.array_split(x, 3, axis=-1)[0],
    "hsplit": lambda x: np.hsplit(x, 3)[1],
    "hsplit of a vector": lambda x: np.hsplit(x[0, 0], 2)[1],
    "vsplit": lambda x: np.vsplit(x, 2)[1],
    "dsplit": lambda x: np.dsplit(x, [1])[1],
    "tile more axes": lambda x: np.tile(x, (2, 1, 1, 3)),
    "tile none": lambda x: np.tile(x, 0),
    "repeat": lambda x: np.repeat(x, [2, 0, 1], axis=-2),
    "repeat none": lambda x: np.repeat(x, 0, axis=1),
    "roll further than the length": lambda x: np.roll(x, 7, axis=1),
    "rot90": lambda x: np.rot90(x, 3, axes=(1, 2)),
    "delete": lambda x: np.delete(x, [0, -1], axis=2),
    **{
        f"pad {mode}": lambda x, mode=mode: np.pad(x, ((0, 1), (5, 2), (3, 4)), mode=mode)
        for mode in ("constant", "edge", "reflect", "symmetric", "wrap")
    },
    "pad by one number": lambda x: np.pad(x, 2, mode="edge"),
    "pad with values": lambda x: np.pad(x, 1, constant_values=((1, 2), (3, 4), (5, 6))),
    "astype": lambda x: x.astype(np.float64),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_tensor_gives_what_numpy_gives_of_an_array(name):
    found = CALLS[name](Tensor(X, requires_grad=True))
    np.testing.assert_array_equal(found.array, CALLS[name](X))
    gradcheck(lambda t: CALLS[name](t * t), [X], second=True)


def test_plain_functions_return_plain_arrays():
    t = Tensor(M, requires_grad=True)
    assert np.full_like(t, 2.5).tolist() == np.full((3, 4), 2.5).tolist()
    assert np.empty_like(t).shape == (3, 4)


def test_a_copy_has_memory_of_its_own():
    t = Tensor(np.ones(3), requires_grad=True)
    assert not np.shares_memory(np.copy(t).array, t.array)


@pytest.mark.skipif(not hasattr(np, "unstack"), reason="NumPy before 2.1 has no unstack")
def test_numpys_new_names_reach_the_ops():
    t = Tensor(X, requires_grad=True)
    np.testing.assert_array_equal(np.unstack(t, axis=1)[2].array, X[:, 2])
    np.testing.assert_array_equal(np.matrix_transpose(t).array, X.swapaxes(1, 2))
    np.testing.assert_array_equal(np.permute_dims(t, (1, 2, 0)).array, X.transpose(1, 2, 0))
    np.testing.assert_array_equal(np.concat([t, t]).array, np.concatenate([X, X]))
    assert np.astype(t, np.float32).dtype == np.float32


def test_parts_of_nothing():
    t = Tensor(np.zeros((0, 3)), requires_grad=True)
    assert ops.unbind(t) == ()
    assert [p.shape for p in ops.chunk(t, 2)] == [(0, 3), (0, 3)]
    assert ops.flatten(t).shape == (0,)
    assert ops.flatten(Tensor(np.zeros((0, 3, 4))), 1).shape == (0, 12)
    assert ops.unflatten(t, 1, (-1, 3)).shape == (0, 1, 3)
    assert ops.unflatten(t, 0, (2, -1)).shape == (2, 0, 3)


def test_an_unused_part_gets_zeros():
    x = Tensor(np.arange(6.0), requires_grad=True)
    np.split(x, 3)[1].sum().backward()
    assert x.grad.array.tolist() == [0, 0, 1, 1, 0, 0]


def test_reflection_may_go_round_more_than_once_in_numpys_pad():
    x = Tensor(np.arange(3.0), requires_grad=True)
    y = np.pad(x, (0, 7), mode="reflect")
    np.testing.assert_array_equal(y.array, np.pad(x.array, (0, 7), mode="reflect"))
    y.sum().backward()
    assert x.grad.array.sum() == 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: np.reshape(x, (4, 6), order="F"), "C order only; got order='F'"),
        (lambda x: np.reshape(x, (5, 5)), "cannot reshape array of size 24"),
        (lambda x: np.moveaxis(x, 0, 3), "moveaxis: axis 3 is out of range for 3 axes"),
        (lambda x: np.moveaxis(x, (0, 1), 2), "moveaxis: 2 axes cannot move to 1 places"),
        (lambda x: np.moveaxis(x, (0, -3), (0, 1)), r"axis \(0, -3\) names an axis twice"),
        (lambda x: ops.matrix_transpose(x[0, 0]), r"at least 2 axes; got shape \(4,\)"),
        (lambda x: np.broadcast_arrays(x, np.ones(3)), r"\(2, 3, 4\), \(3,\) do not broadcast"),
        (lambda x: np.meshgrid(x[0, 0], indexing="yx"), "indexing is 'xy' or 'ij'; got 'yx'"),
        (lambda x: ops.flatten(x, 2, 0), "axis 0 comes before axis 2"),
        (lambda x: ops.unflatten(x, 1, (2, -1)), r"sizes \(2, -1\) do not make up axis 1 of len"),
        (lambda x: ops.unflatten(x, 1, (-1, -1)), r"sizes \(-1, -1\) do not make up axis 1"),
        (nn.Unflatten(2, (3, 2)), r"sizes \(3, 2\) do not make up axis 2 of length 4"),
        (lambda x: np.split(x, 0), "at least one part; got 0"),
        (lambda x: np.split(x, 3, axis=2), "does not result in an equal division"),
        (
            lambda x: np.split(x, [2, 1], axis=1),
            r"\[2, 1\] run backwards along an axis",
        ),
        (lambda x: np.concatenate([x, x[0]]), r"join expects .*\(2, 3, 4\), \(3, 4\)"),
        (lambda x: np.stack([x[0], x[:, 0]]), r"join expects"),
        (lambda x: ops.chunk(x, 0), "at least one chunk; got 0"),
        (lambda x: ops.narrow(x, 2, 3, 2), "2 elements from 3 do not lie in axis 2 of length 4"),
        (lambda x: np.repeat(x, [1, 2], 1), r"one for each of the 3 indices .*got \[1 2\]"),
        (lambda x: np.repeat(x, -1), "one number of at least 0"),
        (lambda x: np.tile(x, -1), r"0 times or more; got \(-1,\)"),
        (lambda x: np.rot90(x, 1, (0, 1, 2)), r"plane of two axes; got axes=\(0, 1, 2\)"),
        (lambda x: np.fliplr(x[0, 0]), "fliplr: axis 1 is out of range for 1 axes"),
        (lambda x: np.pad(x, 1, mode="mean"), "constant, edge, .*got mode='mean'"),
        (lambda x: np.pad(x, 1, mode="reflect", reflect_type="odd"), "got .* reflect_type='odd'"),
        (lambda x: np.pad(x, [(1, 2, 3)]), r"pair for each of 3 axes; got \[\(1, 2, 3\)\]"),
        (lambda x: np.pad(x, -1), "counts elements, 0 or more; got -1"),
        (lambda x: np.pad(x[:, :0], 1, mode="edge"), "axis 1 has no elements to pad with"),
        (lambda x: np.delete(x, 7, 1), "delete along axis 1: index 7 is out of bounds"),
        (lambda x: F.pad(x, (1, 4), "reflect"), r"length 4 by \(1, 4\); widths are 0 to 3 here"),
        (lambda x: F.pad(x, (5, 0), "circular"), r"length 4 by \(5, 0\); widths are 0 to 4 here"),
        (lambda x: F.pad(x, (-1, 0), "replicate"), r"length 4 by \(-1, 0\)"),
        (lambda x: F.pad(x[..., :0], (1, 0), "replicate"), "length 0 .* widths are 0 to 0 here"),
        (lambda x: F.pad(x, (1, 0), "reflect", 2.0), "value=2.0 belongs to mode='constant'"),
        (lambda x: F.pad(x, (-3, -2)), r"\(-3, -2\) cuts more than the 4 of axis 2"),
        (lambda x: nn.ZeroPad2d((1, 2)), r"ZeroPad2d: padding is a number or 4 of them"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ShapeError, match=message):
        call(Tensor(X, requires_grad=True))


def test_an_axis_by_name_is_refused():
    with pytest.raises(TypeError, match="axes have no names; got 'c'"):
        nn.Unflatten("c", (3, 2))


@pytest.mark.parametrize("length", [-3, 5])
def test_narrow_stays_inside(length):
    with pytest.raises(ShapeError, match=re.escape(f"{length} elements from 1")):
        ops.narrow(Tensor(M), 0, 1, length)


def test_float32_stays_float32_through_pad_and_masks():
    x = Tensor(M.astype(np.float32))
    assert np.pad(x, 1, constant_values=0.1).dtype == np.float32
    assert F.pad(x, (1, 2), "reflect").dtype == np.float32
    assert nn.ConstantPad1d(1, 0.1)(x).dtype == np.float32


@pytest.mark.parametrize("missing", [None, 0, 2])
def test_the_gradient_of_a_split_lies_in_memory_as_what_was_split(missing: int | None) -> None:
    rng = np.random.default_rng(0)
    turned = rng.normal(size=(2, 4, 3, 5)).transpose(2, 0, 3, 1)
    parts, closure = split_.function(turned, indices_or_sections=3, axis=0)
    gs = [rng.normal(size=p.shape) for p in parts]
    given = [None if i == missing else g for i, g in enumerate(gs)]
    whole = closure(*given)
    wanted = np.concatenate([g * (i != missing) for i, g in enumerate(gs)])
    np.testing.assert_array_equal(whole, wanted)
    assert whole.strides == turned.strides


def test_the_gradient_of_an_index_that_picks_all_is_no_copy() -> None:
    x = np.random.default_rng(0).normal(size=(1, 3, 2))
    for index in (0, (0, ...), (slice(None), None), (0, slice(0, 3), slice(-2, None))):
        y, closure = ops.getitem.function(x, index=index)
        g = np.random.default_rng(1).normal(size=y.shape)
        assert closure(g).shape == x.shape
        np.testing.assert_array_equal(closure(g).reshape(-1), g.reshape(-1))
        assert np.shares_memory(closure(g), g)
    y, closure = ops.getitem.function(x, index=(slice(None), slice(None, None, -1)))
    np.testing.assert_array_equal(closure(y), x)


@pytest.mark.parametrize("missing", [None, 0, 2])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_gradient_of_slices_lies_in_memory_as_the_array(missing: int | None, axis: int) -> None:
    x = Tensor(RNG.normal(size=(4, 3, 5)).transpose(2, 0, 1), requires_grad=True)
    parts = ops.unbind(x, axis)
    expected = np.zeros(x.shape)
    for i in range(x.shape[axis]):
        if i != missing:
            expected[(slice(None),) * axis + (i,)] = i + 1
    sum(np.sum(p * (i + 1.0)) for i, p in enumerate(parts) if i != missing).backward()
    np.testing.assert_array_equal(x.grad.array, expected)
    assert x.grad.array.strides == x.array.strides


@pytest.mark.parametrize("joined", [np.stack, np.concatenate, np.hstack, np.dstack])
def test_gradients_of_what_is_joined_are_not_the_callers(joined) -> None:
    # PyTorch's are views of it, so that the second sum is written into the gradient given.
    a, b = (Tensor(x, requires_grad=True) for x in (M, M + 1))
    gradient = Tensor(RNG.normal(size=joined([M, M]).shape))
    given = gradient.array.copy()
    joined([a, b]).backward(gradient)
    once = a.grad.array.copy()
    for _ in range(2):
        joined([a, b]).backward(gradient)
    np.testing.assert_array_equal(gradient.array, given)
    np.testing.assert_array_equal(a.grad.array, once + once + once)
