"""Draws the pictures of docs/concepts.md, each from a real run: docs/pictures/*.svg.

python docs/make_pictures.py            # needs matplotlib, and an MPI for the two ranks of overlap
python docs/make_pictures.py overlap    # one of them
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import nodes_of, run_ranks
from distgrad.nn import functional as F

FOLDER = Path(__file__).with_name("pictures")
RANKS = ["#4c72b0", "#dd8452", "#55a868", "#8172b3"]
"""A colour a rank."""
SHARED = "#b0b0b0"
SHARDS = 8


def main() -> int:
    """Draw all pictures, or those that are named."""
    if sys.argv[1:2] == ["--as-rank"]:
        record_overlap(Path(sys.argv[2]))
        return 0
    drawn = {"shards": shards, "tree": tree, "bits": bits, "overlap": overlap}
    for name in sys.argv[1:] or drawn:
        figure = drawn[name]()
        FOLDER.mkdir(exist_ok=True)
        # Without a date and random ids: the same run draws the same file.
        figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
    return 0


def shards() -> Any:
    """Draw which shards of a global batch each rank walks, on 1 to 4 ranks."""

    def mine() -> list[range]:
        return [*dg.own_shards(dg.init(shards=SHARDS), step=0, total=2 * SHARDS)]

    figure, axes = _figure(7, 2.6)
    for row, size in enumerate((1, 2, 3, 4)):
        for rank, parts in enumerate(run_ranks(size, mine)):
            for part in parts:
                axes.barh(-row, len(part) - 0.12, left=part.start + 0.06, color=RANKS[rank])
            middle = (parts[0].start + parts[0].stop) / 2
            axes.text(middle, -row, f"rank {rank}", ha="center", va="center", color="white")
    axes.set_yticks([-row for row in range(4)], ["1 rank", "2 ranks", "3 ranks", "4 ranks"])
    axes.set_xticks(np.arange(SHARDS) * 2 + 1, [f"shard {s}" for s in range(SHARDS)])
    return figure


def tree() -> Any:
    """Draw the canonical tree over the shards of three ranks, and who adds up which node."""

    def mine() -> range:
        world = dg.init(shards=SHARDS)
        parts = [*dg.own_shards(world, step=0, total=SHARDS)]
        return range(parts[0].start, parts[-1].stop)

    owner: dict[tuple[int, int], int] = {}
    for rank, run in enumerate(run_ranks(3, mine)):
        for level, index in nodes_of(run):  # and all below it
            for below in range(level + 1):
                for i in range(index << (level - below), (index + 1) << (level - below)):
                    owner[below, i] = rank
    figure, axes = _figure(7, 3)
    for level in range(SHARDS.bit_length()):
        for index in range(SHARDS >> level):
            x, y = _place(level, index)
            if level:
                for child in (2 * index, 2 * index + 1):
                    below = _place(level - 1, child)
                    axes.plot([x, below[0]], [y, below[1]], color=SHARED, zorder=1)
            colour = RANKS[owner[level, index]] if (level, index) in owner else "white"
            axes.scatter(x, y, s=260, color=colour, edgecolor=SHARED, zorder=2)
            axes.text(x, y, "+" if level else str(index), ha="center", va="center",
                      color="white" if (level, index) in owner else "black", zorder=3)  # fmt: skip
    for rank in range(3):
        axes.scatter([], [], s=120, color=RANKS[rank], label=f"rank {rank} by itself")
    axes.scatter([], [], s=120, color="white", edgecolor=SHARED, label="ranks together")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.6), frameon=False)
    axes.axis("off")
    return figure


def _place(level: int, index: int) -> tuple[float, float]:
    return (index + 0.5) * (1 << level), float(level)


def bits() -> Any:
    """Draw how far weights drift from those of one rank, with shards and without."""
    steps = 60
    figure, axes = _figure(7, 2.8)
    for shards, style in ((SHARDS, "-"), (None, "--")):
        alone = run_ranks(1, lambda shards=shards: _weights(steps, shards))[0]
        for size in (2, 3, 4):
            others = run_ranks(size, lambda shards=shards: _weights(steps, shards))[0]
            away = [float(np.abs(a - b).max()) for a, b in zip(alone, others, strict=True)]
            label = f"{size} ranks" + ("" if shards else ", without shards")
            if shards:
                label += f", shards={shards}: all 0" if not any(away) else ", NOT THE SAME BITS"
            axes.plot(range(1, steps + 1), away, style, color=RANKS[size - 1], label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("largest difference of a weight\nfrom the run on 1 rank")
    axes.set_yscale("symlog", linthresh=1e-8)
    axes.set_ylim(-2e-9, 1e-5)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure


def _weights(steps: int, shards: int | None) -> list[Any]:
    """Train on digits; return all weights after each step."""
    world = dg.init(shards=shards)
    dg.manual_seed(0)
    train, _ = dg.data.digits()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    ddp = dg.DistributedDataParallel(model)
    loader = dg.data.DataLoader(train, global_batch_size=48, shuffle=True, seed=0)
    found: list[Any] = []
    while len(found) < steps:
        for batch in loader:
            optimizer.zero_grad()
            for x, y in batch.shards:
                ddp.backward(F.cross_entropy(model(x), y))
            optimizer.step()
            if world.rank == 0:
                found.append(np.concatenate([p.array.ravel() for p in model.parameters()]))
            else:
                found.append(None)
    return found[:steps]


def overlap() -> Any:
    """Draw when each bucket is sent while two ranks of MPI compute backward."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "times.json")
        command = [sys.executable, "-m", "distgrad", "run", "-n", "2", __file__]
        subprocess.run([*command, "--as-rank", str(file)], check=True)
        steps = json.loads(file.read_text())
    step = sorted(steps, key=lambda s: s["end"])[len(steps) // 2]  # the median
    figure, axes = _figure(7, 2.6)
    axes.barh(0, 1e3 * step["end"], color=SHARED)
    axes.text(500 * step["end"], 0, "backward", ha="center", va="center")
    for row, (start, stop, nbytes) in enumerate(sorted(step["buckets"]), start=1):
        axes.barh(-row, 1e3 * (stop - start), left=1e3 * start, color=RANKS[0])
        axes.text(1e3 * stop + 0.1, -row, f" {_size(nbytes)}", va="center", fontsize=8)
    rows = len(step["buckets"])
    axes.set_yticks(
        [-r for r in range(rows + 1)], ["rank 0", *(f"bucket {b}" for b in range(rows))]
    )
    axes.set_xlabel("ms since backward began")
    return figure


def _size(nbytes: int) -> str:
    return f"{nbytes / 2**20:.1f} MiB" if nbytes >= 2**20 else f"{nbytes / 2**10:.0f} KiB"


def record_overlap(file: Path) -> None:
    """As a rank: train a few steps and write when rank 0's buckets were on their way."""
    world = dg.init()
    model = nn.Sequential(
        nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(),
        nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10),
    )  # fmt: skip
    ddp = dg.DistributedDataParallel(model)
    times: list[tuple[float, float, int]] = []

    def timed(state: None, bucket: Any) -> Any:
        start = time.perf_counter()
        yield from bucket.all_reduce(bucket.buffer())
        times.append((start, time.perf_counter(), bucket.buffer().nbytes))

    ddp.register_comm_hook(None, timed)
    rng = np.random.default_rng(world.rank)
    x, y = rng.normal(size=(128, 784)).astype("f4"), rng.integers(0, 10, 128)
    steps = []
    for _ in range(11):
        times.clear()
        model.zero_grad()
        loss = F.cross_entropy(model(x), y)
        world.comm.barrier()
        begun = time.perf_counter()
        ddp.backward(loss)
        end = time.perf_counter() - begun
        steps.append({"end": end, "buckets": [(a - begun, b - begun, n) for a, b, n in times]})
    if world.rank == 0:
        file.write_text(json.dumps(steps[3:]))


def _figure(width: float, height: float) -> Any:
    import matplotlib as mpl  # noqa: PLC0415 (a rank of overlap needs none)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    mpl.rcParams |= {"svg.hashsalt": "distgrad", "svg.fonttype": "path", "font.size": 9}
    figure, axes = plt.subplots(figsize=(width, height))
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


if __name__ == "__main__":
    sys.exit(main())
