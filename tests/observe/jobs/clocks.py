"""A training with a timeline on hosts with clocks of their own: clocks.py FOLDER HOST=SECONDS...

The clocks of the named hosts are so many seconds ahead of this machine's: their ranks go into a
time namespace. Prints how far ahead each rank is.
"""

import os
import socket
import sys
import time

if len(sys.argv) > 2:
    ahead = dict(word.split("=") for word in sys.argv[2:])
    before = repr(time.time() - time.perf_counter())
    command = [sys.executable, *sys.argv[:2]]
    if seconds := ahead.get(socket.gethostname()):
        space = ["unshare", "--time", "--monotonic", seconds, "--fork", "--kill-child"]
        command = [*space, *command]
    os.environ["TIME_OF_BOOT"] = before
    os.execvp(command[0], command)

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

world = dg.init()
lead = float(os.environ["TIME_OF_BOOT"]) - (time.time() - time.perf_counter())
print(f"ahead {world.rank} {lead:.3f}\n", end="")
model = nn.Sequential(nn.Linear(64, 300), nn.Tanh(), nn.Linear(300, 300), nn.Linear(300, 10))
optimizer = optim.SGD(model.parameters(), lr=0.1)
ddp = dg.DistributedDataParallel(model)
rng = np.random.default_rng(1)
x, y = rng.normal(size=(240, 64)).astype(np.float32), rng.integers(0, 10, 240)
with dg.observe.profile(sys.argv[1], every=1):
    for batch in dg.data.DataLoader(dg.data.ArrayDataset(x, y), 12):
        optimizer.zero_grad()
        for inputs, target in batch.shards:
            ddp.backward(F.cross_entropy(model(inputs), target))
        optimizer.step()
