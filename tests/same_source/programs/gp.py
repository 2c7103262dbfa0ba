"""Gaussian-process regression: kernels as modules that add and multiply, an exact likelihood."""

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.distributions import LogNormal, MultivariateNormal


@dataclass
class Config:
    lr: float = 0.05
    jitter: float = 1e-6
    ard: int = 2


class Kernel(nn.Module):
    def __add__(self, other):
        return Sum(self, other)

    def __mul__(self, other):
        return Product(self, other)


class Sum(Kernel):
    def __init__(self, *kernels):
        super().__init__()
        self.kernels = nn.ModuleList(kernels)

    def forward(self, x1, x2):
        return sum(k(x1, x2) for k in self.kernels)


class Product(Kernel):
    def __init__(self, *kernels):
        super().__init__()
        self.kernels = nn.ModuleList(kernels)

    def forward(self, x1, x2):
        return torch.stack([k(x1, x2) for k in self.kernels]).prod(dim=0)


class RBF(Kernel):
    def __init__(self, d):
        super().__init__()
        self.raw_lengthscale = nn.Parameter(torch.zeros(1, d))
        self.register_parameter("raw_variance", nn.Parameter(torch.tensor(0.0)))

    @property
    def lengthscale(self):
        return nn.functional.softplus(self.raw_lengthscale)

    def forward(self, x1, x2):
        dist = torch.cdist(x1 / self.lengthscale, x2 / self.lengthscale, p=2)
        return self.raw_variance.exp() * torch.exp(-0.5 * dist.pow(2))


class Matern32(Kernel):
    def __init__(self, d):
        super().__init__()
        self.log_lengthscale = nn.Parameter(torch.full((d,), math.log(0.5)))

    def forward(self, x1, x2):
        diff = (x1.unsqueeze(-2) - x2.unsqueeze(-3)) / self.log_lengthscale.exp()
        r = diff.square().sum(-1).clamp_min(1e-30).sqrt()
        return (1 + math.sqrt(3) * r) * torch.exp(-math.sqrt(3) * r)


class Linear(Kernel):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x1, x2):
        return self.scale**2 * x1 @ x2.mT


class ExactGP(nn.Module):
    def __init__(self, kernel, config):
        super().__init__()
        self.kernel = kernel
        self.config = config
        self.mean = nn.Parameter(torch.zeros(1))
        self.log_noise = nn.Parameter(torch.tensor(-2.0))

    def covariance(self, x):
        noise = self.log_noise.exp() + self.config.jitter
        return self.kernel(x, x) + noise * torch.eye(len(x))

    def forward(self, x, y):
        n = y.shape[-1]
        L = torch.linalg.cholesky(self.covariance(x))
        residual = (y - self.mean).unsqueeze(-1)
        alpha = torch.cholesky_solve(residual, L)
        fit = 0.5 * (residual.mT @ alpha).squeeze()
        complexity = L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return fit + complexity + 0.5 * n * math.log(2 * math.pi)

    @torch.no_grad()
    def predict(self, x, y, x_star):
        L = torch.linalg.cholesky(self.covariance(x))
        K_s = self.kernel(x, x_star)
        alpha = torch.cholesky_solve((y - self.mean)[:, None], L)
        v = torch.linalg.solve_triangular(L, K_s, upper=False)
        mean = self.mean + (K_s.T @ alpha).flatten()
        cov = self.kernel(x_star, x_star) - v.T @ v
        return MultivariateNormal(mean, cov + 1e-4 * torch.eye(len(x_star)))


def build():
    config = Config()
    return ExactGP(RBF(config.ard) * Matern32(config.ard) + Linear(), config)


def data(rng):
    x = torch.from_numpy(rng.uniform(-1, 1, (24, 2)))
    y = torch.sin(3 * x[:, 0]) + 0.5 * x[:, 1] + 0.05 * torch.from_numpy(rng.standard_normal(24))
    return x, y, torch.cartesian_prod(*[torch.linspace(-1, 1, 3)] * 2)


def train(model, data, steps):
    x, y, _ = data
    prior = LogNormal(0.0, 1.0)
    optimizer = torch.optim.Adam(
        [
            {"params": model.kernel.parameters()},
            {"params": [model.mean, model.log_noise], "lr": 0.1},
        ],
        lr=model.config.lr,
    )
    losses = []

    def train_step(x, y):
        optimizer.zero_grad()
        loss = model(x, y)
        loss = loss - prior.log_prob(model.kernel.kernels[0].kernels[0].lengthscale).sum()
        loss.backward()
        optimizer.step()
        return loss

    for i in range(steps):
        loss = train_step(x, y)
        losses.append(loss.item())
        if i % 10 == 0:
            noise = model.log_noise.exp()
            print(
                "Iter %d/%d - Loss: %.3f   noise: %.3f" % (i + 1, steps, loss.item(), noise.item())
            )
    return losses


def evaluate(model, data):
    x, y, x_star = data
    posterior = model.predict(x, y, x_star)
    with torch.no_grad():
        marginal = MultivariateNormal(
            model.mean.expand(len(x)), covariance_matrix=model.covariance(x)
        )
        log_prob = marginal.log_prob(y)
        assert torch.allclose(-log_prob, model(x, y))
    sign, logdet = torch.linalg.slogdet(posterior.covariance_matrix)
    eigenvalues = torch.linalg.eigvalsh(posterior.covariance_matrix)
    return [posterior.mean, posterior.variance, posterior.entropy(), logdet, eigenvalues, log_prob]


def sample(model, data):
    return model.predict(*data).rsample(torch.Size((5,)))
