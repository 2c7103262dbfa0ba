"""Averages of weights: by hand, with AveragedModel, and momentum encoders of self-supervision."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class EMA:
    def __init__(self, model, decay=0.9):
        self.decay = decay
        self.shadow = {n: p.data.clone() for n, p in model.named_parameters() if p.requires_grad}
        self.backup = {}

    def update(self, model):
        for name, param in model.named_parameters():
            if param.requires_grad:
                assert name in self.shadow
                new_average = (1.0 - self.decay) * param.data + self.decay * self.shadow[name]
                self.shadow[name] = new_average.clone()

    def apply_shadow(self, model):
        for name, param in model.named_parameters():
            self.backup[name] = param.data
            param.data = self.shadow[name]

    def restore(self, model):
        for name, param in model.named_parameters():
            param.data = self.backup[name]
        self.backup = {}


def build():
    return nn.Linear(4, 2)


def run(rng, model):
    ema = EMA(model)
    target = copy.deepcopy(model)
    for p in target.parameters():
        p.requires_grad = False
    swa = AveragedModel(model)
    fast = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = torch.tensor(rng.random((9, 4))), torch.tensor(rng.random((9, 2)))
    for _ in range(6):
        loss = (model(x) - y).abs().mean() + nn.functional.mse_loss(model(x), target(x))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update(model)
        swa.update_parameters(model)
        fast.update_parameters(model)
        with torch.no_grad():
            for param_q, param_k in zip(model.parameters(), target.parameters(), strict=True):
                param_k.data.mul_(0.99).add_((1 - 0.99) * param_q.detach().data)
    now = model(x).detach().clone()
    ema.apply_shadow(model)
    averaged = model(x).detach().clone()
    ema.restore(model)
    return [now, averaged, model(x), target(x), swa(x), fast(x), swa.n_averaged]
