"""Solve Burgers' equation with a physics-informed network (Raissi, Perdikaris, Karniadakis 2019).

u_t + u u_x = ν u_xx on 0 ≤ t ≤ 1, -1 ≤ x ≤ 1, with u(0, x) = -sin(πx) and u(t, ±1) = 0: a sine
that steepens to a shock, thin because ν = 0.01 / π. The network sees no solution, only points
(t, x) where its own first and second derivatives must fulfil the equation. The paper reports a
relative L2 error of 6.7e-4.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.autograd import grad

NU = 0.01 / math.pi


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--points", type=int, default=10240, metavar="N", help="where the equation must hold")
    add("--layers", type=int, default=4, metavar="N", help="hidden layers")
    add("--width", type=int, default=32, metavar="N", help="neurons in each of them")
    add("--steps", type=int, default=4500, metavar="N", help="optimizer steps")
    add("--global-batch-size", type=int, default=1024, metavar="N", help="points in a step")
    add("--accumulate", type=int, default=1, metavar="N", help="batches a step")
    add("--lr", type=float, default=2e-3, help="peak learning rate of Adam")
    add("--muon-lr", type=float, default=0.01, metavar="LR", help="peak learning rate of Muon")
    add("--seed", type=int, default=0, metavar="N")
    add("--shards", type=int, default=4, metavar="N", help="logical shards: a power of two")
    add("--capture", action="store_true", help="record a step once, then replay it")
    add("--every", type=int, default=500, metavar="N", help="steps between reports")
    add("--checkpoint", metavar="FILE", help="file that training goes on from")
    add("--resume", action="store_true", help="go on from --checkpoint, if it exists")
    add("--run", metavar="DIR", help="folder for all the training leaves")
    add("--plot", metavar="FILE", help="draw the solution and its error (PNG, PDF)")
    add("--json", action="store_true", help="end with one line of JSON")
    args = parser.parse_args()
    if args.steps < 1:
        parser.error(f"--steps {args.steps}: train for at least one")
    if args.layers < 2:
        parser.error(f"--layers {args.layers}: Muon trains what is between two of them")
    if args.accumulate < 1:
        parser.error(f"--accumulate {args.accumulate}: a step takes at least one batch")
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint FILE")
    # Said now, not after minutes of training.
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install 'distgrad[plot]'")
    if args.plot and not Path(args.plot).absolute().parent.is_dir():
        parser.error(f"--plot {args.plot}: there is no such folder")
    return args


class Burgers(nn.Module):
    """A solution made of a tanh network; called, it returns the residual of the equation."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        blocks = [
            nn.Sequential(nn.Linear(width if i else 2, width), nn.Tanh()) for i in range(layers)
        ]
        self.network = nn.Sequential(*blocks, nn.Linear(width, 1))
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.xavier_normal_(p)
            else:
                nn.init.zeros_(p)

    def u(self, t: Any, x: Any) -> Tensor:
        """The solution at n points (t, x); initial and boundary conditions hold by construction.

        So does that it is odd in x, as the equation keeps what is: the shock cannot leave x = 0.
        """
        s = 2 * t - 1
        mirrored = np.stack([np.concatenate([s, s]), np.concatenate([x, -x])], axis=1)  # 2n 2
        here, there = np.split(self.network(mirrored)[:, 0], 2)
        return t * (1 - x * x) * (here - there) - np.sin(math.pi * x)

    def forward(self, t: Any, x: Any) -> Tensor:
        t, x = Tensor(t, requires_grad=True), Tensor(x, requires_grad=True)
        u = self.u(t, x)
        # Points do not influence each other: the gradient of a sum holds each one's derivative.
        u_t, u_x = grad(u.sum(), [t, x], create_graph=True)
        (u_xx,) = grad(u_x.sum(), [x], create_graph=True)
        return u_t + u * u_x - NU * u_xx


def exact(t: Any, x: Any) -> Any:
    """The solution, after Cole and Hopf, by Gauss-Hermite quadrature; float64, good to 1e-14."""
    z, w = np.polynomial.hermite.hermgauss(100)
    y = x[..., None] - z * np.sqrt(4 * NU * t[..., None])
    w = w * np.exp(-np.cos(math.pi * y) / (2 * math.pi * NU))
    return -np.sum(w * np.sin(math.pi * y), -1) / np.sum(w, -1)


def collocation(n: int, seed: int) -> dg.data.ArrayDataset:
    """``n`` points (t, x) as a Latin hypercube: every n-th part of both axes has one."""
    rng = np.random.default_rng(seed)
    t, x = ((rng.permutation(n) + rng.random(n)) / n for _ in range(2))
    return dg.data.ArrayDataset(t.astype(np.float32), (2 * x - 1).astype(np.float32))


def on_grid(model: Burgers) -> tuple[Any, Any, Any, Any]:
    """Return t, x, the model's u and the exact one on a grid of 101 x 257 points."""
    t, x = np.meshgrid(np.linspace(0, 1, 101), np.linspace(-1, 1, 257), indexing="ij")
    with dg.no_grad():
        u = model.u(t.ravel().astype(np.float32), x.ravel().astype(np.float32))
    return t, x, u.data.reshape(t.shape), exact(t, x)


def relative_error(model: Burgers) -> float:
    """|u - exact| / |exact|, both 2-norms over the grid."""
    _, _, u, true = on_grid(model)
    return float(np.linalg.norm(u - true) / np.linalg.norm(true))


def endless(loader: dg.data.DataLoader) -> Iterator[dg.data.Batch]:
    while True:
        yield from loader


def optimizers_of(model: Burgers, args: argparse.Namespace) -> list[optim.Optimizer]:
    # Muon for the matrices between hidden layers: with Adam alone the shock stayed blurred.
    square = [p for p in model.parameters() if p.shape == (args.width, args.width)]
    others = [p for p in model.parameters() if p.shape != (args.width, args.width)]
    return [
        optim.Muon(square, lr=args.muon_lr, weight_decay=0.0),
        optim.Adam(others, lr=args.lr),
    ]


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    points = collocation(args.points, args.seed)
    loader = dg.data.DataLoader(points, args.global_batch_size, shuffle=True, seed=args.seed)
    model = Burgers(args.layers, args.width)
    optimizers = optimizers_of(model, args)
    schedules = [
        optim.WarmupCosineLR(o, min(100, args.steps // 2), args.steps, 1e-3) for o in optimizers
    ]
    ddp = dg.DistributedDataParallel(model)

    first, mean = 0, math.nan
    if args.resume and Path(args.checkpoint).exists():
        saved = dg.load(args.checkpoint)
        model.load_state_dict(saved["model"])
        for part, state in zip([*optimizers, *schedules], saved["training"], strict=True):
            part.load_state_dict(state)
        loader.load_state_dict(saved["loader"])
        first, mean = saved["step"], saved["loss"]

    def forward_and_backward(t: Any, x: Any) -> Tensor:
        residual = model(t, x)
        loss = (residual * residual).mean() / args.accumulate
        ddp.backward(loss)
        return loss

    learn = dg.capture(forward_and_backward) if args.capture else forward_and_backward
    batches = endless(loader)
    with dg.observe.Run(args.run, model=model, configuration=args, resume=args.resume) as run:
        run.begins(first, args.steps)
        for step in range(first + 1, args.steps + 1):
            model.zero_grad()
            sums = dg.ShardSum(world, "loss")
            for i in range(1, args.accumulate + 1):
                batch = next(batches)
                with nullcontext() if i == args.accumulate else ddp.no_sync():
                    for t, x in batch.shards:
                        loss = learn(t, x)
                        sums.add(loss=float(loss) * len(t) / batch.total)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                schedule.step()
            mean = sums.result()["loss"]
            run.log(step, {"loss": mean})
            if step % args.every == 0 or step in (1, args.steps):
                error = relative_error(model)
                run.log(step, {"validation/error": error})
                world.print(f"step {step}: loss {mean:.3e}, error {error:.3e}")
                if args.checkpoint:
                    saved = {
                        "model": model.state_dict(),
                        "training": [part.state_dict() for part in [*optimizers, *schedules]],
                        "loader": loader.state_dict(),
                        "step": step,
                        "loss": mean,
                    }
                    dg.save(saved, args.checkpoint)

    sha256 = nn.state_sha256(model.state_dict())
    error = relative_error(model)
    world.print(f"relative L2 error {error:.2e} against the exact solution, {world}")
    world.print(f"sha256 {sha256}")
    if args.plot and world.rank == 0:  # one file, one writer
        plot(model, args.plot)
    if args.json:
        result = {
            "steps": args.steps,
            "loss": mean,
            "relative_l2_error": error,
            "ranks": world.size,
            "shards": world.shards,
            "sha256": sha256,
        }
        world.print(json.dumps(result))


def plot(model: Burgers, file: str) -> None:
    """Draw u and its error over (t, x), and u beside the exact solution at three times."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (only --plot needs it)

    t, x, u, true = on_grid(model)
    figure = Figure(figsize=(10, 6.5), dpi=150, layout="constrained")
    figure.suptitle(f"Burgers' equation, relative L2 error {relative_error(model):.1e}")
    upper, lower = figure.subfigures(2, 1)
    maps = [
        (u, "network u(t, x)", {"cmap": "RdBu_r", "vmin": -1, "vmax": 1}),
        (np.abs(u - true), "|network - exact|", {"cmap": "magma", "vmin": 0}),
    ]
    for axes, (values, title, style) in zip(upper.subplots(1, 2), maps, strict=True):
        axes.set(title=title, xlabel="t", ylabel="x", yticks=[-1, -0.5, 0, 0.5, 1])
        mesh = axes.pcolormesh(t, x, values, shading="gouraud", rasterized=True, **style)
        upper.colorbar(mesh, ax=axes)
    for axes, row in zip(lower.subplots(1, 3, sharey=True), (25, 50, 75), strict=True):
        axes.set(title=f"t = {t[row, 0]:.2f}", xlabel="x", ylim=(-1.15, 1.15))
        axes.plot(x[row], true[row], color="tab:blue", linewidth=3, label="exact")
        axes.plot(x[row], u[row], "--", color="tab:red", label="network")
        axes.grid(alpha=0.3)
    lower.axes[0].set_ylabel("u")
    lower.axes[0].legend(loc="lower left", frameon=False)
    figure.savefig(file)


if __name__ == "__main__":
    main()
