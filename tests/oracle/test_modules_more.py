"""Bags, unpooling, fractional pools, grids, adaptive softmax and more beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from module_oracle import check_module
from oracle import array, assert_close, check, drawn, dtypes, torch

from distgrad import nn
from distgrad.nn import functional as F

OPS = ("grid_sample",)

pytestmark = pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid:UserWarning")

TF = torch.nn.functional


@drawn
@given(data=st.data())
def test_embedding_bags_are_pytorchs(data):
    mode = data.draw(st.sampled_from(["sum", "mean", "max"]))
    padding = data.draw(st.sampled_from([None, 2, -1]))
    table = data.draw(array((5, 3), dtypes))
    settings = {"mode": mode, "padding_idx": padding}
    if data.draw(st.booleans()):
        tokens, offsets = (
            np.array(data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=7)), int),
            None,
        )
        tokens = np.stack([tokens, tokens[::-1]])
    else:
        count = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
        ends = np.cumsum([0, *count])
        tokens = np.random.default_rng(len(count)).integers(0, 5, ends[-1])
        settings["include_last_offset"] = data.draw(st.booleans())
        offsets = ends if settings["include_last_offset"] else ends[:-1]
    weights = mode == "sum" and data.draw(st.booleans())
    extra = [np.random.default_rng(1).normal(size=tokens.shape)] if weights else []
    check(
        lambda w, *s: F.embedding_bag(
            tokens, w, offsets, per_sample_weights=s[0].astype(w.dtype) if s else None, **settings
        ),
        lambda w, *s: TF.embedding_bag(
            torch.from_numpy(tokens),
            w,
            None if offsets is None else torch.from_numpy(offsets),
            per_sample_weights=s[0] if s else None,
            **settings,
        ),
        [table, *extra],
        second=False,
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
@drawn
@given(data=st.data())
def test_max_unpools_are_pytorchs(axes, data):
    kernel = data.draw(st.integers(1, 3))
    stride = data.draw(st.integers(1, kernel))
    padding = data.draw(st.integers(0, kernel // 2))
    x = data.draw(array((2, 3, *(7,) * axes), dtypes, distinct=True))
    lead = 1 if data.draw(st.booleans()) else slice(None)
    x = x[lead]
    settings = (kernel, stride, padding)
    size = x.shape[-axes:] if data.draw(st.booleans()) else None
    exact = (7 + 2 * padding - kernel) % stride == 0
    if size is None and not exact:
        size = x.shape[-axes:]

    def both(functions, t):
        y, where = getattr(functions, f"max_pool{axes}d_with_indices")(t, *settings)
        # Overlapping windows put one element twice, with the same value.
        return getattr(functions, f"max_unpool{axes}d")(y, where, *settings, size)

    if stride == kernel:
        check(lambda t: both(F, t), lambda t: both(TF, t), [x])


@pytest.mark.parametrize("axes", [2, 3])
@drawn
@given(data=st.data())
def test_fractional_pools_are_pytorchs(axes, data):
    lengths = [data.draw(st.integers(4, 7)) for _ in range(axes)]
    kernel = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    # PyTorch's images may have one window more than its volumes.
    most = [n - k + 1 - (axes == 3) for n, k in zip(lengths, kernel, strict=True)]
    size = [data.draw(st.integers(1, n)) for n in most]
    x = data.draw(array((2, 3, *lengths), "float64", distinct=True))
    u = np.random.default_rng(data.draw(st.integers(0, 99))).random((2, 3, axes))
    name = f"fractional_max_pool{axes}d"
    check(
        lambda t: getattr(F, name)(t, kernel, size, _random_samples=u),
        lambda t: getattr(TF, name)(t, kernel, size, _random_samples=torch.from_numpy(u)),
        [x],
        second=False,
    )
    found = getattr(F, name)(x, kernel, size, None, True, u)[1]
    tensors = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(u)
    expected = getattr(TF, name)(tensors[0], kernel, size, None, True, tensors[1])[1]
    np.testing.assert_array_equal(found.data, expected.numpy())


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("space", [2, 3])
def test_grid_sample_is_pytorchs(space, mode, padding, align):
    if space == 3 and mode == "bicubic":
        return
    rng = np.random.default_rng(3)
    for lengths in ((3, 4, 5), (1, 2, 3)):
        x = rng.normal(size=(2, 3, *lengths[:space]))
        grid = rng.uniform(-2.5, 2.5, (2, *(4, 3, 2)[:space], space))
        settings = {"mode": mode, "padding_mode": padding, "align_corners": align}
        check(
            lambda t, g, s=settings: F.grid_sample(t, g, **s),
            lambda t, g, s=settings: TF.grid_sample(t, g, **s),
            [x, grid],
            second=False,
        )


def test_grid_sample_takes_nan_for_the_edge_and_keeps_float32():
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    grid = np.full((1, 1, 1, 2), np.nan, np.float32)
    y = F.grid_sample(x, grid, padding_mode="border")
    expected = TF.grid_sample(
        torch.from_numpy(x), torch.from_numpy(grid), padding_mode="border", align_corners=False
    )
    np.testing.assert_array_equal(y.data, expected.numpy())
    assert y.dtype == np.float32


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (2, 3, 1, 5), (2, 1, 3, 4, 2)])
def test_affine_grids_are_pytorchs(size, align):
    space = len(size) - 2
    theta = np.random.default_rng(0).normal(size=(2, space, space + 1))
    check(
        lambda t: F.affine_grid(t, size, align),
        lambda t: TF.affine_grid(t, size, align_corners=align),
        [theta],
    )


@drawn
@given(data=st.data())
def test_adaptive_softmax_is_pytorchs(data):
    settings = {"div_value": 2.0, "head_bias": data.draw(st.booleans())}
    ours, theirs = (n.AdaptiveLogSoftmaxWithLoss(6, 10, [3, 7], **settings) for n in (nn, torch.nn))
    n = data.draw(st.integers(1, 6))
    x, y = data.draw(array((n, 6), "float64")), np.random.default_rng(n).integers(0, 10, n)
    targets = {True: y, False: torch.from_numpy(y)}

    def call(module, t):
        target = targets[isinstance(module, nn.Module)]
        return tuple(module(t, target)), module.log_prob(t)

    check_module(ours, theirs, [x], call, second=False)
    predicted = theirs.predict(torch.from_numpy(np.ascontiguousarray(x)))
    np.testing.assert_array_equal(ours.predict(x).data, predicted.numpy())


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 2.0, 3.0, float("inf")])
def test_pdist_is_pytorchs(p):
    x = np.random.default_rng(0).normal(size=(5, 3))
    check(lambda t: F.pdist(t, p), lambda t: TF.pdist(t, p), [x], second=False)
    for alike in (np.ones((3, 2)), np.array([[1.0, 2], [2, 1], [2, 2]])):
        check(lambda t: F.pdist(t, p), lambda t: TF.pdist(t, p), [alike], second=False)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_cross_map_lrn_is_pytorchs(size):
    x = np.random.default_rng(size).normal(size=(2, 6, 3, 3))
    settings = (size, 0.3, 0.6, 1.5)
    ours, theirs = nn.CrossMapLRN2d(*settings), torch.nn.CrossMapLRN2d(*settings)
    assert repr(ours) == repr(theirs)
    # PyTorch's own gradient is that of other windows, and fails for large ones.
    assert_close(ours(x).data, theirs(torch.from_numpy(x)).numpy())


def test_the_small_functions_are_pytorchs():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 6, 4, 4))
    check(lambda t: F.channel_shuffle(t, 3), lambda t: TF.channel_shuffle(t, 3), [x])
    shuffled = F.native_channel_shuffle(x, 2).data
    np.testing.assert_array_equal(
        shuffled, TF.native_channel_shuffle(torch.from_numpy(x), 2).numpy()
    )
    line, filters, bias = rng.normal(size=(5, 2, 3)), rng.normal(size=(2, 3, 4)), rng.normal(size=4)
    check(lambda *a: F.conv_tbc(*a, 1), lambda *a: TF.conv_tbc(*a, 1), [line, filters, bias])
    for name in ("upsample", "upsample_nearest", "upsample_bilinear"):
        with pytest.warns(UserWarning, match="deprecated"):
            expected = getattr(TF, name)(torch.from_numpy(x), scale_factor=2)
        assert_close(getattr(F, name)(x, scale_factor=2).data, expected.numpy(), name)
    for name in ("relu_", "leaky_relu_", "elu_", "selu_", "celu_", "hardtanh_"):
        found = getattr(F, name)(np.array(x))
        expected = getattr(TF, name)(torch.tensor(x))
        assert_close(found.data, expected.numpy(), name)
    assert_close(F.threshold_(x, 0.1, 2.0).data, TF.threshold(torch.tensor(x), 0.1, 2.0).numpy())


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_multi_head_attention_of_given_weights_is_pytorchs(separate, bias):
    rng = np.random.default_rng(1)
    e, heads = 4, 2
    sizes = (e, 3, 5) if separate else (e, e, e)
    inputs = [rng.normal(size=(n, 2, w)) for n, w in zip((3, 5, 5), sizes, strict=True)]
    weights = [rng.normal(size=(e, w)) for w in sizes] if separate else [rng.normal(size=(12, 4))]
    out = [rng.normal(size=(e, e)), *([rng.normal(size=12), rng.normal(size=e)] if bias else [])]

    def call(functions, q, k, v, *rest):
        given = dict(zip("qkv", rest, strict=False)) if separate else {}
        rest = rest[len(weights) :]
        whole = None if separate else call.whole
        in_bias, out_bias = (rest[1], rest[2]) if bias else (None, None)
        separated = {f"{n}_proj_weight": w for n, w in given.items()}
        return functions.multi_head_attention_forward(
            q, k, v, e, heads, whole, in_bias, None, None, True, 0.0, rest[0], out_bias,
            use_separate_proj_weight=separate, **separated,
        )  # fmt: skip

    def run(functions):
        def inner(q, k, v, *rest):
            call.whole = None if separate else rest[0]
            return call(functions, q, k, v, *rest)

        return inner

    for part in (0, 1):
        check(
            lambda *a, p=part: run(F)(*a)[p],
            lambda *a, p=part: run(TF)(*a)[p],
            [*inputs, *weights, *out],
            second=False,
        )
