"""Checkpoints of model, optimizer, scheduler and epoch with torch.save and torch.load; resume."""

import os

import torch
from torch import nn, optim


def build():
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 1))


def parts(model):
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    return optimizer, optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)


def epochs(model, optimizer, scheduler, x, y, count):
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def run(rng, model):
    x, y = torch.tensor(rng.random((12, 3))), torch.tensor(rng.random((12, 1)))
    optimizer, scheduler = parts(model)
    losses = epochs(model, optimizer, scheduler, x, y, 5)
    os.makedirs("checkpoints", exist_ok=True)
    path = os.path.join("checkpoints", "last.pt")
    torch.save(
        {
            "epoch": 5,
            "model_state_dict": model.state_dict(),
            "optimizer_state_dict": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "loss": losses[-1],
        },
        path,
    )
    ahead = epochs(model, optimizer, scheduler, x, y, 5)
    resumed = build()
    optimizer, scheduler = parts(resumed)
    checkpoint = torch.load(path, map_location="cpu")
    resumed.load_state_dict(checkpoint["model_state_dict"])
    optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    again = epochs(resumed, optimizer, scheduler, x, y, 5)
    torch.save(x, "tensor.pt")
    torch.save([x, {"y": y, "name": "pairs", "n": 3}], "several.pt")
    several = torch.load("several.pt")
    partial = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    report = partial.load_state_dict(checkpoint["model_state_dict"], strict=False)
    return {
        "losses": [losses, ahead, again, ahead == again],
        "epoch": [checkpoint["epoch"], checkpoint["loss"], scheduler.get_last_lr()],
        "tensors": [torch.load("tensor.pt"), several],
        "strict": [report.missing_keys, report.unexpected_keys],
        "keys": list(checkpoint["optimizer_state_dict"]),
    }
