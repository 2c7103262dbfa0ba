"""Reading ahead: seconds an epoch without workers, in threads, and in worker processes.

This is the measurement behind ``num_workers`` being processes: samples made by Python's own code
gain nothing from threads, samples made by NumPy's lose nothing in processes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from distgrad import nn, optim
from distgrad.nn import functional as F
from distgrad.utils.data import DataLoader, Dataset, default_collate

SAMPLES, BATCH = 640, 32


class Python(Dataset):
    """Samples that keep the interpreter busy: parsing, tokens, augmentation by hand."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, i: int) -> Any:
        total = 0
        for k in range(8000):
            total += k * i % 7
        return np.full(256, total % 11, np.float32), i % 10


class NumPy(Dataset):
    """Samples that are computed in C: decoding, filters."""

    def __init__(self) -> None:
        self.images = np.random.default_rng(0).normal(size=(64, 128, 128)).astype(np.float32)

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, i: int) -> Any:
        image = np.tanh(np.tanh(np.tanh(self.images[i % 64])))
        return image[:16, :16].reshape(-1).copy(), i % 10


def in_threads(dataset: Any, count: int) -> Iterator[Any]:
    with ThreadPoolExecutor(count) as pool:
        rows = [range(i, i + BATCH) for i in range(0, SAMPLES, BATCH)]
        yield from pool.map(lambda batch: default_collate([dataset[i] for i in batch]), rows)


def epoch(loader: Iterable[Any]) -> float:
    model = nn.Sequential(
        nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.Linear(1024, 10)
    )
    optimizer = optim.SGD(model.parameters(), lr=0.01)
    start = time.perf_counter()
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for dataset in (Python(), NumPy()):
        ahead = DataLoader(dataset, BATCH, num_workers=args.workers, persistent_workers=True)
        epoch(ahead)  # the workers start
        ways = {
            "none": lambda d=dataset: epoch(DataLoader(d, BATCH)),
            "threads": lambda d=dataset: epoch(in_threads(d, args.workers)),
            "processes": lambda a=ahead: epoch(a),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(args.rounds):  # taking turns, so that a busy machine is busy for all
            for name, way in ways.items():
                found[name].append(way())
        medians = {name: f"{statistics.median(t):.2f} s" for name, t in found.items()}
        print(type(dataset).__name__, medians, flush=True)


if __name__ == "__main__":
    main()
