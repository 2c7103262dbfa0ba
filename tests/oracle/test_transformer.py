"""Multi-head attention and transformer layers beside PyTorch's: masks, layouts, gradients."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from module_oracle import check_module
from oracle import array, drawn, dtypes, torch

from distgrad import manual_seed, nn


@pytest.fixture(autouse=True, scope="module")
def differentiable_twice():
    """PyTorch's fused attention has no second gradient."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        yield


@st.composite
def masks(draw, dtype, *shapes):
    """Draw a mask or None for each shape, all boolean or all of numbers; key 0 stays seen."""
    kind = draw(st.sampled_from(["none", "boolean", "numbers"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    found = []
    for shape in shapes:
        if kind == "none" or draw(st.booleans()):
            found.append(None)
        elif kind == "boolean":
            mask = rng.random(shape) < 0.4
            mask[..., 0] = False
            found.append(mask)
        else:
            found.append(rng.normal(size=shape).astype(dtype))
    return found


@st.composite
def attentions(draw):
    """Draw settings, how to call it, and its inputs: q, k, v (None: as before), both masks."""
    heads, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    e = heads * width
    same = draw(st.sampled_from(["none", "qk", "kv", "qkv"]))
    own_sizes = same == "none" and draw(st.booleans())
    settings = {
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "add_bias_kv": draw(st.booleans()),
        "add_zero_attn": draw(st.booleans()),
    }
    if own_sizes:
        settings |= {"kdim": draw(st.integers(1, 4)), "vdim": draw(st.integers(1, 4))}
    t, s, b = (draw(st.integers(1, 4)) for _ in range(3))
    s = t if "qk" in same else s
    dtype, batched = draw(dtypes), draw(st.booleans())

    def shape(length, size):
        if not batched:
            return (length, size)
        return (b, length, size) if settings["batch_first"] else (length, b, size)

    sizes = [settings.get(n, e) for n in ("kdim", "vdim")]
    inputs = [draw(array(shape(t, e), dtype)), *(draw(array(shape(s, n), dtype)) for n in sizes)]
    inputs[1] = None if "qk" in same else inputs[1]
    inputs[2] = None if "kv" in same else inputs[2]
    each = draw(st.booleans())
    scores = (((b if batched else 1) * heads), t, s) if each else (t, s)
    inputs += draw(masks(dtype, scores, (b, s) if batched else (s,)))
    call = {
        "need_weights": draw(st.booleans()),
        "average_attn_weights": draw(st.booleans()),
    }
    return (e, heads), settings, call, inputs


@drawn
@given(drawn_attention=attentions())
def test_attention_equals_pytorchs(drawn_attention):
    sizes, settings, how, inputs = drawn_attention

    def call(module, q, k, v, mask, padding):
        k = q if k is None else k
        v = k if v is None else v
        return module(q, k, v, padding, attn_mask=mask, **how)

    ours = nn.MultiheadAttention(*sizes, **settings)
    theirs = torch.nn.MultiheadAttention(*sizes, **settings)
    check_module(ours, theirs, inputs, call)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("extra", [{}, {"add_bias_kv": True, "add_zero_attn": True}])
@pytest.mark.parametrize("padded", [False, True])
def test_is_causal_equals_pytorchs_causal_mask(need_weights, extra, padded):
    ours, theirs = (n.MultiheadAttention(6, 2, **extra) for n in (nn, torch.nn))
    rng = np.random.default_rng(1)
    padding = np.array([[False] * 5, [False, False, True, False, True]]) if padded else None

    def call(module, x, keys, padding):
        mask = None if module is ours else torch.ones(4, 5, dtype=torch.bool).triu(1)
        return module(x, keys, keys, padding, need_weights, mask, is_causal=module is ours)

    check_module(ours, theirs, [rng.normal(size=(n, 2, 6)) for n in (4, 5)] + [padding], call)


@st.composite
def layer_settings(draw):
    heads, dtype = draw(st.integers(1, 2)), draw(dtypes)
    # Norms over two or three numbers magnify what float32 rounds, by up to 1 / √eps each.
    epsilons = [0.1] if dtype == "float32" else [1e-5, 0.1]
    settings = {
        "dim_feedforward": draw(st.integers(1, 5)),
        "dropout": 0.0,
        "activation": draw(st.sampled_from(["relu", "gelu"])),
        "layer_norm_eps": draw(st.sampled_from(epsilons)),
        "batch_first": draw(st.booleans()),
        "norm_first": draw(st.booleans()),
        "bias": draw(st.booleans()),
    }
    return (heads * draw(st.integers(2, 3)), heads), settings, dtype


def _shape(lengths, width, settings, batched):
    b, t = lengths
    if not batched:
        return (t, width)
    return (b, t, width) if settings["batch_first"] else (t, b, width)


@drawn
@given(data=st.data())
def test_encoders_equal_pytorchs(data):
    sizes, settings, dtype = data.draw(layer_settings())
    b, t = (data.draw(st.integers(1, 4)) for _ in range(2))
    count, norm = data.draw(st.integers(0, 2)), data.draw(st.booleans())
    batched = data.draw(st.booleans())

    def make(n):
        layer = n.TransformerEncoderLayer(*sizes, **settings)
        if count == 0:
            return layer
        end = n.LayerNorm(sizes[0], settings["layer_norm_eps"]) if norm else None
        stack = {} if n is nn else {"enable_nested_tensor": False}
        return n.TransformerEncoder(layer, count, end, **stack)

    x = data.draw(array(_shape((b, t), sizes[0], settings, batched), dtype))
    both = data.draw(masks(dtype, (t, t), (b, t) if batched else (t,)))
    check_module(make(nn), make(torch.nn), [x, *both], lambda m, *a: m(*a))


@drawn
@given(data=st.data())
def test_decoders_equal_pytorchs(data):
    sizes, settings, dtype = data.draw(layer_settings())
    b, t, s = (data.draw(st.integers(1, 4)) for _ in range(3))
    count, norm = data.draw(st.integers(0, 2)), data.draw(st.booleans())
    batched = data.draw(st.booleans())

    def make(n):
        layer = n.TransformerDecoderLayer(*sizes, **settings)
        end = n.LayerNorm(sizes[0], settings["layer_norm_eps"]) if norm else None
        return n.TransformerDecoder(layer, count, end) if count else layer

    inputs = [data.draw(array(_shape((b, n), sizes[0], settings, batched), dtype)) for n in (t, s)]
    lead = (b,) if batched else ()
    inputs += data.draw(masks(dtype, (t, t), (t, s), (*lead, t), (*lead, s)))
    check_module(make(nn), make(torch.nn), inputs, lambda m, *a: m(*a))


@pytest.mark.parametrize("norm_first", [False, True])
def test_the_whole_transformer_equals_pytorchs(norm_first):
    settings = {
        "d_model": 6,
        "nhead": 2,
        "num_encoder_layers": 2,
        "num_decoder_layers": 1,
        "dim_feedforward": 5,
        "dropout": 0.0,
        "norm_first": norm_first,
        "activation": "gelu",
    }
    ours = nn.Transformer(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that nested tensors will not be used
        theirs = torch.nn.Transformer(**settings)
    rng = np.random.default_rng(2)
    src, tgt = rng.normal(size=(3, 2, 6)), rng.normal(size=(4, 2, 6))

    def call(module, src, tgt):
        # Not an input: PyTorch sees that it is causal, and takes a way without it.
        later = module.generate_square_subsequent_mask(4, dtype=src.dtype)
        return module(src, tgt, tgt_mask=later)

    check_module(ours, theirs, [src, tgt], call)


@pytest.mark.parametrize("size", [0, 1, 3])
def test_the_subsequent_mask_is_pytorchs(size):
    found = nn.Transformer.generate_square_subsequent_mask(size).data
    expected = torch.nn.Transformer.generate_square_subsequent_mask(size).numpy()
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("settings", [{}, {"kdim": 5, "vdim": 7}])
def test_weights_start_as_spread_as_pytorchs(settings):
    manual_seed(0)
    torch.manual_seed(0)
    ours, theirs = (
        n.MultiheadAttention(256, 2, add_bias_kv=True, **settings) for n in (nn, torch.nn)
    )
    pairs = zip(ours.named_parameters(), theirs.named_parameters(), strict=True)
    for (name, p), (other, q) in pairs:
        assert name == other
        assert p.data.std() == pytest.approx(float(q.detach().std()), rel=0.3)
