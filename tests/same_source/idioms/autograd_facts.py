"""requires_grad, grad_fn, accumulation, detach, vector-Jacobian products, Jacobians."""

import torch


def run(rng):
    x = torch.ones(5)
    y = torch.zeros(3)
    w = torch.tensor(rng.standard_normal((5, 3)), requires_grad=True)
    b = torch.tensor(rng.standard_normal(3)).requires_grad_()
    z = torch.matmul(x, w) + b
    loss = torch.nn.functional.binary_cross_entropy_with_logits(z, y)
    facts = [z.grad_fn is not None, w.grad is None, z.requires_grad, w.is_leaf, z.is_leaf]
    loss.backward()
    with torch.no_grad():
        z = torch.matmul(x, w) + b
    facts.append(z.requires_grad)
    z_det = (torch.matmul(x, w) + b).detach()
    facts.append(z_det.requires_grad)

    inp = torch.eye(4, 5, requires_grad=True)
    out = (inp + 1).pow(2).t()
    grads = []
    out.backward(torch.ones_like(out), retain_graph=True)
    grads.append(inp.grad.clone())
    out.backward(torch.ones_like(out), retain_graph=True)
    grads.append(inp.grad.clone())
    inp.grad.zero_()
    out.backward(torch.ones_like(out))
    grads.append(inp.grad)

    a = torch.tensor([2.0, 3.0], requires_grad=True)
    c = torch.tensor([6.0, 4.0], requires_grad=True)
    Q = 3 * a**3 - c**2
    Q.backward(gradient=torch.tensor([1.0, 1.0]))
    facts += [(9 * a**2 == a.grad).all().item(), (-2 * c == c.grad).tolist()]

    def f(v):
        return torch.stack([v[0] * v[1], v[1].sin(), v.sum() ** 2])

    v = torch.tensor([0.5, 1.5])
    jac = torch.autograd.functional.jacobian(f, v)
    hess = torch.autograd.functional.hessian(lambda u: (u**3).sum() * u[0], v)
    s = torch.tensor(1.2, requires_grad=True)
    (g1,) = torch.autograd.grad(s.exp() * s.sin(), s, create_graph=True)
    (g2,) = torch.autograd.grad(g1, s)
    unused = torch.autograd.grad(s * 2, [s, w], allow_unused=True)
    h = s * 3
    h.retain_grad()
    (h**2).backward()
    return {
        "facts": facts,
        "grads": [w.grad, b.grad, *grads, jac, hess, g1, g2, h.grad, s.grad],
        "unused": [unused[0], unused[1] is None],
        "set": torch.is_grad_enabled(),
    }
