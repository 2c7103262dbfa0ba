"""Lazy layers: nothing reads their parameters before the first input, which makes ordinary ones."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import distgrad as dg
from distgrad import ShapeError, Tensor, nn, optim

SETTINGS = {
    "LazyLinear": ((4,), {}, (3, 6)),
    **{f"LazyConv{n}d": ((4, 2), {"groups": 2}, (3, 6, *(5,) * n)) for n in (1, 2, 3)},
    **{f"LazyConvTranspose{n}d": ((4, 2), {}, (3, 6, *(5,) * n)) for n in (1, 2, 3)},
    **{f"LazyBatchNorm{n}d": ((), {"momentum": 0.5}, (3, 6, *(5,) * n)) for n in (1, 2, 3)},
    **{f"LazyInstanceNorm{n}d": ((), {"eps": 1e-3}, (3, 6, *(5,) * n)) for n in (1, 2, 3)},
}
every_layer = pytest.mark.parametrize("name", SETTINGS)


def made(name, **more):
    args, settings, shape = SETTINGS[name]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    return getattr(nn, name)(*args, **settings, **more), x


def test_every_lazy_layer_is_listed():
    assert set(SETTINGS) == {n for n in nn.__all__ if n.startswith("Lazy")}


@every_layer
def test_the_first_input_makes_an_ordinary_layer(name):
    layer, x = made(name)
    assert isinstance(layer, getattr(nn, name.removeprefix("Lazy")))
    assert layer.has_uninitialized_params()
    parameters = list(layer.parameters())
    y = layer(x)
    assert type(layer) is getattr(nn, name.removeprefix("Lazy"))
    assert [id(p) for p in layer.parameters()] == [id(p) for p in parameters]
    assert all(type(p) is nn.Parameter for p in parameters)
    assert parameters[0].array.any(), "the weights are drawn, or 1"
    args, settings, _ = SETTINGS[name]
    if "InstanceNorm" in name:
        settings = {"affine": True, "track_running_stats": True, **settings}
    ordinary = getattr(nn, name.removeprefix("Lazy"))(6, *args, **settings)
    assert repr(layer) == repr(ordinary)
    ordinary.load_state_dict(layer.state_dict())
    ordinary.train(False), layer.train(False)
    np.testing.assert_array_equal(layer(x).array, ordinary(x).array)
    y.sum().backward()
    assert all(p.grad is not None for p in parameters)


@every_layer
def test_without_an_input_nothing_reads_the_parameters(name):
    layer, _ = made(name)
    cure = "no shape yet: call the model once"
    with pytest.raises(ShapeError, match=cure):
        optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(ShapeError, match=cure):
        dg.DistributedDataParallel(layer)
    with pytest.raises(ShapeError, match=cure):
        layer.state_dict()
    with pytest.raises(ShapeError, match=cure):
        nn.init.zeros_(next(layer.parameters()))


@every_layer
def test_dtype_and_requires_grad_are_kept_until_then(name):
    layer, x = made(name, dtype=np.float64)
    again, _ = made(name)
    again.double().requires_grad_(False)
    for one in (layer, again):
        one(x.astype(np.float64))
        assert {p.dtype for p in one.parameters()} == {np.dtype(np.float64)}
        assert {b.dtype for b in one.buffers() if b.ndim} <= {np.dtype(np.float64)}
    assert not any(p.requires_grad for p in again.parameters())


@every_layer
def test_a_state_makes_an_ordinary_layer_too(name):
    trained, x = made(name)
    trained(x)
    model = nn.Sequential(made(name)[0])
    model.load_state_dict({f"0.{n}": a for n, a in trained.state_dict().items()})
    assert type(model[0]) is type(trained)
    for n, a in trained.state_dict().items():
        np.testing.assert_array_equal(model[0].state_dict()[n], a)


@every_layer
def test_copies_and_hooks_survive(name):
    layer, x = made(name)
    seen = []
    layer.register_forward_hook(lambda m, a, y: seen.append(y.shape))
    copied = copy.deepcopy(layer)
    layer.eval()
    y = layer(x)
    assert seen == [y.shape]
    assert not layer.training
    assert copied(x).shape == y.shape
    assert copied.training


def test_an_input_of_other_axes_is_refused_and_leaves_the_layer_lazy():
    layer = nn.LazyConv2d(4, 3)
    with pytest.raises(ShapeError, match=r"LazyConv2d expects \(n, c, …\) with 4 axes, or one"):
        layer(np.ones((3, 3), np.float32))
    assert type(layer) is nn.LazyConv2d
    with pytest.raises(ShapeError, match=r"LazyBatchNorm1d expects .* 2 or 3 axes; got \(3,\)"):
        nn.LazyBatchNorm1d()(np.ones(3, np.float32))


def test_a_parameter_may_be_materialized_by_hand():
    p = nn.UninitializedParameter()
    assert repr(p) == "UninitializedParameter()"
    p.materialize((2, 3))
    assert type(p) is nn.Parameter
    assert p.shape == (2, 3)
    b = nn.UninitializedBuffer()
    b.materialize((3,))
    assert type(b) is Tensor


def test_a_buffer_is_registered_by_assigning_it():
    module = nn.Module()
    module.kept = nn.Buffer(np.ones(3))
    module.dropped = nn.Buffer(np.ones(2), persistent=False)
    assert [n for n, _ in module.named_buffers()] == ["kept", "dropped"]
    assert list(module.state_dict()) == ["kept"]
    assert list(copy.deepcopy(module).state_dict()) == ["kept"]


def wrong_inputs(x):
    """What no layer takes, and an array of too many axes for all but LazyLinear."""
    yield from (None, "x", object(), {}, [[1.0], [2.0, 3.0]], np.array(["a"]), 1.5)
    yield from (x.astype(object), x[..., None, None, None])


@every_layer
def test_a_first_input_that_it_cannot_take_leaves_it_lazy(name):
    layer, x = made(name)
    model = nn.Sequential(nn.Sequential(layer))
    for wrong in wrong_inputs(x):
        if name == "LazyLinear" and getattr(wrong, "dtype", None) == x.dtype:
            continue
        with pytest.raises((TypeError, ShapeError), match=r"got|expects|takes|does not fit"):
            model(wrong)
        assert layer.has_uninitialized_params(), wrong
    with pytest.raises(TypeError, match="positional argument"):
        layer(x, x, x)
    with pytest.raises(TypeError, match="positional argument"):
        layer()
    assert model(x).shape[0] == len(x)
    assert type(layer) is getattr(nn, name.removeprefix("Lazy"))


def test_an_error_of_a_lazy_layer_names_its_place_in_the_model():
    model = nn.Sequential(nn.ReLU(), nn.LazyConv1d(3, 5))
    with pytest.raises(
        ShapeError, match=r"a window of 5 .* does not fit in a length of 4"
    ) as caught:
        model(np.ones((2, 3, 4), "f4"))
    assert caught.value.__notes__ == ["raised in '1' (LazyConv1d), called with (2, 3, 4) float32"]
    assert model[1].has_uninitialized_params()
    assert model(np.ones((2, 7, 5), "f4")).shape == (2, 3, 1)
