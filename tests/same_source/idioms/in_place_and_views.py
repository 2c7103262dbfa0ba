"""In-place changes and views that gradients pass through: x[i] = y, +=, masked writes, slices."""

import torch


def run(rng):
    w = torch.tensor(rng.standard_normal((4, 3)), requires_grad=True)
    x = w * 2
    x += 1
    x[0] = w[1] * 3
    x[:, 1] *= 2
    x[x > 1.5] = 0.0
    x = x.clone()
    x.clamp_(min=-1.0)
    x.mul_(w).add_(0.5).div_(2)
    y = torch.zeros(4, 3)
    y[1:3] = w[:2]
    y[torch.tensor([0, 3]), torch.tensor([2, 1])] = w[0, 0]
    total = 0
    for row in x:
        total += row.sum()
    loss = total + (y**2).sum()
    loss.backward()
    v = torch.arange(12).reshape(3, 4)
    view = v.view(4, 3)
    view[0, 0] = 100
    flat = v.flatten()
    same = v.data_ptr() == view.data_ptr()
    t = torch.zeros(5)
    t[1:4] += torch.tensor([1.0, 2.0, 3.0])
    t.index_add_(0, torch.tensor([0, 0, 4]), torch.ones(3))
    t.scatter_add_(0, torch.tensor([1, 1]), torch.tensor([10.0, 20.0]))
    s = torch.zeros(3, 4).scatter_(1, torch.tensor([[1], [0], [3]]), 1.0)
    s.masked_fill_(s == 0, -1)
    u = torch.arange(6).float()
    u.unsqueeze_(0)
    u.t_()
    u.zero_()
    return {
        "x": [x.detach(), y.detach(), w.grad, loss],
        "views": [v[0, 0], flat[0], same, v.is_contiguous(), v.t().is_contiguous()],
        "t": [t, s, u.shape],
        "swap": [
            v.swapaxes(0, 1),
            v.movedim(0, 1),
            v.T,
            v.flip(0),
            v.rot90(),
            torch.tile(v, (1, 2)),
        ],
        "reshape": [v.unflatten(1, (2, 2)), v.expand(2, 3, 4), v.unfold(1, 2, 2), v.ravel()],
        "tile": [torch.tile(v, (2,)), v.repeat_interleave(2, dim=0), torch.chunk(v, 2, 1)],
        "index": [
            v[:, None].shape,
            v[..., 0],
            v[v % 2 == 0],
            v[[0, 2]],
            v.index_select(1, v[0, 1:3] % 4),
        ],
        "take": [v.take(torch.tensor([0, 5])), torch.take_along_dim(v, v.argsort(1), 1)],
    }
