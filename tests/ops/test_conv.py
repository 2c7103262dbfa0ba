"""What convolutions compute and refuse, without PyTorch at hand."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, nn, ops
from distgrad.nn import functional as F

pytestmark = pytest.mark.usefixtures("road")
RNG = np.random.default_rng(3)


def normal(*shape):
    return RNG.normal(size=shape)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_transposed_convolution_is_the_adjoint_of_the_convolution(axes):
    x, w = normal(2, 4, *(7, 8, 5)[:axes]), normal(6, 2, *(3, 2, 2)[:axes])
    settings = {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}
    y = F.__dict__[f"conv{axes}d"](x, w, **settings).array
    g = normal(*y.shape)
    back = ops.convolution_transpose(
        g, w, None, size=x.shape[2:], stride=2, padding=1, dilation=2, groups=2
    ).array
    weight = ops.convolution_weight(x, g, kernel=w.shape[2:], **settings).array
    assert back.shape == x.shape
    assert np.vdot(y, g) == pytest.approx(np.vdot(x, back)) == pytest.approx(np.vdot(w, weight))


def test_a_line_is_an_image_of_height_one():
    x, w, b = (normal(*s).astype(np.float32) for s in ((3, 4, 17), (5, 4, 3), (5,)))
    lines = [Tensor(a, requires_grad=True) for a in (x, w, b)]
    images = [Tensor(a, requires_grad=True) for a in (x[:, :, None], w[:, :, None], b)]
    y = F.conv1d(*lines, stride=2, padding=1)
    z = F.conv2d(*images, stride=(1, 2), padding=(0, 1))
    g = normal(*y.shape).astype(np.float32)
    y.backward(g)
    z.backward(g[:, :, None])
    for a, b in zip([y, *(t.grad for t in lines)], [z, *(t.grad for t in images)], strict=True):
        np.testing.assert_array_equal(a.array, b.array.reshape(a.shape))


def test_lines_planes_and_groups_have_a_twin_and_volumes_where_the_library_is(road):
    pytest.importorskip("numba", reason="numba is not installed: there are no twins")
    cases = ((5,), (3,), 1), ((5,), (3,), 4), ((5, 5), (3, 3), 2), ((5, 5, 5), (1, 1, 1), 1)
    for dtype in (np.float32, np.float64):
        for size, kernel, groups in cases:
            x, w = normal(2, 4, *size).astype(dtype), normal(4, 4 // groups, *kernel).astype(dtype)
            y = w.shape[:1] + tuple(n - k + 1 for n, k in zip(size, kernel, strict=True))
            volume, library = len(size) == 3, road == "onednn" and dtype == np.float32
            found = ops.convolution.fused(x, w, None, groups=groups)
            assert (found is None) == (volume and not library)
            found = ops.convolution_transpose.fused(
                normal(2, *y).astype(dtype), w, None, size=size, groups=groups
            )
            assert (found is None) == (volume and not library)


def test_same_padding_of_an_even_kernel_puts_the_odd_zero_at_the_end():
    y = F.conv1d(np.arange(1.0, 4.0).reshape(1, 1, 3), np.ones((1, 1, 2)), padding="same")
    np.testing.assert_array_equal(y.array, [[[3, 5, 3]]])


def test_output_padding_beyond_the_stride_reaches_what_no_window_does():
    x, w = np.ones((1, 1, 2)), np.ones((1, 1, 2))
    y = F.conv_transpose1d(x, w, output_padding=2, dilation=3, padding=1)
    np.testing.assert_array_equal(y.array, [[[1, 0, 1, 1, 0]]])


X, W = np.ones((2, 4, 5, 6)), np.ones((6, 4, 3, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.conv2d(X[0, 0], W), r"takes \(n, c, h, w\) or \(c, h, w\); got .* \(5, 6\)"),
        (lambda: F.conv1d(X[0], W), r"conv1d takes filters \(out, in, l\); got .* \(6, 4, 3, 3\)"),
        (lambda: F.conv2d(X, W, padding="full"), r"numbers, 'valid' or 'same'; got 'full'"),
        (lambda: F.conv2d(X, W, padding="same", stride=2), r"'same' needs a stride of 1; got 2"),
        (lambda: F.conv2d(X, W, stride=(1, 2, 3)), r"stride is .*2 of them.*; got \(1, 2, 3\)"),
        (lambda: F.conv2d(X, W, padding=0.5), r"padding is a whole number .*; got 0\.5"),
        (lambda: F.conv2d(X, W, dilation=3), r"window of 7 \(kernel 3, dilation 3\) does not fit"),
        (lambda: F.conv2d(X, W, groups=4), r"have 4 channels; .* in 4 groups needs 16"),
        (lambda: F.conv_transpose2d(X, W), r"images have 4 channels; .* needs 6"),
        (lambda: F.conv_transpose2d(X, W[:4], groups=3), r"needs 4 \(and groups=3 must divide it"),
        (
            lambda: F.conv_transpose2d(X, W[:4], stride=2, output_padding=(1, 2)),
            r"output_padding \(1, 2\) must be below the stride \(2, 2\) or the dilation \(1, 1\)",
        ),
        (lambda: F.conv_transpose2d(X, W[:4], padding=4), r"leaves nothing: \(5, 6\) would become"),
        (lambda: F.conv_transpose2d(X, W[:4], np.ones(3)), r"cannot reshape array of size 3"),
        (
            lambda: ops.convolution_transpose(X, W[:4], None, size=(6, 8)),
            r"\(6, 8\) has \(4, 6\) windows of \(3, 3\)",
        ),
        (
            lambda: ops.convolution_weight(X, X, kernel=(3, 3)),
            r"have \(3, 4\) windows of \(3, 3\); g has shape \(2, 4, 5, 6\)",
        ),
        (lambda: ops.convolution(X, W[0], None), r"a weight .* of as many axes, 3 to 5"),
        (lambda: nn.Conv1d(4, 6, 3, padding="full"), "axis, or 'same' or 'valid'; got 'full'"),
        (lambda: nn.Conv1d(4, 6, 3, 2, padding="same"), r"needs a stride of 1; got \(2,\)"),
        (lambda: nn.Conv3d(4, 6, (3, 3)), r"kernel_size is .*3 of them.*; got \(3, 3\)"),
        (lambda: nn.Conv2d(4, 6, 3, padding_mode="mirror"), r"zeros, reflect, .*; got 'mirror'"),
        (lambda: nn.ConvTranspose1d(4, 6, 3, groups=4), r"groups=4 must divide in_channels=4 and"),
        (lambda: nn.ConvTranspose1d(4, 6, 3, padding_mode="reflect"), r"pads with numbers of zer"),
        (
            lambda: nn.ConvTranspose2d(4, 6, 3, stride=2)(X, output_size=(11, 15)),
            r"an input of \(5, 6\) can become \[11, 13\] to \[12, 14\]; got output_size=\(11, 15\)",
        ),
    ],
)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "reference"])
def test_bad_input_is_named(call, message, fused):
    with (
        dg.enable_grad() if fused else dg.reference_kernels(),
        pytest.raises(dg.ShapeError, match=message),
    ):
        call()


def test_a_bias_of_another_length_is_named():
    for axes in (1, 2, 3):
        x, w = np.ones((2, 4, *[5] * axes)), np.ones((6, 4, *[3] * axes))
        with pytest.raises(dg.ShapeError, match=r"o is 6 in weight but 3 in bias"):
            F.__dict__[f"conv{axes}d"](x, w, np.ones(3))


def test_settings_that_were_fine_once_are_not_taken_for_numbers_that_equal_them():
    x, w = np.ones((1, 2, 5)), np.ones((3, 2, 3))
    for settings in ({"stride": 1}, {"stride": [1]}, {"stride": (1,)}):
        assert ops.convolution(x, w, None, **settings).shape == (1, 3, 3)
    for _ in range(2):
        with pytest.raises(dg.ShapeError, match=r"stride is a whole number or 1 of them"):
            ops.convolution(x, w, None, stride=1.0)
        with pytest.raises(dg.ShapeError, match=r"a window of 3 .* does not fit in a length of 2"):
            ops.convolution(x[..., :2], w, None)
