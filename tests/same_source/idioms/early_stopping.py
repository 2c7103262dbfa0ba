"""Early stopping with copy.deepcopy of the best weights; a validation split by slicing."""

import copy

import torch
from torch import nn


class EarlyStopping:
    def __init__(self, patience=3, min_delta=0.0):
        self.patience, self.min_delta = patience, min_delta
        self.counter, self.best, self.state = 0, float("inf"), None

    def __call__(self, val_loss, model):
        if val_loss < self.best - self.min_delta:
            self.best = val_loss
            self.counter = 0
            self.state = copy.deepcopy(model.state_dict())
        else:
            self.counter += 1
        return self.counter >= self.patience


def build():
    return nn.Sequential(nn.Linear(5, 30), nn.Tanh(), nn.Linear(30, 1))


def run(rng, model):
    x = torch.tensor(rng.standard_normal((30, 5)))
    y = x[:, :1] * 0.5 + torch.tensor(rng.standard_normal((30, 1)))
    train_x, val_x, train_y, val_y = x[:20], x[20:], y[:20], y[20:]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    stopper = EarlyStopping()
    untouched = copy.deepcopy(model)
    history = []
    for epoch in range(80):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(train_x), train_y)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            val = nn.functional.mse_loss(model(val_x), val_y)
        history.append((loss.item(), val.item()))
        if stopper(val.item(), model):
            break
    last = model(val_x).detach()
    model.load_state_dict(stopper.state)
    return [epoch, history, last, model(val_x).detach(), untouched(val_x).detach()]
