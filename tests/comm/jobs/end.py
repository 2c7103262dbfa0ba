"""A job in which one rank ends as its first argument says while the others go on as they can."""

import os
import signal
import sys
import threading
import time

import numpy as np

from distgrad.comm import Communicator, connect

how, culprit = sys.argv[1], int(sys.argv[2])
comm = Communicator(connect())
mine = comm.rank == culprit
comm.barrier()


def wait_for_all():
    for step in range(3):
        comm.all_reduce(np.full(1000, comm.rank + 1.0), name=f"step {step}")


def broken():
    raise ValueError(f"deliberate failure of rank {comm.rank}")


class Poisoned(np.ndarray):
    """An array whose sum fails: an exception inside a collective."""

    def __array_ufunc__(self, *args, **kwargs):
        broken()


if how == "plain" and mine:
    broken()
if how == "thread" and mine:
    threading.Thread(target=broken).start()
    time.sleep(60)
if how == "inside":
    array = np.zeros(1000 * comm.size)
    comm.all_reduce(array.view(Poisoned) if mine else array, algorithm="ring")
if how == "computing" and not mine:
    time.sleep(60)  # no collective will ever notice
if how == "computing":
    broken()
if how == "exit" and mine:
    sys.exit(3)
if how == "return" and mine:
    sys.exit(0)
if how == "interrupt" and mine:
    raise KeyboardInterrupt
if how == "killed" and mine:
    os.kill(os.getpid(), signal.SIGKILL)
if how == "late":
    # Rank 0 is done long before the others: that is no failure.
    time.sleep(0 if mine else 0.5)
if how.startswith("SIG") and mine:
    threading.Timer(1.0, os.kill, (os.getpid(), getattr(signal, how))).start()
if how.startswith("SIG") and comm.rank == 0:
    time.sleep(60)  # the others wait for it
if how == "interrupt at the end":
    if mine:  # it is through, and waits at its exit for the others
        later = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT))
        later.daemon = True
        later.start()
        sys.exit(0)
    time.sleep(60)
wait_for_all() if how != "late" else comm.broadcast(np.zeros(10), culprit)
print(f"rank {comm.rank} is through")
