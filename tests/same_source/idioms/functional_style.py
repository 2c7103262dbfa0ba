"""torch.func: functional_call, grad, vmap, jacrev, MAML's inner step, stacked ensembles."""

import torch
import torch.nn as nn
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap


def build():
    return nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))


def run(rng, model):
    x, y = torch.tensor(rng.standard_normal((7, 2))), torch.tensor(rng.standard_normal((7, 1)))
    params = {k: v.detach() for k, v in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def compute_loss(params, sample, target):
        predictions = functional_call(model, (params, buffers), (sample.unsqueeze(0),))
        return nn.functional.mse_loss(predictions, target.unsqueeze(0))

    per_sample = vmap(grad(compute_loss), in_dims=(None, 0, 0))(params, x, y)
    jac = jacrev(torch.sin)(x[:, 0])
    hess = hessian(lambda v: (v**3).sum())(x[0])
    _, tangent = jvp(torch.exp, (x,), (torch.ones_like(x),))
    weights = {k: v.clone().requires_grad_() for k, v in params.items()}
    inner = nn.functional.mse_loss(functional_call(model, weights, (x,)), y)
    grads = torch.autograd.grad(inner, weights.values(), create_graph=True)
    fast = {k: w - 0.1 * g for (k, w), g in zip(weights.items(), grads, strict=True)}
    outer = nn.functional.mse_loss(functional_call(model, fast, x), y)
    outer.backward()
    dots = vmap(torch.dot)(x, x)
    batched = vmap(lambda w: x @ w, in_dims=1, out_dims=1)(torch.ones(2, 3))
    return {
        "per_sample": per_sample,
        "others": [jac, hess, tangent, dots, batched],
        "maml": [inner, outer, {k: w.grad for k, w in weights.items()}],
    }
