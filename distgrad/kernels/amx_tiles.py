"""Intel's AMX: matrix products of bfloat16 in registers that are tiles of 16 rows. Imports numba.

A tile is 1 KiB of memory: 16 rows of 16 words, a word two numbers of bfloat16. Of two tiles a and b
the product adds to word (i, j) of a third, in float32, what row i of a and column j of b give.
Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
SIDE = 32
"""Lines of a panel, which are two tiles, and numbers of each that a step takes."""
STEP = PARTS * 2 * TILE
"""Words that two tiles side by side take of each part: what is multiplied at a time."""


class _Lines(NamedTuple):
    """How 32 lines of a factor lie in memory, in registers and bytes."""

    start: str
    row: str
    """How far lines are apart; the 16 words of a line's part are side by side."""
    half: int
    """How far the last 16 are from the first ones."""
    part: int


_PANEL = _Lines("", "%r11", TILE * 4, 2 * TILE * 4)
"""What STEP says; %r11 is 64."""

# The numbers of both factors are a₁ + a₂ + a₃, each part less than a 256th of the one before. Of
# the nine products of parts three are less than a unit in the last place; these are the others,
# the small ones first, in an order in which each changes one factor.
_ORDER = [("a", 2), ("b", 0), ("a", 1), ("b", 1), ("a", 0), ("b", 2), ("b", 0)]
_OF_A, _OF_B = (4, 5), (6, 7)
_IJ = [(0, 0), (0, 1), (1, 0), (1, 1)]
_GROUPS = len(_ORDER) - 1


def _products(a: _Lines, b: _Lines, between: Sequence[list[str]] = ([],) * _GROUPS) -> list[str]:
    """Return the instructions of a step, with others ``between`` its groups of products."""
    found = []
    for at, (name, number) in enumerate(_ORDER):
        lines, tiles = (a, _OF_A) if name == "a" else (b, _OF_B)
        for half, tile in enumerate(tiles):
            place = number * lines.part + half * lines.half
            found.append(f"tileloadd {place}({lines.start},{lines.row},1), %tmm{tile}")
        if at:  # the first product has both factors to wait for
            found += [f"tdpbf16ps %tmm{_OF_B[j]}, %tmm{_OF_A[i]}, %tmm{2 * i + j}" for i, j in _IJ]
            found += between[at - 1]
    return found


_A, _B, _STEPS, _C, _ROW, _MORE = [f"${i}" for i in (0, 1, 2, 6, 7, 8)]
_LINES = 32
_EARLY = 2
"""Lines of the result that each other step fetches."""
_FETCH = [f"prefetchw {at}(%rdx)" for at in (0, 64)] + [f"add {_ROW}, %rdx"]


def _step(last: bool) -> list[str]:
    """Return the instructions of a step; they fetch where the result is to be, the ``last`` all."""
    found, fetched = [f"mov {_C}, %rdx"] if last else [], list[list[str]]()
    for at in range(1, _GROUPS + 1):
        share = _LINES * at // _GROUPS - _LINES * (at - 1) // _GROUPS
        fetched.append(_FETCH * (share if last else at <= _EARLY))
    found += _products(_PANEL._replace(start=_A), _PANEL._replace(start=_B), fetched)
    return [*found, f"add $${STEP * 4}, {_A}", f"add $${STEP * 4}, {_B}"]


_LOWER = [f"mov {_ROW}, %rdx", "shl $$4, %rdx", f"add {_C}, %rdx"]
_PLACES = [(_C, 0), (_C, 64), ("%rdx", 0), ("%rdx", 64)]
_EMPTY = [f"tilezero %tmm{i}" for i in range(4)]
_TEXT = [
    *("mov $$64, %r11", *_LOWER, f"test {_MORE}, {_MORE}", "jz 1f"),
    *[f"tileloadd {at}({p},{_ROW},1), %tmm{i}" for i, (p, at) in enumerate(_PLACES)],
    *("jmp 2f", "1:", *_EMPTY),
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


PIXEL = PARTS * 16
"""Words of 32 numbers of a pixel: those of each part side by side."""
PAIRED = 2 * PIXEL
"""Words of 32 numbers of a pixel, each beside the same one of the pixel 16 on."""
_BLOCK = [f"{at}($7,%r10,1)" for at in (0, 64, 16 * 128, 16 * 128 + 64)]
"""The quarters of 32 dense rows of 32 float32; %r10 is 128."""
_SOON = [f"prefetchw {at}($3)" for at in (0, 64)] + ["add $10, $3"]
_CONVOLVE = [
    *("mov $$64, %r11", f"mov $${PIXEL * 4}, %r10", *_EMPTY),
    *("1:", f"imulq $${PIXEL * 4}, ($2), %rax", "add $8, %rax"),
    *_products(
        _Lines("%rax", "%r10", 16 * PIXEL * 4, 64),
        _PANEL._replace(start="$0"),
        [_SOON if at < 4 else [] for at in range(_GROUPS)],
    ),
    *(f"add $${STEP * 4}, $0", "add $$8, $2", "dec $1", "jnz 1b", "mov $$128, %r10"),
    *[f"tilestored %tmm{i}, {place.replace('$7', '$9')}" for i, place in enumerate(_BLOCK)],
]
_CORRELATE = [
    *("mov $$64, %r11", "mov $$128, %r10", "test $6, $6", "jz 1f"),
    *[f"tileloadd {place}, %tmm{i}" for i, place in enumerate(_BLOCK)],
    *("jmp 2f", "1:", *_EMPTY, "2:", f"mov $${PAIRED * 4}, %r10", "3:"),
    *_products(_PANEL._replace(start="$0"), _Lines("$1", "%r10", PIXEL * 4, 64)),
    *(f"add $${STEP * 4}, $0", f"add $${32 * PAIRED * 4}, $1"),
    *("dec $2", "jnz 3b", "mov $$128, %r10"),
    *[f"tilestored %tmm{i}, {place}" for i, place in enumerate(_BLOCK)],
]


@code
def convolve_tiles(
    typing: Any, x: Any, places: Any, filters: Any, steps: Any, y: Any, to: Any, row: Any
) -> Any:
    """Let 32 dense rows of 32 float32 at ``y`` be a product of pixels with a panel of filters.

    Step i has 32 pixels one after the other, of PIXEL words each, from ``x`` and so many pixels on
    as the i-th of the ``places``, whole numbers, says. Meanwhile the lines at ``to`` are fetched,
    ``row`` bytes apart. Where all is is said by ``address``.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, places, filters, steps, y, to, row = args
        _run(builder, _CONVOLVE, [filters, steps, places, to], [x, y, row], "rax")
        return context.get_dummy_value()

    n = types.intp
    return types.void(n, n, n, n, n, n, n), generate


@code
def correlate_tiles(typing: Any, g: Any, x: Any, steps: Any, dw: Any, more: Any) -> Any:
    """Let 32 dense rows of 32 float32 at ``dw`` be a product of a panel of ``steps`` with pixels.

    Those lie one after the other, of PAIRED words each; a step takes 32.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        g, x, steps, dw, more = args
        _run(builder, _CORRELATE, [g, x, steps], [builder.zext(more, WORD), dw])
        return context.get_dummy_value()

    n = types.intp
    return types.void(n, n, n, n, types.boolean), generate


def _run(builder: Any, text: list[str], changed: list[Any], kept: list[Any], *used: str) -> None:
    """Emit instructions of which the first arguments are registers that they count in."""
    lost = ("r10", "r11", "memory", "dirflag", "flags", *used)
    own = [*["=&r"] * len(changed), *map(str, range(len(changed))), *["r"] * len(kept)]
    constraints = ",".join([*own, *[f"~{{{x}}}" for x in lost]])
    form = ir.FunctionType(
        ir.LiteralStructType([WORD] * len(changed)), [WORD] * len([*changed, *kept])
    )
    builder.asm(form, "\n".join(text), constraints, [*changed, *kept], side_effect=True)


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
