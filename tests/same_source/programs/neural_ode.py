"""A neural ODE of a spiral with Runge-Kutta steps; and a SIREN fitted to an image and its slope."""

import numpy as np
import torch
from torch import nn


class ODEFunc(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 20), nn.Tanh(), nn.Linear(20, 2))
        for m in self.net.modules():
            if isinstance(m, nn.Linear):
                nn.init.normal_(m.weight, mean=0, std=0.1)
                nn.init.constant_(m.bias, val=0)

    def forward(self, t, y):
        return self.net(y**3)


def odeint(func, y0, t):
    solution = torch.empty(len(t), *y0.shape, dtype=y0.dtype, device=y0.device)
    solution[0] = y0
    y = y0
    for i, (t0, t1) in enumerate(zip(t[:-1], t[1:], strict=True), start=1):
        dt = t1 - t0
        k1 = func(t0, y)
        k2 = func(t0 + dt / 2, y + dt * k1 / 2)
        k3 = func(t0 + dt / 2, torch.add(y, k2, alpha=dt.item() / 2))
        k4 = func(t1, y.addcmul(dt, k3))
        y = y + (k1 + 2 * (k2 + k3) + k4) * dt / 6
        solution[i] = y
    return solution


class SineLayer(nn.Module):
    def __init__(self, in_features, out_features, bias=True, is_first=False, omega_0=30):
        super().__init__()
        self.omega_0 = omega_0
        self.is_first = is_first
        self.in_features = in_features
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.init_weights()

    def init_weights(self):
        with torch.no_grad():
            if self.is_first:
                self.linear.weight.uniform_(-1 / self.in_features, 1 / self.in_features)
            else:
                bound = np.sqrt(6 / self.in_features) / self.omega_0
                self.linear.weight.uniform_(-bound, bound)

    def forward(self, input):
        return torch.sin(self.omega_0 * self.linear(input))


class Siren(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        self.net = []
        self.net.append(SineLayer(2, width, is_first=True, omega_0=5))
        self.net.append(SineLayer(width, width, omega_0=5))
        self.net.append(nn.Linear(width, 1))
        self.net = nn.Sequential(*self.net)

    def forward(self, coords):
        coords = coords.clone().detach().requires_grad_(True)
        return self.net(coords), coords


def get_mgrid(sidelen, dim=2):
    tensors = tuple(dim * [torch.linspace(-1, 1, steps=sidelen)])
    mgrid = torch.stack(torch.meshgrid(*tensors, indexing="ij"), dim=-1)
    return mgrid.reshape(-1, dim)


def gradient(y, x, grad_outputs=None):
    if grad_outputs is None:
        grad_outputs = torch.ones_like(y)
    return torch.autograd.grad(y, [x], grad_outputs=grad_outputs, create_graph=True)[0]


def laplace(y, x):
    grad = gradient(y, x)
    div = 0.0
    for i in range(grad.shape[-1]):
        d = grad[..., i]
        div += torch.autograd.grad(d, x, torch.ones_like(d), create_graph=True)[0][..., i : i + 1]
    return div


def build():
    return ODEFunc(), Siren()


def data(rng):
    t = torch.linspace(0.0, 2.0, 9)
    true_A = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])
    y0 = torch.tensor(rng.uniform(-2, 2, (5, 2))).to(true_A.dtype)
    y = torch.stack([y0 @ torch.matrix_exp(true_A * s) for s in t])
    return t, y, torch.from_numpy(rng.random((36, 1)))


def train(models, data, steps):
    func, siren = models
    t, true_y, image = data
    coords = get_mgrid(6)
    optimizer = torch.optim.RMSprop(func.parameters(), lr=1e-3)
    siren_optimizer = torch.optim.Adam(lr=1e-3, params=siren.parameters())
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        pred_y = odeint(func, true_y[0], t)
        loss = torch.mean(torch.abs(pred_y - true_y))
        loss.backward()
        optimizer.step()
        output, inputs = siren(coords)
        fit = ((output - image) ** 2).mean() + 1e-4 * laplace(output, inputs).abs().mean()
        fit += 1e-3 * gradient(output, inputs).norm(dim=-1).mean()
        siren_optimizer.zero_grad()
        fit.backward()
        siren_optimizer.step()
        losses += [loss.item(), fit.item()]
    return losses


def evaluate(models, data):
    t, true_y, _ = data
    with torch.no_grad():
        pred_y = odeint(models[0], true_y[0], t)
        loss = (pred_y - true_y).abs().mean()
    image = models[1](get_mgrid(6))[0].cpu().view(6, 6).detach().numpy()
    return {"loss": loss, "last": pred_y[-1], "image": image}
