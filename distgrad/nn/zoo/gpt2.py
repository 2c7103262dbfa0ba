"""GPT-2: names, layouts, settings and initial weights are Hugging Face's."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.apart import fixed
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import ShapeError
from distgrad.nn import functional as F
from distgrad.nn import init
from distgrad.nn.container import ModuleList
from distgrad.nn.dropout import Dropout
from distgrad.nn.functional.wrap import wrap
from distgrad.nn.make import constant, empty
from distgrad.nn.module import Module
from distgrad.nn.norm import LayerNorm
from distgrad.nn.sparse import Embedding
from distgrad.nn.zoo.names import renamed_, within
from distgrad.nn.zoo.tied import TiedLinear

# The causal mask, which files of older versions hold in every layer.
_MASK = re.compile(r"(?:transformer\.)?h\.\d+\.attn\.(?:masked_)?bias")
_inside = within("transformer", "wte|wpe|h|ln_f")


class Conv1D(Module):
    """y = x W + b: (…, nx) to (…, nf). W is (nx, nf), the transpose of a ``Linear``'s.

    The name is Hugging Face's, and older than what it does there.
    """

    def __init__(self, nf: int, nx: int, std: float = 0.02) -> None:
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight = init.normal_(empty(nx, nf), std=std)
        self.bias = constant(0, nf)

    def forward(self, x: TensorLike) -> Tensor:
        """Map the last axis."""
        # Not F.linear of the transpose: its gradient would have to be turned back.
        rows = wrap(x)
        y: Tensor = np.matmul(rows.reshape(-1, self.nx), self.weight) + self.bias
        return y.reshape(*rows.shape[:-1], self.nf)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"nf={self.nf}, nx={self.nx}"


class _Sizes(NamedTuple):
    """What all blocks share."""

    width: int
    inner: int
    heads: int
    attn_pdrop: float
    resid_pdrop: float
    eps: float
    std: float
    std_out: float


class _Attention(Module):
    def __init__(self, s: _Sizes) -> None:
        super().__init__()
        self.heads, self.attn_pdrop = s.heads, s.attn_pdrop
        self.c_attn = Conv1D(3 * s.width, s.width, s.std)
        self.c_proj = Conv1D(s.width, s.width, s.std_out)
        self.resid_dropout = Dropout(s.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        qkv = self.c_attn(x).reshape(b, t, 3, self.heads, c // self.heads)
        q, k, v = np.split(qkv.transpose(2, 0, 3, 1, 4), 3)  # each: 1 b h t d
        dropped = self.attn_pdrop if self.training else 0.0
        y = F.scaled_dot_product_attention(q[0], k[0], v[0], dropout_p=dropped, is_causal=True)
        y = self.c_proj(y.transpose(0, 2, 1, 3).reshape(b, t, c))
        result: Tensor = self.resid_dropout(y)
        return result


class _MLP(Module):
    def __init__(self, s: _Sizes) -> None:
        super().__init__()
        self.c_fc = Conv1D(s.inner, s.width, s.std)
        self.c_proj = Conv1D(s.width, s.inner, s.std_out)
        self.dropout = Dropout(s.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.gelu(self.c_fc(x), approximate="tanh")  # "gelu_new"
        result: Tensor = self.dropout(self.c_proj(inner))
        return result


class _Block(Module):
    def __init__(self, s: _Sizes) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(s.width, s.eps)
        self.attn = _Attention(s)
        self.ln_2 = LayerNorm(s.width, s.eps)
        self.mlp = _MLP(s)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        result: Tensor = x + self.mlp(self.ln_2(x))
        return result


class _Transformer(Module):
    """Tokens (b, t) to (b, t, n_embd)."""

    def __init__(
        self, vocab_size: int, n_positions: int, n_layer: int, embd_pdrop: float, s: _Sizes
    ) -> None:
        super().__init__()
        self.wte = Embedding(vocab_size, s.width)
        self.wpe = Embedding(n_positions, s.width)
        for table in (self.wte, self.wpe):
            init.normal_(table.weight, std=s.std)
        self.drop = Dropout(embd_pdrop)
        self.h = ModuleList(_Block(s) for _ in range(n_layer))
        self.ln_f = LayerNorm(s.width, s.eps)

    def forward(self, input_ids: TensorLike) -> Tensor:
        tokens = wrap(input_ids)
        t, longest = tokens.shape[-1], self.wpe.num_embeddings
        if tokens.ndim != 2 or t > longest:
            raise ShapeError(
                f"GPT2 takes tokens (b, t) with t up to n_positions={longest}; got "
                f"{tokens.shape}: cut them, or make the model with more positions"
            )
        x = self.drop(self.wte(tokens) + self.wpe(fixed(np.arange(t))))
        for block in self.h:
            x = block(x)
        result: Tensor = self.ln_f(x)
        return result


class GPT2(Module):
    """GPT-2 (Radford et al. 2019): tokens (b, t) to logits (b, t, vocab_size) of the next ones.

    The settings are GPT-2 small's, 124 million parameters. Names and layouts are those of Hugging
    Face's ``GPT2LMHeadModel``: ``transformer.h.0.attn.c_attn.weight`` is (n_embd, 3 n_embd), and
    ``lm_head.weight`` is ``transformer.wte.weight``. States of ``GPT2Model``, without
    ``transformer.`` and head, are taken, too, and those that hold the causal mask. ``n_inner`` is
    4 n_embd if None. Errors: ShapeError for an ``n_head`` that does not divide ``n_embd``.
    """

    def __init__(
        self,
        vocab_size: int = 50257,
        n_positions: int = 1024,
        n_embd: int = 768,
        n_layer: int = 12,
        n_head: int = 12,
        n_inner: int | None = None,
        resid_pdrop: float = 0.1,
        embd_pdrop: float = 0.1,
        attn_pdrop: float = 0.1,
        layer_norm_epsilon: float = 1e-5,
        initializer_range: float = 0.02,
    ) -> None:
        super().__init__()
        if n_embd % n_head:
            raise ShapeError(f"GPT2: n_head={n_head} must divide n_embd={n_embd}")
        sizes = _Sizes(
            width=n_embd,
            inner=4 * n_embd if n_inner is None else n_inner,
            heads=n_head,
            attn_pdrop=attn_pdrop,
            resid_pdrop=resid_pdrop,
            eps=layer_norm_epsilon,
            std=initializer_range,
            # What is added to the residual path 2 n_layer times starts smaller.
            std_out=initializer_range / math.sqrt(2 * n_layer),
        )
        self.transformer = _Transformer(vocab_size, n_positions, n_layer, embd_pdrop, sizes)
        self.lm_head = TiedLinear(self.transformer.wte.weight)

    def forward(self, input_ids: TensorLike) -> Tensor:
        """Return the logits of the tokens that follow each prefix."""
        logits: Tensor = self.lm_head(self.transformer(input_ids))
        return logits

    def _before_load(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Take names of other versions."""
        renamed_(state_dict, prefix, lambda n: None if _MASK.fullmatch(n) else _inside(n))
