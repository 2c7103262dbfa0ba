"""A U-Net finds touching cells in microscope-like images, from few images that are flipped.

Ronneberger, Fischer & Brox (2015), "U-Net": they report an average IoU of 0.9203 (PhC-U373) and
0.7756 (DIC-HeLa) on the ISBI cell tracking challenge. The images here are drawn by the program;
the IoU per cell is that challenge's (SEG), the weights of the pixels are the paper's.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.data import transforms
from distgrad.nn import functional as F


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=32, help="to train on, and to test with")
    parser.add_argument("--size", type=int, default=64, help="of an image, in pixels")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch-size", type=int, default=8, help="of all ranks together")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches a step")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=2, help="logical shards: a power of two")
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--checkpoint", metavar="FILE", help="file that training goes on from")
    parser.add_argument("--every", type=int, default=100, help="steps between reports")
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


class UNet(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        wider = list(pairwise(widths))
        self.down = nn.ModuleList([convolutions(a, b) for a, b in [(1, widths[0]), *wider]])
        self.up = nn.ModuleList([nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in wider[::-1]])
        self.merge = nn.ModuleList([convolutions(2 * a, a) for a, _ in wider[::-1]])
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for down in self.down:
            x = down(F.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        x = kept.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(dg.cat([kept.pop(), up(x)], dim=1))
        return self.head(x)  # background and cell: n 2 h w


def convolutions(channels: int, out: int) -> nn.Module:
    layers: list[nn.Module] = []
    for c in (channels, out):
        layers += [nn.Conv2d(c, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
    return nn.Sequential(*layers)


def microscope(number: int, size: int) -> Any:
    """Image ``number``: pixels, the cell that each belongs to (0: none), its weight: 3 h w."""
    rng = np.random.default_rng(number)
    grid = np.mgrid[8:size:16, 8:size:16].reshape(2, -1, 1, 1)
    n = round(0.85 * grid.shape[1])  # some places stay empty
    grid = grid[:, rng.permutation(grid.shape[1])[:n]]
    down, right = np.mgrid[:size, :size][:, None] - grid - rng.uniform(-4, 4, (2, n, 1, 1))
    turn, radius = rng.uniform(0, np.pi, (n, 1, 1)), rng.uniform(6, 10, (2, n, 1, 1))
    along = np.cos(turn) * down + np.sin(turn) * right
    across = np.cos(turn) * right - np.sin(turn) * down
    ellipse = np.hypot(along / radius[0], across / radius[1])
    outside = (ellipse - 1) * np.sqrt(radius[0] * radius[1])  # pixels to each border; n h w
    d1, d2 = np.sort(outside, axis=0)[:2]
    depth = np.minimum(-d1, (d2 - d1) / 2 - 1)  # inside a cell; a gap of 2 pixels parts two
    owner = outside.argmin(0)
    cells = np.where(depth > 0, owner + 1, 0)
    # The paper's w0 = 10; σ = 2, not 5 as there: cells are small here.
    near = 10 * np.exp(-((d1.clip(0) + d2.clip(0)) ** 2) / (2 * 2**2))
    weight = np.where(cells, 1, 1 + near)

    tone, slope = rng.uniform(-0.2, 0.3, n)[owner], rng.uniform(-0.2, 0.2, 2)
    light = np.tensordot(slope, np.mgrid[:size, :size] / size - 0.5, 1)
    membrane = 0.3 * np.exp(-((depth + 0.5) ** 2) / 2)
    image = 0.4 + light + np.where(depth > 0, tone, 0) + membrane + rng.normal(0, 0.15, d1.shape)
    return np.stack([image, cells, weight]).astype(np.float32)


def microscope_images(first: int, n: int, size: int) -> dg.data.TensorDataset:
    return dg.data.TensorDataset(np.stack([microscope(first + i, size) for i in range(n)]))


def forever(loader: dg.data.DataLoader) -> Iterator[dg.data.Batch]:
    while True:
        yield from loader


def test(world: dg.World, model: UNet, test_images: dg.data.TensorDataset) -> dict[str, float]:
    """IoU per cell (SEG), IoU and Dice over all pixels."""
    found = dg.ShardSum(world, "both", "either", "per_cell", "cells")
    for batch in dg.data.DataLoader(test_images, global_batch_size=16):
        for (images,) in batch.shards:
            mask, cells = find(model, images), images[:, 1]
            found.add(both=np.sum(mask & (cells > 0)), either=np.sum(mask | (cells > 0)))
            ious = ious_per_cell(mask, cells)
            found.add(per_cell=sum(ious), cells=len(ious))
    sums = found.result()
    iou = sums["both"] / sums["either"]
    return {"SEG": sums["per_cell"] / sums["cells"], "IoU": iou, "Dice": 2 * iou / (1 + iou)}


def find(model: UNet, images: Any) -> Any:
    """Where the model sees cells: n h w."""
    model.eval()
    with dg.no_grad():
        mask = model(dg.tensor(images[:, :1])).argmax(dim=1) == 1
    model.train()
    return mask.numpy()


def ious_per_cell(mask: Any, cells: Any) -> list[float]:
    """IoU of each cell with the connected region that covers more than half of it, or 0."""
    regions, ious = connected(mask), []
    for image, truth in zip(regions, cells, strict=True):
        for cell in np.unique(truth[truth > 0]):
            own = truth == cell
            numbers, counts = np.unique(image[own], return_counts=True)
            region = image == numbers[counts.argmax()]
            matched = numbers[counts.argmax()] > 0 and 2 * counts.max() > own.sum()
            ious.append(counts.max() / np.sum(own | region) if matched else 0.0)
    return ious


def connected(mask: Any) -> Any:
    """Number the pixels of masks (n, h, w); those that hang together get the same number."""
    numbers = dg.arange(1, mask.size + 1, dtype=dg.float64).view(mask.shape) * mask
    while True:
        across = F.max_pool2d(numbers, (1, 3), stride=1, padding=(0, 1))
        down = F.max_pool2d(numbers, (3, 1), stride=1, padding=(1, 0))
        spread = dg.maximum(across, down) * mask
        if dg.equal(spread, numbers):
            return numbers.numpy()
        numbers = spread


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    train_images = microscope_images(0, args.images, args.size)
    test_images = microscope_images(1_000_000, args.images, args.size)
    loader = dg.data.DataLoader(train_images, args.batch_size, shuffle=True, seed=args.seed)
    flips = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()])
    model = UNet()
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    ddp = dg.DistributedDataParallel(model)
    first = 0
    if args.resume and Path(args.checkpoint).exists():
        saved = dg.load(args.checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        first = saved["step"]

    def forward_and_backward(images: Any) -> None:
        x, cells, weight = dg.tensor(images).unbind(dim=1)
        loss = F.cross_entropy(model(x.unsqueeze(1)), (cells > 0).long(), reduction="none")
        ddp.backward((weight * loss).mean() / args.accumulate)

    learn = dg.capture(forward_and_backward) if args.capture else forward_and_backward
    batches = forever(loader)
    with dg.observe.Run(args.run, model=model, configuration=args, resume=args.resume) as run:
        run.begins(first, args.steps)
        for step in range(first + 1, args.steps + 1):
            optimizer.zero_grad()
            for i in range(1, args.accumulate + 1):
                with nullcontext() if i == args.accumulate else ddp.no_sync():
                    for (images,) in next(batches).shards:
                        learn(flips(images))  # all three alike
            optimizer.step()
            if step % args.every == 0 or step == args.steps:
                found = test(world, model, test_images)
                run.log(step, {f"validation/{name}": value for name, value in found.items()})
                figures = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
                world.print(f"step {step}: {figures} on test images")
                if args.checkpoint:
                    saved = {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "loader": loader.state_dict(),
                        "step": step,
                    }
                    dg.save(saved, args.checkpoint)

    world.print(f"sha256 {nn.state_sha256(model.state_dict())}")
    if args.plot and world.rank == 0:
        draw(model, test_images, args.plot)


def draw(model: UNet, test_images: dg.data.TensorDataset, file: str) -> None:
    """Test images, their cells, and what the model takes for cells."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    images = test_images.arrays[0][:5]
    regions = connected(find(model, images))
    figure = Figure(figsize=(9, 5.8), layout="constrained")
    rows = figure.subplots(3, 5)
    for i, (image, truth, found) in enumerate(
        zip(images[:, 0], images[:, 1], regions, strict=True)
    ):
        rows[0, i].imshow(image, cmap="gray")
        for row, numbers in (rows[1], truth), (rows[2], found):
            cell = np.unique(numbers, return_inverse=True)[1].reshape(numbers.shape)
            row[i].imshow(np.where(cell, cell % 20, np.nan), cmap="tab20", interpolation="nearest")
    for row, label in zip(rows, ("test image", "its cells", "cells found"), strict=True):
        row[0].set_ylabel(label)
    for axes in rows.flat:
        axes.set(xticks=[], yticks=[])
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
