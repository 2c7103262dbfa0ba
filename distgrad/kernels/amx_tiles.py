"""Intel's AMX: matrix products of bfloat16 in registers that are tiles of 16 rows. Imports numba.

A tile is 1 KiB of memory: 16 rows of 16 words, a word two numbers of bfloat16. Of two tiles a and b
the product adds to word (i, j) of a third, in float32, what row i of a and column j of b give.
Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils

from distgrad.kernels.intrinsics import code
from distgrad.kernels.vectors import WORD

llvm.initialize_native_asmparser()  # numba, having no instructions as text, does without

TILE = 256
"""Words of a tile."""
PARTS = 3
"""Numbers of bfloat16 that a float32 is the sum of: 8 bits each of its 24."""
STEP = PARTS * 2 * TILE
"""Words that two tiles side by side take of each part: what is multiplied at a time."""


# The numbers of both factors are a₁ + a₂ + a₃, each part less than a 256th of the one before. Of
# the nine products of parts three are less than a unit in the last place; these are the others,
# the small ones first, in an order in which each changes one factor.
_ORDER = [("a", 2), ("b", 0), ("a", 1), ("b", 1), ("a", 0), ("b", 2), ("b", 0)]
_OF_A, _OF_B = (4, 5), (6, 7)
_A, _B, _STEPS, _C, _ROW, _MORE = [f"${i}" for i in (0, 1, 2, 6, 7, 8)]
_IJ = [(0, 0), (0, 1), (1, 0), (1, 1)]
_LINES = 32
_EARLY = 2
"""Lines of the result that each other step fetches."""
_FETCH = [f"prefetchw {at}(%rdx)" for at in (0, 64)] + [f"add {_ROW}, %rdx"]


def _step(last: bool) -> list[str]:
    """Return the instructions of a step; they fetch where the result is to be, the ``last`` all."""
    found, groups = [f"mov {_C}, %rdx"] if last else [], len(_ORDER) - 1
    for at, (name, number) in enumerate(_ORDER):
        register, tiles = (_A, _OF_A) if name == "a" else (_B, _OF_B)
        for half, tile in enumerate(tiles):
            place = (number * 2 + half) * TILE * 4
            found.append(f"tileloadd {place}({register},%r11,1), %tmm{tile}")
        if at:  # the first product has both factors to wait for
            found += [f"tdpbf16ps %tmm{_OF_B[j]}, %tmm{_OF_A[i]}, %tmm{2 * i + j}" for i, j in _IJ]
            share = _LINES * at // groups - _LINES * (at - 1) // groups
            found += _FETCH * (share if last else at <= _EARLY)
    return [*found, f"add $${STEP * 4}, {_A}", f"add $${STEP * 4}, {_B}"]


_LOWER = [f"mov {_ROW}, %rdx", "shl $$4, %rdx", f"add {_C}, %rdx"]
_PLACES = [(_C, 0), (_C, 64), ("%rdx", 0), ("%rdx", 64)]
_TEXT = [
    *("mov $$64, %r11", *_LOWER, f"test {_MORE}, {_MORE}", "jz 1f"),
    *[f"tileloadd {at}({p},{_ROW},1), %tmm{i}" for i, (p, at) in enumerate(_PLACES)],
    *("jmp 2f", "1:"),
    *[f"tilezero %tmm{i}" for i in range(4)],
    *("2:", f"mov {_C}, %rdx", f"dec {_STEPS}", "jz 4f", "3:"),
    *_step(last=False),
    *(f"dec {_STEPS}", "jnz 3b", "4:"),
    *_step(last=True),
    *_LOWER,
    *[f"tilestored %tmm{i}, {at}({p},{_ROW},1)" for i, (p, at) in enumerate(_PLACES)],
]
_CONSTRAINTS = ",".join(
    [*["=&r"] * 3, *"012", *"rrr"]
    + [f"~{{{x}}}" for x in ("rdx", "r11", "memory", "dirflag", "flags")]
)


@code
def multiply_tiles(typing: Any, a: Any, b: Any, steps: Any, c: Any, row: Any, more: Any) -> Any:
    """Let 32 rows of 32 float32 at ``c`` be a product; or be added to, if ``more``.

    a and b are ``steps`` times STEP words, one step at least. All is said by ``address``; rows of c
    are ``row`` bytes apart. In between ``begin`` and ``end``.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values = [*args[:5], builder.zext(args[5], WORD)]
        form = ir.FunctionType(ir.LiteralStructType([WORD] * 3), [WORD] * 6)
        builder.asm(form, "\n".join(_TEXT), _CONSTRAINTS, values, side_effect=True)
        return context.get_dummy_value()

    n = types.intp
    return types.void(n, n, n, n, n, types.boolean), generate


def _emit(builder: Any, text: str, constraints: str, args: list[Any]) -> None:
    form = ir.FunctionType(ir.VoidType(), [x.type for x in args])
    builder.asm(form, text, constraints, args, side_effect=True)


@code
def begin(typing: Any) -> Any:
    """Let this thread's eight tiles have 16 rows of 64 bytes."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        content = [1, *[0] * 15, *[64, 0] * 8, *[0] * 16, *[16] * 8, *[0] * 8]
        kind = ir.ArrayType(ir.IntType(8), len(content))
        found = cgutils.global_constant(builder, "tiles", ir.Constant(kind, content))
        _emit(builder, "ldtilecfg ($0)", "r,~{memory}", [builder.ptrtoint(found, WORD)])
        return context.get_dummy_value()

    return types.void(), generate


@code
def end(typing: Any) -> Any:
    """Give the tiles back: the system need not save them then, nor another library mind them."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _emit(builder, "tilerelease", "~{memory}", [])
        return context.get_dummy_value()

    return types.void(), generate
