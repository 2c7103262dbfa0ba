"""The peer of distgrad_step.py in PyTorch (eager, DDP over gloo); runs under a Python with torch.

Knows nothing of distgrad. With RANK and WORLD_SIZE in the environment it joins a process group.
"""

import argparse
import json
import os
import statistics
import time

import torch
from rows import ROWS, batch_of
from torch import nn
from torch_models import MODELS

parser = argparse.ArgumentParser()
parser.add_argument("workload", choices=list(MODELS))
parser.add_argument("--steps", type=int, default=10)
args = parser.parse_args()

torch.set_num_threads(1)
distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
make, objective = MODELS[args.workload]
plain = make()
x, y = (torch.from_numpy(a) for a in batch_of(ROWS[args.workload]))
model = plain
if distributed:
    torch.distributed.init_process_group("gloo")
    model = nn.parallel.DistributedDataParallel(plain)
optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-4)
times = []
for i in range(args.steps + 3):
    if distributed:
        torch.distributed.barrier()
    start = time.perf_counter()
    optimizer.zero_grad()
    objective(model, x, y).backward()
    nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    optimizer.step()
    if i >= 3:
        times.append((time.perf_counter() - start) * 1e3)
if int(os.environ.get("RANK", "0")) == 0:
    print(json.dumps({"ms": statistics.median(times)}))
if distributed:
    torch.distributed.destroy_process_group()
