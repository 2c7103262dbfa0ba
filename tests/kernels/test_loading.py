"""When numba is imported, what happens without it, and where compiled kernels are kept."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import distgrad as dg
from distgrad import kernels, ops

RELU = """
import numpy as np, distgrad as dg
x = dg.Tensor(np.arange(-3, 3, dtype=np.float32), requires_grad=True)
dg.ops.relu(x).sum().backward()
assert x.grad.array.tolist() == [0, 0, 0, 0, 1, 1]
"""


def start(code: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(code: str, **environment: str) -> str:
    process = start(code, **environment)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return out


def test_importing_distgrad_imports_no_numba_and_the_first_twin_does():
    pytest.importorskip("numba")
    code = "import sys, distgrad as dg; dg.kernels.status(); print('numba' in sys.modules)"
    assert run(
        f"import distgrad.kernels\n{code}\n{RELU}\nprint('numba' in sys.modules)"
    ).split() == [
        "False",
        "True",
    ]


def test_a_process_that_runs_a_kernel_prints_what_its_program_prints_and_nothing_else(tmp_path):
    pytest.importorskip("numba")
    # As colorama does, which many programs bring along.
    (tmp_path / "colorama.py").write_text(
        "import atexit\n__version__ = '0.4.6'\nFore = Style = None\nreinit = deinit = print\n"
        "def init(): atexit.register(print, 'reset')\n"
    )
    found = run(RELU, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert found == ""


def test_distgrad_fused_0_turns_twins_off():
    code = f"{RELU}\nimport sys\nprint('numba' in sys.modules, dg.kernels.status())"
    assert run(code, DISTGRAD_FUSED="0").startswith("False off (DISTGRAD_FUSED=0")


def test_without_numba_the_reference_runs_and_status_says_so():
    hidden = "import sys; sys.modules['numba'] = None\n"
    out = run(f"{hidden}{RELU}\nprint(dg.kernels.twin('move_'), dg.kernels.status())")
    assert out.startswith("None reference only (numba cannot be imported")


def test_a_numba_that_is_installed_but_broken_is_warned_about(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 1.0 or less')\n")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
{"".join(f"    {line}{chr(10)}" for line in RELU.strip().splitlines())}
    dg.ops.relu(x)
print(len(seen), seen[0].message)
"""
    out = run(code)
    assert out.startswith("1 numba cannot be imported: Numba needs NumPy 1.0 or less;")
    assert "set DISTGRAD_FUSED=0" in out


def test_three_processes_that_start_together_compile_once_and_agree(tmp_path):
    pytest.importorskip("numba")
    code = f"{RELU}\n"
    code += "back = dg.ops.relu.fused.made[np.dtype('f4')].backs[0].run\n"
    code += "print(sum(back.stats.cache_hits.values()))"
    processes = [start(code, DISTGRAD_CACHE=str(tmp_path)) for _ in range(3)]
    hits = []
    for process in processes:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        hits.append(int(out))
    assert sorted(hits) == [0, 1, 1]


def test_status_names_what_the_bits_depend_on():
    pytest.importorskip("numba")
    assert kernels.status().startswith("numba ")
    with dg.reference_kernels():
        assert kernels.status().startswith("off")


def test_reference_kernels_runs_the_definition(monkeypatch):
    calls = []
    monkeypatch.setattr(ops.relu, "fused", lambda *a, **s: calls.append(a))
    x = np.arange(-3.0, 3.0)
    with dg.reference_kernels():
        ops.relu(x)
    assert calls == []
    ops.relu(x)
    assert len(calls) == 1


RECURRENT = """
import hashlib
import numpy as np
import distgrad as dg
from distgrad import nn
found = hashlib.sha256()
for dtype in (np.float32, np.float64):
    for layer in (nn.RNN(3, 5), nn.LSTM(3, 5), nn.GRU(3, 5)):
        params = [*layer.parameters()]
        for i, p in enumerate(params):
            p.data = np.random.default_rng(i).normal(size=p.shape).astype(dtype)
        x = dg.tensor(np.random.default_rng(9).normal(size=(7, 24, 3)).astype(dtype))
        y, _ = layer(x)
        for a in (y, *dg.autograd.grad((y * y).sum(), params)):
            found.update(a.array.tobytes())
print(found.hexdigest())
"""


def test_compiled_and_loaded_kernels_that_call_kernels_have_the_same_bits(tmp_path) -> None:
    # A callee that was compiled alone, too, was linked in place of the caller's own copy of it.
    pytest.importorskip("numba")
    first, second = (run(RECURRENT, DISTGRAD_CACHE=str(tmp_path)) for _ in ("compiled", "loaded"))
    assert first == second
