"""Models of language and of sequences in PyTorch: rows of ``one_core.py --more``.

distgrad runs this file too, with its imports changed (distgrad_rows.py).
"""

import torch
from torch import nn
from torch.nn import functional as F


class Bert(nn.Module):
    """An encoder of PyTorch's own layers, with padding."""

    def __init__(self, vocabulary=1000, dim=256, heads=4, depth=4, length=64):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim, padding_idx=0)
        self.positions = nn.Embedding(length, dim)
        layer = nn.TransformerEncoderLayer(
            dim, heads, 4 * dim, dropout=0.0, activation="gelu", batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.head = nn.Linear(dim, vocabulary)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        return self.head(self.encoder(x, src_key_padding_mask=tokens == 0))


def unmasked(model, tokens, labels):
    return F.cross_entropy(model(tokens).flatten(0, 1), labels.flatten(), ignore_index=-100)


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class LlamaBlock(nn.Module):
    """Touvron et al. 2023: rotary positions, grouped queries, SwiGLU."""

    def __init__(self, dim, heads, kv_heads):
        super().__init__()
        self.heads, self.kv_heads, self.width = heads, kv_heads, dim // heads
        self.norm1, self.norm2 = RMSNorm(dim), RMSNorm(dim)
        self.wq = nn.Linear(dim, dim, bias=False)
        self.wk = nn.Linear(dim, kv_heads * self.width, bias=False)
        self.wv = nn.Linear(dim, kv_heads * self.width, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)
        hidden = 8 * dim // 3 // 16 * 16
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)

    def rotate(self, x, cos, sin):
        half = x.shape[-1] // 2
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin

    def forward(self, x, cos, sin):
        b, t, c = x.shape
        y = self.norm1(x)
        q = self.wq(y).view(b, t, self.heads, self.width).transpose(1, 2)
        k = self.wk(y).view(b, t, self.kv_heads, self.width).transpose(1, 2)
        v = self.wv(y).view(b, t, self.kv_heads, self.width).transpose(1, 2)
        q, k = self.rotate(q, cos, sin), self.rotate(k, cos, sin)
        k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
        v = v.repeat_interleave(self.heads // self.kv_heads, dim=1)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.wo(a.transpose(1, 2).reshape(b, t, c))
        y = self.norm2(x)
        return x + self.w2(F.silu(self.w1(y)) * self.w3(y))


class Llama(nn.Module):
    def __init__(self, vocabulary=65, dim=256, depth=4, heads=8, kv_heads=2, length=64):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, dim)
        self.layers = nn.ModuleList([LlamaBlock(dim, heads, kv_heads) for _ in range(depth)])
        self.norm = RMSNorm(dim)
        self.output = nn.Linear(dim, vocabulary, bias=False)
        width = dim // heads
        freqs = 1.0 / 10000 ** (torch.arange(0, width, 2).float() / width)
        angles = torch.outer(torch.arange(length).float(), freqs)
        self.register_buffer("cos", torch.cat([angles, angles], dim=-1).cos(), persistent=False)
        self.register_buffer("sin", torch.cat([angles, angles], dim=-1).sin(), persistent=False)

    def forward(self, tokens):
        x = self.tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return self.output(self.norm(x)).flatten(0, 1)


def predicted(model, x, y):
    return F.cross_entropy(model(x), y.reshape(-1))


class Translator(nn.Module):
    """nn.Transformer, as PyTorch's tutorial uses it."""

    def __init__(self, vocabulary=500, dim=128):
        super().__init__()
        self.src, self.tgt = nn.Embedding(vocabulary, dim), nn.Embedding(vocabulary, dim)
        self.transformer = nn.Transformer(dim, 4, 2, 2, 256, dropout=0.0, batch_first=True)
        self.head = nn.Linear(dim, vocabulary)

    def forward(self, src, tgt):
        mask = nn.Transformer.generate_square_subsequent_mask(tgt.shape[1])
        out = self.transformer(self.src(src) * 11.3, self.tgt(tgt) * 11.3, tgt_mask=mask)
        return self.head(out)


def translated(model, src, tgt):
    return F.cross_entropy(model(src, tgt[:, :-1]).flatten(0, 1), tgt[:, 1:].flatten())


class Seq2Seq(nn.Module):
    """A GRU that reads and a GRU that writes, with additive attention (Bahdanau et al. 2014)."""

    def __init__(self, vocabulary=500, dim=128):
        super().__init__()
        self.src, self.tgt = nn.Embedding(vocabulary, dim), nn.Embedding(vocabulary, dim)
        self.encoder = nn.GRU(dim, dim, batch_first=True)
        self.Wa, self.Ua, self.Va = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, 1)
        self.cell = nn.GRUCell(2 * dim, dim)
        self.out = nn.Linear(dim, vocabulary)

    def forward(self, src, tgt):
        keys, hidden = self.encoder(self.src(src))
        hidden = hidden[0]
        embedded = self.tgt(tgt)
        found = []
        for i in range(tgt.shape[1]):
            scores = self.Va(torch.tanh(self.Wa(hidden).unsqueeze(1) + self.Ua(keys)))
            weights = F.softmax(scores.squeeze(2), dim=-1).unsqueeze(1)
            context = torch.bmm(weights, keys).squeeze(1)
            hidden = self.cell(torch.cat([embedded[:, i], context], dim=1), hidden)
            found.append(self.out(hidden))
        return torch.stack(found, dim=1)


def copied(model, src, tgt):
    return F.cross_entropy(model(src, tgt).flatten(0, 1), tgt.flatten())


class WordLM(nn.Module):
    """PyTorch's word language model: an LSTM, dropout, tied weights, 10,000 words."""

    def __init__(self, ntoken=10_000, dim=200):
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(ntoken, dim)
        self.rnn = nn.LSTM(dim, dim, 2, dropout=0.2)
        self.decoder = nn.Linear(dim, ntoken)
        self.decoder.weight = self.encoder.weight

    def forward(self, tokens):
        output, _ = self.rnn(self.drop(self.encoder(tokens)))
        return F.log_softmax(self.decoder(self.drop(output)).view(-1, 10_000), dim=1)


def likely(model, x, y):
    return F.nll_loss(model(x), y.reshape(-1))


class Speech(nn.Module):
    """Spectrograms to letters: convolutions, a bidirectional LSTM, CTC (Graves et al. 2006)."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 16, (3, 3), stride=(2, 2), padding=(1, 1))
        self.bn = nn.BatchNorm2d(16)
        self.lstm = nn.LSTM(16 * 20, 128, 1, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(256, 29)

    def forward(self, x):
        x = F.hardtanh(self.bn(self.conv(x.unsqueeze(1))), 0, 20)
        x, _ = self.lstm(x.permute(0, 3, 1, 2).flatten(2))
        return F.log_softmax(self.fc(x), dim=-1)


def spelled(model, x, y):
    log_probs = model(x).transpose(0, 1)
    lengths = torch.full((x.shape[0],), log_probs.shape[0], dtype=torch.long)
    letters = torch.full((x.shape[0],), y.shape[1], dtype=torch.long)
    return F.ctc_loss(log_probs, y, lengths, letters)


class WaveNet(nn.Module):
    """van den Oord et al. 2016: dilated causal convolutions with gates."""

    def __init__(self, w=32, layers=8):
        super().__init__()
        self.start = nn.Conv1d(1, w, 1)
        self.filters, self.gates, self.residual, self.skip = (nn.ModuleList() for _ in range(4))
        for _ in range(layers):
            self.filters.append(nn.Conv1d(w, w, 2))
            self.gates.append(nn.Conv1d(w, w, 2))
            self.residual.append(nn.Conv1d(w, w, 1))
            self.skip.append(nn.Conv1d(w, w, 1))
        for i in range(layers):
            self.filters[i].dilation = self.gates[i].dilation = (2**i,)
        self.end = nn.Conv1d(w, 64, 1)

    def forward(self, x):
        x = self.start(x)
        total = 0
        layers = zip(self.filters, self.gates, self.residual, self.skip, strict=True)
        for i, (f, g, residual, skip) in enumerate(layers):
            padded = F.pad(x, (2**i, 0))
            z = torch.tanh(f(padded)) * torch.sigmoid(g(padded))
            total = total + skip(z)
            x = x + residual(z)
        return self.end(F.relu(total))


def classified(model, x, y):
    return F.cross_entropy(model(x), y)


def heartbeat():
    """A classifier of time series: Conv1d, BatchNorm1d, pooling."""
    layers = []
    for a, b in [(2, 32), (32, 64), (64, 64)]:
        layers += [nn.Conv1d(a, b, 7, padding=3), nn.BatchNorm1d(b), nn.ReLU(), nn.MaxPool1d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 10))


MODELS = {
    "bert": (Bert, unmasked),
    "llama": (Llama, predicted),
    "translator": (Translator, translated),
    "seq2seq": (
        Seq2Seq,
        lambda model, x, y: F.cross_entropy(model(x, y).flatten(0, 1), y.flatten()),
    ),
    "word-lm": (WordLM, likely),
    "speech": (Speech, spelled),
    "wavenet": (WaveNet, classified),
    "heartbeat": (heartbeat, classified),
}
