"""A Hamiltonian network and a SIREN: gradients of the network's output are the model's output."""

import numpy as np
import torch
from torch import nn


class HNN(nn.Module):
    def __init__(self, dim=2, hidden=16):
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, hidden)
        self.linear3 = nn.Linear(hidden, 1, bias=False)
        for layer in [self.linear1, self.linear2, self.linear3]:
            torch.nn.init.orthogonal_(layer.weight)
        self.register_buffer("J", torch.eye(dim)[[1, 0]] * torch.tensor([[1.0], [-1.0]]))

    def hamiltonian(self, x):
        h = self.linear1(x).tanh()
        h = self.linear2(h).tanh()
        return self.linear3(h)

    def forward(self, x):
        H = self.hamiltonian(x)
        dH = torch.autograd.grad(H.sum(), x, create_graph=True)[0]
        return dH @ self.J.t()


class Sine(nn.Module):
    def __init__(self, i, o, first=False, omega=3.0):
        super().__init__()
        self.omega = omega
        self.linear = nn.Linear(i, o)
        with torch.no_grad():
            bound = 1 / i if first else np.sqrt(6 / i) / omega
            self.linear.weight.uniform_(-bound, bound)

    def forward(self, x):
        return torch.sin(self.omega * self.linear(x))


class Siren(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(Sine(2, 12, True), Sine(12, 12), nn.Linear(12, 1))

    def forward(self, coords):
        coords = coords.clone().detach().requires_grad_(True)
        return self.net(coords), coords


def gradient(y, x, grad_outputs=None):
    if grad_outputs is None:
        grad_outputs = torch.ones_like(y)
    return torch.autograd.grad(y, [x], grad_outputs=grad_outputs, create_graph=True)[0]


def divergence(y, x):
    div = 0.0
    for i in range(y.shape[-1]):
        div += torch.autograd.grad(y[..., i], x, torch.ones_like(y[..., i]), create_graph=True)[0][
            ..., i : i + 1
        ]
    return div


def build():
    return HNN(), Siren()


def data(rng):
    x = torch.tensor(
        rng.standard_normal((10, 2)), requires_grad=True, dtype=torch.get_default_dtype()
    )
    c = torch.tensor(rng.uniform(-1, 1, (12, 2)), dtype=torch.get_default_dtype())
    return x, c


def train(models, data, steps):
    hnn, siren = models
    x, coords = data
    dx = torch.stack([x[:, 1], -torch.sin(x[:, 0])], 1).detach()
    target = -2 * torch.sin(coords).prod(1, keepdim=True)
    optim = torch.optim.Adam([*hnn.parameters(), *siren.parameters()], 1e-2, weight_decay=1e-4)
    losses = []
    for step in range(steps):
        dx_hat = hnn.forward(x)
        loss = (dx - dx_hat).pow(2).mean()
        y, c = siren(coords)
        lap = divergence(gradient(y, c), c)
        total = loss + 0.01 * ((lap - target) ** 2).mean()
        optim.zero_grad()
        total.backward()
        optim.step()
        losses.append(total.item())
    return losses


def evaluate(models, data):
    hnn, _ = models
    x0 = torch.tensor([1.0, 0.0], dtype=torch.get_default_dtype())

    def field(t, s):
        s = s.detach().clone().requires_grad_()
        return hnn(s[None])[0].detach()

    traj = [x0]
    h = 0.1
    for i in range(5):
        s = traj[-1]
        k1 = field(0, s)
        k2 = field(0, s + h * k1 / 2)
        k3 = field(0, s + h * k2 / 2)
        k4 = field(0, s + h * k3)
        traj.append(s + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6)
    hess = torch.autograd.functional.hessian(lambda z: hnn.hamiltonian(z).sum(), x0)
    return [torch.vstack(traj), hess]
