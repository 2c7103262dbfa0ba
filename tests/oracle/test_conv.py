"""Convolutions and transposed ones beside PyTorch's, over drawn settings, shapes and layouts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, torch

import distgrad as dg
from distgrad import Tensor, nn, ops
from distgrad.nn import functional as F

TF = torch.nn.functional
OPS = ("convolution", "convolution_transpose", "convolution_weight")
# PyTorch's own remark: an even kernel needs a copy of the input.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Using padding='same'"),
    pytest.mark.usefixtures("road"),
]
LONGEST = {1: 9, 2: 7, 3: 5}


def numbers(draw, axes, low, high):
    """One number for all axes or one for each."""
    values = draw(st.tuples(*[st.integers(low, high)] * axes))
    return draw(st.sampled_from([values, values[0]]))


def each(value, axes):
    return (value,) * axes if isinstance(value, int) else value


@st.composite
def convolving(draw, axes, named_padding=True):
    """Draw x, weight, bias or none, and the settings of a convolution."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    per_group, o = draw(st.integers(1, 3 if groups < 3 else 1)), groups * draw(st.integers(1, 2))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * axes))
    settings = {
        "stride": numbers(draw, axes, 1, 3),
        "dilation": numbers(draw, axes, 1, 2),
        "padding": numbers(draw, axes, 0, 2),
        "groups": groups,
    }
    if named_padding:
        named = draw(st.sampled_from(["valid", "same", None, None]))
        settings |= {"padding": named} if named else {}
        settings |= {"stride": 1} if named == "same" else {}
    pads = settings["padding"]
    pads = (0,) * axes if isinstance(pads, str) else each(pads, axes)
    lengths = tuple(
        draw(st.integers(max(d * (k - 1) + 1 - 2 * p, 1), LONGEST[axes]))
        for k, d, p in zip(kernel, each(settings["dilation"], axes), pads, strict=True)
    )
    batch = draw(st.sampled_from([(), (0,), (1,), (3,)]))
    dtype = draw(dtypes)
    x = draw(array((*batch, groups * per_group, *lengths), dtype))
    weight = draw(array((o, per_group, *kernel), dtype))
    bias = [draw(array((o,), dtype))] if draw(st.booleans()) else []
    return [x, weight, *bias], settings


@pytest.mark.parametrize("axes", [1, 2, 3])
@drawn
@given(data=st.data())
def test_convolution(axes, data):
    inputs, settings = data.draw(convolving(axes))
    ours, theirs = getattr(F, f"conv{axes}d"), getattr(TF, f"conv{axes}d")
    check(lambda *a: ours(*a, **settings), lambda *a: theirs(*a, **settings), inputs)


@st.composite
def transposing(draw, axes):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    per_group, o = draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * axes))
    stride, dilation = numbers(draw, axes, 1, 3), numbers(draw, axes, 1, 3)
    more = [
        draw(st.integers(0, max(s, d) - 1))
        for s, d in zip(each(stride, axes), each(dilation, axes), strict=True)
    ]
    padding = numbers(draw, axes, 0, 2)
    lengths = []
    for k, s, d, p, extra in zip(
        kernel, each(stride, axes), each(dilation, axes), each(padding, axes), more, strict=True
    ):
        least = 1
        while (least - 1) * s - 2 * p + d * (k - 1) + 1 + extra < 1:
            least += 1
        lengths.append(draw(st.integers(least, max(least, 4 if axes < 3 else 3))))
    settings = {
        "stride": stride,
        "padding": padding,
        "output_padding": tuple(more),
        "dilation": dilation,
        "groups": groups,
    }
    batch, dtype = draw(st.sampled_from([(), (0,), (1,), (3,)])), draw(dtypes)
    x = draw(array((*batch, o, *lengths), dtype))
    weight = draw(array((o, per_group, *kernel), dtype))
    bias = [draw(array((per_group * groups,), dtype))] if draw(st.booleans()) else []
    return [x, weight, *bias], settings


@pytest.mark.parametrize("axes", [1, 2, 3])
@drawn
@given(data=st.data())
def test_transposed_convolution(axes, data):
    inputs, settings = data.draw(transposing(axes))
    ours, theirs = getattr(F, f"conv_transpose{axes}d"), getattr(TF, f"conv_transpose{axes}d")
    check(lambda *a: ours(*a, **settings), lambda *a: theirs(*a, **settings), inputs)


@pytest.mark.parametrize("axes", [1, 2, 3])
@drawn
@given(data=st.data())
def test_the_gradient_to_the_weight_as_an_op_of_its_own(axes, data):
    (x, weight, *_), settings = data.draw(convolving(axes, named_padding=False))
    if x.ndim < axes + 2:
        x = x[None]
    y = F.__dict__[f"conv{axes}d"](x, weight, **settings).data
    g = data.draw(array(y.shape, x.dtype))
    kernel = weight.shape[2:]

    def theirs(x, g):
        w = torch.zeros(weight.shape, dtype=x.dtype, requires_grad=True)
        total = (getattr(TF, f"conv{axes}d")(x, w, **settings) * g).sum()
        return torch.autograd.grad(total, w, create_graph=True)[0]

    check(lambda x, g: ops.convolution_weight(x, g, kernel=kernel, **settings), theirs, [x, g])


LAYERS = [
    lambda n: n.Conv1d(4, 6, 3),
    lambda n: n.Conv1d(4, 6, 4, padding="same", dilation=2, groups=2, bias=False),
    lambda n: n.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2),
    lambda n: n.Conv2d(4, 4, 2, padding="same", groups=4),
    lambda n: n.Conv3d(4, 2, (1, 2, 3), padding=(0, 1, 1)),
    lambda n: n.ConvTranspose1d(4, 6, 3, 2, 1, output_padding=1),
    lambda n: n.ConvTranspose2d(4, 6, (3, 2), (2, 1), 1, groups=2, bias=False, dilation=2),
    lambda n: n.ConvTranspose3d(4, 2, 2, 2),
]


@pytest.mark.parametrize("make", LAYERS)
def test_layers_print_as_pytorchs_and_states_travel_both_ways(make):
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    axes = ours.weight.ndim - 2
    x = np.random.default_rng(1).normal(size=(2, 4, *(7, 6, 5)[:axes])).astype(np.float32)

    def same():
        wanted = theirs(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(ours(Tensor(x)).data, wanted, rtol=1e-5, atol=1e-5)

    ours.load_state_dict(theirs.state_dict())
    same()
    dg.manual_seed(7)
    other = make(nn)
    theirs.load_state_dict({n: torch.tensor(a) for n, a in other.state_arrays().items()})
    ours = other
    same()


@pytest.mark.parametrize("make", LAYERS)
def test_layers_start_as_wide_as_pytorchs(make):
    ours, theirs = make(nn), make(torch.nn)
    for name, p in ours.named_parameters():
        wanted = [make(torch.nn).get_parameter(name).detach().numpy() for _ in range(20)]
        assert p.shape == tuple(theirs.get_parameter(name).shape)
        bound = 1 / np.sqrt(ours.weight[0].size)
        assert np.abs(p.data).max() <= bound
        assert bound * 0.8 < np.abs(wanted).max() <= bound * 1.0001


@pytest.mark.parametrize("size", [(9, 5), (10, 5), (2, 6, 10, 5)])
def test_a_transposed_convolution_to_a_wanted_size(size):
    theirs = torch.nn.ConvTranspose2d(4, 6, 3, stride=(2, 1), padding=1)
    ours = nn.ConvTranspose2d(4, 6, 3, stride=(2, 1), padding=1)
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(1).normal(size=(2, 4, 5, 5)).astype(np.float32)
    wanted = theirs(torch.from_numpy(x), output_size=size).detach().numpy()
    np.testing.assert_allclose(ours(x, output_size=size).data, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("padding", [(2, 1, 1), "same", "valid"])
def test_padding_modes(axes, mode, padding):
    padding = padding if isinstance(padding, str) else padding[:axes]
    settings = {"dilation": (1, 2, 1)[:axes], "padding": padding, "padding_mode": mode}
    make = f"Conv{axes}d"
    ours = getattr(nn, make)(2, 3, (4, 2, 3)[:axes], **settings)
    theirs = getattr(torch.nn, make)(2, 3, (4, 2, 3)[:axes], **settings).double()
    assert repr(ours) == repr(theirs)
    ours.to(np.float64)
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(1).normal(size=(2, 2, *(7, 6, 5)[:axes]))
    check(ours, theirs, [x])
    check(ours, theirs, [x[0]])
