"""Initialising weights with apply, isinstance and nn.init; the constant ones must be equal."""

import math

import torch
import torch.nn as nn


def init_weights(m):
    if isinstance(m, (nn.Conv2d, nn.Linear)):
        nn.init.kaiming_uniform_(m.weight, a=math.sqrt(5))
        if m.bias is not None:
            fan_in, _ = nn.init._calculate_fan_in_and_fan_out(m.weight)
            bound = 1 / math.sqrt(fan_in)
            nn.init.uniform_(m.bias, -bound, bound)
    if type(m) is nn.BatchNorm2d:
        m.weight.data.fill_(1)
        m.bias.data.zero_()
    if isinstance(m, nn.LSTM):
        for name, param in m.named_parameters():
            if "weight_hh" in name:
                nn.init.orthogonal_(param.data)
            elif "bias" in name:
                param.data.fill_(0)
                n = param.size(0)
                param.data[n // 4 : n // 2].fill_(1)


def run(rng):
    net = nn.ModuleDict(
        {
            "conv": nn.Conv2d(3, 4, 3, bias=False),
            "bn": nn.BatchNorm2d(4),
            "fc": nn.Linear(6, 2),
            "rnn": nn.LSTM(3, 4),
        }
    )
    net.apply(init_weights)
    bound = 1 / math.sqrt(6)
    assert net["fc"].bias.abs().max().item() <= bound
    q = net["rnn"].weight_hh_l0[:4].detach()
    with torch.no_grad():
        net["fc"].weight.copy_(torch.tensor(rng.standard_normal((2, 6))))
        net["fc"].weight[0, 0] = 0.5
        net["fc"].bias[:] = torch.tensor([1.0, 2.0])
    net["conv"].weight = nn.Parameter(torch.full_like(net["conv"].weight, 0.25))
    eye = nn.init.eye_(torch.empty(3, 5))
    dirac = nn.init.dirac_(torch.empty(3, 3, 3, 3))
    const = nn.init.constant_(torch.empty(2, 2), 0.3)
    spread = nn.init.xavier_uniform_(torch.empty(20, 30), gain=nn.init.calculate_gain("tanh"))
    limit = 5 / 3 * math.sqrt(6.0 / 50)
    assert 0.8 * limit < spread.max().item() <= limit
    nn.init.sparse_(spread, sparsity=0.1, std=0.01)
    zeros = (spread == 0).sum(dim=0)
    whole = net["rnn"].weight_hh_l0.detach()
    return [
        net["rnn"].bias_ih_l0,
        (whole.T @ whole).sum(),
        q.shape,
        net["bn"].weight,
        net["fc"].weight,
        net["fc"].bias,
        net["conv"].weight,
        [eye, dirac, const, zeros],
    ]
