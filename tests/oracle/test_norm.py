"""Normalisations beside PyTorch's: functions, layers, and the statistics that follow batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import DTYPES, array, assert_close, check, drawn, dtypes, shapes, torch

from distgrad import Tensor, nn, ops
from distgrad.nn import functional as F

TF = torch.nn.functional

OPS = {"batch_norm", "group_norm", "layer_norm", "rms_norm"}  # the tests below, by name


@st.composite
def over_last_axes(draw, parameters):
    """An input, how many of its last axes are normalised, parameters of their shape or None."""
    dtype = draw(dtypes)
    x = draw(array(shapes(least=1, most=4), dtype))
    axes = draw(st.integers(1, x.ndim))
    shape = x.shape[-axes:]
    given_ = [draw(st.none() | array(st.just(shape), dtype)) for _ in range(parameters)]
    return x, shape, given_


@st.composite
def by_channel(draw, least=2, most=5, min_side=1):
    """An input (n, c, …), and a weight and a bias of shape (c,) or None."""
    dtype = draw(dtypes)
    x = draw(array(shapes(least=least, most=most, min_side=min_side), dtype))
    return [x, *(draw(st.none() | array(st.just(x.shape[1:2]), dtype)) for _ in range(2))]


def epsilons(dtype):
    """Nearly equal values are amplified by 1/√eps, and their rounding errors with them."""
    return st.sampled_from([1e-5, 0.1]) if dtype == np.float64 else st.just(0.1)


def filled(weight, shape):
    """Ones for None: PyTorch has no second gradient with a bias and no weight."""
    return torch.ones(shape, dtype=torch.float64) if weight is None else weight


@drawn
@given(case=over_last_axes(2), eps=st.sampled_from([1e-5, 0.1]))
def test_layer_norm(case, eps):
    x, shape, (w, b) = case
    check(
        lambda x, w, b: F.layer_norm(x, shape, w, b, eps),
        lambda x, w, b: TF.layer_norm(x, shape, filled(w, shape), b, eps),
        [x, w, b],
    )


@drawn
@given(case=over_last_axes(1), eps=st.sampled_from([1e-5, 0.1]))
def test_rms_norm(case, eps):
    x, shape, (w,) = case
    check(
        lambda x, w: F.rms_norm(x, shape, w, eps),
        lambda x, w: TF.rms_norm(x, shape, w, eps),
        [x, w],
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_rms_norms_own_eps_is_that_of_the_dtype(dtype):
    x = np.array([[1e-4, -3e-4, 2e-4], [0, 0, 0]], dtype)
    found = nn.RMSNorm(3)(Tensor(x)).data
    assert_close(
        found, torch.nn.RMSNorm(3, elementwise_affine=False)(torch.from_numpy(x)).detach().numpy()
    )


@drawn
@given(case=by_channel(), data=st.data())
def test_batch_norm_with_its_own_statistics(case, data):
    eps = data.draw(epsilons(case[0].dtype))
    if case[0].size == case[0].shape[1]:
        return  # PyTorch refuses a single value per channel
    check(
        lambda x, w, b: F.batch_norm(x, None, None, w, b, True, 0.1, eps),
        lambda x, w, b: TF.batch_norm(x, None, None, filled(w, x.shape[1]), b, True, 0.1, eps),
        case,
    )


@drawn
@given(data=st.data())
def test_batch_norm_hands_out_differentiable_statistics(data):
    x = data.draw(array(shapes(least=2, min_side=1), dtypes))
    axes = (0, *range(2, x.ndim))
    check(
        lambda x: ops.batch_norm(x, None, None, eps=0.1)[1:],
        lambda x: (x.mean(axes), x.var(axes, correction=0)),
        [x],
    )


@drawn
@given(case=by_channel(), data=st.data(), seed=st.integers(0, 99))
def test_batch_norm_with_given_statistics(case, data, seed):
    x = case[0]
    eps = data.draw(epsilons(x.dtype))
    rng = np.random.default_rng(seed)
    mean, var = rng.normal(size=x.shape[1:2]), rng.uniform(0.5, 2, size=x.shape[1:2])
    check(
        lambda x, w, b: F.batch_norm(x, mean.astype(x.dtype), var.astype(x.dtype), w, b, eps=eps),
        lambda x, w, b: TF.batch_norm(
            x, torch.from_numpy(mean), torch.from_numpy(var), filled(w, x.shape[1]), b, eps=eps
        ),
        case,
    )


@drawn
@given(data=st.data(), groups=st.integers(1, 3))
def test_group_norm(data, groups):
    dtype = data.draw(dtypes)
    eps = data.draw(epsilons(np.dtype(dtype)))
    n, c, *rest = data.draw(shapes(least=2, most=4, min_side=1))
    x = data.draw(array((n, c * groups, *rest), dtype))
    w, b = (data.draw(st.none() | array((c * groups,), dtype)) for _ in range(2))
    if x.size == n * groups:
        return  # PyTorch refuses a single value per group
    check(
        lambda x, w, b: F.group_norm(x, groups, w, b, eps),
        lambda x, w, b: TF.group_norm(x, groups, filled(w, c * groups), b, eps),
        [x, w, b],
    )


@drawn
@given(case=by_channel(least=3), data=st.data())
def test_instance_norm(case, data):
    x = case[0]
    eps = data.draw(epsilons(x.dtype))
    if x.size == x.shape[0] * x.shape[1]:
        return  # PyTorch refuses a single value per instance
    check(
        lambda x, w, b: F.instance_norm(x, None, None, w, b, eps=eps),
        lambda x, w, b: TF.instance_norm(x, None, None, filled(w, x.shape[1]), b, eps=eps),
        case,
    )


@drawn
@given(
    data=st.data(),
    size=st.integers(1, 5),
    settings=st.sampled_from([(1e-4, 0.75, 1.0), (0.5, 1.0, 2.0), (2.0, 0.3, 0.5)]),
)
def test_local_response_norm(data, size, settings):
    x = data.draw(array(shapes(least=3, most=5, min_side=1), dtypes))
    check(
        lambda x: F.local_response_norm(x, size, *settings),
        lambda x: TF.local_response_norm(x, size, *settings),
        [x],
    )


LAYERS = {
    "BatchNorm1d": ((4, 3), (4, 3, 5)),
    "BatchNorm2d": ((4, 3, 5, 2),),
    "BatchNorm3d": ((4, 3, 2, 3, 2),),
    "InstanceNorm1d": ((4, 3, 5), (3, 5)),
    "InstanceNorm2d": ((4, 3, 5, 2), (3, 5, 2)),
    "InstanceNorm3d": ((4, 3, 2, 3, 2), (3, 2, 3, 2)),
}
SETTINGS = (
    {},
    {"momentum": 0.3, "eps": 0.1, "affine": False, "track_running_stats": True},
    {"affine": True, "track_running_stats": False},
    {"affine": True, "track_running_stats": True, "bias": False},
    {"momentum": None},
)


CASES = [
    (name, shape, settings)
    for name, all_shapes in LAYERS.items()
    for shape in all_shapes
    for settings in SETTINGS
    if name.startswith("Batch") or settings != {"momentum": None}
]


@pytest.mark.parametrize(("name", "shape", "settings"), CASES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_and_their_running_statistics_follow_pytorchs(name, shape, settings, dtype):
    ours = getattr(nn, name)(3, **settings).to(dtype)
    theirs = getattr(torch.nn, name)(3, **settings).double()
    assert repr(ours) == repr(theirs)
    rng = np.random.default_rng(1)
    values = {n: rng.normal(size=p.shape) for n, p in ours.named_parameters()}
    ours.load_state_dict(values, strict=False)
    theirs.load_state_dict({n: torch.tensor(v) for n, v in values.items()}, strict=False)
    for training in (True, True, True, False):
        ours.train(training)
        theirs.train(training)
        x = rng.normal(1, 2, shape)
        found, expected = ours(Tensor(x.astype(dtype))), theirs(torch.from_numpy(x))
        assert_close(found.data, expected.detach().numpy())
    state = {n: t.numpy() for n, t in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    for n, value in ours.state_arrays().items():
        assert_close(value, state[n], n)


PLAIN = {
    "LayerNorm": (lambda n: n.LayerNorm((5, 2)), (4, 3, 5, 2)),
    "LayerNorm, no bias": (lambda n: n.LayerNorm(2, eps=0.1, bias=False), (4, 3, 5, 2)),
    "LayerNorm, not affine": (lambda n: n.LayerNorm(2, elementwise_affine=False), (4, 2)),
    "RMSNorm": (lambda n: n.RMSNorm((5, 2), eps=1e-3), (4, 3, 5, 2)),
    "RMSNorm, not affine": (lambda n: n.RMSNorm(2, 0.1, elementwise_affine=False), (3, 2)),
    "GroupNorm": (lambda n: n.GroupNorm(2, 4), (3, 4, 5)),
    "GroupNorm, no bias": (lambda n: n.GroupNorm(2, 4, 0.1, bias=False), (3, 4)),
    "GroupNorm, not affine": (lambda n: n.GroupNorm(4, 4, affine=False), (3, 4, 5, 2)),
    "LocalResponseNorm": (lambda n: n.LocalResponseNorm(2, alpha=0.3), (3, 4, 5)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_layers_without_statistics_equal_pytorchs(name):
    make, shape = PLAIN[name]
    ours, theirs = make(nn).double(), make(torch.nn).double()
    assert repr(ours) == repr(theirs)
    rng = np.random.default_rng(2)
    values = {n: rng.normal(size=p.shape) for n, p in ours.named_parameters()}
    assert list(values) == [n for n, _ in theirs.named_parameters()]
    ours.load_state_dict(values)
    theirs.load_state_dict({n: torch.tensor(v) for n, v in values.items()})
    x = rng.normal(size=shape)
    check(ours, theirs, [x])


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
def test_functions_update_the_statistics_they_are_given_as_pytorchs(name):
    x = np.random.default_rng(3).normal(2, 3, (4, 3, 5))
    ours, theirs = ([np.zeros(3), np.ones(3)] for _ in range(2))
    settings = {"training": True} if name == "batch_norm" else {}
    getattr(F, name)(x, *ours, momentum=0.3, **settings)
    running = [torch.from_numpy(a) for a in theirs]
    getattr(TF, name)(torch.from_numpy(x), *running, momentum=0.3, **settings)
    for found, expected in zip(ours, theirs, strict=True):
        assert_close(found, expected)
    settings = {"use_input_stats": False} if name == "instance_norm" else {}
    found = getattr(F, name)(x, *ours, **settings)
    expected = getattr(TF, name)(torch.from_numpy(x), *running, **settings)
    assert_close(found.data, expected.numpy())
