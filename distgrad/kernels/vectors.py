"""Vectors of 64 bytes for kernels that LLVM does not vectorise well by itself. Imports numba.

A vector is 16 numbers of float32 or 8 of float64, whatever the processor's own are as long as: LLVM
cuts them. Products and sums are fused and in the order that is written, so that the bits are the
same on every processor. Arrays have one axis, and ``at`` counts elements; nothing is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

from distgrad.kernels.intrinsics import code, place_of
from distgrad.kernels.mathematics import EXP

BYTES = 64
WORD, INDEX = ir.IntType(64), ir.IntType(32)


class Vector(types.Type):  # type: ignore[misc]
    """Numba's type of a vector."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_model(Vector)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, _vector(manager.lookup(kind.dtype).get_value_type(), kind))


def _vector(element: Any, kind: Any) -> Any:
    return ir.VectorType(element, BYTES * 8 // kind.dtype.bitwidth)


@code
def apart(typing: Any) -> Any:
    """Let the function that this stands in be called, not copied: that takes longer to compile."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


# -- memory ---------------------------------------------------------------------------------------


@code
def load(typing: Any, a: Any, at: Any) -> Any:
    """Return the vector that begins with element ``at``."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        return loaded(builder, place_of(context, builder, signature, args, 0, args[1]), kind)

    return Vector(a.dtype)(a, types.intp), generate


@code
def store(typing: Any, a: Any, at: Any, x: Any) -> Any:
    """Let the elements from ``at`` on be those of the vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        stored(builder, args[2], place_of(context, builder, signature, args, 0, args[1]))
        return context.get_dummy_value()

    return types.void(a, types.intp, x), generate


@code
def address(typing: Any, a: Any, at: Any) -> Any:
    """Return where in memory element ``at`` is: to go on with another array costs a count."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ptrtoint(place_of(context, builder, signature, args, 0, args[1]), WORD)

    return types.intp(a, types.intp), generate


def loaded(builder: Any, pointer: Any, kind: Any) -> Any:
    """Emit the load of a vector of ``kind``."""
    x = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    x.align = 4  # wherever a row begins
    return x


def stored(builder: Any, x: Any, pointer: Any) -> None:
    """Emit the store of a vector."""
    builder.store(x, builder.bitcast(pointer, x.type.as_pointer())).align = 4


@code
def load_some(typing: Any, a: Any, at: Any, n: Any) -> Any:
    """Return the vector that begins with the ``n`` elements from ``at`` on, and goes on with 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        place = place_of(context, builder, signature, args, 0, args[1])
        return loaded_some(builder, place, args[2], kind)

    return Vector(a.dtype)(a, types.intp, types.intp), generate


def loaded_some(builder: Any, pointer: Any, n: Any, kind: Any) -> Any:
    """Emit the load of ``n`` numbers, and 0 for the rest of a vector."""
    place = builder.bitcast(pointer, kind.as_pointer())
    some, nothing = _first(builder, n, kind), ir.Constant(kind, [0.0] * kind.count)
    form = ir.FunctionType(kind, [place.type, INDEX, some.type, kind])
    name = f"llvm.masked.load.{_suffix(kind)}.p0"
    function = cgutils.get_or_insert_function(builder.module, form, name)
    return builder.call(function, [place, ir.Constant(INDEX, 4), some, nothing])


@code
def store_some(typing: Any, a: Any, at: Any, n: Any, x: Any) -> Any:
    """Let ``n`` elements from ``at`` on be those that the vector begins with."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[3].type
        place = place_of(context, builder, signature, args, 0, args[1])
        place = builder.bitcast(place, kind.as_pointer())
        some = _first(builder, args[2], kind)
        form = ir.FunctionType(ir.VoidType(), [kind, place.type, INDEX, some.type])
        name = f"llvm.masked.store.{_suffix(kind)}.p0"
        function = cgutils.get_or_insert_function(builder.module, form, name)
        builder.call(function, [args[3], place, ir.Constant(INDEX, 4), some])
        return context.get_dummy_value()

    return types.void(a, types.intp, types.intp, x), generate


def _first(builder: Any, n: Any, kind: Any) -> Any:
    """Return which lanes are among the first ``n``."""
    count = kind.count
    numbers = ir.Constant(ir.VectorType(INDEX, count), list(range(count)))
    least, most = ir.Constant(WORD, 0), ir.Constant(WORD, count)
    n = builder.select(builder.icmp_signed("<", n, least), least, n)
    n = builder.select(builder.icmp_signed(">", n, most), most, n)
    ends = spread(builder, builder.trunc(n, INDEX), numbers.type)
    return builder.icmp_signed("<", numbers, ends)


def _suffix(kind: Any) -> str:
    return f"v{kind.count}f{BYTES * 8 // kind.count}"


# -- arithmetic -----------------------------------------------------------------------------------


@code
def broadcast(typing: Any, x: Any) -> Any:
    """Return the vector that has this number everywhere."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return spread(builder, args[0], context.get_value_type(signature.return_type))

    return Vector(x)(x), generate


def spread(builder: Any, x: Any, kind: Any) -> Any:
    """Emit the vector of ``kind`` that has x everywhere."""
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, x, ir.Constant(INDEX, 0))
    everywhere = ir.Constant(ir.VectorType(INDEX, kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, nothing, everywhere)


def of_two(operation: Callable[..., Any]) -> Any:
    """Make an instruction of two vectors of what emits it."""

    def defined(typing: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return operation(builder, *args)

        return x(x, y), generate

    return code(defined)


add = of_two(lambda builder, x, y: builder.fadd(x, y))
subtract = of_two(lambda builder, x, y: builder.fsub(x, y))
multiply = of_two(lambda builder, x, y: builder.fmul(x, y))
divide = of_two(lambda builder, x, y: builder.fdiv(x, y))


def _larger(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", x, y), x, y)


larger = of_two(_larger)
"""The larger one of each two numbers; y where x is NaN."""


@code
def fma(typing: Any, x: Any, y: Any, z: Any) -> Any:
    """x y + z, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return fused(builder, *args)

    return x(x, y, z), generate


def fused(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """Emit x y + z."""
    kind = x.type
    form, name = ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.{_suffix(kind)}"
    return builder.call(cgutils.get_or_insert_function(builder.module, form, name), [x, y, z])


@code
def magnitude(typing: Any, x: Any) -> Any:
    """|x|."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return without_sign(builder, args[0])

    return x(x), generate


def without_sign(builder: Any, x: Any) -> Any:
    """Emit |x|."""
    form, name = ir.FunctionType(x.type, [x.type]), f"llvm.fabs.{_suffix(x.type)}"
    return builder.call(cgutils.get_or_insert_function(builder.module, form, name), [x])


@code
def before(typing: Any, x: Any, n: Any, other: Any) -> Any:
    """Return the first ``n`` numbers, and ``other`` in the place of the rest."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[0].type
        seen = _first(builder, args[1], kind)
        return builder.select(seen, args[0], spread(builder, args[2], kind))

    return x(x, types.intp, x.dtype), generate


@code
def exp(typing: Any, x: Any) -> Any:
    """e ** x for x ≤ 0, as ``mathematics.exp`` computes it; NaN stays NaN."""

    constants = EXP[f"f{x.dtype.bitwidth // 8}"]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _exp(builder, args[0], constants)

    return x(x), generate


def _exp(builder: Any, x: Any, constants: Any) -> Any:
    kind = x.type
    bits = BYTES * 8 // kind.count
    whole = ir.VectorType(ir.IntType(bits), kind.count)

    def number(value: float) -> Any:
        return ir.Constant(kind, [float(value)] * kind.count)

    def numbers(value: int) -> Any:
        return ir.Constant(whole, [int(value)] * kind.count)

    c = constants
    z = _larger(builder, x, number(c.low))
    t = fused(builder, z, number(c.log2e), number(c.magic))
    n = builder.fsub(t, number(c.magic))
    r = fused(builder, n, number(-c.ln2_high), z)
    r = fused(builder, n, number(-c.ln2_low), r)
    *lower, p = [number(k) for k in c.polynomial]
    for k in reversed(lower):
        p = fused(builder, p, r, k)
    y = fused(builder, fused(builder, builder.fmul(r, r), p, r), number(1), number(1))
    power = builder.add(builder.bitcast(t, whole), numbers(c.bias))
    power = builder.bitcast(builder.shl(power, numbers(c.shift)), kind)
    y = builder.select(
        builder.fcmp_ordered(">=", x, number(c.low)), builder.fmul(y, power), number(0)
    )
    return builder.select(builder.fcmp_unordered("uno", x, x), x, y)


# -- over all lanes -------------------------------------------------------------------------------


def _over(combine: Callable[..., Any]) -> Any:
    def defined(typing: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            found, count = args[0], args[0].type.count
            while count > 1:
                count //= 2
                halves = [
                    builder.shuffle_vector(found, found, lanes(range(i, i + count)))
                    for i in (0, count)
                ]
                found = combine(builder, *halves)
            return builder.extract_element(found, ir.Constant(INDEX, 0))

        return x.dtype(x), generate

    return code(defined)


def lanes(values: Sequence[int]) -> Any:
    """Return the constant that says which lanes a shuffle takes."""
    return ir.Constant(ir.VectorType(INDEX, len(values)), list(values))


total = _over(lambda builder, x, y: builder.fadd(x, y))
"""The sum of a vector's numbers: halves are added, and halves of these."""
largest = _over(_larger)
"""The largest of a vector's numbers, where none is NaN."""
