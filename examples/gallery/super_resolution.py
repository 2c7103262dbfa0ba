"""Super-resolution: a network of small images' pixels draws them three times as large.

Shi et al. (2016), "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network": all convolutions see the small image, the last one has r² channels,
which PixelShuffle puts side by side. At r = 3 they report 33.13 dB on the photographs of Set5,
where bicubic interpolation has 30.39 dB. The images here are made by the program (polygons, discs
and stripes before gradients), or Fashion-MNIST.
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

SCALE = 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=["shapes", "fashion-mnist"], default="shapes")
    parser.add_argument("--images", type=int, default=400, help="shapes to train with")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=16, help="of all ranks together")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches a step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=2, help="logical shards: a power of two")
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--checkpoint", metavar="FILE", help="file that training goes on from")
    parser.add_argument("--every", type=int, default=300, help="steps between reports")
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


class Net(nn.Module):
    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv3 = nn.Conv2d(32, upscale_factor**2, 3, padding=1)
        self.pixel_shuffle = nn.PixelShuffle(upscale_factor)
        nn.init.orthogonal_(self.conv1.weight, nn.init.calculate_gain("relu"))
        nn.init.orthogonal_(self.conv2.weight, nn.init.calculate_gain("relu"))
        nn.init.orthogonal_(self.conv3.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        return self.pixel_shuffle(self.conv3(x))


def scene(number: int, size: int = 48, finer: int = 3) -> np.ndarray:
    """An image (1, size, size) in 0..1; its pixels are means over finer ones, as a camera's are."""
    draw = np.random.default_rng(number)
    x, y = np.meshgrid(*[np.linspace(-1, 1, size * finer)] * 2)
    image = draw.uniform(0, 1) + draw.uniform(-0.3, 0.3) * x + draw.uniform(-0.3, 0.3) * y
    for _ in range(8):
        cx, cy = draw.uniform(-1, 1, 2)
        angles = draw.uniform(0, 2 * np.pi) + np.arange(k := draw.integers(3, 6)) * 2 * np.pi / k
        distance = np.max(  # from the middle of a regular polygon, in directions of its sides
            [np.cos(a) * (x - cx) + np.sin(a) * (y - cy) for a in angles], axis=0
        )
        if draw.random() < 0.3:
            distance = np.hypot(x - cx, y - cy)
        tone = draw.uniform(0, 1) + 0 * x
        if draw.random() < 0.3:
            tone += 0.3 * np.sign(np.sin(draw.uniform(10, 20) * distance))
        image = np.where(distance < draw.uniform(0.15, 0.6), tone, image)
    pixels = image.reshape(size, finer, size, finer).mean(axis=(1, 3))
    return np.clip(pixels, 0, 1)[None].astype(np.float32)


def images(name: str, count: int) -> list[dg.data.TensorDataset]:
    """(small, large) to train and to test with."""
    if name == "shapes":
        scenes = np.stack([scene(i) for i in range(count + count // 4)])
        halves = [scenes[:count], scenes[count:]]
    else:
        halves = [half.arrays[0][:, :, :27, :27] for half in dg.data.fashion_mnist()]
    return [dg.data.TensorDataset(smaller(dg.tensor(large)).array, large) for large in halves]


def smaller(large: Tensor) -> Tensor:
    return F.interpolate(large, scale_factor=1 / SCALE, mode="bicubic", antialias=True)


def bicubic(small: Tensor) -> Tensor:
    return F.interpolate(small, scale_factor=SCALE, mode="bicubic")


def psnr(drawn: Tensor, large: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, in dB."""
    return -10 * dg.log10(((drawn.clamp(0, 1) - large) ** 2).mean(dim=(1, 2, 3)))


def forever(loader: dg.data.DataLoader) -> Iterator[dg.data.Batch]:
    while True:
        yield from loader


def test(world: dg.World, model: Net, data: dg.data.TensorDataset) -> tuple[float, float]:
    """The mean PSNR of the network and of bicubic interpolation, in dB."""
    total = dg.ShardSum(world, "network", "bicubic")
    with dg.no_grad():
        for batch in dg.data.DataLoader(data, global_batch_size=100):
            for shard in batch.shards:
                small, large = map(dg.tensor, shard)
                total.add(
                    network=psnr(model(small), large).sum(),
                    bicubic=psnr(bicubic(small), large).sum(),
                )
    return tuple(value / len(data) for value in total.result().values())


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    train_images, test_images = images(args.data, args.images)
    loader = dg.data.DataLoader(train_images, args.batch_size, shuffle=True, seed=args.seed)
    model = Net(SCALE)
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    ddp = dg.DistributedDataParallel(model)
    first, curve = 0, []
    if args.resume and Path(args.checkpoint).exists():
        saved = dg.load(args.checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        first, curve = saved["step"], saved["curve"]

    def forward_and_backward(small: np.ndarray, large: np.ndarray) -> None:
        loss = F.mse_loss(model(dg.tensor(small)), dg.tensor(large))
        ddp.backward(loss / args.accumulate)

    learn = dg.capture(forward_and_backward) if args.capture else forward_and_backward
    batches = forever(loader)
    with dg.observe.Run(args.run, model=model, configuration=args, resume=args.resume) as run:
        run.begins(first, args.steps)
        for step in range(first + 1, args.steps + 1):
            optimizer.zero_grad()
            for i in range(1, args.accumulate + 1):
                with nullcontext() if i == args.accumulate else ddp.no_sync():
                    for small, large in next(batches).shards:
                        learn(small, large)
            optimizer.step()
            if step % args.every == 0 or step == args.steps:
                curve.append([step, *test(world, model, test_images)])
                run.log(step, {"validation/PSNR": curve[-1][1]})
                world.print("step {}: PSNR {:.2f} dB (bicubic: {:.2f} dB)".format(*curve[-1]))
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


def draw(model: Net, test_images: dg.data.TensorDataset, file: str) -> None:
    """Test images: small, interpolated, by the network, and as they were."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    small, large = (dg.tensor(a[:4]) for a in test_images.arrays)
    with dg.no_grad():
        columns = {"small": small, "bicubic": bicubic(small), "network": model(small)}
    columns["original"] = large
    figure = Figure(figsize=(9, 9.4), layout="constrained")
    grid = figure.subplots(4, 4)
    for (name, shown), axes_of in zip(columns.items(), grid.T, strict=True):
        decibels = psnr(shown, large).tolist() if name in ("bicubic", "network") else None
        for i, axes in enumerate(axes_of):
            axes.imshow(shown[i, 0].numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set_axis_off()
            axes.set_title(name)
            if decibels:
                axes.set_title(f"{name}: {decibels[i]:.1f} dB")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
