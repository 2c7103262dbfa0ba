"""What ranks of a node do when they meet, in one call: wait a little, add up, say that it is done.

It knows addresses and numbers: words of memory that the ranks share, of which each has one writer
and only grows, and a table of what is to be done in between. Nothing waits for long in here, and
Python's lock is not held.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from distgrad.autograd.types import Array
from distgrad.kernels.intrinsics import code
from distgrad.kernels.jit import exact_kernel
from distgrad.kernels.scalars import array_at, empty_of
from distgrad.kernels.squares import _square

COPY, ADD_4, ADD_8, MEET_4, MEET_8, SQUARES_4, SQUARES_8, WIDEN = range(8)
"""Rows of a table are (code, a, b, count), a and b addresses. COPY of so many bytes from b to a; of
so many floats of 4 or 8 bytes: ADD of b to a, MEET: both become the sum, SQUARES: their sum over b
goes to the double at a, WIDEN: floats at b become doubles at a."""
ABSENT, OTHERS, SUMMED, COMPLETE = range(4)
"""How far it has come: some rank is not there; one is there for something else; own work is done,
but not everyone's; all is done."""
HEAD = 10
"""Numbers that an order begins with: the clock at the start, when all had come and at the end, the
address of the words, their number between two meetings, this rank's first word and the one that
says how many meetings are over for it, how many others there are, how many rows the table has, and
0 for a barrier: nobody waits for others' work. The first words of the others follow, then the
rows."""
TO_BE_TOLD, TOLD, DONE = range(3)
"""Where a call begins: nobody knows yet that this rank is there; they do; its work is done."""
_X86 = platform.machine() in ("x86_64", "AMD64")


@exact_kernel
def meet(
    order: Array, turn: int, number: int, digest: int, looks: int, begin: int, over: int
) -> int:
    """Follow ``order`` in meeting ``number`` and return how far it came.

    The first word of a rank says which meeting it is in (its number + 1), the next what for, and
    the ninth that its work is done. ``turn`` is the number's place among the words, ``looks`` how
    often a wait looks, ``begin`` where to begin. Once all is complete so many meetings are ``over``
    for this rank, which is told; -1 leaves that to the caller.
    """
    order[0] = cycles()
    words, at, others, rows = order[3], turn * order[4], order[7], order[8]
    if begin == TO_BE_TOLD:
        own = words + (order[5] + at) * 8
        store(own + 8, digest)
        store(own, number + 1)
    if begin != DONE:
        if not _reach(order, at, number + 1, looks):
            return ABSENT
        for i in range(others):
            if load(words + (order[HEAD + i] + at + 1) * 8) != digest:
                return OTHERS
        order[1] = cycles()
        for row in range(rows):
            k = HEAD + others + 4 * row
            _do(order[k], order[k + 1], order[k + 2], order[k + 3])
        if order[9] == 0:
            order[2] = order[1]
            if over >= 0:
                store(words + order[6] * 8, over)
            return COMPLETE
        store(words + (order[5] + at + 8) * 8, (number << 24) + 1)
    if not _reach(order, at + 8, (number << 24) + 1, looks):
        return SUMMED
    order[2] = cycles()
    if over >= 0:
        store(words + order[6] * 8, over)
    return COMPLETE


@exact_kernel
def _reach(order: Array, at: int, value: int, looks: int) -> bool:
    """Whether a word of each of the others, ``at`` from its first, comes to a value in time."""
    for i in range(order[7]):
        place = order[3] + (order[HEAD + i] + at) * 8
        look = 1
        while load(place) < value:
            if look == looks:
                return False
            look += 1
            pause()
    return True


@exact_kernel
def _do(code: int, a: int, b: int, count: int) -> None:
    if code == COPY:
        _copy(array_at(bytes_at(a), count), array_at(bytes_at(b), count))
    elif code == ADD_4:
        _add(array_at(floats_at(a), count), array_at(floats_at(b), count))
    elif code == ADD_8:
        _add(array_at(doubles_at(a), count), array_at(doubles_at(b), count))
    elif code == MEET_4:
        _meet(array_at(floats_at(a), count), array_at(floats_at(b), count))
    elif code == MEET_8:
        _meet(array_at(doubles_at(a), count), array_at(doubles_at(b), count))
    elif code == SQUARES_4:
        array_at(doubles_at(a), 1)[0] = _squares(array_at(floats_at(b), count))
    elif code == SQUARES_8:
        array_at(doubles_at(a), 1)[0] = _squares(array_at(doubles_at(b), count))
    elif code == WIDEN:
        _copy(array_at(doubles_at(a), count), array_at(floats_at(b), count))


@exact_kernel
def _copy(a: Array, b: Array) -> None:
    for i in range(a.size):
        a[i] = b[i]


@exact_kernel
def _add(a: Array, b: Array) -> None:
    for i in range(a.size):
        a[i] += b[i]


@exact_kernel
def _meet(a: Array, b: Array) -> None:
    for i in range(a.size):
        total = a[i] + b[i]
        a[i] = total
        b[i] = total


@exact_kernel
def _squares(block: Array) -> float:
    return _square(block, empty_of(64, np.float64))


# -- memory that others write to, and the processor's clock ----------------------------------------


@code
def load(typing: Any, address: Any) -> Any:
    """Read the word at an address now, and what is read after it later."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(types.int64), generate


@code
def store(typing: Any, address: Any, value: Any) -> Any:
    """Write the word at an address once all that was written before can be seen."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store_atomic(args[1], place, "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@code
def pause(typing: Any) -> Any:
    """Let the core's other thread go on for a moment."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if _X86:
            builder.call(_llvm(builder, "x86.sse2.pause", ir.VoidType()), [])
        return context.get_dummy_value()

    return types.void(), generate


@code
def cycles(typing: Any) -> Any:
    """Read the processor's clock."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(_llvm(builder, "readcyclecounter", ir.IntType(64)), [])

    return types.int64(), generate


def _llvm(builder: Any, name: str, result: Any) -> Any:
    full = f"llvm.{name}"
    known = builder.module.globals.get(full)
    return known or ir.Function(builder.module, ir.FunctionType(result, []), full)


def _pointer(kind: Any) -> Any:
    @code
    def at(typing: Any, address: Any) -> Any:
        made = types.CPointer(kind)

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(made))

        return made(types.int64), generate

    return at


bytes_at, floats_at, doubles_at = map(_pointer, (types.uint8, types.float32, types.float64))
