"""A small vision transformer, trained from scratch: what it gets right, and where it looks.

Dosovitskiy et al. (2021), "An Image is Worth 16x16 Words". From scratch, without a large data set
before it, such networks are published at 91.4 % of CIFAR-10's test images (Hassani et al. 2021,
"Escaping the Big Data Paradigm with Compact Transformers": ViT-Lite-7/4, 3.7 million parameters,
200 epochs). For the 8x8 digits that come with distgrad there is no such figure: on the test images
used here one nearest neighbour has 99.2 %.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.data import transforms
from distgrad.nn import functional as F
from distgrad.optim import lr_scheduler


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=["digits", "fashion-mnist"], default="digits")
    parser.add_argument("--dim", type=int, default=64, help="numbers in a token")
    parser.add_argument("--depth", type=int, default=4, help="blocks")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--schedule-steps", type=int, help="of the learning rate; as --steps")
    parser.add_argument("--batch-size", type=int, default=64, help="of all ranks together")
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches a step")
    parser.add_argument("--lr", type=float, default=2e-3, help="its highest value")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=2, help="logical shards: a power of two")
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--checkpoint", metavar="FILE", help="file that training goes on from")
    parser.add_argument("--every", type=int, default=100, help="steps between reports")
    parser.add_argument(
        "--resume", action="store_true", help="go on from --checkpoint, if it exists"
    )
    parser.add_argument("--run", metavar="DIR", help="folder for all the training leaves")
    parser.add_argument("--plot", metavar="FILE", help="draw attention: .png, .pdf or .svg")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    if args.resume and not args.checkpoint:
        parser.error("--resume needs --checkpoint FILE")
    return args


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Dropout(dropout)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        B, N, C = x.shape
        qkv = self.qkv(x).view(B, N, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # B heads N C/heads
        attn = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        attn = self.attn_drop(attn.softmax(dim=-1))
        return self.proj((attn @ v).transpose(1, 2).reshape(B, N, C))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads, dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attn(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class VisionTransformer(nn.Module):
    def __init__(
        self, side: int, patch: int, dim: int, depth: int, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.patches = side // patch  # in a row
        self.patch_embed = nn.Conv2d(1, dim, kernel_size=patch, stride=patch)
        self.cls_token = nn.Parameter(dg.zeros(1, 1, dim))
        # As large as the patches' own numbers: with 0.02 places are learnt much later.
        self.pos_embed = nn.Parameter(dg.randn(1, self.patches**2 + 1, dim) * 0.3)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*[Block(dim, heads, dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x).flatten(2).transpose(1, 2)  # B patches dim
        x = dg.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = self.blocks(self.dropout(x + self.pos_embed))
        return self.head(self.norm(x[:, 0]))


def forever(loader: dg.data.DataLoader) -> Iterator[dg.data.Batch]:
    while True:
        yield from loader


def test(world: dg.World, model: nn.Module, loader: dg.data.DataLoader) -> float:
    """Accuracy on all test images."""
    total = dg.ShardSum(world, "right", "seen")
    model.eval()
    with dg.no_grad():
        for batch in loader:
            for x, y in batch.shards:
                total.add(right=(model(x).argmax(1) == y).sum(), seen=len(y))
    model.train()
    found = total.result()
    return found["right"] / found["seen"]


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    dg.manual_seed(args.seed)

    fashion = args.data == "fashion-mnist"
    train_set, test_set = dg.data.fashion_mnist() if fashion else dg.data.digits()
    side = train_set[0][0].shape[-1]
    augment = transforms.Compose(
        [  # each shard's own random numbers; digits are centred, and stay where they are
            transforms.RandomCrop(side, padding=2 if fashion else 0),
            transforms.RandomHorizontalFlip(0.5 if fashion else 0.0),
        ]
    )
    loader = dg.data.DataLoader(train_set, args.batch_size, shuffle=True, seed=args.seed)
    test_loader = dg.data.DataLoader(test_set, 256)
    model = VisionTransformer(side, 4 if fashion else 2, args.dim, args.depth)
    decay = [p for p in model.blocks.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if all(p is not d for d in decay)]
    optimizer = optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}],
        lr=args.lr,
    )
    steps = args.schedule_steps or args.steps
    warm_up = lr_scheduler.LinearLR(optimizer, 0.01, total_iters=steps // 10)
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - steps // 10)
    scheduler = lr_scheduler.SequentialLR(optimizer, [warm_up, cosine], [steps // 10])
    ddp = dg.DistributedDataParallel(model)
    first, curve = 0, []
    if args.resume and Path(args.checkpoint).exists():
        saved = dg.load(args.checkpoint)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["scheduler"])
        loader.load_state_dict(saved["loader"])
        first, curve = saved["step"], saved["curve"]

    def forward_and_backward(x: Any, y: Any) -> None:
        loss = F.cross_entropy(model(x), y, label_smoothing=0.1)
        ddp.backward(loss / args.accumulate)

    learn = dg.capture(forward_and_backward) if args.capture else forward_and_backward
    batches = forever(loader)
    with dg.observe.Run(args.run, model=model, configuration=args, resume=args.resume) as run:
        run.begins(first, args.steps)
        for step in range(first + 1, args.steps + 1):
            optimizer.zero_grad()
            for i in range(1, args.accumulate + 1):
                with nullcontext() if i == args.accumulate else ddp.no_sync():
                    for x, y in next(batches).shards:
                        learn(augment(x), y)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            if step % args.every == 0 or step == args.steps:
                curve.append([step, test(world, model, test_loader)])
                run.log(step, {"validation/accuracy": curve[-1][1]})
                world.print(f"step {step}: test accuracy {curve[-1][1]:.4f}")
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
        draw(model, test_set, curve, args.plot)


def draw(
    model: VisionTransformer, test_set: dg.data.ArrayDataset, curve: list[list[float]], file: str
) -> None:
    """The curve; test images, and how the class token's attention is spread over their patches."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    images, labels = (array[:8] for array in test_set.arrays)
    maps: list[Tensor] = []  # of each block, B heads N N
    model.eval()
    for block in model.blocks:
        block.attn.attn_drop.register_forward_hook(lambda module, args, out: maps.append(out))
    with dg.no_grad():
        predicted = model(images).argmax(1).tolist()
    n = model.patches

    figure = Figure(figsize=(11, 1.1 * len(maps) + 2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[2, 5])
    axes = left.subplots()
    axes.plot([step for step, _ in curve], [100 * (1 - accuracy) for _, accuracy in curve], ".-")
    axes.set(xlabel="step", ylabel="test images wrong [%]", ylim=(0, None), title="Test error")
    right.suptitle("Test images, and the class token's attention in each block (mean of the heads)")
    rows = right.subplots(1 + len(maps), len(images))
    for i in range(len(images)):
        rows[0, i].imshow(images[i, 0], cmap="gray_r", vmin=0, vmax=1)
        rows[0, i].set_title(f"{labels[i]}, taken for {predicted[i]}", fontsize=8)
        for b in range(len(maps)):
            seen = maps[b][i, :, 0, 1:].mean(0).view(n, n).numpy()
            rows[1 + b, i].imshow(seen, cmap="magma", vmin=0)
    for axes in rows.flat:
        axes.set(xticks=[], yticks=[])
    for b in range(len(maps)):
        rows[1 + b, 0].set_ylabel(f"block {b + 1}")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main()
