"""Modules with loops and branches, ParameterList, nested children, buffers, OrderedDict."""

from collections import OrderedDict

import torch
import torch.nn as nn


class Polynomial(nn.Module):
    def __init__(self):
        super().__init__()
        self.coefficients = nn.ParameterList([nn.Parameter(torch.randn(())) for _ in range(4)])
        self.scale = nn.ParameterDict({"in": nn.Parameter(torch.ones(1)), "out": torch.ones(1)})
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("skipped", None)

    def forward(self, x):
        self.calls += 1
        x = x * self.scale["in"]
        y = self.coefficients[0]
        for exp, c in enumerate(self.coefficients[1:], 1):
            y = y + c * x**exp
        return y * self.scale["out"]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.poly = Polynomial()
        self.layers = nn.ModuleList()
        for i in range(3):
            self.layers.append(nn.Linear(4, 4, bias=i != 1))
        self.head = nn.Sequential(
            OrderedDict([("fc", nn.Linear(4, 2)), ("act", nn.Tanh()), ("out", nn.Linear(2, 1))])
        )
        self.add_module("extra", nn.Identity())

    def forward(self, x, depth):
        x = self.poly(x)
        for _ in range(depth):
            x = self.layers[depth % len(self.layers)](x).clamp(min=0)
        return self.extra(self.head(x))


def build():
    return Model()


def run(rng, model):
    x = torch.tensor(rng.standard_normal((6, 4)))
    out = [model(x, depth) for depth in range(4)]
    sum(o.sum() for o in out).backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    names = [name for name, _ in model.named_modules()]
    children = [type(m).__name__ for m in model.children()]
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    model.head.act = nn.ReLU()
    del model.head.out
    model.head.append(nn.Linear(2, 3))
    return {
        "out": [o.detach() for o in out],
        "grads": grads,
        "facts": [names, children, count, len(model.head), isinstance(model.head[-1], nn.Linear)],
        "buffers": [n for n, _ in model.named_buffers()],
        "calls": model.poly.calls.item(),
        "keys": list(model.state_dict().keys()),
        "shapes": [tuple(v.shape) for v in model.state_dict().values()],
        "repr": repr(model.head),
        "sub": [model.get_parameter("head.fc.bias"), model.get_submodule("head.fc").in_features],
    }
