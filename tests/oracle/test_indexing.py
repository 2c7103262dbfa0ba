"""Indexing, take, gather and scatter, embeddings beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, shapes, torch

from distgrad import Tensor, nn, ops
from distgrad.nn import functional as F

TF = torch.nn.functional


def index_parts(n):
    """Draw what may stand for an axis of length n >= 1; PyTorch has no negative steps."""
    whole = st.integers(-n, n - 1)
    return st.one_of(
        whole,
        st.just(slice(None)),
        st.builds(slice, whole, st.integers(-n, n), st.integers(1, 2)),
        st.lists(whole, min_size=1, max_size=4).map(np.array),
        st.lists(st.booleans(), min_size=n, max_size=n).map(np.array),
    )


@st.composite
def indices(draw, shape):
    parts = [draw(index_parts(n)) for n in shape[: draw(st.integers(0, len(shape)))]]
    arrays = [np.sum(p) if p.dtype == bool else len(p) for p in parts if isinstance(p, np.ndarray)]
    # Arrays of one index broadcast together: all but the first become numbers if they do not.
    if len({n for n in arrays if n != 1}) > 1:
        seen = False
        for i, p in enumerate(parts):
            if isinstance(p, np.ndarray):
                parts[i] = 0 if seen else p
                seen = True
    place = draw(st.integers(0, len(parts)))
    if draw(st.booleans()):
        parts.insert(place, None)
    if draw(st.booleans()) and Ellipsis not in [p for p in parts if p is Ellipsis]:
        parts.append(Ellipsis)
    return tuple(parts)


def to_torch(index):
    if isinstance(index, tuple):
        return tuple(to_torch(i) for i in index)
    return torch.from_numpy(index) if isinstance(index, np.ndarray) else index


@drawn
@given(data=st.data())
def test_getitem(data):
    x = data.draw(array(shapes(1, 3, 1), dtypes))
    index = data.draw(indices(x.shape))
    check(lambda t: (t * t)[index], lambda t: (t * t)[to_torch(index)], [x])


@drawn
@given(data=st.data())
def test_a_mask_of_several_axes(data):
    x = data.draw(array(shapes(2, 3), dtypes))
    mask = data.draw(array(x.shape[:2])) > 0
    check(lambda t: (t * t)[mask], lambda t: (t * t)[torch.from_numpy(mask)], [x])
    whole = data.draw(array(x.shape[-1:])) > 0
    check(
        lambda t: ops.masked_select(t * t, whole),
        lambda t: torch.masked_select(t * t, torch.from_numpy(whole)),
        [x],
    )


@drawn
@given(data=st.data(), step=st.sampled_from([-1, -2, -3]))
def test_negative_steps(data, step):
    x = data.draw(array(shapes(1, 3), dtypes))
    n = len(x)
    wanted = torch.tensor(range(n)[::step], dtype=torch.int64)
    check(lambda t: (t * t)[::step], lambda t: (t * t)[wanted], [x])


@drawn
@given(data=st.data(), axes=st.integers(0, 2), mode=st.sampled_from(["along", "all"]))
def test_take(data, axes, mode):
    x = data.draw(array(shapes(1, 3, 1), dtypes))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1)) if mode == "along" else None
    n = x.size if axis is None else x.shape[axis]
    index = np.asarray(data.draw(array(shapes(axes, axes), low=0, high=n - 0.01)).astype(int))

    def theirs(t, i):
        if axis is None:
            return torch.take(t * t, i)
        at = (slice(None),) * (axis % t.ndim)
        return (t * t)[(*at, i)]

    check(lambda t, i: np.take(t * t, i - n, axis), theirs, [x, index])


@st.composite
def along(draw, shorter=True):
    """Draw (x, dim, index) as torch.gather takes them."""
    shape = draw(shapes(1, 3, 1))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    full = list(shape)
    full[dim] = draw(st.integers(0, 5))
    if shorter:
        full = [n if i == dim % len(shape) else draw(st.integers(0, n)) for i, n in enumerate(full)]
    index = np.random.default_rng(draw(st.integers(0, 99))).integers(0, shape[dim], full)
    return draw(array(shape, dtypes)), dim, index


@drawn
@given(drawn_=along())
def test_gather(drawn_):
    x, dim, index = drawn_
    check(
        lambda t, i: ops.gather(t * t, dim, i), lambda t, i: torch.gather(t * t, dim, i), [x, index]
    )


@drawn
@given(drawn_=along(shorter=False))
def test_take_along_axis(drawn_):
    x, dim, index = drawn_
    check(
        lambda t, i: np.take_along_axis(t * t, i, dim),
        lambda t, i: torch.take_along_dim(t * t, i, dim),
        [x, index],
    )


@drawn
@given(data=st.data())
def test_take_along_axis_broadcasts(data):
    x = data.draw(array((3, 1, 4), dtypes))
    index = data.draw(array((1, 2, 3), low=0, high=3.9)).astype(int)
    check(
        lambda t, i: np.take_along_axis(t * t, i, -1),
        lambda t, i: torch.take_along_dim(t * t, i, -1),
        [x, index],
    )


@drawn
@given(data=st.data(), drawn_=along())
def test_scatter_add(data, drawn_):
    x, dim, index = drawn_
    src = data.draw(array(tuple(n + 1 for n in index.shape), x.dtype))
    check(
        lambda t, i, s: ops.scatter_add(t * t, dim, i, s * s),
        # PyTorch's own backward refuses a src longer than the index.
        lambda t, i, s: torch.scatter_add(t * t, dim, i, (s * s)[tuple(map(slice, i.shape))]),
        [x, index, src],
    )


@drawn
@given(data=st.data(), drawn_=along(), number=st.booleans())
def test_scatter(data, drawn_, number):
    x, dim, index = drawn_
    # PyTorch's result is not defined for repeated indices: take each once.
    index = np.argsort(data.draw(array(x.shape)), axis=dim)[tuple(map(slice, index.shape))]
    src = data.draw(array(index.shape, x.dtype))
    if number:
        check(
            lambda t, i: ops.scatter(t * t, dim, i, 0.3),
            lambda t, i: torch.scatter(t * t, dim, i, 0.3),
            [x, index],
        )
    else:
        check(
            lambda t, i, s: ops.scatter(t * t, dim, i, s * s),
            lambda t, i, s: torch.scatter(t * t, dim, i, s * s),
            [x, index, src],
        )


@drawn
@given(data=st.data(), alpha=st.sampled_from([1, -0.5]))
def test_index_select_and_index_add(data, alpha):
    x = data.draw(array(shapes(1, 3, 1), dtypes))
    dim = data.draw(st.integers(-x.ndim, x.ndim - 1))
    index = np.array(data.draw(st.lists(st.integers(0, x.shape[dim] - 1), max_size=5)), int)
    shape = [len(index) if i == dim % x.ndim else n for i, n in enumerate(x.shape)]
    check(
        lambda t, i: ops.index_select(t * t, dim, i),
        lambda t, i: torch.index_select(t * t, dim, i),
        [x, index],
    )
    check(
        lambda t, i, s: ops.index_add(t * t, dim, i, s * s, alpha),
        lambda t, i, s: torch.index_add(t * t, dim, i, s * s, alpha=alpha),
        [x, index, data.draw(array(tuple(shape), x.dtype))],
    )


@drawn
@given(data=st.data())
def test_index_put(data):
    x = data.draw(array(shapes(2, 3, 1), dtypes))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    repeated = tuple(rng.integers(-n, n, 4) for n in x.shape[:2])
    # Once each: with repeated ones PyTorch hands a gradient to the values that were overwritten.
    once = tuple(rng.permutation(n)[: min(x.shape[:2])] for n in x.shape[:2])
    values = data.draw(array(x.shape[2:], x.dtype))
    check(
        lambda t, v: ops.index_put(t * t, repeated, v * v, accumulate=True),
        lambda t, v: torch.index_put(t * t, to_torch(repeated), v * v, accumulate=True),
        [x, values],
    )
    check(
        lambda t, v: ops.index_put(t * t, once, v * v),
        lambda t, v: torch.index_put(t * t, to_torch(once), v * v),
        [x, values],
    )


@drawn
@given(data=st.data())
def test_masked_fill(data):
    x = data.draw(array(shapes(), dtypes))
    mask = np.asarray(data.draw(array(x.shape[1:])) > 0)
    value = data.draw(array((), x.dtype)).reshape(())
    check(
        lambda t, v: ops.masked_fill(t * t, mask, v * v),
        lambda t, v: torch.masked_fill(t * t, torch.from_numpy(mask), v * v),
        [x, value],
    )
    check(
        lambda t: ops.masked_fill(t * t, mask, 0.1),
        lambda t: torch.masked_fill(t * t, torch.from_numpy(mask), 0.1),
        [x],
    )


@drawn
@given(data=st.data())
def test_compress_extract_and_delete(data):
    x = data.draw(array(shapes(1, 3, 1), dtypes))
    keep = data.draw(array(x.shape[-1:])) > 0
    mask = data.draw(array(x.shape)) > 0
    check(lambda t: np.compress(keep, t * t, -1), lambda t: (t * t)[..., keep], [x])
    check(lambda t: np.delete(t * t, keep, -1), lambda t: (t * t)[..., ~keep], [x])
    check(lambda t: np.extract(mask, t * t), lambda t: (t * t)[torch.from_numpy(mask)], [x])


# -- embeddings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("padding_idx", [None, 1, -1])
@drawn
@given(data=st.data())
def test_embedding(padding_idx, data):
    weight = data.draw(array((4, 3), dtypes))
    tokens = data.draw(array(shapes(0, 2), low=0, high=3.99)).astype(int)
    check(
        lambda i, w: F.embedding(i, w * w, padding_idx),
        lambda i, w: TF.embedding(i, w * w, padding_idx),
        [tokens, weight],
    )


@drawn
@given(data=st.data(), more=st.integers(1, 3))
def test_one_hot(data, more):
    labels = data.draw(array(shapes(0, 3, 1), low=0, high=4.99)).astype(int)
    check(F.one_hot, TF.one_hot, [labels])
    check(lambda i: F.one_hot(i, 4 + more), lambda i: TF.one_hot(i, 4 + more), [labels])


def test_embedding_modules_exchange_their_states():
    ours, theirs = nn.Embedding(5, 3, padding_idx=-2), torch.nn.Embedding(5, 3, padding_idx=-2)
    assert ours.padding_idx == theirs.padding_idx == 3
    assert repr(ours) == repr(theirs)
    tokens = np.array([[0, 3], [4, 1]])
    for _ in range(2):
        expected = theirs(torch.from_numpy(tokens)).detach().numpy()
        ours.load_state_dict(theirs.state_dict())
        np.testing.assert_array_equal(ours(tokens).data, expected)
        ours.weight.data[...] += 1
        theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_arrays().items()})
        np.testing.assert_array_equal(
            theirs(torch.from_numpy(tokens)).detach().numpy(), ours(tokens).data
        )


# What the registry calls these functions' ops.
OPS = {
    "getitem": test_getitem,
    "add_at": test_getitem,
    "take": test_take,
    "embedding": test_embedding,
}


def test_a_tensor_is_an_index():
    x = Tensor(np.arange(12.0).reshape(3, 4))
    rows, mask = Tensor(np.array([2, 0])), Tensor(np.array([True, False, True]))
    np.testing.assert_array_equal(x[rows, 1].data, x.data[[2, 0], 1])
    np.testing.assert_array_equal(x[mask].data, x.data[[0, 2]])
