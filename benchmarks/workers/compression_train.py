"""Train with one way of communicating; print the validation loss against bytes and time as JSON."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F
from distgrad.parallel import hooks
from distgrad.parallel.local_sgd import DiLoCo, PeriodicModelAverager, PostLocalSGDOptimizer

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "gallery"))
from gpt import GPT, GPTConfig

Wrap = Callable[[Any, Any, int], Any]


def hooked(hook: Any, state: Callable[[int], Any] = lambda steps: None) -> Wrap:
    def wrap(ddp: Any, optimizer: Any, steps: int) -> Any:
        ddp.register_comm_hook(state(steps), hook)
        return optimizer

    return wrap


def power(rank: int) -> Wrap:
    # As PyTorch advises, the first tenth is summed whole.
    return hooked(hooks.powerSGD_hook, lambda steps: hooks.PowerSGDState(None, rank, steps // 10))


def local_sgd(period: int) -> Wrap:
    def wrap(ddp: Any, optimizer: Any, steps: int) -> Any:
        start = steps // 10
        state = hooks.PostLocalSGDState(start_localSGD_iter=start)
        ddp.register_comm_hook(state, hooks.post_localSGD_hook)
        return PostLocalSGDOptimizer(optimizer, PeriodicModelAverager(period, start))

    return wrap


METHODS: dict[str, Wrap] = {
    "none": lambda ddp, optimizer, steps: optimizer,
    "fp16": hooked(hooks.fp16_compress_hook),
    "bf16": hooked(hooks.bf16_compress_hook),
    "int8": hooked(hooks.int8_compress_hook, lambda steps: hooks.Int8State()),
    "powerSGD-2": power(2),
    "powerSGD-4": power(4),
    "topk-1%": hooked(hooks.topk_hook, lambda steps: hooks.TopKState(0.01)),
    "local-8": local_sgd(8),
    "DiLoCo-50": lambda ddp, optimizer, steps: DiLoCo(ddp, optimizer, every=50),
}


def mlp(args: argparse.Namespace) -> tuple[nn.Module, Any, Any, Any]:
    train, test = dg.data.fashion_mnist()
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in ((784, args.width), (args.width, args.width), (args.width, args.width)):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(args.width, 10)), train, test, F.cross_entropy


def gpt(args: argparse.Namespace) -> tuple[nn.Module, Any, Any, Any]:
    text = dg.data.text_file(args.text) if args.text else dg.data.python_docs()
    tokens, vocabulary = dg.data.character_tokens(text)
    train, test = dg.data.split_text(tokens, 64)
    model = GPT(GPTConfig(len(vocabulary), 64, args.layers, 4, args.width))

    def loss(logits: Any, y: Any) -> Any:
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))

    return model, train, test, loss


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("--workload", choices=["mlp", "gpt"], default="mlp")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--every", type=int, default=25, help="steps between two evaluations")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--evaluate", type=int, default=2048, help="samples")
    parser.add_argument("--text", metavar="FILE", help="for the GPT; without it Python's docs")
    return parser.parse_args()


def forever(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


def main() -> None:
    args = arguments()
    os.environ["DISTGRAD_TUNING"] = "off"  # what a user has tuned here is not what is measured
    world = dg.init(threads=1)
    dg.manual_seed(1)
    model, train, test, loss_fn = (mlp if args.workload == "mlp" else gpt)(args)
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(test), min(args.evaluate, len(test)), replace=False)
    test = dg.data.Subset(test, np.sort(chosen))
    ddp = dg.DistributedDataParallel(model)
    optimizer = METHODS[args.method](ddp, optim.AdamW(model.parameters(), lr=args.lr), args.steps)

    def evaluate() -> float:
        """The mean over the ranks' models: one model where they are equal, their own if not."""
        sums = dg.ShardSum(world, "loss", "count")
        with dg.no_grad():
            for batch in dg.data.DataLoader(test, 256):
                for x, y in batch.shards:
                    sums.add(
                        loss=float(loss_fn(model(dg.tensor(x)), dg.tensor(y))) * len(x),
                        count=len(x),
                    )
        found = sums.result()
        return found["loss"] / found["count"]

    points = [[0, 0.0, 0, evaluate()]]
    seconds, sent = 0.0, 0
    batches = forever(dg.data.DataLoader(train, args.batch, shuffle=True, seed=1))
    world.comm.barrier()
    begin, before = time.perf_counter(), world.comm.bytes_sent
    for step in range(1, args.steps + 1):
        optimizer.zero_grad()
        for x, y in next(batches).shards:
            ddp.backward(loss_fn(model(dg.tensor(x)), dg.tensor(y)))
        dg.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % args.every == 0:
            world.comm.barrier()
            seconds += time.perf_counter() - begin
            sent += world.comm.bytes_sent - before
            points.append([step, seconds, sent, evaluate()])
            world.comm.barrier()
            begin, before = time.perf_counter(), world.comm.bytes_sent
    parameters = sum(p.array.size for p in model.parameters())
    world.print(json.dumps({"ranks": world.size, "parameters": parameters, "points": points}))


if __name__ == "__main__":
    main()
