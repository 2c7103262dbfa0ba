"""A training in which every rank starts processes, as the arguments say, and goes on."""

import multiprocessing
import os
import subprocess
import sys
import time

import numpy as np

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import DistgradError
from distgrad.nn import functional as F

fork = multiprocessing.get_context("fork")


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")  # one write: ranks do not mix
    sys.stdout.flush()


def square(x):
    return x * x


def train():
    x, y = np.ones((8, 2, 3), "f4"), np.ones((8, 2, 1), "f4")
    loader = dg.data.DataLoader(dg.data.ArrayDataset(x, y), global_batch_size=4)
    trainer.fit(loader, max_steps=trainer.state.step + 1)


def use(name):
    """Use something of the parent's world; print what comes of it."""
    uses = {"barrier": world.comm.barrier, "train": train}
    try:
        uses[name]()
    except DistgradError as error:
        say(f"{type(error).__name__}: {error}")
    else:
        say("no error")


def start(how):
    if how == "terminate":
        child = fork.Process(target=time.sleep, args=(60,))
        child.start()
        child.terminate()
        child.join(10)
        say("ended with", child.exitcode)
        child.kill()
    elif how == "pool":
        with fork.Pool(2) as pool:
            say("squares", pool.map(square, range(5)))
    elif how == "os.fork":
        child = os.fork()
        if child == 0:
            sys.exit(7)
        say("ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    elif how == "subprocess":
        subprocess.run([sys.executable, "-c", "print('hello')"], check=True)
    elif how == "again":  # started anew, it takes itself for the rank
        subprocess.run([sys.executable, "-c", "import distgrad; distgrad.init()"], check=False)
    else:
        child = fork.Process(target=use, args=(how,))
        child.start()
        child.join(10)
        say("ended with", child.exitcode)
        child.kill()


class Dataset:
    def __init__(self):
        self.started = False

    def __len__(self):
        return 12

    def __getitem__(self, index):
        if not self.started:
            self.started = True
            for how in sys.argv[1:]:
                say(how)
                start(how)
        return np.full((2, 3), 1.0, "f4"), np.zeros((2, 1), "f4")


world = dg.init(shards=4, timeout=20)
model = nn.Linear(3, 1)
trainer = dg.Trainer(model, optim.SGD(model.parameters(), lr=0.1), F.mse_loss, progress=False)
trainer.fit(dg.data.DataLoader(Dataset(), global_batch_size=4), epochs=1)
say("through")
