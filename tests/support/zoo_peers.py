"""The zoo's models in PyTorch, written out from the layouts' sources, with random weights.

These are torchvision's ``models/resnet.py`` and ``ops/misc.py``, ``transformers``'
``models/gpt2/modeling_gpt2.py`` and ``models/bert/modeling_bert.py``, and of PyTorch's examples and
tutorials ``word_language_model/model.py`` and ``neural_networks_tutorial.py``: their names and
arithmetic, without their other settings.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

from oracle import torch
from torch import nn
from torch.nn import functional as F

# -- torchvision ----------------------------------------------------------------------------------


class _Residual(nn.Module):
    """A block of ``convolutions``, (kernel, outputs, stride) each, beside a shortcut."""

    def __init__(self, inputs: int, convolutions: list[tuple[int, int, int]]) -> None:
        super().__init__()
        width, strides = inputs, 1
        for i, (kernel, outputs, stride) in enumerate(convolutions, 1):
            convolution = nn.Conv2d(width, outputs, kernel, stride, kernel // 2, bias=False)
            setattr(self, f"conv{i}", convolution)
            setattr(self, f"bn{i}", nn.BatchNorm2d(outputs))
            width, strides = outputs, strides * stride
        self.last = len(convolutions)
        self.downsample = None
        if strides != 1 or inputs != width:
            shortcut = nn.Conv2d(inputs, width, 1, strides, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x: Any) -> Any:
        y = x
        for i in range(1, self.last + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = F.relu(y) if i < self.last else y
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self, depth: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        width = 64
        blocks = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3]}[depth]
        for i, count in enumerate(blocks):
            layer = []
            for j in range(count):
                planes, stride = 64 * 2**i, 2 if i and not j else 1
                if depth < 50:
                    shape = [(3, planes, stride), (3, planes, 1)]
                else:
                    shape = [(1, planes, 1), (3, planes, stride), (1, 4 * planes, 1)]
                layer.append(_Residual(width, shape))
                width = shape[-1][1]
            setattr(self, f"layer{i + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
        return self.fc(x.mean((2, 3)))


def mlp(sizes: list[int], norm: bool) -> nn.Sequential:
    """Linear, norm, ReLU and dropout for each layer but the last: torchvision.ops.MLP."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(a, b), *([nn.LayerNorm(b)] if norm else []), nn.ReLU(), nn.Dropout(0)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]), nn.Dropout(0))


# -- Hugging Face ---------------------------------------------------------------------------------


class Conv1D(nn.Module):
    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * 0.2)
        self.bias = nn.Parameter(torch.randn(outputs) * 0.1)

    def forward(self, x: Any) -> Any:
        return x @ self.weight + self.bias


class _GPT2Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.ModuleDict(
            {"c_attn": Conv1D(3 * width, width), "c_proj": Conv1D(width, width)}
        )
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict(
            {"c_fc": Conv1D(4 * width, width), "c_proj": Conv1D(width, 4 * width)}
        )

    def forward(self, x: Any) -> Any:
        b, t, c = x.shape
        parts = self.attn["c_attn"](self.ln_1(x)).split(c, dim=2)
        q, k, v = (p.view(b, t, self.heads, -1).transpose(1, 2) for p in parts)
        scores = q @ k.transpose(2, 3) / math.sqrt(c // self.heads)
        later = torch.ones(t, t, dtype=torch.bool).triu(1)
        weights = scores.masked_fill(later, -math.inf).softmax(-1)
        x = x + self.attn["c_proj"]((weights @ v).transpose(1, 2).reshape(b, t, c))
        inner = self.mlp["c_fc"](self.ln_2(x))
        cubed = inner + 0.044715 * inner**3
        inner = 0.5 * inner * (1 + torch.tanh(math.sqrt(2 / math.pi) * cubed))
        return x + self.mlp["c_proj"](inner)


class GPT2(nn.Module):
    """``GPT2LMHeadModel``."""

    def __init__(self, words: int, positions: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(words, width),
                "wpe": nn.Embedding(positions, width),
                "h": nn.ModuleList(_GPT2Block(width, heads) for _ in range(layers)),
                "ln_f": nn.LayerNorm(width),
            }
        )
        self.lm_head = nn.Linear(width, words, bias=False)
        self.lm_head.weight = self.transformer["wte"].weight

    def forward(self, tokens: Any) -> Any:
        inner = self.transformer
        x = inner["wte"](tokens) + inner["wpe"](torch.arange(tokens.shape[1]))
        for block in inner["h"]:
            x = block(x)
        return self.lm_head(inner["ln_f"](x))


def _linear(inputs: int, outputs: int) -> nn.ModuleDict:
    return nn.ModuleDict({"dense": nn.Linear(inputs, outputs)})


def _normed(inputs: int, outputs: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {"dense": nn.Linear(inputs, outputs), "LayerNorm": nn.LayerNorm(outputs, eps=1e-12)}
    )


class _BertLayer(nn.Module):
    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        parts = {n: nn.Linear(width, width) for n in ("query", "key", "value")}
        self.attention = nn.ModuleDict(
            {"self": nn.ModuleDict(parts), "output": _normed(width, width)}
        )
        self.intermediate = _linear(width, inner)
        self.output = _normed(inner, width)

    def forward(self, x: Any, hidden: Any) -> Any:
        b, t, c = x.shape
        parts = (self.attention["self"][n](x) for n in ("query", "key", "value"))
        q, k, v = (p.view(b, t, self.heads, -1).transpose(1, 2) for p in parts)
        scores = q @ k.transpose(2, 3) / math.sqrt(c // self.heads)
        weights = scores.masked_fill(hidden[:, None, None], -math.inf).softmax(-1)
        y = (weights @ v).transpose(1, 2).reshape(b, t, c)
        out = self.attention["output"]
        x = out["LayerNorm"](out["dense"](y) + x)
        y = F.gelu(self.intermediate["dense"](x))
        return self.output["LayerNorm"](self.output["dense"](y) + x)


class BERT(nn.Module):
    """``BertForMaskedLM``; with ``labels`` ``BertForSequenceClassification``."""

    def __init__(
        self,
        words: int,
        positions: int,
        width: int,
        layers: int,
        heads: int,
        inner: int,
        labels: int | None = None,
    ) -> None:
        super().__init__()
        embeddings = {
            "word_embeddings": nn.Embedding(words, width, padding_idx=0),
            "position_embeddings": nn.Embedding(positions, width),
            "token_type_embeddings": nn.Embedding(2, width),
            "LayerNorm": nn.LayerNorm(width, eps=1e-12),
        }
        encoder = nn.ModuleList(_BertLayer(width, heads, inner) for _ in range(layers))
        self.bert = nn.ModuleDict(
            {
                "embeddings": nn.ModuleDict(embeddings),
                "encoder": nn.ModuleDict({"layer": encoder}),
            }
        )
        self.labels = labels
        if labels is not None:
            self.bert["pooler"] = _linear(width, width)
            self.classifier = nn.Linear(width, labels)
            return
        predictions = nn.Module()
        predictions.bias = nn.Parameter(torch.randn(words))
        predictions.transform = _normed(width, width)
        predictions.decoder = nn.Linear(width, words)
        predictions.decoder.weight = self.bert["embeddings"]["word_embeddings"].weight
        predictions.decoder.bias = predictions.bias
        self.cls = nn.ModuleDict({"predictions": predictions})

    def forward(self, tokens: Any, mask: Any, types: Any) -> Any:
        tables = self.bert["embeddings"]
        x = tables["word_embeddings"](tokens) + tables["token_type_embeddings"](types)
        x = tables["LayerNorm"](x + tables["position_embeddings"].weight[: tokens.shape[1]])
        for layer in self.bert["encoder"]["layer"]:
            x = layer(x, mask == 0)
        if self.labels is not None:
            return self.classifier(torch.tanh(self.bert["pooler"]["dense"](x[:, 0])))
        head = self.cls["predictions"]
        x = head.transform["LayerNorm"](F.gelu(head.transform["dense"](x)))
        return head.decoder(x)


# -- PyTorch's examples and tutorials -------------------------------------------------------------


class RNNModel(nn.Module):
    def __init__(self, kind: str, words: int, ninp: int, nhid: int, tied: bool) -> None:
        super().__init__()
        self.words = words
        self.encoder = nn.Embedding(words, ninp)
        if kind in ("LSTM", "GRU"):
            self.rnn = getattr(nn, kind)(ninp, nhid, 2)
        else:
            self.rnn = nn.RNN(ninp, nhid, 2, nonlinearity=kind.removeprefix("RNN_").lower())
        self.decoder = nn.Linear(nhid, words)
        if tied:
            self.decoder.weight = self.encoder.weight

    def forward(self, words: Any, hidden: Any) -> Any:
        output, hidden = self.rnn(self.encoder(words), hidden)
        return F.log_softmax(self.decoder(output).view(-1, self.words), dim=1), hidden


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(torch.flatten(x, 1)))
        return self.fc3(F.relu(self.fc2(x)))
