"""Bits do not depend on where in memory arrays lie: small ones often lie side by side."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed: there are no kernels")

from distgrad import kernels
from distgrad.kernels.jit import exact_kernel, kernel

FLOAT32 = np.dtype(np.float32)


def formulas():
    """The kernels of all members of the recipe, by name; a loss's before it is summed."""
    for op, module in kernels.TWINS.items():
        twin = kernels.part(module, op.name)
        made = getattr(getattr(twin, "each", twin), "made", None)
        if made is not None:
            yield op.name, made


MADE = dict(formulas())


def results(run, inputs, settings):
    """All results of a kernel whose last array lies in turn at many places behind the first."""
    n = inputs[0].size
    memory = np.zeros(1024 * len(inputs), np.float32)
    places = [memory[1024 * i : 1024 * i + n] for i in range(len(inputs))]
    found = set()
    for away in range(n, n + 80):
        for place, values in zip(places, inputs, strict=True):
            place[:] = values
        out = memory[away : away + n]
        run(*places, out, *settings)
        found.add(out.tobytes())
    return found


def test_there_are_many_formulas():
    assert len(MADE) >= 50


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MADE)
def test_a_formulas_bits_do_not_depend_on_where_its_result_lies(name):
    made = MADE[name]
    of_it, inputs = made[FLOAT32], made._how[1]
    settings = of_it.defaults
    if settings is None:
        settings = [np.float32(0.75)] * len(of_it._defaults)
    ways = [(of_it.forward, len(inputs)), *[(b.run, 1 + len(b.reads)) for b in of_it.backs]]
    rng = np.random.default_rng(7)
    for run, count in ways:
        for n in (3, 9, 21):
            arrays = [rng.uniform(0.05, 0.95, n).astype(np.float32) for _ in range(count)]
            assert len(results(run, arrays, settings)) == 1


def _fused(x, z, y):
    for i in range(y.size):
        y[i] = x[i] * z[i] + x[i] / z[i] - np.float32(1) / (x[i] * x[i] + z[i])


@pytest.mark.parametrize("how", [kernel, exact_kernel])
def test_nor_do_those_of_any_kernel(how):
    rng = np.random.default_rng(3)
    run = how(_fused)
    for _ in range(20):
        arrays = [rng.uniform(0.05, 0.95, 9).astype(np.float32) for _ in range(2)]
        assert len(results(run, arrays, ())) == 1
