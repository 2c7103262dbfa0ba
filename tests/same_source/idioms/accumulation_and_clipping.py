"""Gradient accumulation, clipping by norm and by value, gradient norms by hand, zero_grad forms."""

import torch
import torch.nn as nn


def build():
    return nn.Sequential(nn.Linear(3, 6), nn.ELU(), nn.Linear(6, 1))


def grad_norm(model):
    total_norm = 0.0
    for p in model.parameters():
        param_norm = p.grad.detach().data.norm(p=2)
        total_norm += param_norm.item() ** 2
    return total_norm**0.5


def run(rng, model):
    x, y = torch.tensor(rng.random((16, 3))), torch.tensor(rng.random((16, 1)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    criterion = nn.MSELoss(reduction="mean")
    nn.functional.mse_loss(model(x), y).backward()
    whole = [p.grad.clone() for p in model.parameters()]
    optimizer.zero_grad()
    accumulation_steps = 4
    history = []
    for i, (xb, yb) in enumerate(zip(x.chunk(8), torch.split(y, 2), strict=True)):
        loss = criterion(model(xb), yb) / accumulation_steps
        loss.backward()
        if (i + 1) % accumulation_steps == 0:
            history.append(grad_norm(model))
            norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.5, norm_type=2)
            history += [norm, grad_norm(model)]
            optimizer.step()
            optimizer.zero_grad()
    total_loss = 0
    for xb, yb in zip(x.split([10, 6]), y.split([10, 6]), strict=True):
        total_loss += criterion(model(xb), yb)
    total_loss.backward()
    inf_norm = nn.utils.clip_grad_norm_(model.parameters(), 1e9, norm_type=float("inf"))
    nn.utils.clip_grad_value_(model.parameters(), clip_value=0.01)
    clipped = [p.grad.clone() for p in model.parameters()]
    model.zero_grad(set_to_none=False)
    zeros = [p.grad for p in model.parameters()]
    model.zero_grad()
    flat = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(flat * 0.5, model.parameters())
    none = [p.grad is None for p in model.parameters()]
    return [whole, history, total_loss, inf_norm, clipped, zeros, none, flat, model(x)]
