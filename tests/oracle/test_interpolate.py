"""Interpolation, unfold and fold, pixel shuffling beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, torch

from distgrad import Tensor, nn, ops
from distgrad.nn import functional as F
from distgrad.ops.interpolate import linear_taps

TF = torch.nn.functional
OPS = ("resample", "unfold", "fold")
MODES = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "area": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
}


@st.composite
def resizing(draw, mode):
    axes = draw(st.sampled_from(MODES[mode]))
    sides = st.tuples(*[st.integers(1, 6)] * axes)
    settings = {"mode": mode}
    lengths = draw(sides)
    if draw(st.booleans()):
        settings["size"] = draw(sides)
    else:
        factor = st.sampled_from([0.5, 0.7, 1.0, 1.3, 1.5, 2.0, 2.6, 3.0])
        factors = draw(st.tuples(*[factor] * axes))
        lengths = tuple(n if n * f >= 1 else 2 for n, f in zip(lengths, factors, strict=True))
        settings["scale_factor"] = draw(st.sampled_from([factors, max(factors)]))
        settings["recompute_scale_factor"] = draw(st.sampled_from([None, False, True]))
    if mode in {"linear", "bilinear", "bicubic", "trilinear"}:
        settings["align_corners"] = draw(st.sampled_from([None, False, True]))
    if mode in {"bilinear", "bicubic"}:
        settings["antialias"] = draw(st.booleans())
    x = draw(array((draw(st.sampled_from([1, 2, 3])), 2, *lengths), dtypes))
    return x, settings


@pytest.mark.parametrize("mode", MODES)
@drawn
@given(data=st.data())
def test_interpolate(mode, data):
    x, settings = data.draw(resizing(mode))
    check(
        lambda x: F.interpolate(x, **settings),
        lambda x: TF.interpolate(x, **settings),
        [x],
    )


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area", "linear"])
@pytest.mark.parametrize("length", range(1, 14))
def test_interpolate_of_every_size_to_every_size(mode, length):
    x = np.random.default_rng(length).normal(size=(1, 1, length))
    for size in range(1, 30):
        found = F.interpolate(x, size, mode=mode).data
        wanted = TF.interpolate(torch.from_numpy(x), size, mode=mode).numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-14, err_msg=str(size))


@drawn
@given(data=st.data())
def test_unfold_and_fold(data):
    draw = data.draw
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = draw(pairs), draw(pairs), draw(pairs)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    settings = {"kernel_size": kernel, "stride": stride, "dilation": dilation, "padding": padding}
    size = tuple(
        draw(st.integers(max(d * (k - 1) + 1 - 2 * p, 1), 9))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    batch = draw(st.sampled_from([(), (0,), (1,), (3,)]))
    x = draw(array((*batch, 2, *size), dtypes))
    if batch != (0,):  # PyTorch refuses
        check(lambda x: F.unfold(x, **settings), lambda x: TF.unfold(x, **settings), [x])
    columns = np.asarray(F.unfold(x, **settings).data)
    y = draw(array(columns.shape, x.dtype))
    if batch != (0,):
        check(lambda y: F.fold(y, size, **settings), lambda y: TF.fold(y, size, **settings), [y])
    else:
        assert F.fold(y, size, **settings).shape == x.shape


@drawn
@given(data=st.data())
def test_pixel_shuffle_and_back(data):
    r, h, w, c = (data.draw(st.integers(1, 3)) for _ in range(4))
    batch = data.draw(st.sampled_from([(), (0,), (3,), (2, 3)]))
    x = data.draw(array((*batch, c * r * r, h, w), dtypes))
    check(lambda x: F.pixel_shuffle(x, r), lambda x: TF.pixel_shuffle(x, r), [x])
    y = data.draw(array((*batch, c, h * r, w * r), dtypes))
    check(lambda x: F.pixel_unshuffle(x, r), lambda x: TF.pixel_unshuffle(x, r), [y])


@drawn
@given(data=st.data())
def test_resample_is_a_product_with_a_sparse_matrix(data):
    n, size = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    index, weight = linear_taps(n, size, n / size, align_corners=False)
    matrix = np.zeros((size, n))
    np.add.at(matrix, (np.arange(size)[:, None], index), weight)
    x = data.draw(array((2, n, 3), dtypes))
    check(
        lambda x: ops.resample(x, index=index, weight=weight, axis=1),
        lambda x: torch.from_numpy(matrix) @ x,
        [x],
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda n: n.Upsample(scale_factor=2),
        lambda n: n.Upsample(scale_factor=(1.5, 2), recompute_scale_factor=True),
        lambda n: n.Upsample(size=(2, 3), mode="bilinear", align_corners=True),
        lambda n: n.UpsamplingNearest2d(scale_factor=2),
        lambda n: n.UpsamplingBilinear2d(size=3),
        lambda n: n.Unfold((2, 3), padding=1, dilation=2),
        lambda n: n.PixelShuffle(2),
        lambda n: n.PixelUnshuffle(2),
    ],
)
def test_modules_print_and_compute_as_pytorchs(make):
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 6))
    np.testing.assert_allclose(ours(Tensor(x)).data, theirs(torch.from_numpy(x)).numpy())


def test_fold_as_a_module():
    ours, theirs = nn.Fold((4, 5), 2, stride=1), torch.nn.Fold((4, 5), 2, stride=1)
    assert repr(ours) == repr(theirs)
    y = np.random.default_rng(0).normal(size=(2, 8, 12))
    np.testing.assert_allclose(ours(Tensor(y)).data, theirs(torch.from_numpy(y)).numpy())
