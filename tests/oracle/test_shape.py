"""Shapes, joins, padding, flips and repeats beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, broadcastable, check, drawn, dtypes, shapes, torch

from distgrad import nn, ops
from distgrad.nn import functional as F

TF = torch.nn.functional


# Calls that fit any array of the shapes given: (ours, PyTorch's, axes at least, shortest side).
OPS = {
    "tiled": (lambda x: np.tile(x, (3, 1, 2)), lambda x: torch.tile(x, (3, 1, 2)), 0, 0),
    "reshape": (lambda x: np.reshape(x, -1), lambda x: x.reshape(-1), 0, 1),
    "transpose": (np.transpose, lambda x: x.permute(tuple(range(x.ndim))[::-1]), 0, 0),
    "swapaxes": (lambda x: np.swapaxes(x, 0, -1), lambda x: x.swapaxes(0, -1), 1, 0),
    "broadcast_to": (
        lambda x: np.broadcast_to(x, (2, 3, *x.shape)),
        lambda x: x.broadcast_to((2, 3, *x.shape)),
        0,
        0,
    ),
    "squeeze": (np.squeeze, torch.squeeze, 0, 0),
    "expand_dims": (
        lambda x: np.expand_dims(x, (0, -1)),
        lambda x: x.unsqueeze(0).unsqueeze(-1),
        0,
        0,
    ),
    "join": (
        lambda x: np.concatenate([x, x * x, x], -1),
        lambda x: torch.cat([x, x * x, x], -1),
        1,
        0,
    ),
    "split": (
        lambda x: np.split(x, [1, -1]),
        lambda x: torch.tensor_split(x, [1, max(len(x) - 1, 1)]),
        1,
        2,
    ),
    "flip": (np.flip, lambda x: x.flip(tuple(range(x.ndim))), 0, 0),
    "roll": (lambda x: np.roll(x, -2), lambda x: torch.roll(x, -2), 0, 0),
    "pad_constant": (
        lambda x: np.pad(x, ((0, 2),) + ((1, 0),) * (x.ndim - 1), constant_values=0.7),
        lambda x: TF.pad(x, (1, 0) * (x.ndim - 1) + (0, 2), value=0.7),
        1,
        0,
    ),
}

COMPOSED = {
    "ravel": (np.ravel, torch.ravel, 0, 0),
    "moveaxis": (
        lambda x: np.moveaxis(x, (0, -1), (-1, 1)),
        lambda x: torch.moveaxis(x, (0, -1), (-1, 1)),
        3,
        0,
    ),
    "matrix_transpose": (ops.matrix_transpose, lambda x: x.mT, 2, 0),
    "copy": (np.copy, torch.clone, 0, 0),
    "atleast_1d": (np.atleast_1d, torch.atleast_1d, 0, 0),
    "atleast_2d": (np.atleast_2d, torch.atleast_2d, 0, 0),
    "atleast_3d": (np.atleast_3d, torch.atleast_3d, 0, 0),
    "concatenate all": (
        lambda x: np.concatenate([x, 2 * x], axis=None),
        lambda x: torch.cat([x.ravel(), 2 * x.ravel()]),
        0,
        0,
    ),
    "append": (lambda x: np.append(x, x, 0), lambda x: torch.cat([x, x]), 1, 0),
    "stack": (lambda x: np.stack([x, x * x], -1), lambda x: torch.stack([x, x * x], -1), 0, 0),
    "hstack": (lambda x: np.hstack([x, x * x]), lambda x: torch.hstack([x, x * x]), 0, 0),
    "vstack": (lambda x: np.vstack([x, x * x]), lambda x: torch.vstack([x, x * x]), 0, 0),
    "dstack": (lambda x: np.dstack([x, x * x]), lambda x: torch.dstack([x, x * x]), 0, 0),
    "column_stack": (
        lambda x: np.column_stack([x[:, 0, 0], x[:, 0], x[:, 0, 0]]),
        lambda x: torch.column_stack([x[:, 0, 0], x[:, 0], x[:, 0, 0]]),
        3,
        1,
    ),
    "array_split": (
        lambda x: np.array_split(x, 3, axis=-1),
        lambda x: torch.tensor_split(x, 3, dim=-1),
        1,
        0,
    ),
    "hsplit": (lambda x: np.hsplit(x, [1]), lambda x: torch.hsplit(x, [1]), 1, 1),
    "vsplit": (lambda x: np.vsplit(x, [1]), lambda x: torch.vsplit(x, [1]), 2, 1),
    "dsplit": (lambda x: np.dsplit(x, [1]), lambda x: torch.dsplit(x, [1]), 3, 1),
    "unbind": (lambda x: ops.unbind(x, -1), lambda x: torch.unbind(x, -1), 1, 1),
    "unstack": (ops.unstack, torch.unbind, 1, 1),
    "transpose to an order": (
        lambda x: np.transpose(x, (1, -1, 0)),
        lambda x: x.permute(1, -1, 0),
        3,
        0,
    ),
    "chunk": (lambda x: ops.chunk(x, 3, -1), lambda x: torch.chunk(x, 3, -1), 1, 0),
    "narrow": (lambda x: ops.narrow(x, -1, -2, 1), lambda x: torch.narrow(x, -1, -2, 1), 1, 2),
    "flatten": (lambda x: ops.flatten(x, 0, -1), lambda x: torch.flatten(x, 0, -1), 0, 0),
    "flatten from 1": (lambda x: ops.flatten(x, 1), lambda x: torch.flatten(x, 1), 2, 0),
    "fliplr": (np.fliplr, torch.fliplr, 2, 0),
    "flipud": (np.flipud, torch.flipud, 1, 0),
    "rot90": (np.rot90, torch.rot90, 2, 0),
    "rot90 twice": (lambda x: np.rot90(x, 2), lambda x: torch.rot90(x, 2), 2, 0),
    "rot90 back": (
        lambda x: np.rot90(x, -1, (-1, 0)),
        lambda x: torch.rot90(x, -1, (-1, 0)),
        2,
        0,
    ),
    "rot90 not at all": (lambda x: np.rot90(x, 4), lambda x: torch.rot90(x, 4), 2, 0),
    "roll along axes": (
        lambda x: np.roll(x, (1, -3), (0, -1)),
        lambda x: torch.roll(x, (1, -3), (0, -1)),
        2,
        0,
    ),
    "repeat": (lambda x: np.repeat(x, 3), lambda x: torch.repeat_interleave(x, 3), 0, 0),
    "repeat along an axis": (
        lambda x: np.repeat(x, 2, -1),
        lambda x: torch.repeat_interleave(x, 2, -1),
        1,
        0,
    ),
    "repeat by counts": (
        lambda x: np.repeat(x, np.arange(len(x)), 0),
        lambda x: torch.repeat_interleave(x, torch.arange(len(x)), 0),
        1,
        2,
    ),
    "tile the last axis": (lambda x: np.tile(x, 2), lambda x: torch.tile(x, (2,)), 0, 0),
}


@pytest.mark.parametrize("name", [*OPS, *COMPOSED])
@drawn
@given(data=st.data())
def test_one_array(name, data):
    ours, theirs, least, side = {**OPS, **COMPOSED}[name]
    x = data.draw(array(shapes(least, max(least, 3), side), dtypes))
    # Squared, so that the second gradient is not zero everywhere.
    check(lambda t: ours(t * t), lambda t: theirs(t * t), [x])


@drawn
@given(data=st.data(), several=broadcastable(3))
def test_arrays_broadcast_together(data, several):
    arrays = [data.draw(array(s, "float32")) for s in several]
    check(np.broadcast_arrays, torch.broadcast_tensors, arrays)


@pytest.mark.parametrize("indexing", ["xy", "ij"])
@drawn
@given(data=st.data(), count=st.integers(1, 3))
def test_meshgrid(indexing, data, count):
    arrays = [data.draw(array(shapes(1, 1), "float64")) for _ in range(count)]
    check(
        lambda *t: np.meshgrid(*t, indexing=indexing),
        lambda *t: torch.meshgrid(*t, indexing=indexing),
        arrays,
    )


@drawn
@given(data=st.data(), axis=st.integers(-3, 2), lengths=st.lists(st.integers(0, 3), min_size=1))
def test_concatenate_of_different_lengths(data, axis, lengths):
    def shape(n):
        return tuple(n if i == axis % 3 else 2 for i in range(3))

    arrays = [data.draw(array(shape(n), "float32")) for n in lengths]
    check(lambda *t: np.concatenate(t, axis), lambda *t: torch.cat(t, axis), arrays)


# -- padding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@drawn
@given(data=st.data(), axes=st.integers(1, 3))
def test_functional_pad(mode, data, axes):
    x = data.draw(array(shapes(axes + 2, axes + 2, 1), dtypes))
    widths = []
    for n in x.shape[: -axes - 1 : -1]:
        most = {"reflect": n - 1, "circular": n}.get(mode, 3)
        least = -(n // 2) if mode == "constant" else 0
        widths += [data.draw(st.integers(least, most)) for _ in range(2)]
    value = {"value": 1.5} if mode == "constant" else {}
    check(
        lambda t: F.pad(t * t, widths, mode, **value),
        lambda t: TF.pad(t * t, widths, mode, **value),
        [x],
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Constant", "Zero", "Reflection", "Replication", "Circular"])
def test_padding_modules(kind, axes):
    name = f"{kind}Pad{axes}d"
    value = (0.3,) if kind == "Constant" else ()
    x = np.random.default_rng(axes).normal(size=(2, 3, 3, 4, 3)[: axes + 2])
    for padding in (2, tuple(range(2 * axes)) if axes == 1 else (1, 2, 0, 1, 2, 0)[: 2 * axes]):
        ours = getattr(nn, name)(padding, *value)
        theirs = getattr(torch.nn, name)(padding, *value)
        assert repr(ours) == repr(theirs)
        check(ours, theirs, [x])


@pytest.mark.parametrize("sizes", [(2, 3), (-1, 3), (3, -1, 1), (6,)])
@pytest.mark.parametrize("dim", [1, -2])
def test_unflatten_and_flatten(sizes, dim):
    x = np.random.default_rng(1).normal(size=(2, 6, 3))
    check(nn.Unflatten(dim, sizes), torch.nn.Unflatten(dim, sizes), [x])
    assert repr(nn.Unflatten(dim, sizes)) == repr(torch.nn.Unflatten(dim, sizes))
    assert repr(nn.Flatten()) == repr(torch.nn.Flatten())
