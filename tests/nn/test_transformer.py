"""Attention and transformer layers alone: what is seen, dropout, copies, what is refused."""

import numpy as np
import pytest

from distgrad import Tensor, manual_seed, nn, reference_kernels
from distgrad.errors import ShapeError


def draw(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def test_a_causal_step_does_not_see_what_comes_later():
    layer, x = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0), draw(5, 2, 6)
    later = Tensor(np.concatenate([x.array[:-1], x.array[-1:] + 1]))
    with reference_kernels():
        y, changed = layer(x, is_causal=True).array, layer(later, is_causal=True).array
    np.testing.assert_array_equal(y[:4], changed[:4])
    assert (y[4] != changed[4]).all()


def test_is_causal_needs_no_mask_and_agrees_with_one():
    attention, x = nn.MultiheadAttention(6, 2), draw(5, 2, 6)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    for need_weights in (True, False):
        masked = attention(x, x, x, need_weights=need_weights, attn_mask=mask)[0].array
        for given in (None, mask):
            found = attention(x, x, x, None, need_weights, given, is_causal=True)[0].array
            np.testing.assert_allclose(found, masked, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_query_that_sees_no_key_finds_zeros(need_weights):
    attention, x = nn.MultiheadAttention(6, 2), draw(3, 2, 6)
    attention.out_proj.bias.array[...] = 7
    mask = np.zeros((3, 3), bool)
    mask[1] = True
    y, weights = attention(x, x, x, need_weights=need_weights, attn_mask=mask)
    np.testing.assert_array_equal(y.array[1], 7)
    assert (y.array[[0, 2]] != 7).all()
    assert weights is None or weights.array.sum(-1).round(4).tolist() == [[1, 0, 1]] * 2
    y.sum().backward()
    assert all(np.isfinite(p.grad.array).all() for p in attention.parameters())


def test_weights_come_for_each_head_or_as_their_mean():
    attention, x = nn.MultiheadAttention(6, 3, batch_first=True), draw(2, 4, 6)
    each = attention(x, x, x, average_attn_weights=False)[1].array
    mean = attention(x, x, x)[1].array
    assert each.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(each.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(mean, each.mean(1), rtol=1e-6)


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_drops_weights_in_training_only(need_weights):
    attention, x = nn.MultiheadAttention(6, 2, dropout=0.5), draw(5, 2, 6)
    plain = nn.MultiheadAttention(6, 2)
    plain.load_state_dict(attention.state_dict())

    def run(module):
        manual_seed(3)
        return module(x, x, x, need_weights=need_weights)[0].array

    np.testing.assert_array_equal(run(attention), run(attention))
    assert (run(attention) != run(plain)).any()
    np.testing.assert_array_equal(run(attention.eval()), run(plain))


@pytest.mark.parametrize("kind", [nn.TransformerEncoderLayer, nn.TransformerDecoderLayer])
def test_layers_draw_the_same_masks_again_at_the_same_position(kind):
    layer, x = kind(6, 2, 8, dropout=0.5), draw(5, 2, 6)
    memory = [draw(4, 2, 6, seed=1)] if kind is nn.TransformerDecoderLayer else []

    def twice():
        manual_seed(4)
        return [layer(x, *memory).array for _ in range(2)]

    (first, second), again = twice(), twice()
    assert (first != second).any()
    np.testing.assert_array_equal([first, second], again)
    layer.eval()
    first, second = twice()
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("p", ["dropout", "dropout1", "dropout2", "dropout3"])
def test_each_dropout_of_a_decoder_layer_acts(p):
    layer, x, memory = nn.TransformerDecoderLayer(6, 2, 8, 0.0), draw(5, 2, 6), draw(4, 2, 6)
    plain = layer(x, memory).array
    getattr(layer, p).p = 0.5
    assert (layer(x, memory).array != plain).any()


def test_a_stack_copies_its_layer():
    layer = nn.TransformerEncoderLayer(6, 2, 8)
    stack = nn.TransformerEncoder(layer, 3, nn.LayerNorm(6))
    assert len(list(stack.parameters())) == 3 * len(list(layer.parameters())) + 2
    layer.linear1.weight.array[...] = 9
    stack.layers[0].linear1.weight.array[...] = 8
    assert not np.isin(stack.layers[1].linear1.weight.array, [8, 9]).any()


def test_a_transformer_takes_encoders_of_ones_own():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8), 1)
    model = nn.Transformer(6, 2, 1, 1, 8, custom_encoder=encoder)
    assert model.encoder is encoder
    bound = np.sqrt(6 / (8 + 6))
    largest = np.abs(encoder.layers[0].linear1.weight.array).max()
    assert bound * 0.8 < largest <= bound  # Xavier's, not Linear's own 1 / √6


def test_activations_go_by_name_or_function():
    x = draw(3, 2, 6)
    named = nn.TransformerEncoderLayer(6, 2, 8, 0.0, "gelu")
    given = nn.TransformerEncoderLayer(6, 2, 8, 0.0, nn.GELU())
    given.load_state_dict(named.state_dict())
    np.testing.assert_array_equal(named(x).array, given(x).array)
    with pytest.raises(ShapeError, match=r"activation is 'relu' or 'gelu' or a function .*'selu'"):
        nn.TransformerEncoderLayer(6, 2, 8, activation="selu")


@pytest.mark.parametrize("heads", [4, 7])
def test_heads_that_do_not_divide_are_refused(heads):
    with pytest.raises(ShapeError, match=f"num_heads={heads} must divide embed_dim=6"):
        nn.MultiheadAttention(6, heads)


def test_dropout_that_is_no_probability_is_refused():
    with pytest.raises(ShapeError, match=r"MultiheadAttention: dropout is a prob.*; got -1"):
        nn.MultiheadAttention(6, 2, dropout=-1)


@pytest.mark.parametrize(
    "shapes",
    [
        [(5, 2, 7), (4, 2, 6), (4, 2, 6)],  # features
        [(5, 2, 6), (4, 2, 6), (3, 2, 6)],  # keys and values differ in number
        [(5, 2, 6), (4, 3, 6), (4, 3, 6)],  # batches
        [(5, 6), (4, 2, 6), (4, 2, 6)],  # one without b
        [(6,), (6,), (6,)],
    ],
)
def test_queries_keys_and_values_that_do_not_fit_are_refused(shapes):
    message = r"expects query \(t, b, 6\), key \(s, b, 6\) and value \(s, b, 6\).* got \("
    with pytest.raises(ShapeError, match=message):
        nn.MultiheadAttention(6, 2)(*(draw(*s) for s in shapes))


def test_masks_of_another_shape_or_kind_are_refused():
    attention, x, y = nn.MultiheadAttention(6, 3), draw(5, 2, 6), draw(4, 2, 6)
    for shape in [(4, 5), (2, 5, 4), (5,)]:
        with pytest.raises(
            ShapeError, match=r"attn_mask has shape .*, expected \(5, 4\) or \(6, 5, 4\)"
        ):
            attention(x, y, y, attn_mask=np.zeros(shape, bool))
    with pytest.raises(ShapeError, match=r"key_padding_mask has shape \(4, 2\), expected \(2, 4\)"):
        attention(x, y, y, np.zeros((4, 2), bool))
    with pytest.raises(ShapeError, match=r"expected \(4,\)"):
        attention(x[:, 0], y[:, 0], y[:, 0], np.zeros((1, 4), bool))
    with pytest.raises(ShapeError, match=r"attn_mask is boolean .* or floating point .*int64"):
        attention(x, y, y, attn_mask=np.zeros((5, 4), np.int64))
