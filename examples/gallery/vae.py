"""A variational autoencoder of small images: what it rebuilds, and what it imagines.

Kingma & Welling (2014), "Auto-Encoding Variational Bayes". PyTorch's example of this network ends
at about 105 nats an image on MNIST. The images here are others: the 8x8 digits that come with
distgrad, or Fashion-MNIST.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.nn import functional as F


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=["digits", "fashion-mnist"], default="digits")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64, help="of all ranks together")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches a step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=2, help="logical shards: a power of two")
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--checkpoint", metavar="FILE", help="file that training goes on from")
    parser.add_argument("--every", type=int, default=200, help="steps between reports")
    parser.add_argument(
        "--resume", action="store_true", help="go on from --checkpoint, if it exists"
    )
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--plot", metavar="FILE", help="draw images: .png, .pdf or .svg")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint FILE")
    return args


class VAE(nn.Module):
    def __init__(self, pixels: int, hidden: int = 400, latent: int = 20) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + dg.exp(0.5 * log_variance) * dg.randn_like(mean)
        return self.decoder(z), mean, log_variance


def nats(model: VAE, x: Tensor) -> Tensor:
    """The negative lower bound of the images' log-probability, summed."""
    logits, mean, log_variance = model(x)
    rebuilt = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    return rebuilt + 0.5 * dg.sum(mean**2 + log_variance.exp() - 1 - log_variance)


def images(name: str) -> list[dg.data.TensorDataset]:
    """Images to train and to test with, as rows of pixels in 0..1."""
    halves = dg.data.fashion_mnist() if name == "fashion-mnist" else dg.data.digits()
    return [dg.data.TensorDataset(half.arrays[0].reshape(len(half), -1)) for half in halves]


def forever(loader: dg.data.DataLoader) -> Iterator[dg.data.Batch]:
    while True:
        yield from loader


def test(world: dg.World, model: VAE, test_images: dg.data.TensorDataset) -> float:
    """Nats per image; the same random numbers each time."""
    total = dg.ShardSum(world, "nats")
    with dg.no_grad():
        for batch in dg.data.DataLoader(test_images, global_batch_size=64):
            for (x,) in batch.shards:
                total.add(nats=nats(model, dg.tensor(x)))
    return total.result()["nats"] / len(test_images)


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    train_images, test_images = images(args.data)
    loader = dg.data.DataLoader(train_images, args.batch_size, shuffle=True, seed=args.seed)
    model = VAE(len(train_images[0][0]))
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    ddp = dg.DistributedDataParallel(model, reduction="sum")
    first, curve = 0, []
    if args.resume and Path(args.checkpoint).exists():
        saved = dg.load(args.checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        first, curve = saved["step"], saved["curve"]

    def forward_and_backward(x: np.ndarray) -> None:
        ddp.backward(nats(model, dg.tensor(x)) / args.accumulate)

    learn = dg.capture(forward_and_backward) if args.capture else forward_and_backward
    batches = forever(loader)
    with dg.observe.Run(args.run, model=model, configuration=args, resume=args.resume) as run:
        run.begins(first, args.steps)
        for step in range(first + 1, args.steps + 1):
            optimizer.zero_grad()
            for i in range(1, args.accumulate + 1):
                with nullcontext() if i == args.accumulate else ddp.no_sync():
                    for (x,) in next(batches).shards:
                        learn(x)
            optimizer.step()
            if step % args.every == 0 or step == args.steps:
                curve.append([step, test(world, model, test_images)])
                run.log(step, {"validation/nats": curve[-1][1]})
                world.print(f"step {step}: {curve[-1][1]:.2f} nats per test image")
                if args.checkpoint:
                    saved = {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "loader": loader.state_dict(),
                        "step": step,
                        "curve": curve,
                    }
                    dg.save(saved, args.checkpoint)

    world.print(f"sha256 {nn.state_sha256(model.state_dict())}")
    if args.plot and world.rank == 0:
        draw(model, test_images, args.plot)


def draw(model: VAE, test_images: dg.data.TensorDataset, file: str) -> None:
    """Test images, what the model makes of them, and what it imagines."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    with dg.no_grad():
        real = dg.tensor(test_images.arrays[0][:10])
        rebuilt = dg.sigmoid(model(real)[0])
        imagined = dg.sigmoid(model.decoder(dg.randn(30, model.latent)))
    rows = dg.cat([real, rebuilt, imagined]).numpy()
    side = round(rows.shape[1] ** 0.5)
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    titles = {0: "test images", 10: "rebuilt", 20: "imagined"}
    for i, axes in enumerate(figure.subplots(5, 10).flat):
        axes.imshow(rows[i].reshape(side, side), cmap="gray_r", vmin=0, vmax=1)
        axes.set_axis_off()
        if i in titles:
            axes.set_title(titles[i], loc="left")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
