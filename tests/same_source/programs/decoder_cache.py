"""A decoder with rotary positions, grouped queries and a cache; greedy, beam and nucleus search."""

import math
from dataclasses import dataclass
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Args:
    dim: int = 16
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: Optional[int] = 2
    vocab: int = 13
    max_len: int = 16
    theta: float = 10000.0


def precompute_freqs_cis(dim, end, theta):
    freqs = 1.0 / (theta ** (torch.arange(0, dim, 2)[: (dim // 2)].float() / dim))
    t = torch.arange(end, device=freqs.device)
    freqs = torch.outer(t, freqs).to(torch.get_default_dtype())
    return torch.polar(torch.ones_like(freqs), freqs)


def apply_rotary(xq: Tensor, xk: Tensor, freqs_cis: Tensor) -> tuple[Tensor, Tensor]:
    xq_ = torch.view_as_complex(xq.reshape(*xq.shape[:-1], -1, 2))
    xk_ = torch.view_as_complex(xk.reshape(*xk.shape[:-1], -1, 2))
    freqs_cis = freqs_cis.view([d if i in (1, 3) else 1 for i, d in enumerate(xq_.shape)])
    xq_out = torch.view_as_real(xq_ * freqs_cis).flatten(3)
    xk_out = torch.view_as_real(xk_ * freqs_cis).flatten(3)
    return xq_out.type_as(xq), xk_out.type_as(xk)


def repeat_kv(x, n_rep):
    bs, slen, n_kv_heads, head_dim = x.shape
    if n_rep == 1:
        return x
    return (
        x[:, :, :, None, :]
        .expand(bs, slen, n_kv_heads, n_rep, head_dim)
        .reshape(bs, slen, n_kv_heads * n_rep, head_dim)
    )


class Attention(nn.Module):
    def __init__(self, a: Args):
        super().__init__()
        self.n_kv = a.n_heads if a.n_kv_heads is None else a.n_kv_heads
        self.h, self.hd = a.n_heads, a.dim // a.n_heads
        self.wq = nn.Linear(a.dim, self.h * self.hd, bias=False)
        self.wk = nn.Linear(a.dim, self.n_kv * self.hd, bias=False)
        self.wv = nn.Linear(a.dim, self.n_kv * self.hd, bias=False)
        self.wo = nn.Linear(self.h * self.hd, a.dim, bias=False)
        self.cache_k: Optional[Tensor] = None
        self.cache_v = None
        self.max_len = a.max_len

    def forward(self, x, start_pos, freqs_cis, mask):
        b, t, _ = x.shape
        xq, xk, xv = self.wq(x), self.wk(x), self.wv(x)
        xq = xq.view(b, t, self.h, self.hd)
        xk = xk.view(b, t, self.n_kv, self.hd)
        xv = xv.view(b, t, self.n_kv, self.hd)
        xq, xk = apply_rotary(xq, xk, freqs_cis=freqs_cis)
        if not self.training:
            if self.cache_k is None or self.cache_k.size(0) != b:
                self.cache_k = torch.zeros((b, self.max_len, self.n_kv, self.hd)).to(xk)
                self.cache_v = torch.zeros((b, self.max_len, self.n_kv, self.hd)).to(xv)
            self.cache_k[:b, start_pos : start_pos + t] = xk
            self.cache_v[:b, start_pos : start_pos + t] = xv
            xk, xv = self.cache_k[:b, : start_pos + t], self.cache_v[:b, : start_pos + t]
        keys = repeat_kv(xk, self.h // self.n_kv).transpose(1, 2)
        values = repeat_kv(xv, self.h // self.n_kv).transpose(1, 2)
        xq = xq.transpose(1, 2)
        scores = torch.matmul(xq, keys.transpose(2, 3)) / math.sqrt(self.hd)
        if mask is not None:
            scores = scores + mask
        scores = F.softmax(scores, dim=-1).type_as(xq)
        return self.wo(torch.matmul(scores, values).transpose(1, 2).contiguous().view(b, t, -1))


class RMSNorm(torch.nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def _norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def forward(self, x):
        return self._norm(x).type_as(x) * self.weight


class Decoder(nn.Module):
    def __init__(self, a: Args):
        super().__init__()
        self.a = a
        self.tok = nn.Embedding(a.vocab, a.dim)
        self.layers = torch.nn.ModuleList()
        for i in range(a.n_layers):
            self.layers.append(
                nn.ModuleDict(
                    {
                        "att": Attention(a),
                        "n1": RMSNorm(a.dim),
                        "n2": RMSNorm(a.dim),
                        "ff": nn.Sequential(nn.Linear(a.dim, 32), nn.SiLU(), nn.Linear(32, a.dim)),
                    }
                )
            )
        self.norm = RMSNorm(a.dim)
        self.out = nn.Linear(a.dim, a.vocab, bias=False)
        self.freqs_cis = precompute_freqs_cis(a.dim // a.n_heads, a.max_len * 2, a.theta)

    def forward(self, tokens: torch.Tensor, start_pos: int = 0):
        _b, t = tokens.shape
        h = self.tok(tokens)
        freqs = self.freqs_cis[start_pos : start_pos + t]
        mask = None
        if t > 1:
            mask = torch.full((t, t), float("-inf"), device=tokens.device)
            mask = torch.triu(mask, diagonal=1)
            mask = torch.hstack([torch.zeros((t, start_pos)), mask]).type_as(h)
        for layer in self.layers:
            h = h + layer["att"](layer["n1"](h), start_pos, freqs, mask)
            h = h + layer["ff"](layer["n2"](h))
        return self.out(self.norm(h))


def build():
    return Decoder(Args())


def data(rng):
    return torch.from_numpy(rng.integers(0, 13, (4, 10)))


def train(model, data, steps):
    model.train()
    opt = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.1)
    losses = []
    for step in range(steps):
        logits = model(data[:, :-1])
        loss = F.cross_entropy(
            logits.reshape(-1, logits.size(-1)), data[:, 1:].reshape(-1), ignore_index=-1
        )
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


@torch.inference_mode()
def evaluate(model, data):
    model.eval()
    prompt = data[:, :4]
    full = model(prompt, 0)
    tokens = prompt.clone()
    prev = 0
    for cur in range(4, 12):
        logits = model.forward(tokens[:, prev:cur], prev)
        nxt = torch.argmax(logits[:, -1], dim=-1)
        tokens = torch.cat((tokens, nxt[:, None]), dim=1)
        prev = cur
    # beams of one prompt
    for layer in model.layers:
        layer["att"].cache_k = None
    beam = prompt[:1].tile(3, 1)
    scores = torch.tensor([0.0, -1e9, -1e9])
    for i in range(4):
        for layer in model.layers:
            layer["att"].cache_k = None
        logp = model(beam, 0)[:, -1].log_softmax(-1)
        total = scores.unsqueeze(1) + logp
        scores, idx = total.view(-1).topk(3)
        beam_id, tok = torch.div(idx, 13, rounding_mode="floor"), idx % 13
        beam = torch.cat([beam.index_select(0, beam_id), tok.unsqueeze(-1)], dim=-1)
    return [full, tokens, beam, scores]


def sample(model, data):
    model.eval()
    with torch.no_grad():
        for layer in model.layers:
            layer["att"].cache_k = None
        logits = model(data[:, :4])[:, -1] / 0.8
        v, _ = torch.topk(logits, min(5, logits.size(-1)))
        logits[logits < v[:, [-1]]] = -float("Inf")
        probs = torch.softmax(logits, dim=-1)
        q = torch.empty_like(probs).exponential_(1)
        a = torch.argmax(probs / q, dim=-1, keepdim=True).to(dtype=torch.int)
        return torch.cat([a, torch.multinomial(probs, num_samples=2)], dim=1)
