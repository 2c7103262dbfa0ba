"""Blocks of matrices that lie in vectors: turned round, and multiplied in registers. Imports numba.

A product's sums are taken in the order that is written, one product at a time and fused, so that
they have the same bits on every processor, however many rows it keeps in registers.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types

from distgrad.kernels.intrinsics import code, place_of
from distgrad.kernels.vectors import (
    WORD,
    Vector,
    fused,
    lanes,
    loaded,
    loaded_some,
    spread,
    stored,
)


def _rows() -> int:
    """As many rows as keep the units busy: results wait in registers, of which AVX2 has 16."""
    features = numba.config.CPU_FEATURES
    if features is None:
        return 8 if llvm.get_host_cpu_features().get("avx512f") else 4
    return 8 if "+avx512f" in features else 4


ROWS = _rows()
"""Rows of a ``tile``."""
VECTORS = ROWS // 4
"""Vectors of a row of a ``wide_tile``: with AVX-512 results of two have room in registers."""


@code
def turn(
    typing: Any, a: Any, at: Any, row: Any, rows: Any, columns: Any, out: Any, to: Any, gap: Any
) -> Any:
    """Write the columns of a block as rows ``gap`` apart: as many vectors as a vector is long.

    Of the block's ``rows``, ``row`` elements apart, ``columns`` numbers each are looked at; what is
    missing to a vector of them is 0.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(Vector(signature.args[0].dtype))
        a = place_of(context, builder, signature, args, 0, args[1])
        out = place_of(context, builder, signature, args, 5, args[6])
        lines = []
        for r in range(kind.count):
            here = builder.icmp_signed(">", args[3], ir.Constant(WORD, r))
            n = builder.select(here, args[4], ir.Constant(WORD, 0))
            place = builder.gep(a, [builder.mul(args[2], ir.Constant(WORD, r))])
            lines.append(loaded_some(builder, place, n, kind))
        for r, line in enumerate(_turned(builder, lines)):
            stored(builder, line, builder.gep(out, [builder.mul(args[7], ir.Constant(WORD, r))]))
        return context.get_dummy_value()

    n = types.intp
    return types.void(a, n, n, n, n, out, n, n), generate


def _turned(builder: Any, lines: list[Any]) -> list[Any]:
    """Exchange rows and columns: of blocks of two, then of these."""
    count, apart = len(lines), 1
    while apart < count:
        low = [i if not i & apart else i - apart + count for i in range(count)]
        high = [i + apart if not i & apart else i + count for i in range(count)]
        for r in range(count):
            if not r & apart:
                pair = lines[r], lines[r + apart]
                lines[r] = builder.shuffle_vector(*pair, lanes(low))
                lines[r + apart] = builder.shuffle_vector(*pair, lanes(high))
        apart *= 2
    return lines


def _of_vectors(count: int) -> Any:
    def defined(
        typing: Any,
        like: Any,
        a: Any,
        a_row: Any,
        a_step: Any,
        b: Any,
        b_step: Any,
        c: Any,
        c_row: Any,
        depth: Any,
        more: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = context.get_value_type(Vector(signature.args[0].dtype))
            a, b, c = [builder.inttoptr(args[i], kind.element.as_pointer()) for i in (1, 4, 6)]
            _tile(builder, kind, count, (a, *args[2:4]), (b, args[5]), (c, args[7]), *args[8:])
            return context.get_dummy_value()

        n = types.intp
        return types.void(like, n, n, n, n, n, n, n, n, types.boolean), generate

    return code(defined)


tile = _of_vectors(1)
"""Let ROWS rows of a vector each, at ``c``, be a product a b; or be added to, if ``more``.

Row r of c is the sum over k < ``depth`` of the number at a + r a_row + k a_step times the vector at
b + k b_step, in this order, whatever ROWS is; it lies at c + r c_row. Where a, b and c are is said
by ``address``, steps count numbers of the dtype of the array ``like``.
"""
wide_tile = _of_vectors(VECTORS)
"""Do what ``tile`` does, with rows of VECTORS vectors each, which share what is read of a."""


def _tile(
    builder: Any, kind: Any, vectors: int, a: Any, b: Any, c: Any, depth: Any, more: Any
) -> None:
    start = builder.block
    given, head, loop, done = [
        builder.append_basic_block(f"tile.{name}") for name in ("given", "head", "loop", "done")
    ]
    across = [ir.Constant(WORD, v * kind.count) for v in range(vectors)]
    starts = [builder.gep(c[0], [builder.mul(c[1], ir.Constant(WORD, r))]) for r in range(ROWS)]
    places = [builder.gep(begin, [v]) for begin in starts for v in across]
    rows = [builder.mul(a[1], ir.Constant(WORD, r)) for r in range(ROWS)]
    builder.cbranch(more, given, head)
    builder.position_at_end(given)
    already = [loaded(builder, place, kind) for place in places]
    builder.branch(head)

    builder.position_at_end(head)
    nothing = ir.Constant(kind, [0.0] * kind.count)
    first = [_phi(builder, kind, (nothing, start), (x, given)) for x in already]
    none, one = ir.Constant(WORD, 0), ir.Constant(WORD, 1)
    builder.cbranch(builder.icmp_signed(">", depth, none), loop, done)

    builder.position_at_end(loop)
    k = _phi(builder, WORD, (none, head))
    at_a, at_b = _phi(builder, a[0].type, (a[0], head)), _phi(builder, b[0].type, (b[0], head))
    sums = [_phi(builder, kind, (x, head)) for x in first]
    lines = [loaded(builder, builder.gep(at_b, [v]), kind) for v in across]
    found = []
    for r, row in enumerate(rows):
        factor = spread(builder, builder.load(builder.gep(at_a, [row])), kind)
        so_far = sums[r * vectors : (r + 1) * vectors]
        found += [fused(builder, factor, *pair) for pair in zip(lines, so_far, strict=True)]
    following = builder.add(k, one)
    k.add_incoming(following, loop)
    at_a.add_incoming(builder.gep(at_a, [a[2]]), loop)
    at_b.add_incoming(builder.gep(at_b, [b[1]]), loop)
    for x, y in zip(sums, found, strict=True):
        x.add_incoming(y, loop)
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, done)

    builder.position_at_end(done)
    pairs = zip(first, found, strict=True)
    ends = [_phi(builder, kind, (x, head), (y, loop)) for x, y in pairs]
    for place, x in zip(places, ends, strict=True):
        stored(builder, x, place)


def _phi(builder: Any, kind: Any, *incoming: Any) -> Any:
    found = builder.phi(kind)
    for value, block in incoming:
        found.add_incoming(value, block)
    return found
