"""A siamese network: one tower looks at two images and says whether they show the same class.

Koch, Zemel & Salakhutdinov (2015), "Siamese Neural Networks for One-shot Image Recognition": the
absolute difference of two embeddings, weighted, is the logit. On pairs of Omniglot's letters of
alphabets never seen before theirs is right in 93.42 % of the cases. Here the images are digits or
clothes, and a pair of test images shows the same class every other time.
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
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch-size", type=int, default=128, help="of all ranks together")
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
    parser.add_argument("--plot", metavar="FILE", help="draw pairs: .png, .pdf or .svg")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint FILE")
    return args


class SiameseNetwork(nn.Module):
    def __init__(self, embedding: int = 64) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(256, embedding),
            nn.Sigmoid(),
        )
        self.difference = nn.Linear(embedding, 1)

    def forward(self, one: Tensor, two: Tensor) -> Tensor:
        return self.difference(dg.abs(self.tower(one) - self.tower(two))).squeeze(1)


class Pairs(dg.data.Dataset):
    """Each image ``rounds`` times: by turns with one of its class and with one of another.

    Which one depends on the pair's number alone, not on ranks or on the order of reading.
    """

    def __init__(self, images: dg.data.ArrayDataset, rounds: int) -> None:
        self.images, self.labels = images.arrays
        self.rounds = rounds
        self.members = [np.flatnonzero(self.labels == c) for c in range(self.labels.max() + 1)]

    def __len__(self) -> int:
        return self.rounds * len(self.labels)

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray, np.float32]:
        turn, number = divmod(i, len(self.labels))
        draw, same = np.random.default_rng(i), (turn + number) % 2 == 0
        label = self.labels[number]
        if not same:
            label = (label + draw.integers(1, len(self.members))) % len(self.members)
        other = draw.choice(self.members[label])
        return self.images[number], self.images[other], np.float32(same)


def forever(loader: dg.data.DataLoader) -> Iterator[dg.data.Batch]:
    while True:
        yield from loader


def test(world: dg.World, model: SiameseNetwork, pairs: Pairs) -> float:
    """The share of pairs that are told apart or together rightly."""
    right = dg.ShardSum(world, "right")
    model.eval()
    with dg.no_grad():
        for batch in dg.data.DataLoader(pairs, global_batch_size=512):
            for one, two, same in batch.shards:
                logits = model(dg.tensor(one), dg.tensor(two))
                right.add(right=dg.sum((logits > 0) == dg.tensor(same > 0.5)))
    model.train()
    return right.result()["right"] / len(pairs)


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    train, test_images = dg.data.fashion_mnist() if args.data != "digits" else dg.data.digits()
    pairs, test_pairs = Pairs(train, rounds=100), Pairs(test_images, rounds=4)
    loader = dg.data.DataLoader(pairs, args.batch_size, shuffle=True, seed=args.seed)
    model = SiameseNetwork()
    optimizer = optim.Adam(model.parameters(), lr=args.lr)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=200, gamma=0.7)
    ddp = dg.DistributedDataParallel(model)
    first, curve = 0, []
    if args.resume and Path(args.checkpoint).exists():
        saved = dg.load(args.checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        loader.load_state_dict(saved["loader"])
        first, curve = saved["step"], saved["curve"]

    def forward_and_backward(one: np.ndarray, two: np.ndarray, same: np.ndarray) -> None:
        logits = model(dg.tensor(one), dg.tensor(two))
        loss = F.binary_cross_entropy_with_logits(logits, dg.tensor(same))
        ddp.backward(loss / args.accumulate)

    learn = dg.capture(forward_and_backward) if args.capture else forward_and_backward
    batches = forever(loader)
    with dg.observe.Run(args.run, model=model, configuration=args, resume=args.resume) as run:
        run.begins(first, args.steps)
        for step in range(first + 1, args.steps + 1):
            optimizer.zero_grad()
            for i in range(1, args.accumulate + 1):
                with nullcontext() if i == args.accumulate else ddp.no_sync():
                    for one, two, same in next(batches).shards:
                        learn(one, two, same)
            optimizer.step()
            scheduler.step()
            if step % args.every == 0 or step == args.steps:
                curve.append([step, test(world, model, test_pairs)])
                run.log(step, {"validation/accuracy": curve[-1][1]})
                world.print(
                    f"step {step}: {curve[-1][1]:.2%} of {len(test_pairs)} test pairs right"
                )
                if args.checkpoint:
                    saved = {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "scheduler": scheduler.state_dict(),
                        "loader": loader.state_dict(),
                        "step": step,
                        "curve": curve,
                    }
                    dg.save(saved, args.checkpoint)

    world.print(f"sha256 {nn.state_sha256(model.state_dict())}")
    if args.plot and world.rank == 0:
        draw(model, test_images, test_pairs, args.plot)


def draw(
    model: SiameseNetwork, test_images: dg.data.ArrayDataset, test_pairs: Pairs, file: str
) -> None:
    """Pairs with what the network says of them, and the embedding's two main directions."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    images, labels = (a[:1000] for a in test_images.arrays)
    one, two, same = (np.stack(a) for a in zip(*(test_pairs[i] for i in range(20)), strict=True))
    model.eval()
    with dg.no_grad():
        chance = dg.sigmoid(model(dg.tensor(one), dg.tensor(two))).numpy()
        embedded = model.tower(dg.tensor(images))
        u, s, _ = dg.linalg.svd(embedded - embedded.mean(dim=0), full_matrices=False)
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subfigures(1, 2)
    left.suptitle("test pairs, and how likely they show the same (red: wrong)")
    for i, axes in enumerate(left.subplots(5, 4).flat):
        axes.imshow(np.hstack([one[i, 0], two[i, 0]]), cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(f"{chance[i]:.1%}", color="black" if (chance[i] > 0.5) == same[i] else "red")
        axes.set_axis_off()
    axes = right.subplots()
    dots = axes.scatter(*(u * s)[:, :2].numpy().T, c=labels, cmap="tab10", s=8)
    axes.set(xlabel="first principal direction", ylabel="second", title="embedded test images")
    axes.legend(*dots.legend_elements(), title="class", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
