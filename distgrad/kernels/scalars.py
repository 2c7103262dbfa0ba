"""What kernels ask numba for most often, in one instruction or a few. Imports numba.

numba's own ``min``, ``max``, ``view`` of a number, ``np.empty`` and ``reshape(-1)`` are functions
that each kernel which calls them has to wait for: 5 to 15 ms each.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.core.imputils import impl_ret_borrowed, impl_ret_new_ref
from numba.np.arrayobj import make_array, populate_array

from distgrad.kernels.intrinsics import code, place_of

_WORD = ir.IntType(64)
_WHOLE = {types.float32: types.int32, types.float64: types.int64}


def _of_two(asked: str) -> Any:
    def defined(typing: Any, x: Any, y: Any) -> Any:
        kind = typing.unify_types(types.unliteral(x), types.unliteral(y))

        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            x, y = args
            if kind in types.real_domain:
                other = builder.fcmp_ordered(asked, y, x)
            elif kind.signed:
                other = builder.icmp_signed(asked, y, x)
            else:
                other = builder.icmp_unsigned(asked, y, x)
            return builder.select(other, y, x)

        return kind(kind, kind), generate

    return code(defined)


least = _of_two("<")
"""Python's ``min`` of two numbers: the first one where the second is not below it."""
most = _of_two(">")
"""Python's ``max`` of two numbers: the first one where the second is not above it."""


def _seen_as(kinds: dict[Any, Any]) -> Any:
    def defined(typing: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], context.get_value_type(signature.return_type))

        return kinds[x](x), generate

    return code(defined)


bits = _seen_as(_WHOLE)
"""The whole number that has the bits of a float."""
number = _seen_as({whole: real for real, whole in _WHOLE.items()})
"""The float that has the bits of a whole number."""


@code
def empty_of(typing: Any, n: Any, dtype: Any) -> Any:
    """Return an array of ``n`` elements that may have any values."""
    element = dtype.dtype if isinstance(dtype, types.DType) else dtype.instance_type
    made = types.Array(element, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.get_data_type(element)
        item = ir.Constant(_WORD, context.get_abi_sizeof(data))
        size = builder.mul(args[0], item)
        memory = context.nrt.meminfo_alloc_aligned(builder, size, 64)
        place = builder.bitcast(context.nrt.meminfo_data(builder, memory), data.as_pointer())
        array = make_array(made)(context, builder)
        # Of a length that is known an index that wraps round becomes arithmetic, which keeps loops
        # from being vectorised.
        length = builder.asm(ir.FunctionType(_WORD, [_WORD]), "", "=r,0", [args[0]], False)
        populate_array(array, place, [length], [item], item, memory)
        return impl_ret_new_ref(context, builder, made, array._getvalue())

    return made(types.intp, dtype), generate


@code
def ravel(typing: Any, a: Any) -> Any:
    """Return the elements of an array that lie in a row as an array of one axis."""
    if a.layout != "C":
        raise TypingError(f"ravel takes an array in C order; got {a}")
    made = types.Array(a.dtype, 1, "C", readonly=not a.mutable)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given = make_array(a)(context, builder, args[0])
        array = make_array(made)(context, builder)
        count, item = given.nitems, given.itemsize
        populate_array(array, given.data, [count], [item], item, given.meminfo, given.parent)
        return impl_ret_borrowed(context, builder, made, array._getvalue())

    return made(a), generate


@code
def element(typing: Any, a: Any, at: Any) -> Any:
    """Return element ``at`` of an array of one axis, from its start: nothing else is asked."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(place_of(context, builder, signature, args, 0, args[1]))

    return a.dtype(a, types.intp), generate


@code
def set_element(typing: Any, a: Any, at: Any, x: Any) -> Any:
    """Let element ``at`` be x."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], place_of(context, builder, signature, args, 0, args[1]))
        return context.get_dummy_value()

    return types.void(a, types.intp, a.dtype), generate


@code
def array_at(typing: Any, pointer: Any, n: Any) -> Any:
    """Return what a pointer points to as an array of ``n`` elements, of memory that others keep."""
    kind = pointer.dtype
    made = types.Array(kind, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.get_data_type(kind)
        item = ir.Constant(_WORD, context.get_abi_sizeof(data))
        array = make_array(made)(context, builder)
        place = builder.bitcast(args[0], data.as_pointer())
        populate_array(array, place, [args[1]], [item], item, None)
        return array._getvalue()

    return made(pointer, types.intp), generate
