"""A Gaussian process whose kernel is learnt: NumPy functions, differentiated as they stand.

Rasmussen & Williams (2006), equations 2.23, 2.24 and 5.8: the logarithm of the marginal likelihood
is climbed with L-BFGS. The data are drawn: a sine with noise, with a gap in the middle.
"""

from __future__ import annotations

import argparse
import importlib.util

import numpy as np

import distgrad as dg
from distgrad import optim

JITTER = 1e-6  # keeps the covariance positive definite


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--iterations", type=int, default=40, help="of L-BFGS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--plot", metavar="FILE", help="draw the posterior: .png, .pdf or .svg")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    return args


def drawn(points: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = np.sort(np.concatenate([rng.uniform(-4, -1, points // 2), rng.uniform(1, 4, points // 2)]))
    return x, np.sin(2 * x) + 0.1 * rng.normal(size=len(x))


def kernel(a: np.ndarray, b: np.ndarray, log_scale: dg.Tensor, log_length: dg.Tensor) -> dg.Tensor:
    """The squared exponential."""
    distance = (a[:, None] - b[None, :]) ** 2
    return np.exp(2 * log_scale) * np.exp(-0.5 * distance / np.exp(2 * log_length))


def negative_log_likelihood(parameters: dict[str, dg.Tensor], x: np.ndarray, y: np.ndarray):
    noise = np.exp(2 * parameters["log_noise"]) + JITTER
    K = kernel(x, x, parameters["log_scale"], parameters["log_length"]) + noise * np.eye(len(x))
    L = np.linalg.cholesky(K)
    alpha = np.linalg.solve(K, y)
    return (
        0.5 * np.dot(y, alpha) + np.sum(np.log(np.diagonal(L))) + 0.5 * len(x) * np.log(2 * np.pi)
    )


def fit(x: np.ndarray, y: np.ndarray, iterations: int) -> tuple[dict[str, dg.Tensor], list[float]]:
    start = {"log_scale": 0.0, "log_length": 0.0, "log_noise": -1.0}
    parameters = {n: dg.Tensor(np.array(v), requires_grad=True) for n, v in start.items()}
    optimizer = optim.LBFGS(
        list(parameters.values()), max_iter=iterations, line_search_fn="strong_wolfe"
    )
    losses = []

    def closure() -> dg.Tensor:
        optimizer.zero_grad()
        loss = negative_log_likelihood(parameters, x, y)
        loss.backward()
        losses.append(loss.item())
        return loss

    optimizer.step(closure)
    return parameters, losses


def posterior(
    parameters: dict[str, dg.Tensor], x: np.ndarray, y: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of the function at new points."""
    with dg.no_grad():
        scale, length = parameters["log_scale"], parameters["log_length"]
        noise = np.exp(2 * parameters["log_noise"]) + JITTER
        K = kernel(x, x, scale, length) + noise * np.eye(len(x))
        cross = kernel(x, at, scale, length)
        mean = np.dot(np.linalg.solve(K, y), cross)
        reduced = np.sum(cross * np.linalg.solve(K, cross), axis=0)
        variance = np.exp(2 * scale) - reduced
    return mean.array, np.sqrt(np.maximum(variance.array, 0))


def main() -> None:
    args = arguments()
    x, y = drawn(args.points, args.seed)
    with dg.observe.Run(args.run, configuration=args) as run:
        parameters, losses = fit(x, y, args.iterations)
        for evaluation, loss in enumerate(losses, 1):
            run.log(evaluation, {"loss": loss})
    print(f"negative log likelihood {losses[0]:.2f} -> {losses[-1]:.2f}, {len(losses)} evaluations")
    print(
        ", ".join(f"{n.removeprefix('log_')} {np.exp(p.item()):.3f}" for n, p in parameters.items())
    )
    at = np.linspace(-5, 5, 200)
    mean, deviation = posterior(parameters, x, y, at)
    away = np.abs(at) > 1
    error = np.sqrt(np.mean((mean - np.sin(2 * at))[away & (np.abs(at) < 4)] ** 2))
    print(
        f"error where there are data {error:.3f}; deviation there and in the gap "
        f"{deviation[away].min():.3f}, {deviation[~away].max():.3f}"
    )
    if args.plot:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

        figure = Figure(figsize=(8, 4), layout="constrained")
        axes = figure.subplots()
        axes.fill_between(at, mean - 2 * deviation, mean + 2 * deviation, alpha=0.3)
        axes.plot(at, mean, label="mean, ± 2 deviations")
        axes.plot(at, np.sin(2 * at), "k:", label="the function")
        axes.plot(x, y, "k.", label="data")
        axes.legend()
        figure.savefig(args.plot, dpi=120)


if __name__ == "__main__":
    main()
