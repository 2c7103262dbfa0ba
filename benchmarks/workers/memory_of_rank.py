"""Train the 10.8 M GPT for a few steps and print this rank's memory a parameter at each moment."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import re
import sys
from pathlib import Path

import distgrad as dg
from distgrad import optim
from distgrad.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples"))
import models
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--zero", type=int, default=0)
parser.add_argument("--steps", type=int, default=3)
parser.add_argument("--tokens", type=int, default=4, help="of the one sequence of a batch")
args = parser.parse_args()
os.environ["DISTGRAD_TUNING"] = "off"  # what a user has tuned here is not what is measured


def memory() -> int:
    """Return the bytes of this process, what it shares divided among those who share it.

    Without the pages of files: the code of libraries comes when some process first runs it.
    """
    text = Path("/proc/self/smaps_rollup").read_text()
    found = re.findall(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB", text, re.MULTILINE)
    return sum(map(int, found)) * 1024


world = dg.init()
rng = np.random.default_rng(world.rank)
tokens = rng.integers(0, 65, (1, args.tokens + 1))
# What a first pass leaves behind: scratch memory of BLAS, compiled kernels, caches.
small = models.GPT(65, 256, layers=1, heads=6, width=384)
F.cross_entropy(small(tokens[:, :-1]), tokens[:, 1:].reshape(-1)).backward()
dg.clip_grad_norm_(small.parameters(), 1.0)
optim.AdamW(small.parameters()).step()
del small
world.comm.barrier()
ctypes.CDLL(None).malloc_trim(0)  # what was freed before would be counted as memory of no one
base = memory()
model = models.GPT(65, 256, layers=6, heads=6, width=384)
count = sum(p.size for p in model.parameters())
ddp = dg.DistributedDataParallel(model, zero=args.zero)
optimizer = optim.AdamW(ddp.parameters(), lr=1e-4)
found: list[int] = []
inside: list[int] = []


def look() -> None:
    """Note the memory, all ranks at the same moment: what they share is theirs together."""
    world.comm.barrier()
    found.append(memory() - base)
    world.comm.barrier()


def ready(leaf: dg.Tensor) -> None:
    """Note the memory while backward runs, too."""
    grad_ready(leaf)
    if found:
        inside.append(memory() - base)


grad_ready = ddp.reducer.grad_ready
ddp.reducer.grad_ready = ready
for step in range(args.steps):
    optimizer.zero_grad()
    loss = F.cross_entropy(ddp(tokens[:, :-1]), tokens[:, 1:].reshape(-1))
    if step:
        look()
    ddp.backward(loss)
    if step:
        look()
    dg.clip_grad_norm_(ddp.parameters(), 1.0)
    optimizer.step()
    if step:
        look()
moments = {"bytes": found, "inside": [max(inside)]}
print(json.dumps({k: [b / count for b in bs] for k, bs in moments.items()}), flush=True)
