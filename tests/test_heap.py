"""Memory that a step frees is there for the next one: without page faults, in large pages."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from distgrad import heap

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc")

PROGRAM = """
import resource, numpy as np
import distgrad
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    for size in (1 << 18, 3 << 18, 1 << 20, 5 << 20):
        np.ones(size, "f4")
step()
before = faults()
for _ in range(10):
    step()
print(faults() - before)
"""


def faults(**environment):
    usual = {k: v for k, v in os.environ.items() if k not in heap._OWN}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(
        command, env=usual | environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


def test_a_step_finds_the_memory_of_the_one_before():
    assert faults() < 100


def test_without_it_every_step_takes_it_from_the_system_anew():
    assert faults(DISTGRAD_KEEP_MEMORY="0") > 1000


PAGES = """
import re, sys
if "limit" in sys.argv:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
import numpy as np
from distgrad import heap
def share(arrays):
    "Of the memory of these arrays that lies in large pages."
    found, inside = 0, False
    for line in open("/proc/self/smaps"):
        if head := re.match(r"(\\w+)-(\\w+) ", line):
            first, end = (int(n, 16) for n in head.groups())
            inside = any(first <= a.ctypes.data < end for a in arrays)
        elif inside and line.startswith("AnonHugePages:"):
            found += int(line.split()[1]) << 10
    return found / sum(a.nbytes for a in arrays)
make = lambda: [np.ones(1 << 18, "f4") for _ in range(64)]  # of 1 MiB: NumPy asks from 4 MiB on
print(share(make()))
gone = make()
del gone
heap.give_back_freed(64 << 20)
print(share(make()))
"""


def in_large_pages(*arguments, **environment):
    """Return the share of arrays in large pages: of the first, then after those were given back."""
    if "[never]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text():
        pytest.skip("this system gives no large pages")
    usual = {k: v for k, v in os.environ.items() if k not in heap._OWN}
    usual.pop("NUMPY_MADVISE_HUGEPAGE", None)
    command = [sys.executable, "-c", PAGES, *arguments]
    done = subprocess.run(
        command, env=usual | environment, capture_output=True, text=True, check=True
    )
    return [float(line) for line in done.stdout.split()]


def test_arrays_too_small_for_numpy_to_ask_are_in_large_pages():
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        pytest.skip("addresses are limited here, so none are reserved")
    assert min(in_large_pages()) > 0.5


@pytest.mark.parametrize("name", ["NUMPY_MADVISE_HUGEPAGE", "DISTGRAD_KEEP_MEMORY"])
def test_no_large_pages_are_asked_for_where_the_user_wants_none(name):
    if "[always]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text():
        pytest.skip("this system gives large pages to all")
    assert max(in_large_pages(**{name: "0"})) == 0


def test_a_limit_of_addresses_is_left_to_other_memory():
    """What is reserved would count, though it is not used."""
    if "[always]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text():
        pytest.skip("this system gives large pages to all")
    assert max(in_large_pages("limit")) == 0


@pytest.mark.parametrize("name", heap._OWN)
def test_the_users_own_settings_stand(name):
    assert not heap.keep({name: "glibc.malloc.trim_threshold=1"})
