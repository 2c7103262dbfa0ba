"""Forward hooks for features, backward hooks and tensor hooks for gradients; removing them."""

import torch
import torch.nn as nn


def build():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))


def run(rng, model):
    activation = {}

    def get_activation(name):
        def hook(model, input, output):
            activation[name] = output.detach()

        return hook

    grads = {}

    def backward_hook(module, grad_input, grad_output):
        grads[module.__class__.__name__] = [grad_input[0], grad_output[0]]

    handles = [
        layer.register_forward_hook(get_activation(n)) for n, layer in model.named_children()
    ]
    handles.append(model[2].register_full_backward_hook(backward_hook))
    x = torch.tensor(rng.standard_normal((3, 4)), requires_grad=True)
    seen = []
    x.register_hook(lambda grad: seen.append(grad.norm().item()))
    h = model[0].weight.register_hook(lambda grad: grad * 2)
    model(x).sum().backward()
    first = model[0].weight.grad.clone()
    h.remove()
    for handle in handles:
        handle.remove()
    model.zero_grad()
    model(x).sum().backward()
    pre = model.register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    doubled = model(x)
    pre.remove()
    replaced = model[0].register_forward_hook(lambda m, i, o: o.clamp(max=0.1))
    clamped = model(x)
    replaced.remove()
    return [activation, grads, seen, first, model[0].weight.grad, doubled, clamped]
