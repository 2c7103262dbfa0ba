"""Run folders without a training: what a run of any length, on any ranks, would have left.

python tests/support/run_folders.py FOLDER makes three of them, for those who look at the report.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HASH = "81a62f59" + "0123456789abcdef" * 3 + "01234567"


@dataclass
class RunFolder:
    """What a folder is to hold; ``write`` makes it."""

    name: str = "digits"
    steps: int = 600
    """In all, those that were superseded not counted."""
    ranks: int = 3
    hosts: tuple[str, ...] = ("node-a",)
    """Shared out evenly among the ranks."""
    few_cores: int = -1
    """A rank with one core, where the others have two."""
    resumes: tuple[int, ...] = ()
    """Steps at which a next part began."""
    lost: int = 0
    """Steps that were done after each resume's checkpoint, and were done again."""
    ended: bool = True
    ended_by: str | None = "10 epochs"
    seed: int = 0
    epoch: int = 200
    """Steps."""
    log_every: int = 1
    evaluate_every: int = 100
    rate: float = 1e-3
    step_seconds: float = 0.02
    slow: Mapping[int, float] = field(default_factory=dict)
    """Seconds a step that a rank computes more than the others."""
    reads: Mapping[int, float] = field(default_factory=dict)
    """Seconds a step that a rank reads data."""
    split_every: int = 100
    layers: tuple[str, ...] = ("0", "2", "4")
    health_every: int = 20
    problems: Callable[[int], list[str]] = lambda step: []
    loss: Callable[[int], float | None] = lambda step: None
    """In place of the usual loss of a step."""
    configuration: Mapping[str, Any] = field(default_factory=dict)
    hash: str | None = HASH

    def write(self, folder: Path) -> Path:
        """Make the folder; return it."""
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(self.facts()))
        for file, rows in (
            ("metrics.jsonl", self._metrics),
            ("time.jsonl", self._time),
            ("health.jsonl", self._health),
        ):
            lines = (json.dumps(row) + "\n" for part in self._parts() for row in rows(*part))
            (folder / file).write_text("".join(lines))
        return folder

    def facts(self) -> dict[str, Any]:
        """Return what run.json holds."""
        return {
            "format": 1,
            "name": self.name,
            "created": "2024-05-01T08:00:00+00:00",
            "configuration": {
                "lr": self.rate,
                "seed": self.seed,
                "model": {"width": 128, "depth": 3},
            }
            | dict(self.configuration),
            "parts": [self._part(*part) for part in self._parts()],
        }

    # -- parts -------------------------------------------------------------------------------------

    def _parts(self) -> Iterator[tuple[int, int, int]]:
        """Yield each part's number, first and last step; the last one of a part may be lost."""
        firsts, lasts = (0, *self.resumes), (*self.resumes, self.steps)
        for part, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
            yield part, first, last if part == len(self.resumes) else last + self.lost

    def _part(self, part: int, first: int, last: int) -> dict[str, Any]:
        newest = part == len(self.resumes)
        ended = self.ended if newest else not self.lost
        return {
            "started": f"2024-05-01T{8 + part:02}:00:00+00:00",
            "ended": f"2024-05-01T{8 + part:02}:50:00+00:00" if ended else None,
            "first_step": first,
            "last_step": last,
            "total_steps": self.steps,
            "ended_by": (self.ended_by if newest else "SIGINT") if ended else None,
            "command": ["python", "train.py", "--lr", str(self.rate), "--run", f"runs/{self.name}"],
            "working_directory": "/home/user/digits",
            "ranks": self.ranks,
            "shards": None,
            "hosts": self._hosts(),
            "threads": [1] * self.ranks,
            "cores": ["0" if rank == self.few_cores else "0-1" for rank in range(self.ranks)],
            "versions": {"distgrad": "0.1.0", "python": "3.11.7", "numpy": "2.2.0", "mpi": None},
            "numerics": {"NumPy": "2.2.0", "BLAS": [{"version": "0.3.28", "num_threads": 1}]},
            "environment": {"OMP_NUM_THREADS": "1"},
            "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "branch": "main"}
            | {"changed": bool(self.seed % 2)},
            "parameters": 9_610,
            "hash": self.hash if newest and ended else None,
            "peak_memory": [(180 + 7 * r) << 20 for r in range(self.ranks)] if ended else None,
        }

    def _hosts(self) -> list[str]:
        count = len(self.hosts)
        return [self.hosts[rank * count // self.ranks] for rank in range(self.ranks)]

    # -- lines -------------------------------------------------------------------------------------

    def _metrics(self, part: int, first: int, last: int) -> Iterator[dict[str, Any]]:
        draw = np.random.default_rng([self.seed, part])
        noise = draw.normal(size=(last - first, 3))
        for i, step in enumerate(range(first + 1, last + 1)):
            head = {"part": part, "step": step, "epoch": (step - 1) // self.epoch}
            head["seconds"] = round((i + 1) * self.step_seconds, 4)
            done = step / self.steps
            loss = (
                (0.05 + 2.25 * np.exp(-7 * done)) * np.exp(0.18 * noise[i, 0]) * self._rate_effect()
            )
            special = self.loss(step)
            if step % self.log_every == 0:
                yield head | {
                    "loss": _number(float(loss) if special is None else special),
                    "gradient_norm": _number(float(loss * np.exp(0.5 * noise[i, 1]))),
                    "learning_rate": float(self.rate * min(1, 20 * done) * (1 - 0.9 * done)),
                    "samples_per_second": float(64 / self.step_seconds * (1 + 0.03 * noise[i, 2])),
                }
            if step % self.evaluate_every == 0:
                accuracy = 0.98 - 0.88 * np.exp(-9 * done)
                held_out = (0.11 + 2.2 * np.exp(-8 * done) + 0.06 * done**2) * self._rate_effect()
                yield head | {"validation/loss": float(held_out), "validation/accuracy": accuracy}

    def _rate_effect(self) -> float:
        return 1 + 0.35 * abs(np.log10(self.rate / 1e-3))

    def _time(self, part: int, first: int, last: int) -> Iterator[dict[str, Any]]:
        draw = np.random.default_rng([self.seed, part, 1])
        for end in range(first + self.split_every, last + 1, self.split_every):
            n = self.split_every
            extra = {r: self.slow.get(r, 0) + self.reads.get(r, 0) for r in range(self.ranks)}
            most = max(extra.values())
            base = n * self.step_seconds * (1 + 0.05 * draw.random())
            whole = base + n * most
            ranks = []
            for rank in range(self.ranks):
                waiting = n * (most - extra[rank]) + 0.02 * base * draw.random()
                transfer = 0.06 * base * (1 + 0.1 * draw.random())
                data = n * self.reads.get(rank, 0) + 0.01 * base
                ranks.append([whole, waiting, transfer, 0.14 * base, data])
            yield {"part": part, "step": end, "steps": n, "ranks": ranks}

    def _health(self, part: int, first: int, last: int) -> Iterator[dict[str, Any]]:
        draw = np.random.default_rng([self.seed, part, 2])
        depth = len(self.layers)
        for step in range(first + self.health_every, last + 1, self.health_every):
            fall = np.exp(-2 * step / self.steps)
            norms = {
                layer: _number(float(fall * 10 ** (-1.5 * i / depth) * np.exp(0.3 * draw.normal())))
                for i, layer in enumerate(self.layers)
            }
            yield {"part": part, "step": step, "layers": norms, "problems": self.problems(step)}


def _number(value: float) -> float | str:
    """Return a number as JSON lines have it."""
    if np.isfinite(value):
        return value
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[str(value)]


def long_run(**settings: Any) -> RunFolder:
    """Return a run of 100,000 logged steps on 4 ranks, with spikes of which none may be lost."""
    layers = [f"layers.{i}.{part}" for i in range(12) for part in ("attention", "norm", "linear")]
    said = "exploding: 'layers.3.linear' at step 42000: gradient norm 3.1e+02, 2.2e+02 times its "
    return RunFolder(
        **{
            "name": "long",
            "steps": 100_000,
            "ranks": 4,
            "hosts": ("node-a", "node-b"),
            "epoch": 10_000,
            "evaluate_every": 1000,
            "layers": tuple(layers),
            "health_every": 100,
            "resumes": (40_000,),
            "lost": 500,
            "slow": {1: 0.012},
            "problems": lambda step: (
                [said + "median over 50 observed steps"] if 42_000 <= step <= 43_000 else []
            ),
            "loss": {31_415: 9.5, 70_000: float("nan")}.get,
        }
        | settings
    )


def main() -> None:
    folder = Path(sys.argv[1])
    long_run().write(folder / "long")
    rates = {"rate-0.003": 3e-3, "rate-0.001": 1e-3, "rate-0.0003": 3e-4}
    for seed, (name, rate) in enumerate(rates.items()):
        RunFolder(
            name=name, rate=rate, seed=seed, steps=4000, hash=f"{seed}{HASH[1:]}", epoch=400
        ).write(folder / name)


if __name__ == "__main__":
    main()
