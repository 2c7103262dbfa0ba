"""Burgers' equation solved by a network: first and second derivatives inside the loss."""

import math
from collections import OrderedDict

import torch
from torch import nn
from torch.autograd import grad


class PINN(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.depth = len(layers) - 1
        self.activation = nn.Tanh
        layer_list = list()
        for i in range(self.depth - 1):
            layer_list.append((f"layer_{i}", nn.Linear(layers[i], layers[i + 1])))
            layer_list.append((f"activation_{i}", self.activation()))
        layer_list.append((f"layer_{self.depth - 1}", nn.Linear(layers[-2], layers[-1])))
        self.layers = nn.Sequential(OrderedDict(layer_list))
        self.nu = nn.Parameter(torch.tensor([0.01 / math.pi]))

    def forward(self, x, t):
        return self.layers(torch.cat([x, t], dim=1))

    def residual(self, x, t):
        u = self(x, t)
        u_t = grad(u, t, grad_outputs=torch.ones_like(u), retain_graph=True, create_graph=True)[0]
        u_x = grad(u, x, grad_outputs=torch.ones_like(u), retain_graph=True, create_graph=True)[0]
        u_xx = torch.autograd.grad(
            u_x, x, grad_outputs=torch.ones_like(u_x), retain_graph=True, create_graph=True
        )[0]
        return u_t + u * u_x - self.nu * u_xx


def build():
    torch.manual_seed(0)
    model = PINN([2, 10, 10, 10, 1])
    for m in model.modules():
        if isinstance(m, nn.Linear):
            nn.init.xavier_normal_(m.weight)
            nn.init.zeros_(m.bias)
    return model


def data(rng):
    x_f = torch.tensor(rng.uniform(-1, 1, (40, 1)), requires_grad=True).float()
    t_f = torch.tensor(rng.uniform(0, 1, (40, 1)), requires_grad=True).float()
    x_0 = torch.tensor(rng.uniform(-1, 1, (20, 1))).float()
    t_b = torch.tensor(rng.uniform(0, 1, (10, 1))).float()
    return x_f.detach(), t_f.detach(), x_0, t_b


def train(model, data, steps):
    x_f, t_f, x_0, t_b = data
    x_f.requires_grad = True
    t_f.requires_grad_(True)
    u_0 = -torch.sin(math.pi * x_0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.99)
    losses = []
    for epoch in range(steps):
        optimizer.zero_grad()
        mse_0 = ((model(x_0, torch.zeros_like(x_0)) - u_0) ** 2).mean()
        left, right = -torch.ones_like(t_b), torch.ones_like(t_b)
        mse_b = (model(left, t_b) ** 2).mean() + torch.mean(torch.square(model(right, t_b)))
        mse_f = torch.mean(model.residual(x_f, t_f) ** 2)
        loss = mse_0 + mse_b + mse_f
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        if epoch % 10 == 0:
            print(f"It: {epoch}, Loss: {loss.item():.3e}, nu: {model.nu.item():.5f}")
    return losses


def evaluate(model, data):
    x = torch.linspace(-1, 1, 9, requires_grad=True).view(-1, 1)
    t = torch.full_like(x, 0.25).requires_grad_()
    f = model.residual(x, t)
    X, T = torch.meshgrid(torch.linspace(-1, 1, 5), torch.linspace(0, 1, 4), indexing="ij")
    with torch.no_grad():
        u = model(X.reshape(-1, 1), T.reshape(-1, 1)).reshape(X.shape)
    return {"residual": f.abs().max().item(), "u": u.cpu().numpy(), "f": f.detach()}
