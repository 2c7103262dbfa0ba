"""A Bayesian neural network by variational inference: every weight has a mean and a deviation.

Blundell et al. (2015), "Weight Uncertainty in Neural Networks": the evidence's lower bound is
climbed with one draw of the weights per step, by the reparametrisation of Kingma & Welling (2014).
The data are drawn, with a gap in which the network shall be unsure.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.distributions import Normal, kl_divergence

NOISE = 0.1  # of the data, known to the network


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--hidden", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--plot", metavar="FILE", help="draw what it believes: .png, .pdf or .svg")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    return args


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.uniform(-2, -0.7, 30), rng.uniform(0.7, 2, 30)])[:, None]
    return x, np.cos(2 * x) + NOISE * rng.normal(size=x.shape)


def network(weights: list[dg.Tensor], x: np.ndarray) -> dg.Tensor:
    """Layers of tanh; ``weights`` may have an axis of draws in front."""
    *hidden, (w, b) = zip(weights[::2], weights[1::2], strict=True)
    for wi, bi in hidden:
        x = np.tanh(np.matmul(x, wi) + bi)
    return np.matmul(x, w) + b


class Beliefs:
    """A normal distribution for each weight."""

    def __init__(self, sizes: list[int], seed: int) -> None:
        rng = np.random.default_rng(seed)
        shapes = [s for a, b in pairwise(sizes) for s in ((a, b), (1, b))]
        self.means = [nn.Parameter(dg.Tensor(rng.normal(0, 0.5, s))) for s in shapes]
        self.logs = [nn.Parameter(dg.Tensor(np.full(s, -3.0))) for s in shapes]

    def weights(self) -> list[Normal]:
        return [Normal(m, np.exp(s)) for m, s in zip(self.means, self.logs, strict=True)]


def train(
    beliefs: Beliefs, x: np.ndarray, y: np.ndarray, steps: int, lr: float, capture: bool = False
) -> Iterator[float]:
    """Yield the loss per sample of each step."""
    optimizer = optim.Adam([*beliefs.means, *beliefs.logs], lr=lr)

    def step(x: np.ndarray, y: np.ndarray) -> dg.Tensor:
        prior = Normal(dg.tensor(0.0, dtype=dg.float64), dg.tensor(1.0, dtype=dg.float64))
        optimizer.zero_grad()
        weights = beliefs.weights()
        found = network([w.rsample() for w in weights], x)
        fit = Normal(found, NOISE).log_prob(dg.Tensor(y)).sum()
        loss = sum(kl_divergence(w, prior).sum() for w in weights) - fit
        loss.backward()
        optimizer.step()
        return loss

    step = dg.capture(step) if capture else step
    for _ in range(steps):
        yield step(x, y).item() / len(x)


def predicted(beliefs: Beliefs, x: np.ndarray, draws: int = 200) -> tuple[np.ndarray, np.ndarray]:
    with dg.no_grad():
        found = network([w.sample((draws,)) for w in beliefs.weights()], x).array
    return found.mean(0)[:, 0], found.std(0)[:, 0]


def main() -> None:
    args = arguments()
    dg.manual_seed(args.seed)
    x, y = drawn(args.seed)
    beliefs = Beliefs([1, args.hidden, args.hidden, 1], args.seed)
    losses = []
    with dg.observe.Run(args.run, configuration=args) as run:
        steps = train(beliefs, x, y, args.steps, args.lr, args.capture)
        for step, loss in enumerate(steps, 1):
            losses.append(loss)
            run.log(step, {"loss": loss})
    weights = {str(i): p.array for i, p in enumerate([*beliefs.means, *beliefs.logs])}
    print(f"sha256 {nn.state_sha256(weights)}")
    print(f"loss per sample {losses[0]:.1f} -> {np.mean(losses[-100:]):.2f}")
    at = np.linspace(-3, 3, 200)
    mean, deviation = predicted(beliefs, at[:, None])
    seen = (np.abs(at) > 0.7) & (np.abs(at) < 2)
    print(
        f"deviation where there are data {deviation[seen].mean():.3f}, beyond "
        f"{deviation[np.abs(at) > 2.5].mean():.3f}"
    )
    if args.plot:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(at, mean - 2 * deviation, mean + 2 * deviation, alpha=0.3)
        axes.plot(at, mean, label="mean, ± 2 deviations")
        axes.plot(x, y, "k.", label="data")
        axes.set_ylim(-3, 3)
        axes.legend()
        figure.savefig(args.plot, dpi=120)


if __name__ == "__main__":
    main()
