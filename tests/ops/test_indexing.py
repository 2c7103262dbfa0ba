"""Indexing, gather and scatter: repeated and empty indices, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import GradError, ShapeError, Tensor, nn, ops
from distgrad.autograd import grad, gradcheck
from distgrad.nn import functional as F

RNG = np.random.default_rng(8)
X = RNG.normal(size=(3, 4))


def leaf(x):
    return Tensor(np.array(x), requires_grad=True)


# -- empty selections -----------------------------------------------------------------------------

NOTHING = {
    "a mask": lambda x: x[np.zeros(3, bool)],
    "a mask of two axes": lambda x: x[np.zeros((3, 4), bool)],
    "an index": lambda x: x[np.zeros(0, int)],
    "an index of a column": lambda x: x[:, np.zeros(0, int)],
    "a slice": lambda x: x[2:1],
    "take": lambda x: np.take(x, np.zeros(0, int), axis=1),
    "take of all": lambda x: np.take(x, np.zeros((0, 2), int)),
    "gather": lambda x: ops.gather(x, 1, np.zeros((3, 0), int)),
    "masked_select": lambda x: ops.masked_select(x, np.zeros(4, bool)),
    "compress": lambda x: np.compress([False] * 3, x, 0),
    "topk": lambda x: ops.topk(x, 0)[0],
    "embedding": lambda x: F.embedding(np.zeros((0, 2), int), x),
}


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
@pytest.mark.parametrize("name", NOTHING)
def test_what_selects_nothing_has_a_gradient_of_zeros(name, fused):
    x = leaf(X)
    with dg.enable_grad() if fused else dg.reference_kernels():
        y = NOTHING[name](x)
        (g,) = grad(y.sum(), [x])
    assert y.size == 0
    np.testing.assert_array_equal(g.array, np.zeros((3, 4)))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_empty_arrays_are_indexed(shape):
    x = leaf(np.zeros(shape))
    index = np.arange(shape[0])
    (g,) = grad(x[index].sum() + np.take(x, index, 0).sum(), [x])
    assert g.shape == shape


def test_nothing_is_written_where_the_index_is_empty():
    x, none = leaf(X), np.zeros((0, 4), int)
    for y in (
        ops.scatter(x, 0, none, 5.0),
        ops.scatter_add(x, 0, none, np.zeros((0, 4))),
        ops.index_add(x, 0, none[:, 0], np.zeros((0, 4))),
        ops.index_put(x, np.zeros((3, 4), bool), 5.0),
    ):
        np.testing.assert_array_equal(y.array, X)
        np.testing.assert_array_equal(grad(y.sum(), [x])[0].array, np.ones((3, 4)))


# -- repeated indices -----------------------------------------------------------------------------


def test_repeated_indices_add_up_in_their_order():
    # float32 sums depend on the order: 1e8 swallows the ones that come after it.
    values = np.array([1e8, 1, 1, -1e8], np.float32)
    x, index = np.zeros(2, np.float32), np.array([1, 1, 1, 1])
    forward = ops.scatter_add(x, 0, index, values).array[1]
    backward = ops.scatter_add(x, 0, index, values[[1, 2, 0, 3]]).array[1]
    assert (forward, backward) == (0, np.float32(1 + 1 + np.float32(1e8)) - np.float32(1e8))


def test_whole_rows_are_summed_in_the_order_of_the_index():
    table, index = leaf(np.zeros((3, 2), np.float32)), np.array([1, 0, 1, 1])
    g = np.array([[1e8, 1], [5, 5], [-1e8, 1], [1, 1]], np.float32)
    with dg.reference_kernels():
        (found,) = grad(table[index], [table], gradient=g)
    forwards, backwards = (np.add.reduceat(g[r], [0, 1], 0) for r in ([1, 0, 2, 3], [1, 3, 2, 0]))
    assert (forwards != backwards).any()
    np.testing.assert_array_equal(found.array, [*forwards, [0, 0]])
    if ops.getitem.fused is not None and dg.kernels.status().startswith("numba"):
        (found,) = grad(table[index], [table], gradient=g)  # one by one
        np.testing.assert_array_equal(found.array, [[5, 5], [1, 3], [0, 0]])


@pytest.mark.parametrize("call", ["getitem", "take", "gather", "embedding"])
def test_sums_over_repeated_indices_have_the_same_bits_every_time(call):
    x = leaf(RNG.normal(size=(5, 3)).astype(np.float32))
    index = RNG.integers(0, 5, 200)
    calls = {
        "getitem": lambda: x[index],
        "take": lambda: np.take(x, index, axis=0),
        "gather": lambda: ops.gather(x, 0, np.repeat(index[:, None], 3, 1)),
        "embedding": lambda: F.embedding(index, x),
    }
    g = RNG.normal(size=(200, 3)).astype(np.float32)
    with dg.reference_kernels():
        first, again = (grad(calls[call](), [x], gradient=g)[0].array for _ in range(2))
    assert first.tobytes() == again.tobytes()
    expected = np.zeros((5, 3))
    np.add.at(expected, index, g.astype(np.float64))
    np.testing.assert_allclose(first, expected, rtol=1e-5, atol=1e-5)


def test_of_several_values_for_one_place_the_last_stays_and_has_the_gradient():
    x, src = leaf(X), leaf(RNG.normal(size=(3, 2)))
    y = ops.scatter(x, 1, np.array([[0, 0], [1, 2], [3, 3]]), src)
    expected = X.copy()
    expected[[0, 1, 1, 2], [0, 1, 2, 3]] = src.array[[0, 1, 1, 2], [1, 0, 1, 1]]
    np.testing.assert_array_equal(y.array, expected)
    gx, gs = grad(y.sum(), [x, src])
    np.testing.assert_array_equal(gs.array, [[0, 1], [1, 1], [0, 1]])
    np.testing.assert_array_equal(gx.array, [[0, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 0]])


PUTS = {
    "a number": (1, 5.0),
    "a slice": (np.s_[:, ::-2], RNG.normal(size=(3, 2))),
    "a row to all": (np.s_[...], RNG.normal(size=4)),
    "a mask": (X > 0, -1.0),
    "arrays": (([0, 2], [3, 1]), RNG.normal(size=2)),
    "a new axis": (np.s_[None, 0], RNG.normal(size=(1, 4))),
}


@pytest.mark.parametrize("name", PUTS)
@pytest.mark.parametrize("accumulate", [False, True])
def test_index_put_is_numpys_assignment(name, accumulate):
    index, values = PUTS[name]
    expected = X.copy()
    if accumulate:
        expected[index] += values
    else:
        expected[index] = values
    np.testing.assert_array_equal(ops.index_put(X, index, values, accumulate).array, expected)
    gradcheck(
        lambda x, v: ops.index_put(x * x, index, v * v, accumulate),
        [X, np.asarray(values)],
        second=True,
    )


def test_numbers_keep_their_digits_on_the_way_into_float64():
    mask, x = np.array([True, False]), np.zeros(2)
    assert ops.masked_fill(x, mask, 0.1).array[0] == 0.1
    assert ops.scatter(x, 0, [0], 0.1).array[0] == 0.1
    assert ops.index_put(x, 0, 0.1).array[0] == 0.1
    assert ops.masked_fill(x.astype(np.float32), mask, 0.1).dtype == np.float32


# -- other forms ----------------------------------------------------------------------------------


def test_numbers_as_arrays_of_one_element():
    x = leaf(2.0)
    assert ops.gather(x, 0, 0).array == 2
    assert ops.scatter(x, -1, 0, 3.0).array == 3
    assert ops.scatter_add(x, 0, 0, 3.0).shape == ()
    assert x[()].shape == ()
    assert x[None].shape == (1,)


def test_where_with_a_condition_alone_gives_plain_indices():
    t = leaf(X)
    for found, expected in zip(np.where(t > 0), np.where(X > 0), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.where(t > 0, t, 0).array, np.where(X > 0, X, 0))


def test_plain_functions_of_indices_are_numpys():
    t = leaf(np.sort(X[0]))
    np.testing.assert_array_equal(np.argwhere(t > 0), np.argwhere(t.array > 0))
    np.testing.assert_array_equal(np.flatnonzero(t > 0), np.flatnonzero(t.array > 0))
    assert np.searchsorted(t, t.array[2]) == 2
    assert np.digitize(leaf(t.array[1]), t) == 2


def test_take_along_axis_counts_from_the_end_and_over_all():
    t = leaf(X)
    index = np.array([[-1], [0], [-4]])
    np.testing.assert_array_equal(
        np.take_along_axis(t, index, 1).array, np.take_along_axis(X, index, 1)
    )
    np.testing.assert_array_equal(
        np.take_along_axis(t, np.array([5, -1]), None).array, X.ravel()[[5, -1]]
    )


# -- embeddings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
@pytest.mark.parametrize("padding_idx", [2, -3])
def test_the_row_of_padding_gets_no_gradient(padding_idx, fused):
    weight, tokens = leaf(RNG.normal(size=(5, 3))), np.array([[2, 0], [2, 4]])
    with dg.enable_grad() if fused else dg.reference_kernels():
        y = F.embedding(tokens, weight, padding_idx)
        (g,) = grad(y, [weight], gradient=np.full((2, 2, 3), np.nan))
    np.testing.assert_array_equal(y.array, weight.array[tokens])
    np.testing.assert_array_equal(
        np.isnan(g.array).all(1), [True, False, False, False, True] & g.array.any(1)
    )
    np.testing.assert_array_equal(g.array[2], 0)


def test_the_row_of_padding_starts_as_zeros():
    table = nn.Embedding(4, 3, padding_idx=-1)
    assert table.padding_idx == 3
    assert not table.weight.array[3].any()
    assert table.weight.array[:3].all()
    assert repr(table) == "Embedding(4, 3, padding_idx=3)"


def test_a_table_is_made_of_given_rows_and_frozen_unless_told():
    rows = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    frozen = nn.Embedding.from_pretrained(rows, padding_idx=0)
    assert not frozen.weight.requires_grad
    assert (frozen.num_embeddings, frozen.embedding_dim, frozen.padding_idx) == (3, 2, 0)
    np.testing.assert_array_equal(frozen([2, 0]).array, rows[[2, 0]])
    free = nn.Embedding.from_pretrained(rows, freeze=False)
    free([1, 1]).sum().backward()
    np.testing.assert_array_equal(free.weight.grad.array, [[0, 0], [2, 2], [0, 0]])
    assert not np.shares_memory(free.weight.array, rows)


def test_given_rows_draw_no_number():
    dg.manual_seed(3)
    expected = nn.Embedding(2, 2).weight.array
    dg.manual_seed(3)
    nn.Embedding.from_pretrained(np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(nn.Embedding(2, 2).weight.array, expected)


def test_one_hot_of_many_classes_takes_a_row_each():
    rows = F.one_hot(np.array([[70000], [3]]), 70001).array
    assert rows.shape == (2, 1, 70001)
    assert rows.dtype == np.int64
    assert np.argwhere(rows).tolist() == [[0, 0, 70000], [1, 0, 3]]


# -- refused --------------------------------------------------------------------------------------

SRC = np.ones((2, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: x[3], "index 3 is out of bounds for axis 0 with size 3"),
        (lambda x: x[[0, 5]], "index 5 is out of bounds"),
        (lambda x: x[[True, False]], "boolean index did not match"),
        (lambda x: np.take(x, [0, 4, -5], axis=-1), r"take: index 4 at position 1 is out of range "
            r"for 4 elements along axis 1 \(-4\.\.3\)"),
        (lambda x: np.take(x, 12), r"index 12 at position \(\) is out of range for 12 elements"),
        (lambda x: np.take(x, [0.5]), "take: the index must be integers; got dtype float64"),
        (lambda x: np.take(x, [9], mode="clip"), "got mode='clip': apply np.clip"),
        (lambda x: np.take_along_axis(x, np.array([0]), 0), "the index has 1 axes, the array 2"),
        (lambda x: np.take_along_axis(x, np.array([[4]]), 1), "take_along_axis: index 4 at pos"),
        (lambda x: ops.gather(x, 0, [[0, -1]]), r"gather: index -1 at position 0, 1 .*0 \(0\.\.2"),
        (lambda x: ops.gather(x, 1, [[0], [0], [0], [0]]), r"index of shape \(4, 1\) does not fit "
            r"an array of shape \(3, 4\).* but axis 1"),
        (lambda x: ops.gather(x, 1, [0]), r"index of shape \(1,\) does not fit"),
        (lambda x: ops.gather(x, 2, [[0]]), "gather: axis 2 is out of range for 2 axes"),
        (lambda x: ops.scatter(x, 0, [[3]], 1.0), "scatter: index 3 at position 0, 0"),
        (lambda x: ops.scatter(x, 0, [[0, 0, 0]], SRC), r"scatter: src of shape \(2, 2\) does not"),
        (lambda x: ops.scatter_add(x, 0, [[0]], [1.0]), r"src of shape \(1,\) does not cover"),
        (lambda x: ops.index_select(x, 1, [-1]), "index_select: index -1 at position 0"),
        (lambda x: ops.index_select(x, 1, [[1]]), r"1-d index; got shape \(1, 1\)"),
        (lambda x: ops.index_add(x, 0, [0, 1], SRC), r"source has shape \(2, 2\); .*\(2, 4\)"),
        (lambda x: ops.index_put(x, 7, 1.0), "index_put: index 7 is out of bounds"),
        (lambda x: ops.index_put(x, 0, np.ones(3)), r"shape \(3,\) do not broadcast to \(4,\)"),
        (lambda x: ops.masked_fill(x, [1, 0, 1, 0], 2.0), "mask must be boolean; got dtype int64"),
        (lambda x: ops.masked_fill(x, X > 0, [1.0]), r"single number; got shape \(1,\)"),
        (lambda x: ops.masked_fill(X.astype(int), X > 0, 0.5), "float64 does not go into int64"),
        (lambda x: F.embedding([0], x, padding_idx=3), "padding_idx=3 is out of range .* 3 rows"),
        (lambda x: nn.Embedding(3, 4, padding_idx=-4), "padding_idx=-4 is out of range"),
        (lambda x: nn.Embedding(3, 4, max_norm=1.0), r"max_norm=1\.0 would change .*; scale the"),
        (lambda x: F.embedding([0], x, None, None, 2.0, True), "by_freq=True would count"),
        (lambda x: nn.Embedding(3, 3, _weight=X), r"_weight has shape \(3, 4\); .* \(3, 3\)"),
        (lambda x: nn.Embedding.from_pretrained(X[0]), r"rows and columns; got shape \(4,\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ShapeError, match=message):
        call(leaf(X))


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda x: np.put_along_axis(x, np.array([[0]]), 1.0, 0), r"distgrad\.ops\.scatter\("),
        (lambda x: np.put(x, [0], 1.0), r"distgrad\.ops\.index_put\("),
        (lambda x: np.place(x, X > 0, 1.0), r"np\.where\(mask, values, x\)"),
        (lambda x: np.putmask(x, X > 0, 1.0), r"np\.where\(mask, values, x\)"),
        (lambda x: np.copyto(x, 1.0), r"np\.where\(mask, values, x\)"),
        (lambda x: np.fill_diagonal(x, 1.0), r"distgrad\.ops\.index_put\("),
    ],
)
def test_writing_in_place_is_refused_with_what_to_do_instead(call, instead):
    with pytest.raises(GradError, match=f"in place, which backward could not follow; {instead}"):
        call(leaf(X))


@pytest.mark.parametrize(
    "index",
    [
        1,
        slice(None, None, 2),
        (slice(None), 2),
        (..., slice(1, 3)),
        np.array([2, 0, -2, 2]),
        (slice(1, None), np.array([3, 1, 1])),
        (slice(None), np.array([[3, 1, -1], [-4, 4, 0]])),
        (slice(None), dg.tensor([3, 1, 1])),
        (np.array([0, 2, 0]), np.array([1, 1, 1])),
        (None, np.array([3, 3])),
        np.arange(20).reshape(4, 5) % 3 == 0,
    ],
    ids=str,
)
def test_of_values_written_to_one_place_the_last_one_has_the_gradient(index):
    rng = np.random.default_rng(3)
    x, before = rng.normal(size=(4, 5)), np.arange(20.0).reshape(4, 5)
    values = rng.normal(size=x[index].shape)
    a, v = dg.tensor(x, requires_grad=True), dg.tensor(values, requires_grad=True)
    y = dg.ops.index_put(a, index, v)
    wanted, came = x.copy(), np.zeros((4, 5), int)
    wanted[index] = values
    came[index] = 1 + np.arange(values.size).reshape(values.shape)  # NumPy's own last one
    np.testing.assert_array_equal(y.detach().numpy(), wanted)
    to_a, to_v = dg.autograd.grad((y * before).sum(), [a, v])
    np.testing.assert_array_equal(to_a.numpy(), np.where(came, 0, before))
    of_values = np.zeros(values.size)
    of_values[came[came > 0] - 1] = before[came > 0]
    np.testing.assert_array_equal(to_v.numpy().reshape(-1), of_values)


def test_a_masks_gradient_is_put_back_as_sums_are():
    rng = np.random.default_rng(8)
    for mask in (rng.random((3, 5)) > 0.4, rng.random(3) > 0.4, np.zeros((3, 5), bool)):
        x = Tensor(rng.normal(size=(3, 5)), requires_grad=True)
        y = x[mask]
        g = np.array(rng.normal(size=y.shape))
        g[:1] = -0.0
        y.backward(gradient=Tensor(g))
        wanted = np.zeros((3, 5))
        np.add.at(wanted, mask, g)
        assert x.grad.array.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("reduce", ["amax", "amin", "prod"])
@pytest.mark.parametrize("include_self", [True, False])
def test_scattered_extremes_and_products_are_the_same_bits_without_a_gradient(reduce, include_self):
    rng = np.random.default_rng(9)
    x, src = rng.normal(size=(3, 7)), rng.normal(size=(3, 7))
    x[0], src[0], src[1, 0] = -0.0, -0.0, np.nan
    index = rng.integers(0, 7, (3, 7))
    found = [
        ops.scatter_reduce(a, 1, index, src, reduce, include_self=include_self).array.tobytes()
        for a in (x, leaf(x))
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("largest", [True, False])
def test_equal_extremes_share_the_gradient_and_a_nan_has_none(width, largest):
    sign = 1 if largest else -1
    a, src = [
        np.repeat(sign * np.array(x), width)
        for x in (
            [2.0, 1, np.inf, np.nan, -0.0, 4, 5, -1],
            [2.0, 3, 3, np.inf, 7, -0.0, 4, 4, np.nan, 9, -0.0],
        )
    ]
    places = np.array([0, 1, 1, 2, 3, 4, 5, 5, 6, 6, 7])
    own = np.arange(8) != 5
    for mode in (dg.enable_grad, dg.reference_kernels):
        for dtype in (np.float32, np.float64):
            x, y = leaf(a.astype(dtype)), leaf(src.astype(dtype))
            with mode():
                z = ops.extreme_at(x, y, places=places, width=width, own=own, largest=largest)
                z.backward(Tensor(np.repeat(np.arange(1, 9), width).astype(dtype)))
            best = np.repeat(sign * np.array([2, 3, np.inf, np.nan, 0, 4, np.nan, 0]), width)
            np.testing.assert_array_equal(z.array, best)
            assert not np.signbit(z.array[z.array == 0]).any()
            np.testing.assert_array_equal(
                x.grad.numpy(), np.repeat([0.5, 0, 1.5, 0, 2.5, 0, 0, 0], width)
            )
            np.testing.assert_array_equal(
                y.grad.numpy(), np.repeat([0.5, 1, 1, 1.5, 0, 2.5, 3, 3, 0, 0, 8], width)
            )


@pytest.mark.parametrize("reduce", ["sum", "mean", "prod", "amax", "amin"])
@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_reducing_slices_is_reducing_their_elements(reduce, include_self, axis):
    rng = np.random.default_rng(4)
    a, rows = rng.normal(size=(3, 4, 5)), np.array([1, 0, 1, 1])
    src = rng.normal(size=(*a.shape[:axis], 4, *a.shape[axis + 1 :]))
    index = np.broadcast_to(rows.reshape([-1 if k == axis else 1 for k in range(3)]), src.shape)
    found = []
    for function, at in ((ops.index_reduce, rows), (ops.scatter_reduce, index)):
        x, y = leaf(a), leaf(src)
        z = function(x, axis, at, y, reduce, include_self=include_self)
        (z * z).sum().backward()
        found.append((z.array, x.grad.numpy(), y.grad.numpy()))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("ends", [[2, 1, 4], [2, 3], [2, 5], [-1, 4], []])
def test_ends_of_bags_that_do_not_fit_are_named(ends):
    for mode in (dg.enable_grad, dg.reference_kernels):
        with mode(), pytest.raises(ShapeError, match=r"ends rise to the number of indices, 4; got"):
            ops.bag_sum(leaf(np.ones((3, 2))), np.array([0, 1, 2, 0]), ends=np.array(ends, int))
