"""A batch of no samples passes every layer and every loss, forward and back, without a warning."""

from __future__ import annotations

import math

import numpy as np
import pytest
from layer_cases import LAYERS, LOSSES, missing

import distgrad as dg
from distgrad import Tensor, nn
from distgrad.autograd.mode import empty_shard, switched
from distgrad.nn import functional as F

every_layer = pytest.mark.parametrize(
    ("name", "call"), LAYERS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(LAYERS)]
)
every_loss = pytest.mark.parametrize(
    ("name", "call"),
    [pytest.param(n, c, id=f"{n}-{i}") for n, calls in LOSSES.items() for i, c in enumerate(calls)],
)
with_and_without_twins = pytest.mark.parametrize("mode", [dg.enable_grad, dg.reference_kernels])


def tensors(draw, n):
    arrays = draw(np.random.default_rng(n), n)
    return [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]


def flat(results):
    if isinstance(results, tuple | list):
        return [r for part in results for r in flat(part)]
    return [results]


def shapes(layer, inputs):
    return [r.shape for r in flat(layer(*inputs))]


@every_layer
@with_and_without_twins
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_on_no_samples_has_the_shapes_of_some_and_zero_gradients(
    name, call, mode, training
):
    args, settings, draw = call
    with mode():
        layer = getattr(nn, name)(*args, **settings).train(training)
        state = {k: np.array(v) for k, v in layer.state_dict().items()}
        inputs = tensors(draw, 0)
        outputs = flat(layer(*inputs))
        expected = [
            tuple(0 if n == 11 else n for n in s) for s in shapes(layer.eval(), tensors(draw, 11))
        ]
        assert [o.shape for o in outputs] == expected
        total = sum(np.sum(o * o) for o in outputs if getattr(o, "requires_grad", False))
        if isinstance(total, Tensor):
            total.backward()
        for key, p in layer.named_parameters():
            if p.grad is not None:
                assert not p.grad.array.any(), key
                assert p.grad.dtype == p.dtype
        for x in inputs:
            assert x.grad is None or x.grad.shape == x.shape
        for key, before in state.items():
            np.testing.assert_array_equal(layer.state_dict()[key], before, err_msg=key)


def result(name, call, *, reduction):
    args, settings, draw = call
    if reduction is not None:
        settings = {**settings, "reduction": reduction}
    loss = getattr(nn, name)(*args, **settings)
    inputs = tensors(draw, 0)
    value = loss(*inputs)
    value.sum().backward()
    for x in inputs:
        assert x.grad is None or x.grad.shape == x.shape
    return value


@every_loss
@with_and_without_twins
def test_the_mean_loss_of_nothing_is_nan(name, call, mode):
    with mode():
        value = result(name, call, reduction=None)
    assert value.shape == ()
    assert math.isnan(value.item())
    assert value.dtype == np.float32


@every_loss
@with_and_without_twins
def test_the_mean_loss_in_an_empty_shard_is_0(name, call, mode):
    with mode(), switched(empty_shard, True):
        value = result(name, call, reduction=None)
    assert value.shape == ()
    assert value.item() == 0
    assert value.dtype == np.float32


@every_loss
@pytest.mark.parametrize("shard", [True, False])
def test_the_summed_loss_of_nothing_is_0_and_unreduced_it_is_empty(name, call, shard):
    with switched(empty_shard, shard):
        assert result(name, call, reduction="sum").item() == 0
        assert result(name, call, reduction="none").shape[0] == 0


def test_every_layer_and_loss_of_nn_is_among_the_cases():
    assert missing() == set()


@pytest.mark.parametrize("make", [nn.BatchNorm1d, nn.InstanceNorm1d])
def test_no_samples_leave_no_trace_in_the_running_statistics(make):
    norm = make(3, track_running_stats=True)
    norm(Tensor(np.random.default_rng(1).normal(size=(3, 3, 4)).astype("f4")))
    before = {k: np.array(v) for k, v in norm.state_dict().items()}
    with switched(empty_shard, True):
        norm(Tensor(np.zeros((0, 3, 4), "f4")))
    for key, value in norm.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_no_samples_leave_functional_batch_norms_statistics_alone():
    mean, var = np.full(3, 2.0, "f4"), np.full(3, 5.0, "f4")
    for norm in (F.batch_norm, F.instance_norm):
        norm(
            np.zeros((0, 3, 4), "f4"),
            mean,
            var,
            **({"training": True} if norm is F.batch_norm else {}),
        )
    assert mean.tolist() == [2, 2, 2]
    assert var.tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    "loss",
    [
        F.cross_entropy,
        F.nll_loss,
        lambda x, y: F.cross_entropy(x, y, np.ones(3, "f4")),
        lambda x, y: F.cross_entropy(x, y, np.ones(3, "f4"), label_smoothing=0.1),
        lambda x, y: F.cross_entropy(x, y, label_smoothing=0.1),
    ],
)
@with_and_without_twins
def test_where_all_labels_are_ignored_the_mean_is_nan_and_its_gradient_0(loss, mode):
    x = Tensor(np.random.default_rng(2).normal(size=(3, 3)), requires_grad=True)
    with mode():
        value = loss(x, np.full(3, -100))
    value.backward()
    assert math.isnan(value.item())
    assert not x.grad.array.any()


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss, F.multi_margin_loss])
def test_an_empty_list_is_no_array_of_labels(loss):
    with pytest.raises(dg.DistgradError, match="labels must be integers; got dtype float64"):
        loss(np.zeros((0, 3)), np.array([]))
