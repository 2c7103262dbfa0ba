"""The peer of distgrad_step.py in PyTorch (eager, DDP over gloo); runs under a Python with torch.

Knows nothing of distgrad. With RANK and WORLD_SIZE in the environment it joins a process group.
"""

import argparse
import json
import os
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, bias=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x):
        b, t, c = x.shape
        qkv = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(a.transpose(1, 2).reshape(b, t, c))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, vocabulary=65, context=256, layers=6, heads=6, width=384):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, bias=False)
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens):
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        x = self.norm(self.blocks(x))
        return F.linear(x, self.tokens.weight).flatten(0, 1)


def mlp(n):
    layers = []
    for a, b in ((784, 1024), (1024, 1024), (1024, 1024)):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(1024, 10)), torch.randn(n, 784), torch.randint(10, (n,))


def cnn(n):
    def conv(a, b):
        return [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]

    head = [nn.Flatten(), nn.Linear(64 * 8 * 8, 256), nn.ReLU(), nn.Linear(256, 10)]
    body = [*conv(3, 32), *conv(32, 32), nn.MaxPool2d(2), *conv(32, 64), *conv(64, 64)]
    model = nn.Sequential(*body, nn.MaxPool2d(2), *head)
    return model, torch.randn(n, 3, 32, 32), torch.randint(10, (n,))


def gpt(n):
    tokens = torch.randint(65, (n, 257))
    return GPT(), tokens[:, :-1], tokens[:, 1:].reshape(-1)


WORKLOADS = {"mlp": (mlp, 128), "cnn": (cnn, 64), "gpt": (gpt, 4)}

parser = argparse.ArgumentParser()
parser.add_argument("workload", choices=list(WORKLOADS))
parser.add_argument("--steps", type=int, default=10)
args = parser.parse_args()

torch.set_num_threads(1)
distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
build, batch = WORKLOADS[args.workload]
plain, x, y = build(batch)
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
    F.cross_entropy(model(x), y).backward()
    nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    optimizer.step()
    if i >= 3:
        times.append((time.perf_counter() - start) * 1e3)
if int(os.environ.get("RANK", "0")) == 0:
    print(json.dumps({"ms": statistics.median(times)}))
if distributed:
    torch.distributed.destroy_process_group()
