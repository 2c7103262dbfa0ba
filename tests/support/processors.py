"""Runs a program as on a processor with AVX-512 and on one without."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of this kind")


def check_bits_without_avx512(program: str, cache: Path) -> None:
    """Assert that a program, which prints ``tiles.ROWS`` and a hash, has one hash on both."""

    def run(**environment: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "DISTGRAD_CACHE": str(cache), **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    rows, theirs = run(NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES="+avx2,+fma")
    assert rows == "4"
    assert run()[1] == theirs
