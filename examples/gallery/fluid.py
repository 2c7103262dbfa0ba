"""A fluid that is stirred so that its smoke becomes a picture: gradients through a simulation.

Stam (1999), "Stable Fluids", on a torus: advection along the velocity, then its projection onto
fields without sources, here by the Fourier transform. What is learnt is the velocity at the start.
"""

from __future__ import annotations

import argparse
import importlib.util

import numpy as np

import distgrad as dg
from distgrad import optim


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=32, help="cells along a side")
    parser.add_argument("--steps", type=int, default=12, help="of the simulation")
    parser.add_argument("--iterations", type=int, default=60, help="of L-BFGS")
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--plot", metavar="FILE", help="draw start, end and goal: .png or .pdf")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    return args


def project(vx: dg.Tensor, vy: dg.Tensor) -> tuple[dg.Tensor, dg.Tensor]:
    """Remove what flows out of nowhere: v - k (k · v) / k² for every wave k."""
    n = vx.shape[0]
    k = np.fft.fftfreq(n) * n
    kx, ky = k[:, None], k[None, :]
    square = kx**2 + ky**2
    square[0, 0] = 1
    fx, fy = np.fft.fft2(vx), np.fft.fft2(vy)
    along = (kx * fx + ky * fy) / square
    return np.real(np.fft.ifft2(fx - kx * along)), np.real(np.fft.ifft2(fy - ky * along))


def advect(f: dg.Tensor, vx: dg.Tensor, vy: dg.Tensor) -> dg.Tensor:
    """Take ``f`` from where the velocity comes from, between the four cells there."""
    n = f.shape[0]
    rows, columns = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    from_row, from_column = rows - vx, columns - vy
    row, column = np.floor(from_row.array).astype(int), np.floor(from_column.array).astype(int)
    right, below = from_row - row, from_column - column
    row, column = row % n, column % n
    next_row, next_column = (row + 1) % n, (column + 1) % n
    upper = (1 - below) * f[row, column] + below * f[row, next_column]
    lower = (1 - below) * f[next_row, column] + below * f[next_row, next_column]
    return (1 - right) * upper + right * lower


def simulate(vx: dg.Tensor, vy: dg.Tensor, smoke: dg.Tensor, steps: int) -> dg.Tensor:
    for _ in range(steps):
        vx, vy = project(advect(vx, vx, vy), advect(vy, vx, vy))
        smoke = advect(smoke, vx, vy)
    return smoke


def pictures(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Smoke in a band, and the ring that it shall become."""
    y, x = np.mgrid[-1 : 1 : n * 1j, -1 : 1 : n * 1j]
    band = np.exp(-((y / 0.35) ** 2))
    ring = np.exp(-(((np.hypot(x, y) - 0.55) / 0.2) ** 2))
    return band, ring * band.sum() / ring.sum()


def stir(n: int, steps: int, iterations: int) -> tuple[list[float], np.ndarray]:
    """Learn the velocities; return the losses and the smoke at the end."""
    band, ring = pictures(n)
    smoke, goal = dg.Tensor(band), dg.Tensor(ring)
    velocity = [dg.Tensor(np.zeros((n, n)), requires_grad=True) for _ in range(2)]
    optimizer = optim.LBFGS(velocity, max_iter=iterations, line_search_fn="strong_wolfe")
    losses = []

    def closure() -> dg.Tensor:
        optimizer.zero_grad()
        loss = np.mean((simulate(*velocity, smoke, steps) - goal) ** 2)
        loss.backward()
        losses.append(loss.item())
        return loss

    optimizer.step(closure)
    with dg.no_grad():
        return losses, simulate(*velocity, smoke, steps).array


def main() -> None:
    args = arguments()
    with dg.observe.Run(args.run, configuration=args) as run:
        losses, end = stir(args.size, args.steps, args.iterations)
        for evaluation, loss in enumerate(losses, 1):
            run.log(evaluation, {"loss": loss})
    print(
        f"distance to the picture {losses[0]:.4f} -> {losses[-1]:.5f} in {len(losses)} simulations"
    )
    if args.plot:
        from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

        figure = Figure(figsize=(9, 3.2), layout="constrained")
        band, ring = pictures(args.size)
        for axes, (title, picture) in zip(
            figure.subplots(1, 3), {"start": band, "end": end, "goal": ring}.items(), strict=True
        ):
            axes.imshow(picture, vmin=0, vmax=max(band.max(), ring.max()), cmap="gray_r")
            axes.set_title(title)
            axes.axis("off")
        figure.savefig(args.plot, dpi=120)


if __name__ == "__main__":
    main()
