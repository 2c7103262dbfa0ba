"""Dropout: shares, exact scales, one mask for value and gradient, masks keyed by position."""

from __future__ import annotations

import math

import numpy as np
import pytest

from distgrad import ShapeError, Tensor, manual_seed, nn
from distgrad.autograd import stream
from distgrad.nn import functional as F

SHAPES = {
    "dropout": (40, 50, 2, 3),
    "dropout1d": (40, 50, 6),
    "dropout2d": (40, 50, 2, 3),
    "dropout3d": (40, 50, 1, 2, 3),
    "alpha_dropout": (40, 50, 2, 3),
    "feature_alpha_dropout": (40, 50, 2, 3),
}
CHANNELS = ("dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout")
every_kind = pytest.mark.parametrize("name", SHAPES)


def drawn(name):
    x = np.random.default_rng(0).normal(size=SHAPES[name]).astype(np.float32)
    return Tensor(x, requires_grad=True)


def call(name, x, p=0.3, training=True):
    return getattr(F, name)(x, p, training=training)


@every_kind
def test_the_gradient_has_the_values_mask_and_scale(name):
    manual_seed(3)
    x = drawn(name)
    y = call(name, x)
    y.sum().backward()
    kept = x.grad.array != 0
    slope = x.grad.array[kept]
    assert (slope == slope[0]).all()
    if "alpha" in name:
        floor = y.array[~kept]
        assert (floor == floor[0]).all()
        assert not (y.array[kept] == floor[0]).any()
    else:
        assert slope[0] == np.float32(1 / 0.7)
        np.testing.assert_array_equal(y.array, x.array * x.grad.array)
    share = kept.reshape(*kept.shape[:2], -1)[:, :, 0].mean() if name in CHANNELS else kept.mean()
    assert abs(share - 0.7) < 0.04


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_go_as_a_whole(name):
    manual_seed(3)
    x = drawn(name)
    call(name, x).sum().backward()
    kept = (x.grad.array != 0).reshape(40, 50, -1)
    assert (kept == kept[:, :, :1]).all()
    assert 0 < kept[0, :, 0].sum() < 50


def test_one_sample_may_come_without_its_axis():
    manual_seed(1)
    for name, shape in (("dropout1d", (100, 4)), ("dropout3d", (100, 1, 2, 2))):
        y = call(name, np.ones(shape, np.float32), 0.5).array.reshape(100, -1)
        assert (y == y[:, :1]).all()
        assert 20 < (y[:, 0] == 0).sum() < 80


@pytest.mark.parametrize("name", ["alpha_dropout", "feature_alpha_dropout"])
def test_alpha_dropout_keeps_mean_and_variance(name):
    manual_seed(2)
    x = np.random.default_rng(0).normal(size=(1000, 100, 3)).astype(np.float32)
    y = call(name, x).array
    assert y.dtype == np.float32
    assert abs(y.mean()) < 0.02
    assert abs(y.var() - 1) < 0.02


@every_kind
def test_it_depends_on_seed_step_shard_and_call_only(name):
    x = drawn(name).array

    def masked(seed, step, shard):
        manual_seed(seed)
        with stream.in_shard(step, shard, {}):
            return call(name, x).array

    first = masked(1, 2, 3)
    np.testing.assert_array_equal(masked(1, 2, 3), first)
    with stream.in_shard(2, 3, {3: 1}):  # its next call
        assert (call(name, x).array != first).any()
    for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)):
        assert (masked(*other) != first).any()


@every_kind
def test_a_p_of_0_and_evaluation_pass_through_and_draw_nothing(name):
    manual_seed(5)
    x = drawn(name)
    assert call(name, x, 0.0) is x
    assert call(name, x, 0.7, training=False) is x
    first = F.dropout(np.ones(64)).array
    manual_seed(5)
    np.testing.assert_array_equal(F.dropout(np.ones(64)).array, first)


@every_kind
def test_a_p_of_1_leaves_zeros(name):
    x = drawn(name)
    y = call(name, x, 1.0)
    y.sum().backward()
    assert not y.array.any()
    assert not x.grad.array.any()


@every_kind
def test_what_cannot_be_is_refused(name):
    with pytest.raises(ShapeError, match=rf"^{name}: p is a probability, from 0 to 1; got 1\.5"):
        call(name, drawn(name), 1.5)
    with pytest.raises(ShapeError, match=rf"^{name}: inplace=True would overwrite values"):
        getattr(F, name)(drawn(name), inplace=True)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("dropout1d", (3,), r"dropout1d takes inputs of 2 or 3 axes, channels in axis -2; got"),
        ("dropout2d", (2, 3, 4), r"dropout2d takes inputs of 4 axes, channels in axis -3; got"),
        ("dropout3d", (2, 3, 4), r"dropout3d takes inputs of 4 or 5 axes"),
        ("feature_alpha_dropout", (3,), r"feature_alpha_dropout takes \(n, c, …\); got \(3,\)"),
    ],
)
def test_other_shapes_are_refused(name, shape, message):
    with pytest.raises(ShapeError, match=message):
        getattr(F, name)(np.ones(shape))


@pytest.mark.parametrize(
    "kind",
    ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"],
)
def test_modules_are_on_in_training_only(kind):
    module = getattr(nn, kind)(0.4)
    x = Tensor(np.ones((3, 40, 2, 2) if kind != "Dropout1d" else (3, 40, 2), np.float32))
    assert (module(x).array != 1).any()
    assert module.eval()(x) is x
    assert repr(module) == f"{kind}(p=0.4)"
    with pytest.raises(ShapeError, match=rf"{kind}: inplace=True"):
        getattr(nn, kind)(inplace=True)


def test_gumbel_softmax_samples_classes_with_the_gradient_of_the_soft_sample():
    logits = Tensor(np.log(np.full((50, 4), 0.25)), requires_grad=True)
    direction = np.random.default_rng(0).normal(size=(50, 4))
    results = []
    for hard in (False, True):
        manual_seed(9)
        y = F.gumbel_softmax(logits, tau=0.5, hard=hard)
        (y * direction).sum().backward()
        results.append((y.array, logits.grad.array))
        logits.grad = None
    (soft, slope), (one, same) = results
    np.testing.assert_allclose(soft.sum(1), 1)
    np.testing.assert_allclose(one, np.eye(4)[soft.argmax(1)], atol=1e-12)
    np.testing.assert_array_equal(slope, same)
    assert len(set(soft.argmax(1))) == 4


def test_gumbel_softmax_takes_any_axis_and_refuses_a_tau_of_0():
    y = F.gumbel_softmax(np.zeros((3, 4), np.float32), dim=0, hard=True)
    assert math.isclose(y.array.sum(), 4, rel_tol=1e-6)
    assert y.dtype == np.float32
    with pytest.raises(ShapeError, match=r"tau is a temperature above 0; got 0"):
        F.gumbel_softmax(np.zeros(3), tau=0)
