"""Small work under one framework, timed on request: the worker of benchmarks/engine.py.

python small.py distgrad|torch answers each line "NAME SIZE" on its standard input with the
microseconds of processor time of one round. Both frameworks run the same statements; ``lib`` holds
the few functions that have no method.
"""

import importlib
import json
import math
import sys
import time
from types import SimpleNamespace

import numpy as np

LENGTH = 20
"""Links in a chain: enough that the ends do not count."""


def distgrad_library():
    dg = importlib.import_module("distgrad")
    return SimpleNamespace(
        name="distgrad",
        tensor=lambda a, grad=False: dg.Tensor(a, requires_grad=grad),
        leaf=lambda a: dg.Tensor(np.array(a), requires_grad=True),
        cat=lambda tensors, dim: np.concatenate(tensors, axis=dim),
        stack=lambda tensors, dim: np.stack(tensors, axis=dim),
        where=np.where,
        sin=np.sin,
        grad=dg.autograd.grad,
        no_grad=dg.no_grad,
        manual_seed=dg.manual_seed,
        nn=dg.nn,
        F=dg.nn.functional,
        optim=dg.optim,
    )


def torch_library():
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)

    def tensor(a, grad=False):
        return torch.from_numpy(a).requires_grad_(grad)

    return SimpleNamespace(
        name="torch",
        tensor=tensor,
        leaf=lambda a: torch.from_numpy(np.array(a)).requires_grad_(True),
        cat=torch.cat,
        stack=torch.stack,
        where=torch.where,
        sin=torch.sin,
        grad=torch.autograd.grad,
        no_grad=torch.no_grad,
        manual_seed=torch.manual_seed,
        nn=torch.nn,
        F=torch.nn.functional,
        optim=torch.optim,
    )


SHAPES = {1: (1, 1), 8: (2, 4), 64: (8, 8)}
"""Two axes, so that products of matrices and reductions over one have their place."""


def links(lib, size):
    """One link of a chain by name: a function of y that keeps its shape, and is recorded.

    An op that changes the shape, or cannot be repeated, comes with a cheap one that brings the
    shape or the range back: both are counted, under both frameworks.
    """
    rng = np.random.default_rng(0)
    shape = SHAPES[size]
    rows, columns = shape

    def ones(*shape):  # what stays near one in long chains
        return lib.leaf(np.ones(shape, np.float32))

    x, s = ones(*shape), lib.leaf(np.full(shape, 1 / size, np.float32))
    w, b = lib.leaf(np.full((columns, columns), 1 / columns, np.float32)), ones(columns)
    mask = lib.tensor(rng.random(shape) < 0.5)
    index = lib.tensor(rng.integers(0, columns, shape))
    labels = lib.tensor(rng.integers(0, columns, rows))
    target = lib.tensor(rng.uniform(0.9, 1.1, shape).astype(np.float32))
    F = lib.F
    chain = {
        "y + x": lambda y: y + x,
        "y - x": lambda y: y - x,
        "y * x": lambda y: y * x,
        "y / x": lambda y: y / x,
        "y + 1": lambda y: y + 1.0,
        "y * 0.5": lambda y: y * 0.5,
        "-y": lambda y: -y,
        "y ** 2": lambda y: y**2,
        "exp(-y)": lambda y: (-y).exp(),
        "log(y + 2)": lambda y: (y + 2.0).log(),
        "sqrt": lambda y: y.sqrt(),
        "tanh": lambda y: y.tanh(),
        "sigmoid": lambda y: y.sigmoid(),
        "relu": lambda y: y.relu(),
        "clamp": lambda y: y.clamp(0.0, 0.99),
        "sum()": lambda y: s * y.sum(),
        "mean()": lambda y: x * y.mean(),
        "sum(dim)": lambda y: s * y.sum(dim=1, keepdim=True),
        "max(dim)": lambda y: x * y.max(dim=1, keepdim=True)[0],
        "y @ w": lambda y: y @ w,
        "linear": lambda y: F.linear(y, w, b),
        "y[0]": lambda y: x * y[0],
        "y[:, 0]": lambda y: b * y[:, :1],
        "reshape": lambda y: y.reshape(columns, rows).reshape(rows, columns),
        "transpose": lambda y: y.transpose(0, 1).transpose(0, 1),
        "cat": lambda y: lib.cat([y[:1], y[1:]], 0),
        "stack": lambda y: lib.stack([y, x], 0)[0],
        "where": lambda y: lib.where(mask, y, x),
        "gather": lambda y: y.gather(1, index),
        "softmax": lambda y: F.softmax(y, dim=1),
        "log_softmax": lambda y: F.log_softmax(y, dim=1),
        "cross_entropy": lambda y: x * F.cross_entropy(y, labels),
        "mse": lambda y: x * F.mse_loss(y, target),
    }
    return x, chain


def time_chain(lib, name, size, cache={}):  # noqa: B006 (what has been built)
    if size not in cache:
        cache[size] = links(lib, size)
    x, chain = cache[size]
    link = chain[name]

    def run():
        y = x
        for _ in range(LENGTH):
            y = link(y)
        y.sum().backward()
        x.grad = None

    return microseconds(run, 10) / LENGTH


def microseconds(run, times):
    run()
    began = time.process_time_ns()
    for _ in range(times):
        run()
    return (time.process_time_ns() - began) / times / 1e3


# -- programs ---------------------------------------------------------------------------------


class CartPole:
    """A pole on a cart that is pushed left or right (Barto, Sutton, Anderson 1983)."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def reset(self):
        self.state = self.rng.uniform(-0.05, 0.05, 4)
        return self.state.astype(np.float32)

    def step(self, action):
        _, v, angle, spin = self.state
        push = 10.0 if action else -10.0
        sine, cosine = math.sin(angle), math.cos(angle)
        pull = (push + 0.05 * spin * spin * sine) / 1.1
        turn = (9.8 * sine - cosine * pull) / (0.5 * (4 / 3 - 0.1 * cosine * cosine / 1.1))
        slide = pull - 0.05 * turn * cosine / 1.1
        self.state = self.state + 0.02 * np.array([v, slide, spin, turn])
        fallen = abs(self.state[0]) > 2.4 or abs(self.state[2]) > 0.21
        return self.state.astype(np.float32), 1.0, fallen


def reinforce(lib, size):
    """Episodes of 64 steps: a policy of ``size`` hidden units, one state at a time."""
    lib.manual_seed(0)
    nn, F = lib.nn, lib.F
    policy = nn.Sequential(nn.Linear(4, size), nn.ReLU(), nn.Linear(size, 2))
    optimizer = lib.optim.Adam(policy.parameters(), lr=1e-2)
    world, rng = CartPole(0), np.random.default_rng(0)

    def episode():
        state, log_probs, rewards = world.reset(), [], []
        for _ in range(64):
            probs = F.softmax(policy(lib.tensor(state[None])), dim=1)
            action = int(rng.random() < probs[0, 1].item())
            log_probs.append(probs[0, action].log())
            state, reward, fallen = world.step(action)
            rewards.append(reward)
            if fallen:
                state = world.reset()
        returns, following = [], 0.0
        for reward in reversed(rewards):
            following = reward + 0.99 * following
            returns.insert(0, following)
        weights = np.array(returns, np.float32)
        weights = (weights - weights.mean()) / (weights.std() + 1e-6)
        loss = -(lib.stack(log_probs, 0) * lib.tensor(weights)).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return lambda: microseconds(episode, 5)


def pinn(lib, size):
    """A step of examples/pinn.py's equation at ``size`` points: second derivatives, then Adam."""
    lib.manual_seed(0)
    nn = lib.nn
    blocks = [m for i in range(4) for m in (nn.Linear(32 if i else 2, 32), nn.Tanh())]
    network = nn.Sequential(*blocks, nn.Linear(32, 1))
    optimizer = lib.optim.Adam(network.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)

    def step():
        t = lib.tensor(rng.random(size, np.float32), True)
        x = lib.tensor(2 * rng.random(size, np.float32) - 1, True)
        s = 2 * t - 1
        mirrored = lib.stack([lib.cat([s, s], 0), lib.cat([x, -x], 0)], 1)
        both = network(mirrored)[:, 0]
        u = t * (1 - x * x) * (both[:size] - both[size:]) - lib.sin(math.pi * x)
        u_t, u_x = lib.grad(u.sum(), [t, x], create_graph=True)
        (u_xx,) = lib.grad(u_x.sum(), [x], create_graph=True)
        residual = u_t + u * u_x - 0.01 / math.pi * u_xx
        loss = (residual * residual).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return lambda: microseconds(step, 5)


def small_mlp(lib, size):
    """A step of an MLP 64-64-10 on a batch of ``size``, with AdamW and clipping."""
    lib.manual_seed(0)
    nn, F = lib.nn, lib.F
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = lib.optim.AdamW(model.parameters(), lr=1e-3)
    if lib.name == "torch":
        clip = nn.utils.clip_grad_norm_
    else:
        clip = importlib.import_module("distgrad").clip_grad_norm_
    rng = np.random.default_rng(0)
    x = lib.tensor(rng.normal(size=(size, 64)).astype(np.float32))
    y = lib.tensor(rng.integers(0, 10, size))

    def step():
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        clip(model.parameters(), 1.0)
        optimizer.step()

    return lambda: microseconds(step, 50)


PROGRAMS = {"reinforce": reinforce, "pinn": pinn, "mlp": small_mlp}


def main():
    lib = distgrad_library() if sys.argv[1] == "distgrad" else torch_library()
    built = {}
    print(json.dumps([*links(lib, 8)[1]]), flush=True)
    for line in sys.stdin:
        name, size = json.loads(line)
        if name not in PROGRAMS:
            print(time_chain(lib, name, size), flush=True)
            continue
        if (name, size) not in built:
            built[name, size] = PROGRAMS[name](lib, size)
        print(built[name, size](), flush=True)


if __name__ == "__main__":
    main()
