"""Variables that turn something on or off: whoever writes "off" or "false" means it."""

import subprocess
import sys

import pytest

from distgrad.switches import off, on

SAYS = """
import distgrad as dg
from distgrad.comm.tuning import path_of
from distgrad.kernels import amx, jit, onednn
import os
print(dg.kernels.status().startswith("off"), amx.off(), onednn.off())
print(jit.kept_in(), path_of(os.environ))
"""


@pytest.mark.parametrize("value", ["0", "off", "OFF", "no", "False", " 0 "])
def test_off_is_said_in_several_ways(value):
    assert off({"A": value}, "A")
    assert not on({"A": value}, "A")


@pytest.mark.parametrize("value", ["1", "on", "yes", "TRUE", "00"])
def test_all_else_is_on(value):
    assert on({"A": value}, "A")
    assert not off({"A": value}, "A")


def test_what_is_not_said_is_neither():
    for environment in ({}, {"A": ""}):
        assert not off(environment, "A")
        assert not on(environment, "A")


@pytest.mark.parametrize("value", ["0", "off", "false"])
def test_every_switch_knows_them(value, tmp_path):
    pytest.importorskip("numba", reason="needs numba")
    names = ("FUSED", "AMX", "ONEDNN", "CACHE", "TUNING", "KEEP_MEMORY")
    environment = {f"DISTGRAD_{name}": value for name in names}
    environment["PYTHONPATH"] = ":".join(sys.path)
    command = [sys.executable, "-c", SAYS]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True", "True", "None", "None"]
    assert not [*tmp_path.iterdir()]
