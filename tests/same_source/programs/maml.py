"""Model-agnostic meta-learning: inner steps with create_graph, functional_call, vmap over tasks."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(1, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 1)
        )

    def forward(self, x):
        return self.net(x)


def build():
    return Net()


def data(rng):
    amp = torch.as_tensor(rng.uniform(0.1, 5, (4, 1, 1)), dtype=torch.get_default_dtype())
    phase = torch.as_tensor(rng.uniform(0, 3.14, (4, 1, 1)), dtype=torch.get_default_dtype())
    x = torch.as_tensor(rng.uniform(-5, 5, (2, 4, 7, 1)), dtype=torch.get_default_dtype())
    return x, amp * torch.sin(x + phase)


def train(model, data, steps):
    (x1, x2), (y1, y2) = data
    opt = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []

    def compute(params, x, y):
        return F.mse_loss(functional_call(model, params, (x,)), y)

    def adapted(params, x1, y1, x2, y2):
        grads = grad(compute)(params, x1, y1)
        fast = {k: params[k] - 0.01 * grads[k] for k in grads}
        return compute(fast, x2, y2)

    for i in range(steps):
        params = dict(model.named_parameters())
        opt.zero_grad()
        if i % 2:
            loss = vmap(adapted, in_dims=(None, 0, 0, 0, 0))(params, x1, y1, x2, y2).mean()
        else:
            total = []
            for t in range(4):
                fast = dict(params.items())
                for _ in range(2):
                    inner = F.mse_loss(torch.func.functional_call(model, fast, x1[t]), y1[t])
                    gs = torch.autograd.grad(inner, list(fast.values()), create_graph=True)
                    fast = {k: p - 0.01 * g for (k, p), g in zip(fast.items(), gs, strict=False)}
                total.append(F.mse_loss(functional_call(model, fast, (x2[t],)), y2[t]))
            loss = torch.stack(total).mean()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def evaluate(model, data):
    (x1, _), (y1, _) = data
    params = {k: v.detach() for k, v in model.named_parameters()}

    def loss_of(params, x, y):
        return F.mse_loss(functional_call(model, params, (x.unsqueeze(0),)), y.unsqueeze(0))

    per_sample = vmap(grad(loss_of), in_dims=(None, 0, 0))(params, x1[0], y1[0])
    jac = torch.func.jacrev(lambda p: functional_call(model, p, (x1[0],)))(params)
    J = torch.cat([j.flatten(2) for j in jac.values()], 2).squeeze(1)
    ntk = torch.einsum("nf,mf->nm", J, J)
    v = {k: torch.ones_like(p) for k, p in params.items()}
    _, jvp = torch.func.jvp(lambda p: functional_call(model, p, (x1[0],)), (params,), (v,))
    return [per_sample["net.0.weight"], ntk, jvp]
