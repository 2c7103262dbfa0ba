"""A recommender: embedding bags, pairwise interactions, sparse and dense optimizers, AUC."""

import numpy as np
import torch
import torch.nn as nn
from torch.nn.parameter import Parameter


class DLRM(nn.Module):
    def create_mlp(self, ln, sigmoid_layer):
        layers = nn.ModuleList()
        for i in range(0, ln.size - 1):
            n, m = ln[i], ln[i + 1]
            LL = nn.Linear(int(n), int(m), bias=True)
            mean = 0.0
            W = (
                np.random.RandomState(i)
                .normal(mean, np.sqrt(2 / (m + n)), size=(m, n))
                .astype(np.float32)
            )
            bt = (
                np.random.RandomState(i + 9).normal(mean, np.sqrt(1 / m), size=m).astype(np.float32)
            )
            LL.weight.data = torch.tensor(W, requires_grad=True, dtype=torch.get_default_dtype())
            LL.bias.data = torch.tensor(bt, requires_grad=True, dtype=torch.get_default_dtype())
            layers.append(LL)
            layers.append(nn.Sigmoid() if i == sigmoid_layer else nn.ReLU())
        return torch.nn.Sequential(*layers)

    def __init__(self, m_spa=4, ln_emb=(7, 5, 9), ln_bot=(3, 8, 4), ln_top=(10, 8, 1)):
        super().__init__()
        self.emb_l = nn.ModuleList()
        for n in ln_emb:
            EE = nn.EmbeddingBag(n, m_spa, mode="sum")
            W = np.random.RandomState(n).uniform(-np.sqrt(1 / n), np.sqrt(1 / n), (n, m_spa))
            EE.weight = Parameter(torch.as_tensor(W, dtype=torch.get_default_dtype()))
            self.emb_l.append(EE)
        self.bot_l = self.create_mlp(np.array(ln_bot), -1)
        self.top_l = self.create_mlp(np.array(ln_top), len(ln_top) - 2)

    def apply_emb(self, lS_o, lS_i):
        return [E(lS_i[k], lS_o[k]) for k, E in enumerate(self.emb_l)]

    def interact(self, x, ly):
        (batch_size, d) = x.shape
        T = torch.cat([x] + ly, dim=1).view((batch_size, -1, d))
        Z = torch.bmm(T, torch.transpose(T, 1, 2))
        _, ni, nj = Z.shape
        li = torch.tensor([i for i in range(ni) for j in range(i)])
        lj = torch.tensor([j for i in range(nj) for j in range(i)])
        Zflat = Z[:, li, lj]
        return torch.cat([x] + [Zflat], dim=1)

    def forward(self, dense_x, lS_o, lS_i):
        x = self.bot_l(dense_x)
        z = self.interact(x, self.apply_emb(lS_o, lS_i))
        p = self.top_l(z)
        return torch.clamp(p, min=1e-6, max=1 - 1e-6)


def build():
    return DLRM()


def data(rng):
    X = torch.as_tensor(rng.standard_normal((6, 3)), dtype=torch.get_default_dtype())
    lS_o = [torch.tensor(np.arange(0, 12, 2)) for _ in range(3)]
    lS_i = [torch.LongTensor(rng.integers(0, n, 12)) for n in (7, 5, 9)]
    T = torch.as_tensor(rng.integers(0, 2, (6, 1)), dtype=torch.get_default_dtype())
    return (X, *lS_o, *lS_i, T)


def train(model, data, steps):
    X, lS_o, lS_i, T = data[0], data[1:4], data[4:7], data[7]
    loss_fn = torch.nn.BCELoss(reduction="mean")
    dense = [p for n, p in model.named_parameters() if not n.startswith("emb_l")]
    opts = [
        torch.optim.Adagrad(model.emb_l.parameters(), lr=0.05),
        torch.optim.SGD(dense, lr=0.1, momentum=0.9, nesterov=True),
    ]
    sched = torch.optim.lr_scheduler.LambdaLR(opts[1], lambda i: min(1.0, (i + 1) / 10))
    losses = []
    for _ in range(steps):
        Z = model(X, lS_o, lS_i)
        E = loss_fn(Z, T)
        [o.zero_grad() for o in opts]
        E.backward()
        [o.step() for o in opts]
        sched.step()
        losses.append(E.detach().cpu().numpy().item())
    return losses


def evaluate(model, data):
    X, lS_o, lS_i, T = data[0], data[1:4], data[4:7], data[7]
    with torch.no_grad():
        Z = model(X, lS_o, lS_i)
    S, Tt = Z.detach().cpu().numpy(), T.detach().cpu().numpy()
    order = Z.flatten().argsort(descending=True)
    hits = T.flatten()[order].cumsum(0)
    return [Z, hits, torch.as_tensor(int(np.sum(np.round(S, 0) == Tt)))]
