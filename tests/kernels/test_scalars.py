"""What kernels are given in the place of numba's own functions does what these do."""

import ast
import resource
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba", reason="kernels need numba")
from numba.core.errors import TypingError

from distgrad import kernels
from distgrad.kernels.jit import exact_kernel
from distgrad.kernels.scalars import (
    bits,
    element,
    empty_of,
    least,
    most,
    number,
    ravel,
    set_element,
)

NAN = float("nan")


@exact_kernel
def _both(x, y, out):
    out[0], out[1] = least(x, y), most(x, y)


@exact_kernel
def _to_bits(x, whole, real):
    for i in range(x.size):
        whole[i] = bits(x[i])
        real[i] = number(bits(x[i]))


@exact_kernel
def _turned_round(a, out):
    room, row = empty_of(a.size, a.dtype), ravel(a)
    for i in range(row.size):
        set_element(room, row.size - 1 - i, element(row, i))
    for i in range(row.size):
        out[i] = room[i]


@exact_kernel
def _raveled(a):
    return ravel(a).size


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("pair", [(1, 3), (3, 1), (3, 3)])
def test_least_and_most_are_pythons_min_and_max(kind, pair):
    x, y = map(kind, pair)
    _both(x, y, out := np.zeros(2, kind))
    assert out.tolist() == [min(x, y), max(x, y)]


def test_of_numbers_with_signs_and_large_ones_the_kind_decides():
    _both(np.int64(-1), np.int64(2), out := np.zeros(2, np.int64))
    assert out.tolist() == [-1, 2]
    large = np.uint64(2**63 + 1)
    _both(large, np.uint64(2), out := np.zeros(2, np.uint64))
    assert out.tolist() == [2, large]


@pytest.mark.parametrize("pair", [(NAN, 1.0), (1.0, NAN), (0.0, -0.0), (-0.0, 0.0)])
def test_of_nan_and_zeros_they_keep_the_first_as_python_does(pair):
    _both(*pair, out := np.zeros(2))
    assert out.tobytes() == np.array([min(*pair), max(*pair)]).tobytes()


@pytest.mark.parametrize(("real", "whole"), [(np.float32, np.int32), (np.float64, np.int64)])
def test_bits_are_those_of_a_view_and_number_undoes_them(real, whole):
    x = np.array([0.0, -0.0, 1.5, -3.25, np.inf, -np.inf, NAN], real)
    found, back = np.zeros(x.size, whole), np.zeros(x.size, real)
    _to_bits(x, found, back)
    assert found.tolist() == x.view(whole).tolist()
    assert back.tobytes() == x.tobytes()


@pytest.mark.parametrize("shape", [(3, 5), (1,), (0, 4), (2, 3, 4)])
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_an_array_in_a_row_and_one_of_no_values_hold_what_is_written(shape, kind):
    a = np.arange(np.prod(shape)).reshape(shape).astype(kind)
    _turned_round(a, out := np.zeros(a.size, kind))
    assert out.tolist() == a.ravel()[::-1].tolist()


def test_memory_asked_for_in_a_kernel_is_given_back():
    a, out = np.ones(1 << 20), np.zeros(1 << 20)
    _turned_round(a, out)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(50):
        _turned_round(a, out)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_what_does_not_lie_in_a_row_is_refused():
    with pytest.raises(TypingError, match="ravel takes an array in C order"):
        _raveled(np.zeros((4, 4)).T)


MAKERS = {"kernel", "exact_kernel", "inlined", "part"}
INSTEAD = {"min": "least", "max": "most", "np.empty": "empty_of", "carray": "array_at"}


def slow_to_compile(source: str) -> set[str]:
    """Return what kernels call of which numba compiles a function for each."""
    found = set()
    for f in ast.walk(ast.parse(source)):
        if not isinstance(f, ast.FunctionDef) or not MAKERS & set(
            map(ast.unparse, f.decorator_list)
        ):
            continue
        for call in ast.walk(f):
            if not isinstance(call, ast.Call):
                continue
            name = ast.unparse(call.func)
            if name in INSTEAD and not isinstance(call.args[0], ast.Tuple):  # of several axes
                found.add(f"{f.name}: {INSTEAD[name]} instead of {name}")
            if name.endswith(".reshape") and ast.unparse(call.args[0]) == "-1":
                found.add(f"{f.name}: ravel instead of {name}")
    return found


@pytest.mark.parametrize(
    "path", sorted(Path(kernels.__file__).parent.glob("*.py")), ids=lambda p: p.stem
)
def test_kernels_call_nothing_that_is_slow_to_compile(path):
    assert slow_to_compile(path.read_text()) == set()


def test_one_that_does_is_found():
    source = "@kernel\ndef f(a):\n    return min(a.reshape(-1)[0], np.empty(3, a.dtype)[0])\n"
    assert len(slow_to_compile(source)) == 3
