"""Arrays whose channels lie last in memory: what keeps them so, and that values do not care."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, nn, ops
from distgrad.kernels.arrays import channels_first, lies_last
from distgrad.nn import functional as F
from distgrad.ops.interpolate import linear_taps

pytest.importorskip("numba", reason="numba is not installed: there are no twins")
RNG = np.random.default_rng(4)


def last(*shape, dtype=np.float32):
    """A leaf of this shape (n, c, …), its channels last in memory."""
    n, c, *lengths = shape
    a = channels_first(RNG.normal(size=(n, *lengths, c)).astype(dtype))
    assert lies_last(a)
    assert not a.flags.c_contiguous
    return Tensor(a, requires_grad=True)


KEEPING = {
    "convolution": lambda x: F.conv2d(x, RNG.normal(size=(3, 5, 2, 2)).astype("f"), padding=1),
    "transposed": lambda x: F.conv_transpose2d(x, RNG.normal(size=(5, 3, 2, 2)).astype("f")),
    "batch-norm": nn.BatchNorm2d(5),
    "relu": F.relu,
    "gelu": F.gelu,
    "dropout": lambda x: F.dropout(x, 0.5),
    "max-pool": lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
    "avg-pool": lambda x: F.avg_pool2d(x, 3, stride=2, padding=1),
    "sum": lambda x: x + x * 2,
    "group-norm": nn.GroupNorm(5, 5),
    "instance-norm": nn.InstanceNorm2d(5, affine=True),
    "statistics of instance-norm": nn.InstanceNorm2d(5, track_running_stats=True),
    "dropout of channels": lambda x: F.dropout2d(x, 0.5),
    "adaptive max-pool": lambda x: F.adaptive_max_pool2d(x, (3, 7)),
    "global max-pool": lambda x: F.adaptive_max_pool2d(x, 1) * x,
    "adaptive avg-pool": lambda x: F.adaptive_avg_pool2d(x, (3, 5)),
    "nearest": lambda x: F.interpolate(x, scale_factor=2),
    "bilinear": lambda x: F.interpolate(x, (13, 4), mode="bilinear"),
    "zeros around": lambda x: F.pad(x, (1, 2, 0, 1)),
    "mirrored": lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"),
    "edges": lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"),
    "softmax": lambda x: F.softmax(x, 1),
    "log-softmax": lambda x: F.log_softmax(x, 1),
    "gated": lambda x: F.glu(dg.cat([x, x], 1), 1),
    "some channels": lambda x: dg.index_select(x, 1, np.array([3, 0, 3])),
    "shuffled channels": lambda x: F.channel_shuffle(x, 5),
}
"""Layers that keep the order of memory, and what they are asked with."""


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("layer", KEEPING.values(), ids=KEEPING)
def test_a_layer_of_the_convolutional_part_keeps_the_channels_last_both_ways(layer):
    x = last(2, 5, 9, 7)
    y = layer(x)
    assert lies_last(y.array)
    (dx,) = dg.autograd.grad([y], [x], gradient=[last(*y.shape).detach()])
    assert lies_last(np.array(dx.array, order="K"))  # what was padded is a part, with gaps


@pytest.mark.parametrize("layer", ["max", "avg"])
def test_pooling_along_one_axis_keeps_it_too(layer):
    x = last(2, 5, 9)
    y = getattr(F, f"{layer}_pool1d")(x, 3, stride=2, padding=1)
    assert lies_last(y.array)
    plain = Tensor(np.array(x.array, order="C"), requires_grad=True)
    wanted = getattr(F, f"{layer}_pool1d")(plain, 3, stride=2, padding=1)
    g = RNG.normal(size=y.shape).astype(np.float32)
    np.testing.assert_allclose(y.array, wanted.array, rtol=1e-6)
    (found,), (expected,) = (
        dg.autograd.grad([a], [b], gradient=[Tensor(g)]) for a, b in ((y, x), (wanted, plain))
    )
    assert lies_last(found.array)
    np.testing.assert_allclose(found.array, expected.array, rtol=1e-6)


WEIGHTS = [lambda: RNG.normal(size=5), lambda: RNG.normal(size=5)]
TAPS = linear_taps(5, 8, 5 / 8, False)
TAKING = {
    "group_norm": (WEIGHTS, {"groups": 5}),
    "softmax": ([], {"axis": 1}),
    "log_softmax": ([], {"axis": -3}),
    "resample": ([], {"index": TAPS[0], "weight": TAPS[1], "axis": 1}),
    "pad_border": ([], {"pad_width": ((0, 0), (1, 0), (2, 3), (0, 1)), "mode": "edge"}),
    "pad_constant": ([], {"pad_width": ((0, 0), (1, 0), (2, 3), (0, 1)), "constant_values": 3.0}),
    "adaptive_max_pool": ([], {"output_size": 1}),
    "take": ([], {"indices": np.array([[2, -1], [0, 2]]), "axis": 3}),
    "batch_norm": ([lambda: RNG.normal(size=5), lambda: RNG.normal(size=5)], {}),
    "max_pool": ([], {"kernel_size": 3, "stride": 2, "padding": 1}),
    "avg_pool": ([], {"kernel_size": (2, 3), "padding": (1, 0), "ceil_mode": True}),
    "relu": ([], {}),
    "gelu": ([], {}),
}


@pytest.mark.parametrize("name", TAKING)
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("shape", [(3, 5, 9, 7), (2, 5, 37, 41), (1, 1, 4, 4)])
def test_values_and_gradients_are_the_references(name, dtype, shape):
    others, settings = TAKING[name]
    if shape[1] == 1 and settings.keys() & {"groups", "index"}:
        pytest.skip("is for five channels")
    op = getattr(ops, name)
    x = last(*shape, dtype=dtype) if shape[1] > 1 else Tensor(RNG.normal(size=shape).astype(dtype))
    x.requires_grad_()
    inputs = [x, *(Tensor(o()[: shape[1]].astype(dtype), requires_grad=True) for o in others)]
    g = None
    results = []
    for mode in (dg.enable_grad, dg.reference_kernels):
        with mode():
            y = op(*inputs, **settings)
            y, *more = y if isinstance(y, tuple) else (y,)
            g = RNG.normal(size=y.shape).astype(dtype) if g is None else g
            total = (y * g).sum() + sum((m * m).sum() for m in more)
            results.append([y, *more, *dg.autograd.grad([total], inputs)])
    tolerance = 3e-5 if dtype == np.float32 else 1e-10
    for found, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(found.array, wanted.array, rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("name", ["batch_norm", "group_norm", "max_pool", "resample", "softmax"])
def test_a_gradient_in_another_order_is_the_same_gradient(name):
    x = last(2, 5, 9, 7)
    others, settings = TAKING[name]
    inputs = [x, *(o().astype(np.float32) for o in others)]
    y = getattr(ops, name)(*inputs, **settings)
    y = y[0] if isinstance(y, tuple) else y
    g = last(*y.shape).detach()
    plain = Tensor(np.array(g.array, order="C"))
    a, b = (dg.autograd.grad([y], [x], gradient=[h], retain_graph=True)[0] for h in (g, plain))
    np.testing.assert_array_equal(a.array, b.array)


def test_a_nan_wins_its_window_and_the_first_of_equal_ones_the_gradient():
    x = last(1, 3, 4, 4)
    x.array[...] = 1
    x.array[0, 1, 1, 1] = np.nan
    y = F.max_pool2d(x, 2)
    assert np.isnan(y.array).sum() == 1
    y.backward(np.ones(y.shape, np.float32))
    wanted = np.zeros((4, 4))
    wanted[::2, ::2] = 1
    np.testing.assert_array_equal(x.grad.array[0, 0], wanted)
    assert x.grad.array[0, 1, 1, 1] == 1


def test_variance_of_numbers_far_from_zero_is_exact():
    x = last(64, 8, 16, 16)
    x.array[...] += 1000
    _, mean, var = ops.batch_norm(x, None, None)
    exact = x.array.astype(np.float64)
    np.testing.assert_allclose(mean.array, exact.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(var.array, exact.var((0, 2, 3)), rtol=1e-5)


def test_an_array_that_was_changed_in_place_is_noticed_in_any_order():
    x = last(3, 8, 16, 16)
    y = F.relu(x * 2)
    y.array[...] = 0
    with pytest.raises(dg.GradError, match="changed in place"):
        y.sum().backward()
