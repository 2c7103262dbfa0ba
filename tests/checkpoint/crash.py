"""A process that saves until it is killed; run by test_crash.py, not a test itself.

python crash.py forever FOLDER     saves again and again, says each step once it is done
python crash.py everywhere FOLDER  one forked child killed before each file system call
"""

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import safetensors.numpy  # noqa: F401  imported before calls are counted

from distgrad import checkpoint


def content(step, version, size):
    model = {f"w{i}": np.full(size + i, step + version / 1000, np.float64) for i in range(3)}
    return {"model": model, "optimizer": {"m": model["w1"] * 2}}


def save(folder, step, version=0, size=10, keep=2):
    arrays, meta = content(step, version, size), {"version": version, "size": size}
    checkpoint.save(folder, step=step, arrays=arrays, meta=meta, keep=keep)


def check(found):
    """Return (step, version) after comparing every array with what was saved."""
    expected = content(found.step, found.meta["version"], found.meta["size"])
    assert found.arrays.keys() == expected.keys()
    for section, named in expected.items():
        assert found.arrays[section].keys() == named.keys()
        for name, array in named.items():
            np.testing.assert_array_equal(found.arrays[section][name], array)
    return found.step, found.meta["version"]


def newest(folder):
    def damaged(message):
        raise AssertionError(message)  # a killed writer may leave nothing that needs skipping

    for path in folder.glob("step-*"):
        check(checkpoint.load(path))  # what bears a name is whole, half-deleted ones included
    return check(checkpoint.newest(folder, warn=damaged))


def forever(folder):
    version = 0
    while True:
        version += 1
        save(folder, version // 2, version, size=200_000)  # each step twice: the second replaces
        print(version // 2, version, flush=True)


EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def killed_before_call(number, action):
    """Run ``action`` in a child that is killed before its file system call ``number``."""
    child = os.fork()
    if child == 0:
        left = number

        def count(event, arguments):
            nonlocal left
            if event in EVENTS:  # os.kill is an event itself
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        action()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), code
    return status != 0


def everywhere(folder):
    """Replace the only checkpoint, then save a further one, killed at each call in turn."""
    for step, allowed in ((5, {(5, 0), (5, 1)}), (6, {(5, 0), (6, 1)})):
        number, seen = 0, set()
        while True:
            shutil.rmtree(folder, ignore_errors=True)
            save(folder, 5, version=0, keep=1)
            killed = killed_before_call(number, lambda: save(folder, step, version=1, keep=1))  # noqa: B023
            seen.add(newest(folder))
            assert seen <= allowed, (number, seen)
            save(folder, 7, version=2, keep=1)  # and life goes on, with nothing left behind
            assert newest(folder) == (7, 2)
            assert os.listdir(folder) == ["step-000007"], (number, os.listdir(folder))
            if not killed:
                break
            number += 1
        assert seen == allowed
        print("killed before", number, "calls", flush=True)


if __name__ == "__main__":
    {"forever": forever, "everywhere": everywhere}[sys.argv[1]](Path(sys.argv[2]))
