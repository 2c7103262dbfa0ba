"""A deep convolutional GAN: a generator of small images and a discriminator learn from each other.

Radford, Metz & Chintala (2015), "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks". Samples are scored as by Salimans et al. (2016): with p(y|x) a
classifier's opinion of image x, exp of the mean of KL(p(y|x), p(y)), which is 1 for images that all
look alike and the number of classes for sure and varied ones. There, with the Inception network,
real CIFAR-10 images reach 11.24 and the best samples 8.09. Here a small classifier of the data at
hand judges, and real test images set the mark.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.nn import functional as F

NOISE = 32


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=["digits", "fashion-mnist"], default="digits")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=64, help="of all ranks together")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches a step")
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--width", type=int, default=32, help="channels of the widest images")
    parser.add_argument("--judge-steps", type=int, default=400, help="training of the classifier")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=2, help="logical shards: a power of two")
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--checkpoint", metavar="FILE", help="file that training goes on from")
    parser.add_argument("--every", type=int, default=500, help="steps between reports")
    parser.add_argument(
        "--resume", action="store_true", help="go on from --checkpoint, if it exists"
    )
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--plot", metavar="FILE", help="draw samples: .png, .pdf or .svg")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint FILE")
    return args


class Generator(nn.Module):
    """Noise (n, NOISE, 1, 1) to images (n, 1, side, side) in -1..1."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(NOISE, width * 2, side // 4, bias=False),
            nn.BatchNorm2d(width * 2),
            nn.ReLU(),
            nn.ConvTranspose2d(width * 2, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 1, 4, stride=2, padding=1, bias=False),
            nn.Tanh(),
        )

    def forward(self, noise: Tensor) -> Tensor:
        return self.main(noise)


class Discriminator(nn.Module):
    """Images (n, 1, side, side) to logits (n,): how real they look."""

    def __init__(self, side: int, width: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, width * 2, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width * 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width * 2, 1, side // 4, bias=False),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.main(images).view(-1)


def weights_init(layer: nn.Module) -> None:
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
        nn.init.zeros_(layer.bias)


def says(logits: Tensor, label: float) -> Tensor:
    """The loss of a discriminator that should call all of them real (1) or fake (0)."""
    return F.binary_cross_entropy_with_logits(logits, dg.full_like(logits, label))


def data(name: str) -> list[dg.data.TensorDataset]:
    """Images in -1..1 and their classes, to train and to test with."""
    halves = dg.data.fashion_mnist() if name == "fashion-mnist" else dg.data.digits()
    return [dg.data.TensorDataset(2 * x - 1, y) for x, y in (half.arrays for half in halves)]


def trained_judge(train: dg.data.TensorDataset, steps: int) -> nn.Module:
    """A classifier of the real images."""
    pixels = train.arrays[0][0].size
    judge = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = optim.AdamW(judge.parameters(), lr=3e-3)
    loader = dg.data.DataLoader(train, 128, shuffle=True)
    dg.Trainer(judge, optimizer, F.cross_entropy, progress=False).fit(loader, max_steps=steps)
    return judge.eval()


def score(judge: nn.Module, images: Tensor) -> tuple[float, float]:
    """The inception score with ``judge`` for Inception, and how sure it is of its classes."""
    with dg.no_grad():
        p = F.softmax(judge(images), dim=1)
    overall = p.mean(dim=0)
    kl = dg.sum(dg.special.xlogy(p, p) - dg.special.xlogy(p, overall), 1).mean()
    return float(kl.exp()), float(p.max(dim=1).values.mean())


def sampled(generator: Generator, noise: Tensor) -> Tensor:
    generator.eval()
    with dg.no_grad():
        images = generator(noise)
    generator.train()
    return images


def forever(loader: dg.data.DataLoader) -> Iterator[dg.data.Batch]:
    while True:
        yield from loader


Step = Callable[[np.ndarray], Tensor]


def of_both(
    g: Generator,
    d: Discriminator,
    ddp_g: dg.DistributedDataParallel,
    ddp_d: dg.DistributedDataParallel,
    accumulate: int,
) -> tuple[Step, Step]:
    """Forward and backward of the generator, and of the discriminator, for real images."""

    def step_of_g(x: np.ndarray) -> Tensor:
        loss = says(d(g(dg.randn(len(x), NOISE, 1, 1))), 1)
        ddp_g.backward(loss / accumulate)
        return loss

    def step_of_d(x: np.ndarray) -> Tensor:
        fake = g(dg.randn(len(x), NOISE, 1, 1)).detach()
        loss = says(d(dg.tensor(x)), 1) + says(d(fake), 0)
        ddp_d.backward(loss / accumulate)
        return loss

    return step_of_g, step_of_d


def learn(
    ddp: dg.DistributedDataParallel,
    optimizer: optim.Optimizer,
    batches: list[dg.data.Batch],
    forward_and_backward: Step,
    losses: dg.ShardSum,
) -> None:
    """One step of one of the two networks."""
    optimizer.zero_grad()
    for batch in batches:
        with nullcontext() if batch is batches[-1] else ddp.no_sync():
            for x, _ in batch.shards:
                loss = forward_and_backward(x)
                losses.add(loss=loss * len(x), images=len(x))
    optimizer.step()


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    train, test = data(args.data)
    judge = trained_judge(train, args.judge_steps)
    real = dg.tensor(test.arrays[0][:1000])
    world.print("real test images: score {:.2f}, {:.1%} sure".format(*score(judge, real)))
    same_noise = dg.randn(1000, NOISE, 1, 1, generator=dg.Generator().manual_seed(args.seed))

    side = real.shape[-1]
    g, d = Generator(side, args.width), Discriminator(side, args.width)
    gan = nn.ModuleDict({"generator": g, "discriminator": d}).apply(weights_init)
    loader = dg.data.DataLoader(train, args.batch_size, shuffle=True, seed=args.seed)
    optimizer_g = optim.Adam(g.parameters(), lr=args.lr, betas=(0.5, 0.999))
    optimizer_d = optim.Adam(d.parameters(), lr=args.lr, betas=(0.5, 0.999))
    ddp_g, ddp_d = dg.DistributedDataParallel(g), dg.DistributedDataParallel(d)
    first, curve, samples = 0, [], []
    if args.resume and Path(args.checkpoint).exists():
        saved = dg.load(args.checkpoint)
        gan.load_state_dict(saved["gan"])
        optimizer_g.load_state_dict(saved["optimizer_g"])
        optimizer_d.load_state_dict(saved["optimizer_d"])
        loader.load_state_dict(saved["loader"])
        first, curve, samples = saved["step"], saved["curve"], saved["samples"]

    steps = of_both(g, d, ddp_g, ddp_d, args.accumulate)
    step_of_g, step_of_d = map(dg.capture, steps) if args.capture else steps

    batches = forever(loader)
    losses = [dg.ShardSum(world, "loss", "images") for _ in range(2)]
    with dg.observe.Run(args.run, model=gan, configuration=args, resume=args.resume) as run:
        run.begins(first, args.steps)
        for step in range(first + 1, args.steps + 1):
            group = [next(batches) for _ in range(args.accumulate)]
            learn(ddp_d, optimizer_d, group, step_of_d, losses[0])
            d.requires_grad_(False)
            learn(ddp_g, optimizer_g, group, step_of_g, losses[1])
            d.requires_grad_(True)
            if step % args.every == 0 or step == args.steps:
                fakes = sampled(g, same_noise)
                samples.append(fakes[:10])
                totals = [sums.result() for sums in losses]
                curve.append(
                    [step, *(t["loss"] / t["images"] for t in totals), *score(judge, fakes)]
                )
                names = "discriminator", "generator", "validation/score", "validation/sure"
                run.log(step, dict(zip(names, curve[-1][1:], strict=True)))
                losses = [dg.ShardSum(world, "loss", "images") for _ in range(2)]
                line = "step {}: loss of discriminator {:.3f}, of generator {:.3f}; "
                world.print((line + "samples: score {:.2f}, {:.1%} sure").format(*curve[-1]))
                if args.checkpoint:
                    saved = {
                        "gan": gan.state_dict(),
                        "optimizer_g": optimizer_g.state_dict(),
                        "optimizer_d": optimizer_d.state_dict(),
                        "loader": loader.state_dict(),
                        "step": step,
                        "curve": curve,
                        "samples": samples,
                    }
                    dg.save(saved, args.checkpoint)

    world.print(f"sha256 {nn.state_sha256(gan.state_dict())}")
    if args.plot and world.rank == 0:
        draw(real[:10], samples, curve, args.plot)


def draw(real: Tensor, samples: list[Tensor], curve: list[list[float]], file: str) -> None:
    """Samples of the same noise as training goes on, and both losses."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    rows = [("real", real), *((f"step {c[0]}", s) for c, s in zip(curve, samples, strict=True))]
    figure = Figure(figsize=(11, 0.6 + 0.6 * len(rows)), layout="constrained")
    left, right = figure.subfigures(1, 2)
    grid = left.subplots(len(rows), 10, squeeze=False)
    for (name, images), line in zip(rows, grid, strict=True):
        for image, axes in zip(images, line, strict=True):
            axes.imshow(image[0].numpy(), cmap="gray_r", vmin=-1, vmax=1)
            axes.set_axis_off()
        line[0].text(-0.2, 0.5, name, ha="right", va="center", transform=line[0].transAxes)
    axes = right.subplots()
    steps, d, g, *_ = zip(*curve, strict=True)
    axes.plot(steps, d, "o-", label="discriminator, on real and on generated")
    axes.plot(steps, g, "o-", label="generator")
    axes.set(xlabel="step", ylabel="loss (nats)")
    axes.legend()
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
