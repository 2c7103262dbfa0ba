"""A job in which a rank does not come to a collective: ``silent.py HOW RANK WARN TIMEOUT``."""

import ctypes
import math
import os
import signal
import sys
import threading
import time

import numpy as np

import distgrad as dg
from distgrad.comm import listener

how, culprit = sys.argv[1], int(sys.argv[2])
listener.PERIOD = 0.25  # who computes answers soon, so that the warning need not wait for long
world = dg.init(warn_after=float(sys.argv[3]), timeout=float(sys.argv[4]))
mine = world.rank == culprit
SECONDS = 2.5  # one more than until the warning


def sleeps():
    time.sleep(SECONDS)


def computes():
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        math.sqrt(2.0)


def keeps_the_lock():
    ctypes.PyDLL(None).usleep(int(SECONDS * 1e6))  # PyDLL: without letting other threads run


def is_stopped():
    # Somebody else lets it go on: it cannot itself.
    if os.fork() == 0:
        time.sleep(SECONDS)
        os.kill(os.getppid(), signal.SIGCONT)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGSTOP)


def is_in_another_collective():
    # The others' time is up first, though a busy machine let them come later; they ask after 1 s.
    time.sleep(0.5)
    other.all_reduce(np.zeros(3), name="other")


def hangs():
    threading.Event().wait()


other = dg.comm.Communicator(world.comm.transport)
world.comm.barrier()
if mine and how != "comes last":
    globals()[how]()
if how == "comes last":
    sleeps() if mine else None
    sys.exit()
world.comm.all_reduce(np.zeros(100), name="w")
print(f"rank {world.rank} is through")
