"""Bayes by backpropagation, weights of tasks, L1 and L2 penalties, weight and spectral norm."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.parameter import Parameter
from torch.nn.utils.parametrizations import spectral_norm, weight_norm


class BayesLinear(nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.weight_mu = Parameter(torch.Tensor(out_features, in_features).uniform_(-0.2, 0.2))
        self.weight_rho = Parameter(torch.Tensor(out_features, in_features).uniform_(-5, -4))
        self.bias = Parameter(torch.zeros(out_features))
        self.kl = 0

    @property
    def weight_sigma(self):
        return torch.log1p(torch.exp(self.weight_rho))

    def forward(self, x, epsilon):
        weight = self.weight_mu + self.weight_sigma * epsilon
        log_posterior = (
            -math.log(math.sqrt(2 * math.pi))
            - torch.log(self.weight_sigma)
            - ((weight - self.weight_mu) ** 2) / (2 * self.weight_sigma**2)
        ).sum()
        prior = torch.distributions.Normal(torch.tensor(0.0), torch.tensor(1.0))
        self.kl = log_posterior - prior.log_prob(weight).sum()
        return F.linear(x, weight, self.bias)


class MultiTaskLoss(nn.Module):
    def __init__(self, tasks):
        super().__init__()
        self.log_vars = nn.Parameter(torch.zeros(tasks))

    def forward(self, *losses):
        total = 0
        for loss, log_var in zip(losses, self.log_vars, strict=True):
            total += torch.exp(-log_var) * loss + log_var
        return total


def build():
    normed = weight_norm(nn.Linear(3, 4), name="weight")
    return BayesLinear(4, 3), MultiTaskLoss(2), normed


def run(rng, bayes, multi, normed):
    x = torch.tensor(rng.standard_normal((10, 4)))
    y = torch.tensor(rng.standard_normal((10, 4)))
    label = torch.tensor(rng.integers(0, 2, 10))
    modules = nn.ModuleList([bayes, multi, normed])
    optimizer = torch.optim.NAdam(modules.parameters(), lr=0.02)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        hidden = F.softplus(bayes(x, torch.tensor(rng.standard_normal((3, 4)))))
        out = normed(hidden)
        l1 = sum(p.abs().sum() for p in modules.parameters())
        l2 = torch.stack([p.pow(2).sum() for p in modules.parameters()]).sum().sqrt()
        huber = F.huber_loss(out, y, delta=0.5)
        quantile = torch.max(0.9 * (y - out), (0.9 - 1) * (y - out)).mean()
        hinge = F.multi_margin_loss(out, label)
        loss = multi(huber + quantile, hinge) + 1e-3 * l1 + 1e-3 * l2 + 0.01 * bayes.kl / 10
        loss += 0.1 * F.relu(1 - out[:, 0] * (2 * label - 1)).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    critic = spectral_norm(nn.Linear(4, 4))
    for _ in range(60):
        critic(x)
    norm = torch.linalg.matrix_norm(critic.weight, ord=2)
    assert abs(norm.item() - 1) < 0.05
    weight = normed.weight.detach().abs()
    threshold = weight.flatten().kthvalue(weight.numel() // 2).values
    mask = (weight > threshold).to(weight.dtype)
    return [losses, [n for n, _ in normed.named_parameters()], mask, weight * mask]
