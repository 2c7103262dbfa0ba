"""Every optimizer people name, ten steps each; and step(closure)."""

import torch
from torch import nn, optim


def build():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def run(rng, model):
    x, y = torch.tensor(rng.random((10, 3))), torch.tensor(rng.random((10, 1)))
    start = {k: v.clone() for k, v in model.state_dict().items()}
    found = {}
    for name, settings in [
        ("SGD", dict(lr=0.1)),
        ("SGD", dict(lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01)),
        ("SGD", dict(lr=0.1, momentum=0.9, nesterov=True, maximize=True)),
        ("Adam", dict(lr=0.01, betas=(0.8, 0.99), eps=1e-7, weight_decay=0.1)),
        ("Adam", dict(amsgrad=True)),
        ("AdamW", dict(lr=0.01)),
        ("NAdam", dict()),
        ("RAdam", dict()),
        ("Adamax", dict()),
        ("Adagrad", dict(lr_decay=0.1)),
        ("Adadelta", dict()),
        ("RMSprop", dict(alpha=0.9, centered=True, momentum=0.5)),
        ("Rprop", dict()),
        ("ASGD", dict()),
        ("LBFGS", dict(max_iter=5, lr=0.5)),
    ]:
        model.load_state_dict(start)
        optimizer = getattr(optim, name)(model.parameters(), **settings)

        def closure(optimizer=optimizer):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            return loss

        losses = [optimizer.step(closure).item() for _ in range(10)]
        found[f"{name} {settings}"] = [losses, len(optimizer.state_dict()["param_groups"])]
    return found
