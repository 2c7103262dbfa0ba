"""LoRA adapters around frozen layers, a mixture of experts, and merged weights."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class LoRALinear(nn.Module):
    def __init__(self, base, r=2, alpha=4):
        super().__init__()
        self.base = base
        for p in self.base.parameters():
            p.requires_grad_(False)
        self.lora_A = nn.Parameter(base.weight.new_zeros((r, base.in_features)))
        self.lora_B = nn.Parameter(base.weight.new_zeros((base.out_features, r)))
        self.scaling = alpha / r
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x):
        return self.base(x) + (x @ self.lora_A.T @ self.lora_B.T) * self.scaling

    @torch.no_grad()
    def merge(self):
        self.base.weight += self.lora_B @ self.lora_A * self.scaling
        return self.base


class MixtureOfExperts(nn.Module):
    def __init__(self, dim, num_experts=4, k=2):
        super().__init__()
        self.k = k
        self.gate = nn.Linear(dim, num_experts, bias=False)
        self.experts = nn.ModuleList([nn.Linear(dim, dim) for _ in range(num_experts)])

    def forward(self, inputs):
        inputs_squashed = inputs.view(-1, inputs.shape[-1])
        gate_logits = self.gate(inputs_squashed)
        weights, selected_experts = torch.topk(gate_logits, self.k)
        weights = F.softmax(weights, dim=1, dtype=torch.float64).type_as(inputs)
        results = torch.zeros_like(inputs_squashed)
        for i, expert in enumerate(self.experts):
            batch_idx, nth_expert = torch.where(selected_experts == i)
            results[batch_idx] += weights[batch_idx, nth_expert, None] * expert(
                inputs_squashed[batch_idx]
            )
        probs = gate_logits.softmax(-1)
        load = F.one_hot(selected_experts, len(self.experts)).sum(dim=(0, 1)).to(probs.dtype)
        balance = len(self.experts) * (probs.mean(0) * load / load.sum()).sum()
        return results.view_as(inputs), balance


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inp = nn.Linear(5, 6)
        self.moe = MixtureOfExperts(6)
        self.out = nn.Linear(6, 2)

    def forward(self, x):
        h, balance = self.moe(torch.tanh(self.inp(x)))
        return self.out(h), balance


def build():
    model = Net()
    for name, module in list(model.named_children()):
        if isinstance(module, nn.Linear):
            setattr(model, name, LoRALinear(module))
    return model


def run(rng, model):
    x = torch.tensor(rng.standard_normal((4, 3, 5)))
    y = torch.tensor(rng.standard_normal((4, 3, 2)))
    optimizer = torch.optim.AdamW(filter(lambda p: p.requires_grad, model.parameters()), lr=0.05)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        out, balance = model(x)
        loss = F.mse_loss(out, y) + 0.01 * balance
        loss.backward()
        optimizer.step()
        losses.append([loss.item(), balance.item()])
    before = model(x)[0].detach()
    model.inp, model.out = model.inp.merge(), model.out.merge()
    after = model(x)[0].detach()
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    adapters = {k: v for k, v in model.state_dict().items() if "lora_" in k}
    return [losses, before, after, torch.allclose(before, after), trainable, len(adapters)]
