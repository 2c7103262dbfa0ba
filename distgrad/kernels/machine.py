"""Runs lists of machine-level calls: the second stage of captured steps. Imports numba.

A list is an array of int64 words. What is called is machine code: a kernel of this package by
numba's own convention, or the inner loop of one of NumPy's ufuncs. Nothing here knows ops.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.datamodel import default_manager

from distgrad.autograd.types import Array
from distgrad.kernels.intrinsics import code
from distgrad.kernels.jit import exact_kernel, part
from distgrad.kernels.scalars import least, ravel
from distgrad.kernels.vectors import (
    BYTES,
    add,
    divide,
    load,
    load_some,
    multiply,
    store,
    store_some,
    subtract,
)

FEW, MANY, FLOATS = 16, 72, 4
"""How many words and floating-point numbers a kernel is handed; what it does not take is idle."""
LOOP, OF_NUMPY, OF_FEW, OF_MANY = range(4)
"""What an instruction is: a loop over strips, NumPy's inner loop, a kernel of FEW or MANY words."""
HEAD = 6
"""Words of a call before its counts and pointers: size, what, function, counts, pointers, args."""
HEAD_OF_LOOP = 4
"""Size, what, units, units of a strip."""


def _caller(words: int, floats: int) -> Any:
    """Return the function ``call(function, arguments)``, both addresses.

    On the platforms that have numba's wheels whole numbers and floats are passed in registers of
    their own kind, so their order among each other does not matter, and more of them do no harm.
    """

    @code
    def call(typing: Any, function: Any, arguments: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            word, real = ir.IntType(64), ir.DoubleType()
            at = builder.inttoptr(args[1], word.as_pointer())
            given = [
                builder.load(builder.gep(at, [ir.Constant(word, k)])) for k in range(words)
            ] + [
                builder.bitcast(builder.load(builder.gep(at, [ir.Constant(word, words + k)])), real)
                for k in range(floats)
            ]
            result = ir.IntType(32) if floats else ir.VoidType()
            kind = ir.FunctionType(result, [x.type for x in given])
            status = builder.call(builder.inttoptr(args[0], kind.as_pointer()), given)
            return builder.sext(status, word) if floats else ir.Constant(word, 0)

        return types.int64(types.int64, types.int64), generate

    return call


@code
def _word_at(typing: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], ir.IntType(64).as_pointer()))

    return types.int64(types.int64), generate


_of_numpy, _of_few, _of_many = _caller(4, 0), _caller(FEW, FLOATS), _caller(MANY, FLOATS)


@exact_kernel
def run(w: Array, begin: int, end: int, moved: Array, base: int) -> int:
    """Run the instructions in words ``begin`` to ``end``; return 0, or the word that failed.

    First, each row (word, object, offset) of ``moved`` is followed: the word becomes the address of
    the data of the NumPy array that the address in word ``object`` is, plus the offset.
    """
    for k in range(moved.shape[0]):
        # An array's first field after the head of every object is its data.
        w[moved[k, 0]] = _word_at(w[moved[k, 1]] + 16) + moved[k, 2]
    pc = begin
    while pc < end:
        if w[pc + 1] != LOOP:
            if _called(w, pc, base):
                return pc
            pc += w[pc]
            continue
        units, strip, after = w[pc + 2], w[pc + 3], pc + w[pc]
        done = 0
        while done < units:
            now = least(strip, units - done)
            at = pc + HEAD_OF_LOOP
            while at < after:
                counts, pointers = w[at + 3], w[at + 4]
                first = at + HEAD
                for k in range(first, first + 2 * counts, 2):
                    w[w[k]] = now * w[k + 1]
                if _called(w, at, base):
                    return at
                first += 2 * counts
                for k in range(first, first + 2 * pointers, 2):
                    w[w[k]] += now * w[k + 1]
                at += w[at]
            done += now
        at = pc + HEAD_OF_LOOP
        while at < after:
            first = at + HEAD + 2 * w[at + 3]
            for k in range(first, first + 2 * w[at + 4], 2):
                w[w[k]] -= units * w[k + 1]
            at += w[at]
        pc = after
    return 0


@exact_kernel
def _called(w: Array, pc: int, base: int) -> int:
    arguments = base + 8 * w[pc + 5]
    if w[pc + 1] == OF_NUMPY:
        return _of_numpy(w[pc + 2], arguments)  # type: ignore[no-any-return]
    if w[pc + 1] == OF_FEW:
        return _of_few(w[pc + 2], arguments)  # type: ignore[no-any-return]
    return _of_many(w[pc + 2], arguments)  # type: ignore[no-any-return]


# -- what is called -------------------------------------------------------------------------------


def entry(kernel: Callable[..., Any], kinds: Sequence[Any]) -> int:
    """Return the address of a kernel for arguments of these numba types; compile it if need be."""
    found = _compiled(kernel, kinds)
    if found is None:
        kernel.compile(_as_called(kernel, kinds))  # type: ignore[attr-defined]
        found = _compiled(kernel, kinds)
    library, name = found.library, found.fndesc.llvm_func_name
    address = int(library.get_pointer_to_function(name))
    assert address, f"{name} is not in the code that numba made for it"
    return address


def _compiled(kernel: Any, kinds: Sequence[Any]) -> Any:
    for signature, made in kernel.overloads.items():
        if [*_leaves(signature)] == [*kinds]:
            return made
    return None


def _as_called(kernel: Any, kinds: Sequence[Any]) -> tuple[Any, ...]:
    code = kernel.py_func.__code__
    if not code.co_flags & inspect.CO_VARARGS:
        return tuple(kinds)
    named = code.co_argcount
    return (*kinds[:named], types.BaseTuple.from_types(kinds[named:]))


def kind_of(dtype: Any, axes: int | None) -> Any:
    """Return numba's type of contiguous arrays of ``axes``, or of a number if that is None."""
    element = numba.from_dtype(np.dtype(dtype))
    return element if axes is None else types.Array(element, axes, "C")


def is_float(kind: Any) -> bool:
    """Whether a number of this type is passed as a floating-point one."""
    return isinstance(kind, types.Float)


def _leaves(signature: Any) -> Any:
    for kind in signature:
        if isinstance(kind, types.BaseTuple):
            yield from _leaves(tuple(kind))
        else:
            yield kind


def works() -> bool:
    """Whether calls arrive here as they should: tried with a kernel of every kind of argument."""
    if default_manager[types.Array(types.float32, 1, "C")].get_argument_type() is None:
        return False
    a, b = np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    kinds = [kind_of(np.float32, 1), types.int64, types.float32, types.float64, kind_of("f4", 1)]
    function = entry(_trial, kinds)
    w = np.zeros(128, np.int64)
    base = w.ctypes.data
    at, objects = 32, 8
    words = [base + 8 * 10, base + 8 * 12, 0, 0, 6, 4, 0, 6, 4, 3, 0, 0, 6, 4, 0, 6, 4]
    w[objects : objects + 2] = id(a), id(b)
    for what, room in ((OF_FEW, FEW), (OF_MANY, MANY)):
        if len(words) > room:
            continue
        w[: HEAD + 1] = 0
        w[16 : 16 + HEAD] = HEAD, what, function, 0, 0, at
        w[at : at + len(words)] = words
        floats = np.array([0, 2.5], np.float64)
        floats.view(np.float32)[0] = 1.5
        w[at + room : at + room + 2] = floats.view(np.int64)
        moved = np.array([[at + 6, objects, 0], [at + 14, objects + 1, 0]])
        if run(w, 16, 16 + HEAD, moved, base) or not np.array_equal(b, a * 3 + 1.5 + 2.5):
            return False
    return True


@exact_kernel
def _trial(a: Array, n: int, x: Any, y: Any, out: Array) -> None:
    for i in range(out.size):
        out[i] = a[i] * n + x + y


# -- kernels with NumPy's bits that NumPy has no inner loop for -----------------------------------


@exact_kernel
def joint_norm(squares: Array, order: Array, limit: Array, out: Array) -> None:
    """Write the norm of arrays of these sums of squares, and what clips it to ``limit[0]``."""
    total = 0.0
    for i in range(order.size):
        total += squares[order[i]]
    out[0] = np.sqrt(total)
    out[1] = _scale_to(limit[0], out[0])


@exact_kernel
def limited(norm: Array, limit: Array, out: Array) -> None:
    """Write a norm, and what clips it to ``limit[0]``."""
    out[0] = norm[0]
    out[1] = _scale_to(limit[0], norm[0])


@part
def _scale_to(limit: float, norm: float) -> float:
    # Without a limit nothing is scaled: infinity / infinity would be a NaN.
    return limit / (norm + 1e-6) if limit < np.inf else 1.0


@exact_kernel
def clip(flat: Array, norm_and_scale: Array) -> None:
    """Multiply by the scale, if that is below 1."""
    scale = norm_and_scale[1]
    if not scale >= 1.0:
        factor = flat.dtype.type(scale)
        for i in range(flat.size):
            flat[i] *= factor


@exact_kernel
def add_rows(a: Array, out: Array) -> None:
    """Add each of (rows, columns) to a row, one after the other, as ``np.add.reduce`` does."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[j] += a[i, j]


@exact_kernel
def add_slices(
    a: Array, out: Array, n: int, m: int, rows: int, columns: int, a0: int, a1: int, a2: int,
    a3: int, out0: int, out1: int, out2: int, out3: int,
) -> None:  # fmt: skip
    """Add numbers so many steps apart to others, a row at a time."""
    for i in range(n):
        for k in range(m):
            for q in range(rows):
                x, y = i * a0 + k * a1 + q * a2, i * out0 + k * out1 + q * out2
                if a3 == 1 and out3 == 1:
                    row, to = a[x : x + columns], out[y : y + columns]
                    for j in range(to.size):
                        to[j] += row[j]
                else:
                    for j in range(columns):
                        out[y + j * out3] += a[x + j * a3]


@exact_kernel
def cast(a: Array, out: Array) -> None:
    """Write numbers in another dtype."""
    for i in range(out.size):
        out[i] = a[i]


@exact_kernel
def select(condition: Array, a: Array, b: Array, out: Array) -> None:
    """Write what ``np.where`` does."""
    for i in range(out.size):
        p, q = a[i], b[i]  # both are read: no branch, which few masks let foresee
        out[i] = p if condition[i] else q


@exact_kernel
def spread_column(column: Array, out: Array) -> None:
    """Write a number for each row of (rows, columns) all along it."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = column[i]


@exact_kernel
def share(seen: Array, out: Array) -> None:
    """Write 1 / seen[0], NaN for 0, as ``ops.reduction.share`` has it outside of empty shards."""
    out[0] = 1 / np.float64(seen[0]) if seen[0] else np.nan


@exact_kernel
def clear(out: Array) -> None:
    """Write zeros."""
    for i in range(out.size):
        out[i] = 0


@exact_kernel
def look_up(indices: Array, weight: Array, rows: Array, seen: Array, y: Array) -> None:
    """Read rows at indices that nobody has looked at; ``seen`` is where one is wrong, or -1."""
    seen[0] = -1
    for i in range(indices.size):
        inside = 0 <= indices[i] < weight.shape[0]
        if not inside:
            seen[0] = i
        rows[i] = indices[i] if inside else 0
        for j in range(weight.shape[1]):
            y[i, j] = weight[rows[i], j]


@exact_kernel
def places_of_one(index: Array, n: int, places: Array, seen: Array) -> None:
    """Count places from 0, negative ones from the end; ``seen`` is where one is wrong, or -1."""
    seen[0] = -1
    for k in range(index.size):
        p = index[k]
        if not -n <= p < n:
            seen[0], p = k, 0
        places[k] = p + n if p < 0 else p


@exact_kernel
def places_of_two(a: Array, b: Array, n: int, m: int, places: Array, seen: Array) -> None:
    """Do the same with two indices, of axes that are seen as one."""
    seen[0] = -1
    for k in range(a.size):
        p, q = a[k], b[k]
        if not (-n <= p < n and -m <= q < m):
            seen[0], p, q = k, 0, 0
        places[k] = (p + n if p < 0 else p) * m + (q + m if q < 0 else q)


@exact_kernel
def places_along(index: Array, n: int, negative: int, places: Array, seen: Array) -> None:
    """Count places from 0, negative ones from the end if they may be."""
    seen[0] = -1
    for k in range(index.size):
        p = index[k] + n if negative and index[k] < 0 else index[k]
        if not 0 <= p < n:
            seen[0], p = k, 0
        places[k] = np.uint64(p)


@exact_kernel
def pick(a: Array, places: Array, out: Array) -> None:
    """Read (outer, n, inner) at places along the second axis, which comes first in ``out``."""
    for k in range(out.shape[0]):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                out[k, i, j] = a[i, places[k], j]


@exact_kernel
def add_picked(g: Array, places: Array, out: Array) -> None:
    """Add to each place what ``pick`` would read there."""
    for k in range(g.shape[0]):
        for i in range(g.shape[1]):
            for j in range(g.shape[2]):
                out[i, places[k], j] += g[k, i, j]


@exact_kernel
def copy_rows(
    a: Array, out: Array, m: int, rows: int, n: int, a0: int, a1: int, out0: int, out1: int
) -> None:
    """Copy ``m`` times ``rows`` times ``n`` elements; the next rows are so many further on."""
    width = BYTES // a.itemsize
    whole = n - n % width
    for i in range(m):
        for k in range(rows):
            x, y = i * a0 + k * a1, i * out0 + k * out1
            for j in range(0, whole, width):
                store(out, y + j, load(a, x + j))
            if whole < n:
                store_some(out, y + whole, n - whole, load_some(a, x + whole, n - whole))


def _in_rows(name: str, combine: Callable[[Any, Any], Any]) -> Any:
    """Return the kernel that combines two arrays row by row, each row so many elements further.

    By vectors: ``out`` may be one of the arrays, and LLVM would go by elements then.
    """

    def rows_of_two(
        a: Array, b: Array, out: Array, m: int, rows: int, n: int,
        a0: int, a1: int, b0: int, b1: int, out0: int, out1: int,
    ) -> None:  # fmt: skip
        width = BYTES // a.itemsize
        whole = n - n % width
        rest = n - whole
        for i in range(m):
            for k in range(rows):
                x, y, z = i * a0 + k * a1, i * b0 + k * b1, i * out0 + k * out1
                for j in range(0, whole, width):
                    store(out, z + j, combine(load(a, x + j), load(b, y + j)))
                if rest:
                    last = combine(load_some(a, x + whole, rest), load_some(b, y + whole, rest))
                    store_some(out, z + whole, rest, last)

    rows_of_two.__name__ = rows_of_two.__qualname__ = f"{name}_in_rows"
    return exact_kernel(rows_of_two)


add_in_rows, subtract_in_rows = _in_rows("add", add), _in_rows("subtract", subtract)
multiply_in_rows, divide_in_rows = _in_rows("multiply", multiply), _in_rows("divide", divide)


@exact_kernel
def add_row(a: Array, row: Array, out: Array) -> None:
    """Add a row to each of (rows, columns)."""
    rows, n = a.shape
    add_in_rows(ravel(a), row, ravel(out), 1, rows, n, 0, n, 0, 0, 0, n)


@exact_kernel
def multiply_row(a: Array, row: Array, out: Array) -> None:
    """Multiply each of (rows, columns) by a row."""
    rows, n = a.shape
    multiply_in_rows(ravel(a), row, ravel(out), 1, rows, n, 0, n, 0, 0, 0, n)
