"""Memory that a step frees is there for the next one: it comes without page faults."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

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


@pytest.mark.parametrize("name", heap._OWN)
def test_the_users_own_settings_stand(name):
    assert not heap.keep({name: "glibc.malloc.trim_threshold=1"})
