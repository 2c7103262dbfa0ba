"""One rank of PyTorch's PowerSGD over gloo; started by test_hooks.py with rank, size and files."""

import os
import sys

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook as power

rank, size, rendezvous, given, answer = sys.argv[1:]
dist.init_process_group(
    "gloo", init_method=f"file://{rendezvous}", rank=int(rank), world_size=int(size)
)


class Bucket:
    """What PyTorch's hook asks of dist.GradBucket, which Python cannot make."""

    def __init__(self, gradient):
        self.gradient = gradient

    def buffer(self):
        return self.gradient.view(-1)

    def gradients(self):
        return [self.gradient]

    def index(self):
        return 0

    def is_last(self):
        return True


data = np.load(given)
state = power.PowerSGDState(None, data["q"].shape[1], start_powerSGD_iter=2)
state.iter = 2
n, m = data["g0"].shape[1:]
state.q_memory_dict[0] = torch.from_numpy(data["q"].reshape(-1).copy())
state.p_memory_dict[0] = torch.empty(n * data["q"].shape[1])
found = []
for step in range(3):
    gradient = torch.from_numpy(data[f"g{step}"][int(rank)].copy())
    power.powerSGD_hook(state, Bucket(gradient)).wait()
    found.append(gradient.numpy())
if rank == "0":
    np.save(answer, np.stack(found))
dist.barrier()
os._exit(0)  # gloo aborts a rank whose neighbour has closed its connection before it
