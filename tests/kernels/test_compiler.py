"""How kernels are compiled: in vectors as wide as the CPU's, and what is a part of them once."""

import re

import numpy as np
import pytest

from distgrad import blas

pytest.importorskip("numba", reason="numba is not installed: there are no kernels")

import numba
from numba.core.registry import cpu_target

from distgrad.kernels import jit
from distgrad.kernels.scalars import most


def squared(x, y):
    for i in range(y.size):
        y[i] = x[i] * x[i] + x[i]


@pytest.mark.skipif("avx512f" not in blas.cpu().flags, reason="this CPU has no vectors of 512 bits")
@pytest.mark.parametrize("how", [{}, {"forceinline": True}], ids=["called", "part of its caller"])
def test_kernels_compute_in_the_widest_vectors(how):
    compiled = numba.njit(**jit.exact, **how)(squared)  # without the cache, which keeps no text
    x = np.arange(3, dtype=np.float32)
    y = np.empty_like(x)
    compiled(x, y)
    np.testing.assert_array_equal(y, x * x + x)
    (text,) = compiled.inspect_asm().values()
    assert re.search(r"vmulps\s.*%zmm", text)


def test_a_part_of_kernels_is_no_machine_code_by_itself():
    @jit.part
    def doubled(x):
        return x + x

    def all_doubled(x, y):
        for i in range(y.size):
            y[i] = doubled(x[i])

    whole = numba.njit(**jit.exact)(all_doubled)
    x = np.arange(3, dtype=np.float32)
    y = np.empty_like(x)
    whole(x, y)
    np.testing.assert_array_equal(y, x + x)
    (alone,) = doubled.overloads.values()
    (called,) = whole.overloads.values()
    for found, there in ((alone, False), (called, True)):
        engine = found.library.codegen._engine
        assert engine.is_symbol_defined(found.fndesc.llvm_func_name) is there


def test_an_operator_is_looked_up_once_for_its_kinds(monkeypatch):
    def once(x, y):
        return x * y - x

    def often(x, y):
        return x * y - x * y * y * x - x - (x * x - y)

    looked = []  # numba tries what is registered
    context = type(cpu_target.typing_context)
    find = context.resolve_function_type
    monkeypatch.setattr(
        context, "resolve_function_type", lambda *args: (looked.append(1), find(*args))[1]
    )
    counts = []
    for function in (once, once, often):  # the first one makes numba ready
        before = len(looked)
        assert numba.njit(**jit.exact)(function)(2, 3) == function(2, 3)
        counts.append(len(looked) - before)
    assert counts[1] == counts[2]


def test_an_instruction_of_ours_is_looked_up_once_for_its_kinds(monkeypatch):
    def once(x, y):
        return most(x, y)

    def often(x, y):
        return most(most(most(x, y), most(y, x)), most(most(x, x), most(y, y)))

    looked = []  # numba goes through its registries
    target = type(cpu_target.target_context)
    refresh = target.refresh
    monkeypatch.setattr(target, "refresh", lambda self: (looked.append(1), refresh(self)))
    counts = []
    for function in (once, once, often):  # the first one makes numba ready
        before = len(looked)
        assert numba.njit(**jit.exact)(function)(1, 3) == 3
        counts.append(len(looked) - before)
    assert counts[1] == counts[2]
