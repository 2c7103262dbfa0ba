"""Which dtype comes out: integers with floats, Python numbers, tensors without axes, reductions."""

import torch

DTYPE = "float32"


def run(rng):
    f = torch.tensor([1.0, 2.0])
    i = torch.tensor([1, 2])
    b = torch.tensor([True, False])
    s = torch.tensor(2.0, dtype=torch.float64)
    d = torch.tensor([0.5, 1.5], dtype=torch.float64)
    h = torch.tensor([0.5, 1.5], dtype=torch.float16)
    u = torch.tensor([3, 250], dtype=torch.uint8)
    pairs = [f * i, f / i, i / i, f * s, f + b, i + s, i * 2.5, 2 * i, i / 2, i**2, i**0.5, f**i]
    pairs += [
        f * d,
        h * f,
        h * 2.0,
        u + 1,
        u * i,
        f // i,
        i // 2,
        i % 2,
        f % i,
        -i,
        ~b,
        b + b,
        b & b,
    ]
    pairs += [f - 1, 1 - f, 2 / f, 2 / i, 2**f, i > f, f == i, abs(-i), f.sum() / i, i.sum() / 2]
    functions = [
        torch.where(b, f, 0.0),
        torch.where(b, i, f),
        torch.cat([f, i]),
        torch.stack([i, i]).float().mean(0),
        torch.maximum(f, i),
        torch.sqrt(i),
        torch.exp(i),
        torch.sigmoid(i),
        torch.sin(i),
        torch.arange(3) * 0.1,
        torch.arange(0, 1, 0.5),
        torch.linspace(0, 1, 3),
        torch.full((2,), 1),
        torch.full((2,), 1.0),
        torch.tensor([1, 2.5]),
        torch.zeros(2) + i,
        torch.ones_like(i) * 0.5,
        torch.sum(b),
        torch.prod(i),
        torch.cumsum(b, 0),
        (f > i).sum(),
        (f > i).float().mean(),
        i.float().std(),
        f.mean(),
        f.argmax(),
        torch.log(i) / torch.log(torch.tensor(2.0)),
        i.clamp(min=1),
        i.clamp(min=1.5),
        f.round(),
        f.to(i.dtype),
        i.type_as(f),
        i.to(f),
        f.double() * f,
        f.half() + f.half(),
        torch.outer(f, i.float()),
        f.new_tensor([1, 2]),
        i.new_zeros(2),
        torch.add(i, f, alpha=2),
        torch.mul(i, 0.5),
        torch.div(i, 2),
        torch.div(i, 2, rounding_mode="floor"),
        torch.pow(i, 2),
        torch.rand(2) * i,
        torch.bernoulli(torch.ones(2)),
        torch.randint(0, 5, (2,)) * 0,
        torch.randperm(3) * 0,
    ]
    kinds = [t.is_floating_point() for t in (f, i, b)]
    facts = [torch.result_type(i, f) == torch.float32, torch.can_cast(torch.float, torch.int)]
    promoted = torch.promote_types(torch.int32, torch.float32) == torch.float32
    shapes = [tuple(t.shape) for t in pairs]
    random = {len(functions) - 4}
    functions = [t * 0 if n in random else t for n, t in enumerate(functions)]
    return [pairs, functions, kinds, facts, promoted, shapes, str(f.dtype) == str(f.float().dtype)]
