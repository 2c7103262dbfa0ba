"""Recommending with embeddings: biases, a dot product, weight decay, nearest items."""

import torch
import torch.nn as nn


class MatrixFactorization(nn.Module):
    def __init__(self, n_users, n_items, n_factors=5):
        super().__init__()
        self.user_factors = nn.Embedding(n_users, n_factors)
        self.item_factors = nn.Embedding(n_items, n_factors)
        self.user_biases = nn.Embedding(n_users, 1)
        self.item_biases = nn.Embedding(n_items, 1)
        self.user_factors.weight.data.uniform_(-0.05, 0.05)
        self.item_factors.weight.data.uniform_(-0.05, 0.05)
        self.user_biases.weight.data.zero_()
        self.item_biases.weight.data.zero_()

    def forward(self, user, item):
        pred = (self.user_factors(user) * self.item_factors(item)).sum(1, keepdim=True)
        pred = pred + self.user_biases(user) + self.item_biases(item)
        return pred.squeeze()


def build():
    return MatrixFactorization(9, 11)


def run(rng, model):
    users = torch.LongTensor(rng.integers(0, 9, 60))
    items = torch.LongTensor(rng.integers(0, 11, 60))
    ratings = torch.FloatTensor(rng.integers(1, 6, 60).astype("float32")).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, weight_decay=1e-5)
    loss_fn = nn.MSELoss()
    losses = []
    for _ in range(10):
        for i in torch.arange(0, 60, 20):
            u, v, r = users[i : i + 20], items[i : i + 20], ratings[i : i + 20]
            optimizer.zero_grad()
            loss = loss_fn(model(u, v), r)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    with torch.no_grad():
        scores = model.user_factors.weight @ model.item_factors.weight.t()
        scores += model.user_biases.weight + model.item_biases.weight.T
        best = scores.argsort(dim=1, descending=True)[:, :3]
        item = model.item_factors(torch.tensor([4]))
        similar = nn.functional.cosine_similarity(item, model.item_factors.weight, dim=1)
        rmse = torch.sqrt(loss_fn(model(users, items), ratings))
    seen = torch.zeros(9, 11, dtype=torch.bool)
    seen[users, items] = True
    scores[seen] = float("-inf")
    return [losses, best, similar, rmse, scores.max(dim=1), seen.nonzero().shape, seen.sum()]
