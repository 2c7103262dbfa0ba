"""nn.MultiheadAttention and nn.Transformer with padding and causal masks."""

import torch
import torch.nn as nn


def build():
    mha = nn.MultiheadAttention(8, 2, batch_first=True)
    transformer = nn.Transformer(
        d_model=8,
        nhead=2,
        num_encoder_layers=1,
        num_decoder_layers=2,
        dim_feedforward=12,
        dropout=0.0,
        batch_first=True,
        activation="gelu",
    )
    decoder_layer = nn.TransformerDecoderLayer(d_model=8, nhead=4, dim_feedforward=10, dropout=0)
    return mha, transformer, nn.TransformerDecoder(decoder_layer, num_layers=2)


def run(rng, mha, transformer, decoder):
    x = torch.tensor(rng.standard_normal((3, 5, 8)))
    y = torch.tensor(rng.standard_normal((3, 4, 8)))
    lengths = torch.tensor([5, 3, 4])
    padding = torch.arange(5).expand(3, 5) >= lengths.unsqueeze(1)
    out, weights = mha(x, x, x, key_padding_mask=padding)
    causal = torch.triu(torch.full((4, 4), float("-inf")), diagonal=1)
    masked, per_head = mha(y, y, y, attn_mask=causal, average_attn_weights=False)
    alone, none = mha(y, x, x, need_weights=False, attn_mask=torch.zeros(4, 5, dtype=torch.bool))
    tgt_mask = nn.Transformer.generate_square_subsequent_mask(4)
    result = transformer(
        x, y, tgt_mask=tgt_mask, src_key_padding_mask=padding, memory_key_padding_mask=padding
    )
    result.pow(2).mean().backward()
    grads = [p.grad.norm() for p in transformer.parameters()]
    memory = x.transpose(0, 1)
    decoded = decoder(y.transpose(0, 1), memory, tgt_mask=tgt_mask)
    flash = nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=~padding[:, None, :])
    return [out, weights, masked, per_head, alone, none, result, grads, decoded, flash]
