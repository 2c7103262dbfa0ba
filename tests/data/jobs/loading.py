"""A program whose DataLoader has worker processes: ``loading.py HOW``; tests look how it ends."""

import os
import signal
import sys
import time

import numpy as np

import distgrad as dg
from distgrad.utils.data import DataLoader, Dataset

HOW = sys.argv[1]


class Data(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, i):
        if HOW == "slow" and i > 3:
            time.sleep(1000)
        if HOW == "exit" and i == 5:
            os._exit(7)
        return np.float32(i), os.getpid()


def collate(samples):
    xs, pids = zip(*samples, strict=True)
    return dg.Tensor(np.array(xs)), pids


def main():
    world = dg.init()
    if HOW == "unguarded":
        print("main runs", flush=True)
    loader = DataLoader(Data(), 4, num_workers=2, collate_fn=collate)
    total = 0.0
    for x, pids in loader:
        total += float(np.sum(x.array))
        print("PIDS", os.getpid(), *sorted(set(pids)), flush=True)
        if HOW == "slow":
            continue
        if HOW == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if HOW == "raise":
            raise RuntimeError("in the loop")
        if HOW == "break":
            break
    print("TOTAL", world.rank, total, flush=True)


if __name__ == "__main__" or HOW == "unguarded":
    main()
