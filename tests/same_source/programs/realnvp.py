"""A normalising flow of coupling layers: log-determinants, masks and a Normal prior."""

import torch
from torch import distributions, nn


class RealNVP(nn.Module):
    def __init__(self, nets, nett, masks):
        super().__init__()
        self.mask = nn.Parameter(masks, requires_grad=False)
        self.t = torch.nn.ModuleList([nett() for _ in range(len(masks))])
        self.s = torch.nn.ModuleList([nets() for _ in range(len(masks))])

    def g(self, z):
        x = z
        for i in range(len(self.t)):
            x_ = x * self.mask[i]
            s = self.s[i](x_) * (1 - self.mask[i])
            t = self.t[i](x_) * (1 - self.mask[i])
            x = x_ + (1 - self.mask[i]) * (x * torch.exp(s) + t)
        return x

    def f(self, x):
        log_det_J, z = x.new_zeros(x.shape[0]), x
        for i in reversed(range(len(self.t))):
            z_ = self.mask[i] * z
            s = self.s[i](z_) * (1 - self.mask[i])
            t = self.t[i](z_) * (1 - self.mask[i])
            z = (1 - self.mask[i]) * (z - t) * torch.exp(-s) + z_
            log_det_J -= s.sum(dim=1)
        return z, log_det_J

    def prior(self, like):
        zeros = torch.zeros(2, dtype=like.dtype)
        return distributions.MultivariateNormal(zeros, torch.eye(2, dtype=like.dtype))

    def log_prob(self, x):
        z, logp = self.f(x)
        return self.prior(x).log_prob(z) + logp

    def sample(self, batch_size):
        z = self.prior(self.mask).sample((batch_size,))
        return self.g(z)


def nets():
    return nn.Sequential(
        nn.Linear(2, 16),
        nn.LeakyReLU(),
        nn.Linear(16, 16),
        nn.LeakyReLU(),
        nn.Linear(16, 2),
        nn.Tanh(),
    )


def nett():
    return nn.Sequential(
        nn.Linear(2, 16), nn.LeakyReLU(), nn.Linear(16, 16), nn.LeakyReLU(), nn.Linear(16, 2)
    )


def build():
    masks = torch.tensor([[0, 1], [1, 0]] * 2).to(torch.get_default_dtype())
    return RealNVP(nets, nett, masks)


def data(rng):
    theta = rng.uniform(0, 3.14, 60)
    x = torch.from_numpy(theta)
    noise = torch.from_numpy(0.1 * rng.standard_normal((60, 2)))
    return (torch.stack((torch.cos(x), torch.sin(x)), -1) + noise).float()


def train(flow, x, steps):
    optimizer = torch.optim.Adam([p for p in flow.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for t in range(steps):
        loss = -flow.log_prob(x).mean()
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        optimizer.step()
        losses.append(loss.item())
        if t % 10 == 0:
            print("iter %s:" % t, "loss = %.3f" % loss.item())
    return losses


def evaluate(flow, x):
    z = flow.f(x)[0].detach().numpy()
    back = flow.g(torch.from_numpy(z))
    assert torch.allclose(back, x, atol=1e-4)
    return {"z": z}


def sample(flow, x):
    return flow.sample(10).detach()
