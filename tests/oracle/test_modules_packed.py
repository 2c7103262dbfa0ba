"""Packed sequences beside PyTorch's: what nn.utils.rnn returns, and recurrent layers over it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from module_oracle import share_state
from oracle import assert_close, drawn, torch

from distgrad import Tensor, nn
from distgrad.autograd import grad
from distgrad.nn.utils import rnn

theirs_rnn = torch.nn.utils.rnn
lengths_drawn = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def sequences(lengths, features=2):
    rng = np.random.default_rng(len(lengths))
    return [rng.normal(size=(n, features)) for n in lengths]


def same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.numpy().dtype
            np.testing.assert_array_equal(np.asarray(a.data), b.numpy())


@drawn
@given(lengths=lengths_drawn, first=st.booleans(), side=st.sampled_from(["left", "right"]))
def test_padding_is_pytorchs(lengths, first, side):
    parts = sequences(lengths)
    found = rnn.pad_sequence([Tensor(p) for p in parts], first, 0.5, side)
    expected = theirs_rnn.pad_sequence([torch.from_numpy(p) for p in parts], first, 0.5, side)
    same([found], [expected])
    if side == "right":
        again = rnn.unpad_sequence(found, np.array(lengths), first)
        for part, back in zip(parts, again, strict=True):
            np.testing.assert_array_equal(part, back.data)


@drawn
@given(lengths=lengths_drawn, first=st.booleans(), ordered=st.booleans(), more=st.integers(0, 2))
def test_packing_and_back_is_pytorchs(lengths, first, ordered, more):
    lengths = sorted(lengths, reverse=True) if ordered else lengths
    parts = sequences(lengths)
    packed = rnn.pack_sequence([Tensor(p) for p in parts], enforce_sorted=ordered)
    tensors = [torch.from_numpy(p) for p in parts]
    expected = theirs_rnn.pack_sequence(tensors, enforce_sorted=ordered)
    same(packed, expected)
    settings = {"batch_first": first, "padding_value": 0.5, "total_length": max(lengths) + more}
    same(
        rnn.pad_packed_sequence(packed, **settings),
        theirs_rnn.pad_packed_sequence(expected, **settings),
    )
    same(rnn.unpack_sequence(packed), theirs_rnn.unpack_sequence(expected))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@drawn
@given(
    lengths=lengths_drawn,
    ordered=st.booleans(),
    layers=st.integers(1, 2),
    both=st.booleans(),
    state=st.booleans(),
)
def test_layers_over_packed_sequences_are_pytorchs(kind, lengths, ordered, layers, both, state):
    lengths = sorted(lengths, reverse=True) if ordered else lengths
    settings = {"num_layers": layers, "bidirectional": both}
    if kind == "LSTM" and ordered:
        settings["proj_size"] = 2
    ours, theirs = getattr(nn, kind)(2, 3, **settings), getattr(torch.nn, kind)(2, 3, **settings)
    share_state(ours, theirs)
    ours.double(), theirs.double()
    rng = np.random.default_rng(7)
    padded = rng.normal(size=(max(lengths), len(lengths), 2))
    width = [settings.get("proj_size", 3), 3][: 1 + (kind == "LSTM")]
    before = [rng.normal(size=(layers * (1 + both), len(lengths), n)) for n in width]

    def run(module, tensor, tools, total):
        leaves = [tensor(a) for a in (padded, *before)]
        packed = tools.pack_padded_sequence(leaves[0], lengths_of(tensor), enforce_sorted=ordered)
        hx = leaves[1] if len(before) == 1 else tuple(leaves[1:])
        y, last = module(packed, hx if state else None)
        out, _ = tools.pad_packed_sequence(y)
        results = [out, *(last if isinstance(last, tuple) else [last])]
        leaves = [*leaves[: None if state else 1], *module.parameters()]
        return results, leaves, total([(r * r).sum() for r in results])

    def lengths_of(tensor):
        return np.array(lengths) if tensor is mine else torch.tensor(lengths)

    def mine(array):
        return Tensor(array, requires_grad=True)

    def other(array):
        return torch.tensor(array, requires_grad=True)

    found, leaves, total = run(ours, mine, rnn, sum)
    expected, their_leaves, their_total = run(theirs, other, theirs_rnn, sum)
    for i, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert_close(a.data, b.detach().numpy(), f"result {i}", rtol=1e-10)
    gradients = zip(
        grad(total, leaves), torch.autograd.grad(their_total, their_leaves), strict=True
    )
    for i, (a, b) in enumerate(gradients):
        assert_close(a.data, b.numpy(), f"gradient {i}", rtol=1e-9)
