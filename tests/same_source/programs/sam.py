"""Sharpness-aware minimisation: an Optimizer of its own around another, smoothed labels."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base_optimizer, rho=0.05, adaptive=False, **kwargs):
        assert rho >= 0.0, f"Invalid rho, should be non-negative: {rho}"
        defaults = dict(rho=rho, adaptive=adaptive, **kwargs)
        super(SAM, self).__init__(params, defaults)
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups
        self.defaults.update(self.base_optimizer.defaults)

    @torch.no_grad()
    def first_step(self, zero_grad=False):
        grad_norm = self._grad_norm()
        for group in self.param_groups:
            scale = group["rho"] / (grad_norm + 1e-12)
            for p in group["params"]:
                if p.grad is None:
                    continue
                self.state[p]["old_p"] = p.data.clone()
                e_w = (torch.pow(p, 2) if group["adaptive"] else 1.0) * p.grad * scale.to(p)
                p.add_(e_w)
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self, zero_grad=False):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.data = self.state[p]["old_p"]
        self.base_optimizer.step()
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def step(self, closure=None):
        assert closure is not None, "SAM requires closure, but it was not provided"
        closure = torch.enable_grad()(closure)
        self.first_step(zero_grad=True)
        closure()
        self.second_step()

    def _grad_norm(self):
        shared_device = self.param_groups[0]["params"][0].device
        norm = torch.norm(
            torch.stack(
                [
                    ((torch.abs(p) if group["adaptive"] else 1.0) * p.grad)
                    .norm(p=2)
                    .to(shared_device)
                    for group in self.param_groups
                    for p in group["params"]
                    if p.grad is not None
                ]
            ),
            p=2,
        )
        return norm

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        self.base_optimizer.param_groups = self.param_groups


def disable_running_stats(model):
    def _disable(module):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.backup_momentum = module.momentum
            module.momentum = 0

    model.apply(_disable)


def enable_running_stats(model):
    def _enable(module):
        if isinstance(module, _BatchNorm) and hasattr(module, "backup_momentum"):
            module.momentum = module.backup_momentum

    model.apply(_enable)


def smooth_crossentropy(pred, gold, smoothing=0.1):
    n_class = pred.size(1)
    one_hot = torch.full_like(pred, fill_value=smoothing / (n_class - 1))
    one_hot.scatter_(dim=1, index=gold.unsqueeze(1), value=1.0 - smoothing)
    log_prob = F.log_softmax(pred, dim=1)
    return F.kl_div(input=log_prob, target=one_hot, reduction="none").sum(-1)


class StepLR:
    def __init__(self, optimizer, learning_rate, total_epochs):
        self.optimizer = optimizer
        self.total_epochs = total_epochs
        self.base = learning_rate

    def __call__(self, epoch):
        lr = self.base if epoch < self.total_epochs / 2 else self.base * 0.2
        for param_group in self.optimizer.param_groups:
            param_group["lr"] = lr

    def lr(self):
        return self.optimizer.param_groups[0]["lr"]


def build():
    return nn.Sequential(
        nn.Linear(6, 16, bias=False), nn.BatchNorm1d(16), nn.SiLU(), nn.Linear(16, 4)
    )


def data(rng):
    x = torch.from_numpy(rng.standard_normal((40, 6)))
    return x, torch.argmax(x[:, :4] + 0.3 * torch.from_numpy(rng.standard_normal((40, 4))), dim=1)


def train(model, data, steps):
    inputs, targets = data
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = SAM(
        [{"params": decay}, {"params": rest, "weight_decay": 0.0, "adaptive": False}],
        torch.optim.SGD,
        rho=0.1,
        adaptive=True,
        lr=0.1,
        momentum=0.9,
        weight_decay=5e-4,
    )
    scheduler = StepLR(optimizer, 0.1, steps)
    losses = []

    def train_step(inputs, targets):
        enable_running_stats(model)
        loss = smooth_crossentropy(model(inputs), targets)
        loss.mean().backward()
        optimizer.first_step(zero_grad=True)
        disable_running_stats(model)
        smooth_crossentropy(model(inputs), targets).mean().backward()
        optimizer.second_step(zero_grad=True)
        return loss.mean()

    for i in range(steps):
        batch = slice(8 * (i % 5), 8 * (i % 5) + 8)
        if i % 4 == 3:

            def closure():
                loss = smooth_crossentropy(model(inputs[batch]), targets[batch]).mean()
                loss.backward()
                return loss

            loss = closure()
            optimizer.step(closure)
            optimizer.zero_grad()
        else:
            loss = train_step(inputs[batch], targets[batch])
        losses.append(loss.item())
        scheduler(i)
    for i, group in enumerate(optimizer.param_groups):
        print(f"group {i}: {len(group['params'])}, {group['rho']} {group['weight_decay']}")
    saved = optimizer.state_dict()
    optimizer.load_state_dict(saved)
    print(scheduler.lr(), len(saved["state"]), sorted(saved["state"][0]))
    return losses


def evaluate(model, data):
    model.eval()
    with torch.no_grad():
        predictions = model(data[0])
        correct = torch.argmax(predictions, 1) == data[1]
    return [predictions, correct.sum(), correct.float().mean()]
