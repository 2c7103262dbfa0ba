"""The tensor tutorial: making, indexing, joining, arithmetic, in-place, and the bridge to NumPy."""

import numpy as np
import torch


def run(rng):
    data = [[1, 2], [3, 4]]
    x_data = torch.tensor(data)
    np_array = np.array(data)
    x_np = torch.from_numpy(np_array)
    x_ones = torch.ones_like(x_data)
    x_rand = torch.rand_like(x_data, dtype=torch.float)
    assert x_rand.shape == x_data.shape
    assert x_rand.dtype == torch.float32
    shape = (2, 3)
    zeros_tensor = torch.zeros(shape)
    tensor = torch.tensor(rng.random((4, 4)))
    facts = f"{tuple(tensor.shape)} {tensor.ndim} {tensor.device} {tensor.is_cuda}"
    first, column, last = tensor[0], tensor[:, 0], tensor[..., -1]
    tensor[:, 1] = 0
    t1 = torch.cat([tensor, tensor, tensor], dim=1)
    y1 = tensor @ tensor.T
    y2 = tensor.matmul(tensor.T)
    y3 = torch.rand_like(y1)
    torch.matmul(tensor, tensor.T, out=y3)
    z1 = tensor * tensor
    z2 = tensor.mul(tensor)
    z3 = torch.rand_like(tensor)
    torch.mul(tensor, tensor, out=z3)
    agg = tensor.sum()
    agg_item = agg.item()
    tensor.add_(5)
    t = torch.ones(5)
    n = t.numpy()
    t.add_(1)
    m = np.ones(5)
    shared = torch.from_numpy(m)
    np.add(m, 1, out=m)
    made = [
        torch.arange(10),
        torch.arange(0, 1, 0.25),
        torch.linspace(0, 1, steps=5),
        torch.logspace(0, 2, 3),
        torch.full((2, 2), 7),
        torch.full((2,), 1.5),
        torch.eye(3),
        torch.zeros(3, dtype=torch.int64),
        torch.ones(2, 3, dtype=torch.bool),
        torch.empty(2, 0),
        torch.tensor(3.5),
        torch.tensor([True, False]),
        torch.as_tensor([1.0, 2.0]),
        torch.triu(torch.ones(3, 3), diagonal=1),
        torch.stack([column, last], dim=0),
        torch.hstack((first, last)),
        torch.vstack((first, last)),
    ]
    return {
        "made": made,
        "facts": facts,
        "parts": [x_np, x_ones, zeros_tensor, first, column, last, t1, y1, y2, y3, z1, z2, z3],
        "sum": [agg, agg_item, type(agg_item).__name__],
        "added": [tensor, t, n, m, shared],
        "list": [tensor.tolist(), tensor.sum().tolist(), len(tensor), tensor.numel()],
    }
