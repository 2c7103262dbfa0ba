"""What it costs to compile a kernel, and what a kept one spares the next process."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba")

from distgrad.kernels import cache, jit
from distgrad.kernels.cache import Store, Turn

PROGRAM = """
import numpy as np
from numba.core.runtime import rtsys
from distgrad.kernels.squares import square  # which makes an array
print(square(np.arange(3.0)), square.stats.cache_hits != {}, rtsys._init)
"""


def test_a_process_that_finds_its_kernels_does_not_prepare_to_compile(tmp_path):
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    path = os.pathsep.join(sys.path)
    tmp_path.chmod(0o700)
    environment = {**os.environ, "PYTHONPATH": path, "DISTGRAD_CACHE": str(tmp_path)}
    found = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert [line.split() for line in found] == [["5.0", "False", "True"], ["5.0", "True", "False"]]


@pytest.fixture(params=["kept", "not kept"])
def compiled(request, tmp_path, monkeypatch):
    """Compile a new kernel, and return whether cycles were collected while it was."""
    kept = request.param == "kept"
    monkeypatch.setattr(jit, "_store", Store(tmp_path))
    monkeypatch.setattr(jit, "_turn", Turn(tmp_path) if kept else None)
    seen = []
    save = cache.KernelCache.save_overload

    def note(self, *args):
        seen.append(gc.isenabled())
        save(self, *args)

    monkeypatch.setattr(cache.KernelCache, "save_overload", note)

    def compile_():
        def double(x):
            for i in range(x.size):
                x[i] = x[i] * 2

        jit.kernel(double)(np.ones(3))
        return seen[-1]

    return compile_


def test_no_cycles_are_looked_for_while_a_kernel_is_compiled_and_then_again(compiled):
    assert gc.isenabled()
    assert not compiled()
    assert gc.isenabled()


def test_who_has_turned_the_collector_off_finds_it_off(compiled):
    gc.disable()
    try:
        compiled()
        assert not gc.isenabled()
    finally:
        gc.enable()
