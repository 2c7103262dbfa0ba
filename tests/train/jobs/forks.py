"""A training that forks children in its second step, which are then sent a signal."""

import multiprocessing
import os
import signal
import sys
import time

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

HOW = sys.argv[1]
fork = multiprocessing.get_context("fork")
signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell ignores it


def square(x):
    time.sleep(0.3)
    return x * x


def child():
    process = fork.Process(target=time.sleep, args=(60,))
    process.start()
    time.sleep(0.3)
    count = 0
    while process.exitcode is None and count < 3:
        count += 1
        os.kill(process.pid, getattr(signal, f"SIG{HOW}"))
        process.join(2)
    again = f" at the {count}nd" if count > 1 else ""
    print(f"ended with {process.exitcode}{again}", flush=True)
    process.kill()


def pool():
    with fork.Pool(2) as workers:
        squares = workers.map_async(square, range(5))
        time.sleep(0.1)
        for process in (*multiprocessing.active_children(), multiprocessing.current_process()):
            os.kill(process.pid, signal.SIGINT)  # as a terminal does
        print("squares", squares.get(20), flush=True)


def callback(state):
    if state.step == 2:
        pool() if HOW == "pool" else child()


model = nn.Linear(3, 2)
trainer = dg.Trainer(
    model,
    optim.SGD(model.parameters(), lr=0.1),
    F.cross_entropy,
    callbacks=[callback],
    progress=False,
)
x = np.sin(np.arange(24, dtype=np.float32)).reshape(8, 3)
loader = dg.data.DataLoader(dg.data.ArrayDataset(x, np.arange(8) % 2), 4)
print(trainer.fit(loader, max_steps=6).stopped)
