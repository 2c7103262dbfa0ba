"""Connectionist temporal classification beside PyTorch's, behind log_softmax.

PyTorch's gradient to the log-probabilities themselves takes the normalisation into account; ours
is their derivative. Behind log_softmax both are the same. PyTorch has no second gradient.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import RTOL, array, assert_close, check, drawn, dtypes, torch

from distgrad import Tensor, ops
from distgrad.nn import functional as F

TF = torch.nn.functional
OPS = {"ctc": (ops.ctc, TF.ctc_loss)}


def compare(x, targets, heard, spoken, **settings):
    check(
        lambda a: F.ctc_loss(F.log_softmax(a, -1), targets, heard, spoken, **settings),
        lambda a: TF.ctc_loss(
            TF.log_softmax(a, -1), *map(torch.from_numpy, (targets, heard, spoken)), **settings
        ),
        [x],
        second=False,
    )


@drawn
@given(data=st.data())
def test_ctc_loss(data):
    frames, n, c = data.draw(st.integers(3, 8)), data.draw(st.integers(1, 4)), 4
    blank = data.draw(st.sampled_from([0, 2, 3]))
    rng = np.random.default_rng(data.draw(st.integers(0, 9999)))
    x = data.draw(array((frames, n, c), data.draw(dtypes), -4, 4))
    spoken = rng.integers(0, 5, n)
    heard = rng.integers(1, frames + 1, n)
    labels = rng.choice([i for i in range(c) if i != blank], (n, max(int(spoken.max()), 1)))
    if data.draw(st.booleans()):  # one after the other
        labels = np.concatenate([row[:k] for row, k in zip(labels, spoken, strict=True)])
    # Without zero_infinity PyTorch's gradients are NaN where a target does not fit its frames.
    reduction = data.draw(st.sampled_from(["mean", "sum", "none"]))
    compare(x, labels, heard, spoken, blank=blank, reduction=reduction, zero_infinity=True)


@drawn
@given(data=st.data())
def test_ctc_loss_of_one_sample(data):
    x = data.draw(array((6, 3), data.draw(dtypes), -4, 4))
    labels = np.array(data.draw(st.lists(st.integers(1, 2), max_size=3)), np.int64)
    reduction = data.draw(st.sampled_from(["mean", "sum", "none"]))
    compare(x, labels, np.array(6), np.array(len(labels)), reduction=reduction)


def test_a_target_that_does_not_fit_costs_infinity():
    x = np.random.default_rng(0).normal(size=(3, 3, 4))
    targets = np.array([[1, 2, 3], [1, 1, 0], [1, 1, 1]])  # the last needs five frames
    compare(x, targets, np.array([3, 3, 3]), np.array([3, 2, 3]), reduction="none")


def test_no_frames_speak_only_nothing():
    x = np.random.default_rng(0).normal(size=(3, 2, 4))
    targets = np.array([[1], [1]])
    compare(x, targets, np.array([0, 0]), np.array([0, 1]), reduction="none", zero_infinity=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hundreds_of_frames_keep_their_precision(dtype):
    rng = np.random.default_rng(1)
    x = (4 * rng.normal(size=(400, 2, 20))).astype(dtype)
    targets, heard, spoken = rng.integers(1, 20, (2, 60)), np.array([400, 350]), np.array([60, 45])
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x.astype("f8"), requires_grad=True)
    loss = F.ctc_loss(F.log_softmax(ours, -1), targets, heard, spoken)
    wanted = TF.ctc_loss(
        TF.log_softmax(theirs, -1), *map(torch.from_numpy, (targets, heard, spoken))
    )
    loss.backward()
    wanted.backward()
    assert_close(loss.data, wanted.detach().numpy(), rtol=RTOL[dtype])
    assert_close(ours.grad.data, theirs.grad.numpy(), rtol=RTOL[dtype])


def test_a_class_of_probability_0_is_as_if_it_were_not_there():
    # PyTorch's loss is the same, its gradient NaN.
    x = np.random.default_rng(0).normal(size=(5, 2, 3))
    targets, lengths = np.array([[1, 2], [2, 2]]), (np.array([5, 5]), np.array([2, 2]))
    ours, fewer = (Tensor(x.copy(), requires_grad=True) for _ in range(2))
    log_probs = F.log_softmax(ours, -1)
    impossible = np.full((5, 2, 1), -np.inf)
    loss = F.ctc_loss(np.concatenate((log_probs, impossible), axis=2), targets, *lengths)
    wanted = F.ctc_loss(F.log_softmax(fewer, -1), targets, *lengths)
    loss.backward()
    wanted.backward()
    np.testing.assert_allclose(loss.item(), wanted.item())
    np.testing.assert_allclose(ours.grad.data, fewer.grad.data)


def test_a_target_of_probability_0_costs_infinity():
    log_probs = np.log(
        [[[0.5, 0.5, 0.0]]] * 3, where=[[[1, 1, 0]]], out=np.full((3, 1, 3), -np.inf)
    )
    found = F.ctc_loss(log_probs, [[2]], [3], [1])
    wanted = TF.ctc_loss(torch.from_numpy(log_probs), *map(torch.tensor, ([[2]], [3], [1])))
    assert found.item() == wanted.item() == np.inf
