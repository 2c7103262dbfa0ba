"""A job in which one rank falls: ``falling_job.py HOW MOMENT RANK FOLDER TIMEOUT``.

Started by tests/kill_matrix.py. The moment of the fall is written to FOLDER/fell.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.comm import Communicator
from distgrad.nn import functional as F


class DeliberateError(Exception):
    """What the falling rank raises."""


HOW, MOMENT, CULPRIT, FOLDER, TIMEOUT = sys.argv[1:6]
RANK = next(
    int(os.environ[v])
    for v in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID")
    if v in os.environ
)
FALLS = str(RANK) == CULPRIT


def fall():
    Path(FOLDER, "fell").write_text(f"{time.time()}")
    if HOW == "exception":
        raise DeliberateError(f"rank {RANK} falls")
    if HOW == "sys.exit(0)":
        sys.exit(0)
    if HOW == "os._exit":
        os._exit(0)
    os.kill(os.getpid(), getattr(signal, f"SIG{HOW}"))
    time.sleep(0.5)  # a signal's handler runs between two instructions of Python


def at(moment):
    if FALLS and moment == MOMENT:
        fall()


def init():
    at("before init")
    if MOMENT == "MPI_Init":
        # The rank that falls goes first and waits for the others, who come when it has fallen.
        time.sleep(0 if FALLS else 1.5)
        if FALLS:
            fall_from_outside(0.7)
    if MOMENT == "agreement":
        plain = Communicator.all_gather_bytes

        def gather(*arguments, **named):
            at("agreement")
            return plain(*arguments, **named)

        Communicator.all_gather_bytes = gather
    world = dg.init(timeout=float(TIMEOUT))
    signal.setitimer(signal.ITIMER_REAL, 0)
    return world


def fall_from_outside(seconds):
    """Fall in so many seconds, whatever C code the main thread is in then."""
    if HOW.isupper():
        Path(FOLDER, "fell").write_text(f"{time.time() + seconds}")
        subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -{HOW} {os.getpid()}"])
    elif HOW == "os._exit":
        timer = threading.Timer(seconds, fall)
        timer.daemon = True
        timer.start()
    else:
        signal.signal(signal.SIGALRM, lambda *_: fall())
        signal.setitimer(signal.ITIMER_REAL, seconds)


def compile_a_kernel():
    from numba.core import event  # noqa: PLC0415 - there may be none

    from distgrad.kernels.jit import kernel  # noqa: PLC0415 - the same

    class Listener(event.Listener):
        def on_start(self, event):
            at("compile")

        def on_end(self, event):
            pass

    @kernel
    def double(x):
        for i in range(x.size):
            x[i] *= 2.0

    while not FALLS and not Path(FOLDER, "fell").exists():
        time.sleep(0.01)  # who comes first compiles, with the lock held
    with event.install_listener("numba:compile", Listener()):
        double(np.ones(3))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 3)
        self.step = 0

    def forward(self, x):
        hidden = F.relu(self.first(x))
        if self.step == 2:
            at("forward" if self.training else "evaluation")
            if self.training:
                hidden.register_hook(lambda _: at("backward"))
        return self.second(hidden)


def save(world, model, step):
    if step == 2 and world.rank == 0:

        def watch(event, _):
            if event == "os.rename":
                at("saving")  # rank 0 while it saves, another while it waits for rank 0

        sys.addaudithook(watch)
    elif step == 2:
        at("saving")
    if world.rank == 0:
        arrays = {"model": model.state_dict()}
        dg.checkpoint.save(Path(FOLDER, "saved"), step=step, arrays=arrays, meta={})
    world.comm.barrier()


def main():
    world = init()
    if MOMENT == "compile":
        with contextlib.suppress(ImportError):  # no numba: nothing is ever compiled
            compile_a_kernel()
    model = Model()
    ddp = dg.DistributedDataParallel(model, bucket_mb=0.0005)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    rng = np.random.default_rng(world.rank)
    x = rng.normal(size=(5, 8)).astype(np.float32)
    y = rng.integers(0, 3, 5)
    for step in range(4):
        model.step = step
        optimizer.zero_grad()
        ddp.backward(F.cross_entropy(model(x), y))
        if step == 2:
            at("optimizer")
        optimizer.step()
        model.eval()
        with dg.no_grad():
            loss = np.array([float(F.cross_entropy(model(x), y))])
        world.comm.all_reduce(loss, name="evaluation")
        model.train()
        save(world, model, step)
    print("through", flush=True)


if __name__ == "__main__":
    main()
