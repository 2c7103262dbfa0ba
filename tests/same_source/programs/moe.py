"""A mixture of experts: top-k routing, index_add, load-balancing loss, capacity."""

import torch
import torch.nn.functional as F
from torch import nn


class Expert(nn.Module):
    def __init__(self, d, h):
        super().__init__()
        self.w1, self.w2, self.w3 = (
            nn.Linear(d, h, bias=False),
            nn.Linear(h, d, bias=False),
            nn.Linear(d, h, bias=False),
        )

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class MoE(nn.Module):
    def __init__(self, d=12, h=16, n_experts=5, k=2):
        super().__init__()
        self.gate = nn.Linear(d, n_experts, bias=False)
        self.experts = nn.ModuleList(Expert(d, h) for _ in range(n_experts))
        self.n, self.k = n_experts, k
        self.register_buffer("load", torch.zeros(n_experts))

    def forward(self, hidden):
        b, s, d = hidden.shape
        x = hidden.view(-1, d)
        router_logits = self.gate(x)
        routing = F.softmax(router_logits, dim=1, dtype=hidden.dtype)
        weights, selected = torch.topk(routing, self.k, dim=-1)
        weights /= weights.sum(dim=-1, keepdim=True)
        weights = weights.to(hidden.dtype)
        final = torch.zeros((b * s, d), dtype=hidden.dtype, device=hidden.device)
        mask = F.one_hot(selected, num_classes=self.n).permute(2, 1, 0)
        for i in range(self.n):
            idx, top_x = torch.where(mask[i])
            if top_x.shape[0] == 0:
                continue
            current = x[None, top_x].reshape(-1, d)
            out = self.experts[i](current) * weights[top_x, idx, None]
            final.index_add_(0, top_x, out.to(hidden.dtype))
        density = F.one_hot(selected[:, 0], self.n).to(hidden.dtype).mean(0)
        proxy = routing.mean(0)
        with torch.no_grad():
            self.load.mul_(0.9).add_(density.to(self.load.dtype), alpha=0.1)
        aux = (density * proxy).sum() * self.n
        z = torch.logsumexp(router_logits, dim=-1).square().mean()
        return final.reshape(b, s, d), aux, z


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(11, 12)
        self.norm = nn.RMSNorm(12)
        self.moe = MoE()
        self.head = nn.Linear(12, 11, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, x):
        h = self.emb(x)
        out, aux, z = self.moe(self.norm(h))
        return self.head(h + out), aux, z


def build():
    return Model()


def data(rng):
    x = torch.from_numpy(rng.integers(0, 11, (4, 9)))
    return x[:, :-1], x[:, 1:]


def train(model, data, steps):
    x, y = data
    opt = torch.optim.AdamW(model.parameters(), lr=0.01, fused=False)
    losses = []
    for i in range(steps):
        logits, aux, z = model(x)
        ce = F.cross_entropy(logits.transpose(1, 2), y, reduction="none").mean()
        loss = ce + 0.01 * aux + 1e-3 * z
        opt.zero_grad()
        loss.backward()
        for p in model.parameters():
            if p.grad is None:
                print("no gradient", tuple(p.shape))
        opt.step()
        losses.append(loss.item())
    print({k: tuple(v.shape) for k, v in model.moe.named_buffers()})
    return losses


def evaluate(model, data):
    with torch.no_grad():
        logits, _, _ = model(data[0])
        probs = logits[:, -1].softmax(-1)
        sorted_probs, sorted_idx = torch.sort(probs, descending=True)
        cum = torch.cumsum(sorted_probs, -1)
        remove = cum > 0.8
        remove[..., 1:] = remove[..., :-1].clone()
        remove[..., 0] = 0
        remove = remove.scatter(1, sorted_idx, remove)
        kept = logits[:, -1].masked_fill(remove, -float("inf"))
    return [kept, model.moe.load]
