"""Transformer layers and stacks (Vaswani et al. 2017): names, weights and masks are PyTorch's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.device import Device
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import DTypeLike
from distgrad.errors import ShapeError
from distgrad.kinds import FUNCTION, NONE, Count, NonNegative, Probability, Size, either
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.attention import MultiheadAttention
from distgrad.nn.container import ModuleList
from distgrad.nn.dropout import Dropout
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.linear import Linear
from distgrad.nn.make import ParameterDType
from distgrad.nn.module import Module
from distgrad.nn.norm import LayerNorm

Activation = str | Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu}


class _Layer(Module):
    """What the layers of encoder and decoder share."""

    linear1: Linear
    dropout: Dropout
    linear2: Linear
    activation: Callable[[Tensor], Tensor]
    norm_first: bool

    def _feed(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        return y

    def _add(
        self, x: Tensor, norm: Module, dropout: Module, branch: Callable[[Tensor], Tensor]
    ) -> Tensor:
        y: Tensor = x + dropout(branch(norm(x) if self.norm_first else x))
        return y if self.norm_first else norm(y)


class TransformerEncoderLayer(_Layer):
    """Self-attention, then two linear layers, each added to its input and normalised.

    ``norm_first`` normalises the input of each instead. ``activation`` is 'relu', 'gelu' or a
    function. Errors: ShapeError for another name.
    """

    def __init__(
        self,
        d_model: Size,
        nhead: Size,
        dim_feedforward: Count = 2048,
        dropout: Probability = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: NonNegative = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.activation = _activation(activation)

    def forward(
        self,
        src: TensorLike,
        src_mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Map (t, b, d), or (b, t, d) with ``batch_first``, or (t, d); masks as in the attention.

        ``is_causal`` lets each step see itself and those before it, and needs no mask.
        """

        def attend(x: Tensor) -> Tensor:
            return _found(self.self_attn, x, x, src_mask, src_key_padding_mask, is_causal)

        x = self._add(wrap(src), self.norm1, self.dropout1, attend)
        return self._add(x, self.norm2, self.dropout2, self._feed)


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to a memory, two linear layers: each added and normalised.

    The settings are those of ``TransformerEncoderLayer``.
    """

    def __init__(
        self,
        d_model: Size,
        nhead: Size,
        dim_feedforward: Count = 2048,
        dropout: Probability = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: NonNegative = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first)
        self.multihead_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _activation(activation)

    def forward(
        self,
        tgt: TensorLike,
        memory: TensorLike,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Map the target (t, b, d) beside the memory (s, b, d), axes as in the encoder's layer."""
        memory = wrap(memory)

        def attend(x: Tensor) -> Tensor:
            return _found(self.self_attn, x, x, tgt_mask, tgt_key_padding_mask, tgt_is_causal)

        def remember(x: Tensor) -> Tensor:
            padding, is_causal = memory_key_padding_mask, memory_is_causal
            return _found(self.multihead_attn, x, memory, memory_mask, padding, is_causal)

        x = self._add(wrap(tgt), self.norm1, self.dropout1, attend)
        x = self._add(x, self.norm2, self.dropout2, remember)
        return self._add(x, self.norm3, self.dropout3, self._feed)


class TransformerEncoder(Module):
    """``num_layers`` copies of a layer, one after the other, and a norm behind them if given."""

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: Count,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        del enable_nested_tensor, mask_check  # PyTorch's ways to be faster, not to be different
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: TensorLike,
        mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Pass (t, b, d) through all layers, each with the same masks."""
        x = wrap(src)
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, is_causal=bool(is_causal))
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """``num_layers`` copies of a layer, one after the other, and a norm behind them if given."""

    def __init__(
        self, decoder_layer: Module, num_layers: Count, norm: Module | None = None
    ) -> None:
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: TensorLike,
        memory: TensorLike,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Pass the target (t, b, d) through all layers, each beside the memory (s, b, d)."""
        x, memory = wrap(tgt), wrap(memory)
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask,
                memory_mask,
                tgt_key_padding_mask,
                memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder, and a decoder beside its output; all matrices start from Xavier's uniform."""

    def __init__(
        self,
        d_model: Size = 512,
        nhead: Size = 8,
        num_encoder_layers: Count = 6,
        num_decoder_layers: Count = 6,
        dim_feedforward: Count = 2048,
        dropout: Probability = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Annotated[Module | None, either(FUNCTION, NONE)] = None,
        custom_decoder: Annotated[Module | None, either(FUNCTION, NONE)] = None,
        layer_norm_eps: NonNegative = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Device = None,
        dtype: ParameterDType = None,
    ) -> None:
        super().__init__()
        settings: Any = (dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        sizes = (d_model, nhead, dim_feedforward)
        if custom_encoder is None:
            layer: Module = TransformerEncoderLayer(*sizes, *settings)
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias)
            custom_encoder = TransformerEncoder(layer, num_encoder_layers, norm)
        if custom_decoder is None:
            layer = TransformerDecoderLayer(*sizes, *settings)
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias)
            custom_decoder = TransformerDecoder(layer, num_decoder_layers, norm)
        self.encoder, self.decoder = custom_encoder, custom_decoder
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src: TensorLike,
        tgt: TensorLike,
        src_mask: TensorLike | None = None,
        tgt_mask: TensorLike | None = None,
        memory_mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        tgt_key_padding_mask: TensorLike | None = None,
        memory_key_padding_mask: TensorLike | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Map the target (t, b, d) with the source (s, b, d), axes as in the layers."""
        memory = self.encoder(src, src_mask, src_key_padding_mask, is_causal=src_is_causal)
        result: Tensor = self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )
        return result

    @staticmethod
    def generate_square_subsequent_mask(sz: int, dtype: DTypeLike = np.float32) -> Tensor:
        """Return the (sz, sz) mask of what comes later: -inf above the diagonal, else 0."""
        return Tensor(fixed(np.triu(np.full((sz, sz), -np.inf, dtype), 1)))


def _found(
    attention: Module,
    x: Tensor,
    memory: Tensor,
    mask: TensorLike | None,
    padding: TensorLike | None,
    is_causal: bool,
) -> Tensor:
    found: Tensor
    found, _ = attention(
        x, memory, memory, padding, need_weights=False, attn_mask=mask, is_causal=is_causal
    )
    return found


def _copies(layer: Module, count: int) -> ModuleList:
    return ModuleList(copy.deepcopy(layer) for _ in range(count))


def _activation(activation: Activation) -> Callable[[Tensor], Tensor]:
    if not isinstance(activation, str):
        return activation
    if activation not in ACTIVATIONS:
        raise ShapeError(
            f"activation is {' or '.join(map(repr, ACTIVATIONS))} or a function of a Tensor; got "
            f"{activation!r}"
        )
    return ACTIVATIONS[activation]
