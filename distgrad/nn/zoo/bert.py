"""BERT: names, layouts, settings and initial weights are Hugging Face's."""

from __future__ import annotations

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
from distgrad.nn.functional.wrap import optional, wrap
from distgrad.nn.linear import Linear
from distgrad.nn.make import constant
from distgrad.nn.module import Module
from distgrad.nn.norm import LayerNorm
from distgrad.nn.sparse import Embedding
from distgrad.nn.zoo.names import renamed_, within
from distgrad.nn.zoo.tied import TiedLinear

_inside = within("bert", "embeddings|encoder|pooler")


class _Sizes(NamedTuple):
    """What all layers share."""

    width: int
    heads: int
    inner: int
    dropout: float
    attention_dropout: float
    eps: float


class _Embeddings(Module):
    def __init__(self, words: int, positions: int, types: int, padding: int, s: _Sizes) -> None:
        super().__init__()
        self.word_embeddings = Embedding(words, s.width, padding_idx=padding)
        self.position_embeddings = Embedding(positions, s.width)
        self.token_type_embeddings = Embedding(types, s.width)
        self.LayerNorm = LayerNorm(s.width, s.eps)
        self.dropout = Dropout(s.dropout)

    def forward(self, tokens: Tensor, types: Tensor | None) -> Tensor:
        t = tokens.shape[1]
        if types is None:
            types = Tensor(fixed(np.zeros((1, t), np.int64)))
        places = self.position_embeddings(fixed(np.arange(t)))
        x = self.word_embeddings(tokens) + self.token_type_embeddings(types) + places
        result: Tensor = self.dropout(self.LayerNorm(x))
        return result


class _SelfAttention(Module):
    def __init__(self, s: _Sizes) -> None:
        super().__init__()
        self.heads, self.dropped = s.heads, s.attention_dropout
        self.query = Linear(s.width, s.width)
        self.key = Linear(s.width, s.width)
        self.value = Linear(s.width, s.width)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        b, t, c = x.shape

        def split(y: Tensor) -> Tensor:
            return y.reshape(b, t, self.heads, c // self.heads).transpose(0, 2, 1, 3)  # b h t d

        dropped = self.dropped if self.training else 0.0
        q, k, v = split(self.query(x)), split(self.key(x)), split(self.value(x))
        y = F.scaled_dot_product_attention(q, k, v, seen, dropped)
        return y.transpose(0, 2, 1, 3).reshape(b, t, c)


class _Output(Module):
    """A layer whose result is dropped out, added to the input of its branch, and normalised."""

    def __init__(self, inner: int, s: _Sizes) -> None:
        super().__init__()
        self.dense = Linear(inner, s.width)
        self.LayerNorm = LayerNorm(s.width, s.eps)
        self.dropout = Dropout(s.dropout)

    def forward(self, inner: Tensor, x: Tensor) -> Tensor:
        result: Tensor = self.LayerNorm(self.dropout(self.dense(inner)) + x)
        return result


class _Attention(Module):
    def __init__(self, s: _Sizes) -> None:
        super().__init__()
        self.self = _SelfAttention(s)
        self.output = _Output(s.width, s)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        result: Tensor = self.output(self.self(x, seen), x)
        return result


class _Dense(Module):
    """One layer under the name ``dense``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense = Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dense(x)
        return result


class _Layer(Module):
    def __init__(self, s: _Sizes) -> None:
        super().__init__()
        self.attention = _Attention(s)
        self.intermediate = _Dense(s.width, s.inner)
        self.output = _Output(s.inner, s)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        x = self.attention(x, seen)
        result: Tensor = self.output(F.gelu(self.intermediate(x)), x)
        return result


class _Encoder(Module):
    def __init__(self, layers: int, s: _Sizes) -> None:
        super().__init__()
        self.layer = ModuleList(_Layer(s) for _ in range(layers))

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        for layer in self.layer:
            x = layer(x, seen)
        return x


class _Bert(Module):
    """Tokens (b, t) to (b, t, hidden_size)."""

    def __init__(self, embeddings: _Embeddings, layers: int, s: _Sizes, pools: bool) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.encoder = _Encoder(layers, s)
        self.pooler: Any = _Dense(s.width, s.width) if pools else None

    def forward(
        self,
        input_ids: TensorLike,
        attention_mask: TensorLike | None = None,
        token_type_ids: TensorLike | None = None,
    ) -> Tensor:
        tokens = wrap(input_ids)
        longest = self.embeddings.position_embeddings.num_embeddings
        if tokens.ndim != 2 or tokens.shape[1] > longest:
            raise ShapeError(
                f"BERT takes tokens (b, t) with t up to max_position_embeddings={longest}; got "
                f"{tokens.shape}: cut them, or make the model with more positions"
            )
        mask = optional(attention_mask)
        seen = None if mask is None else (mask != 0)[:, None, None, :]  # b h t s
        x = self.embeddings(tokens, optional(token_type_ids))
        result: Tensor = self.encoder(x, seen)
        return result


class _Transform(Module):
    def __init__(self, s: _Sizes) -> None:
        super().__init__()
        self.dense = Linear(s.width, s.width)
        self.LayerNorm = LayerNorm(s.width, s.eps)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.LayerNorm(F.gelu(self.dense(x)))
        return result


class _Predictions(Module):
    """Scores of the words, by their own embeddings."""

    def __init__(self, words: Embedding, s: _Sizes) -> None:
        super().__init__()
        self.bias = constant(0, words.num_embeddings)
        self.transform = _Transform(s)
        self.decoder = TiedLinear(words.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.decoder(self.transform(x))
        return scores


class _Head(Module):
    def __init__(self, words: Embedding, s: _Sizes) -> None:
        super().__init__()
        self.predictions = _Predictions(words, s)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.predictions(x)
        return scores


class BERT(Module):
    """BERT (Devlin et al. 2019): tokens (b, t) to scores of the words (b, t, vocab_size).

    With ``num_labels`` it sorts texts instead: scores (b, num_labels), from what stands at the
    first token. The settings are BERT base's, 110 million parameters. Names and layouts are those
    of Hugging Face's ``BertForMaskedLM`` (whose ``cls.predictions.decoder.weight`` is
    ``bert.embeddings.word_embeddings.weight``), with ``num_labels`` of
    ``BertForSequenceClassification``. States of ``BertModel``, without ``bert.``, and older files'
    names of norms (gamma, beta) are taken, too. Row ``pad_token_id`` of the embeddings gets no
    gradient where it is read. Errors: ShapeError for ``num_attention_heads`` that do not divide
    ``hidden_size``.
    """

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        hidden_dropout_prob: float = 0.1,
        attention_probs_dropout_prob: float = 0.1,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 2,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-12,
        pad_token_id: int = 0,
        num_labels: int | None = None,
    ) -> None:
        super().__init__()
        if hidden_size % num_attention_heads:
            raise ShapeError(
                f"BERT: num_attention_heads={num_attention_heads} must divide "
                f"hidden_size={hidden_size}"
            )
        sizes = _Sizes(
            width=hidden_size,
            heads=num_attention_heads,
            inner=intermediate_size,
            dropout=hidden_dropout_prob,
            attention_dropout=attention_probs_dropout_prob,
            eps=layer_norm_eps,
        )
        embeddings = _Embeddings(
            vocab_size, max_position_embeddings, type_vocab_size, pad_token_id, sizes
        )
        self.num_labels = num_labels
        self.bert = _Bert(embeddings, num_hidden_layers, sizes, pools=num_labels is not None)
        if num_labels is None:
            self.cls = _Head(embeddings.word_embeddings, sizes)
        else:
            self.dropout = Dropout(hidden_dropout_prob)
            self.classifier = Linear(hidden_size, num_labels)
        for m in self.modules():
            if isinstance(m, Linear | Embedding):
                init.normal_(m.weight, std=initializer_range)
            if isinstance(m, Linear) and m.bias is not None:
                init.zeros_(m.bias)
        embeddings.word_embeddings.weight.array[pad_token_id] = 0

    def forward(
        self,
        input_ids: TensorLike,
        attention_mask: TensorLike | None = None,
        token_type_ids: TensorLike | None = None,
    ) -> Tensor:
        """Return scores; ``attention_mask`` (b, t) is 0 for padding, types (b, t) are 0 or 1."""
        x = self.bert(input_ids, attention_mask, token_type_ids)
        if self.num_labels is None:
            scores: Tensor = self.cls(x)
        else:
            pooled = np.tanh(self.bert.pooler(x[:, 0]))
            scores = self.classifier(self.dropout(pooled))
        return scores

    def _before_load(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Take names of other versions."""
        renamed_(state_dict, prefix, _todays)


def _todays(name: str) -> str | None:
    """Return the name that ``name`` has today; None for what is not a weight."""
    if name.endswith("embeddings.position_ids"):
        return None
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    return _inside(re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name))
