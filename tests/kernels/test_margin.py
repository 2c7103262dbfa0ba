"""Cosines and hinge losses: what is not finite, labels that are none, lengths below eps."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, ops
from distgrad.errors import ShapeError
from distgrad.nn import functional as F

pytest.importorskip("numba", reason="numba is not installed: there are no twins")


def both(call):
    with dg.reference_kernels():
        expected = call()
    return call(), expected


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(1, 2), (1, 0)])  # another class, and the label
def test_what_is_not_finite_travels_as_in_the_reference(bad, place):
    x = np.random.default_rng(0).normal(size=(3, 5)).astype("f4")
    x[place] = bad
    labels = np.array([4, 0, 2])
    several = np.array([[4, 1, -1, 0, 0], [0, 3, -1, 0, 0], [2, 2, -1, 0, 0]])
    with np.errstate(invalid="ignore"):
        for call in (
            lambda: ops.multi_margin(Tensor(x), labels, reduction="none").array,
            lambda: ops.multilabel_margin(Tensor(x), several, reduction="none").array,
            lambda: ops.cosine(Tensor(x), Tensor(x[::-1].copy()), axis=-1, eps=1e-8).array,
        ):
            np.testing.assert_allclose(*both(call), rtol=1e-5)


def test_a_label_that_is_none_is_named_by_kernel_and_reference_alike():
    x = Tensor(np.zeros((2, 3), "f4"))
    for call in (
        lambda: ops.multi_margin(x, np.array([0, 3])),
        lambda: ops.multilabel_margin(x, np.array([[0, -1, 9], [0, 3, -1]])),
    ):
        for mode in (dg.enable_grad, dg.reference_kernels):
            with mode(), pytest.raises(ShapeError, match=r"label 3 at index 1.* for 3 classes"):
                call()


def test_a_length_below_eps_is_a_constant_divisor():
    a = Tensor(np.full((1, 3), 1e-3, "f4"), requires_grad=True)
    b = Tensor(np.ones((1, 3), "f4"), requires_grad=True)
    F.cosine_similarity(a, b, eps=0.1).sum().backward()
    np.testing.assert_allclose(a.grad.array, np.full((1, 3), 10 / np.sqrt(3), "f4"), rtol=1e-5)


def test_weights_of_other_classes_are_refused():
    with pytest.raises(ShapeError, match=r"multi_margin_loss: 3 classes need as many weights"):
        F.multi_margin_loss(np.zeros((2, 3)), np.array([0, 1]), weight=np.ones(2))
