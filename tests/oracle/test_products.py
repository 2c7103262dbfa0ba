"""Matrix products, einsum, and the layers that multiply by weights, beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, assert_close, broadcastable, check, drawn, dtypes, shapes, torch

from distgrad import Tensor, nn, ops
from distgrad.nn import functional as F

TF = torch.nn.functional
side = st.sampled_from([0, 1, 2, 3, 4])

OPS = {
    "matmul": (np.matmul, torch.matmul),
    "linear": (F.linear, TF.linear),
    "contraction": (np.tensordot, torch.tensordot),
    "kronecker": (np.kron, torch.kron),
}


@pytest.mark.parametrize("ranks", ["1 1", "1 2", "1 n", "2 1", "n 1", "2 2", "n 2", "2 n", "n n"])
@drawn
@given(data=st.data())
def test_matmul_of_every_rank(ranks, data):
    m, k, n = (data.draw(side) for _ in range(3))
    batches = data.draw(broadcastable(2, most=2))
    left, right = ranks.split()
    a = {"1": (k,), "2": (m, k), "n": (*batches[0], m, k)}[left]
    b = {"1": (k,), "2": (k, n), "n": (*batches[1], k, n)}[right]
    dtype = data.draw(dtypes)
    check(*OPS["matmul"], [data.draw(array(a, dtype)), data.draw(array(b, dtype))])


@drawn
@given(data=st.data())
def test_dot_inner_and_tensordot(data):
    dtype = data.draw(dtypes)
    k = data.draw(side)
    front, back = (data.draw(shapes(0, 2, min_side=1, max_side=3)) for _ in range(2))
    a = data.draw(array((*front, k), dtype))
    b = data.draw(array((*back, k), dtype))

    def inner(x, y):
        return torch.tensordot(x, y, dims=([x.ndim - 1], [y.ndim - 1]))

    check(np.inner, inner, [a, b])
    check(np.vdot, lambda x, y: (x * y).sum(), [a, data.draw(array(a.shape, dtype))])
    turned = np.swapaxes(b, -1, -2) if b.ndim > 1 else b
    check(np.dot, lambda x, y: inner(x, y.transpose(-1, -2) if y.ndim > 1 else y), [a, turned])
    whole = data.draw(array((*front[::-1], 2), dtype))
    axes = (list(range(len(front))), list(range(len(front)))[::-1])
    check(
        lambda x, y: np.tensordot(x, y, axes=axes),
        lambda x, y: torch.tensordot(x, y, dims=axes),
        [a, whole],
    )


@drawn
@given(data=st.data())
def test_outer_and_kron(data):
    dtype = data.draw(dtypes)
    a, b = (data.draw(array(shapes(0, 2), dtype)) for _ in range(2))
    check(np.outer, lambda x, y: torch.outer(x.reshape(-1), y.reshape(-1)), [a, b])
    check(np.kron, torch.kron, [a, b])


@drawn
@given(data=st.data())
def test_cross_over_any_axis(data):
    dtype = data.draw(dtypes)
    first, second = data.draw(broadcastable(2, most=2))
    a, b = data.draw(array((*first, 3), dtype)), data.draw(array((*second, 3), dtype))
    check(np.cross, lambda x, y: torch.linalg.cross(*torch.broadcast_tensors(x, y)), [a, b])
    a, b = (data.draw(array((2, 3, 4), dtype)) for _ in range(2))
    check(lambda x, y: np.cross(x, y, axis=1), lambda x, y: torch.linalg.cross(x, y, dim=1), [a, b])


EINSUMS = {
    "ij,jk->ik": ("ij", "jk"),
    "ij,jk": ("ij", "jk"),
    "ba,cb": ("ba", "cb"),
    "bhqd,bhkd->bhqk": ("bhqd", "bhkd"),
    "bqhd,bkhd->bhqk": ("bqhd", "bkhd"),
    "ii->i": ("ii",),
    "ii": ("ii",),
    "iij->j": ("iij",),
    "ijk->ki": ("ijk",),
    "ij,ij->": ("ij", "ij"),
    "ij,ij->i": ("ij", "ij"),
    "ij,k->kj": ("ij", "k"),
    "i,j": ("i", "j"),
    "ab,cbd,da->c": ("ab", "cbd", "da"),
    "ij,jk,kl,lm->im": ("ij", "jk", "kl", "lm"),
    "iji,jkk->kj": ("iji", "jkk"),
    "abc,abd->cd": ("abc", "abd"),
    "...ij,...jk->...ik": ("xyij", "yjk"),
    "...ij->...": ("xij",),
    "i...,i...": ("ixy", "iy"),
    "...,i->...i": ("xy", "i"),
}


@pytest.mark.parametrize("subscripts", EINSUMS)
@drawn
@given(data=st.data())
def test_einsum(subscripts, data):
    letters = sorted({c for names in EINSUMS[subscripts] for c in names})
    lengths = {c: data.draw(st.sampled_from([0, 1, 2, 3, 3])) for c in letters}
    dtype = data.draw(dtypes)
    operands = []
    for names in EINSUMS[subscripts]:
        # An axis of length 1 is broadcast against the other operands'.
        short = data.draw(st.sampled_from(["", *names])) if len(EINSUMS[subscripts]) > 1 else ""
        shape = tuple(1 if c == short else lengths[c] for c in names)
        operands.append(data.draw(array(shape, dtype)))
    check(lambda *x: np.einsum(subscripts, *x), lambda *x: torch.einsum(subscripts, *x), operands)


@drawn
@given(data=st.data())
def test_linear(data):
    dtype = data.draw(dtypes)
    i, o = data.draw(side), data.draw(st.sampled_from([1, 2, 3]))
    x = data.draw(array((*data.draw(shapes(0, 3)), i), dtype))
    w, b = data.draw(array((o, i), dtype)), data.draw(array((o,), dtype))
    check(*OPS["linear"], [x, w, b])
    check(*OPS["linear"], [x, w])


@drawn
@given(data=st.data())
def test_bilinear(data):
    dtype = data.draw(dtypes)
    i, j, o = (data.draw(st.sampled_from([1, 2, 3])) for _ in range(3))
    front = data.draw(shapes(0, 2))
    x, y = data.draw(array((*front, i), dtype)), data.draw(array((*front, j), dtype))
    w, b = data.draw(array((o, i, j), dtype)), data.draw(array((o,), dtype))
    check(F.bilinear, TF.bilinear, [x, y, w, b])
    check(F.bilinear, TF.bilinear, [x, y, w])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["Linear", "Bilinear"])
def test_a_state_moves_both_ways(name, bias):
    sizes = (3, 4) if name == "Linear" else (3, 2, 4)
    ours, theirs = getattr(nn, name)(*sizes, bias=bias), getattr(torch.nn, name)(*sizes, bias=bias)
    rng = np.random.default_rng(4)
    inputs = [rng.normal(size=(5, n)).astype(np.float32) for n in sizes[:-1]]

    def compare():
        wanted = theirs(*(torch.from_numpy(x) for x in inputs)).detach().numpy()
        assert_close(ours(*inputs).data, wanted)

    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    compare()
    fresh = getattr(nn, name)(*sizes, bias=bias).state_dict()
    theirs.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in fresh.items()})
    ours.load_state_dict(fresh)
    compare()


def test_complex_products_have_pytorchs_gradients():
    rng = np.random.default_rng(0)
    shapes_of = {"...ij,jk->...ik": [(2, 3, 4), (4, 2)], "ij,ij->i": [(3, 4), (3, 4)]}
    for subscripts, sizes in shapes_of.items():
        values = [rng.normal(size=s) + 1j * rng.normal(size=s) for s in sizes]
        ours = [Tensor(x, requires_grad=True) for x in values]
        theirs = [torch.tensor(x, requires_grad=True) for x in values]
        found, wanted = ops.einsum(subscripts, *ours), torch.einsum(subscripts, *theirs)
        g = rng.normal(size=found.shape) + 1j * rng.normal(size=found.shape)
        found.backward(Tensor(g))
        wanted.backward(torch.from_numpy(g))
        assert_close(found.data, wanted.detach().resolve_conj().numpy())
        for x, y in zip(ours, theirs, strict=True):
            assert_close(x.grad.data, y.grad.resolve_conj().numpy())
