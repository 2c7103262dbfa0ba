"""The models of the examples: a multilayer perceptron, a small convolutional network, a GPT."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import distgrad as dg
from distgrad import Tensor, nn
from distgrad.nn import functional as F


def mlp(inputs: int, classes: int, width: int = 256) -> nn.Module:
    """Two hidden layers of ``width``; images are flattened."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, classes),
    )


def cnn(image: tuple[int, int, int], classes: int, dropout: float = 0.25) -> nn.Module:
    """Two 3x3 convolutions with batch-norm and pooling, then a hidden layer with dropout."""
    channels, height, width = image
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (height // 4) * (width // 4), 128),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(128, classes),
    )


class Block(nn.Module):
    """A transformer block: causal attention, then a two-layer network, each added to its input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attend(self.norm1(x)))
        return x + self.dropout(self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh")))

    def attend(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads)
        q, k, v = np.split(qkv.transpose(2, 0, 3, 1, 4), 3)  # each: 1 b h t d
        y = F.scaled_dot_product_attention(q[0], k[0], v[0], is_causal=True)  # b h t d
        return self.project(y.transpose(0, 2, 1, 3).reshape(b, t, c))


class GPT(nn.Module):
    """GPT-2 (Radford et al. 2019) in nanoGPT's character-model shape: no biases, tied weights.

    Tokens (b, t) to logits (b t, vocabulary).
    """

    def __init__(
        self,
        vocabulary: int,
        context: int,
        layers: int = 4,
        heads: int = 4,
        width: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.context = context
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width, bias=False)
        for name, p in self.named_parameters():
            if p.ndim == 2:
                # Residual paths are summed 2 x layers times: start them smaller (GPT-2).
                residual = name.endswith(("project.weight", "down.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)

    def forward(self, tokens: Any) -> Tensor:
        _, t = tokens.shape
        x = self.dropout(self.tokens(tokens) + self.positions(dg.arange(t)))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return F.linear(x.reshape(-1, x.shape[-1]), self.tokens.weight, None)
