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
args = parser.parse_args()
os.environ["DISTGRAD_TUNING"] = "off"  # what a user has tuned here is not what is measured


def memory() -> int:
    """Return the bytes of this process, what it shares divided among those who share it."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024


world = dg.init()
rng = np.random.default_rng(world.rank)
tokens = rng.integers(0, 65, (1, 17))
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


def look() -> None:
    """Note the memory, all ranks at the same moment: what they share is theirs together."""
    world.comm.barrier()
    found.append(memory() - base)
    world.comm.barrier()


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
print(json.dumps({"bytes": [b / count for b in found], "count": count}), flush=True)
