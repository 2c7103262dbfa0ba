"""The recipe for twins of elementwise ops: a formula and its derivative in, fused kernels out.

A member bears the name of its op. It is a function of a dtype that returns functions of scalars:
the value, then how the gradient goes back to each input. Constants are made in the dtype, once::

    @of_one
    def leaky_relu(F):
        zero = F(0)

        def value(x, negative_slope):
            return x if x > zero else negative_slope * x

        def back(g, x, negative_slope):
            return g if x > zero else negative_slope * g

        return value, back

The parameters say what is read: on the way back any of the inputs (``x``, or ``a``, ``b``, ``c``)
and the value, ``y``. What is not among these is a setting of the op, whose default it takes.
Kernels are made for each dtype when it comes first, and compiled for each way when it is run first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from distgrad.autograd.op import REGISTRY, OpResult
from distgrad.autograd.types import Array
from distgrad.kernels.arrays import blank, empty, flat, in_memory, in_order, on_forms, run, suits
from distgrad.kernels.blocks import broadcast
from distgrad.kernels.jit import inlined, kernel
from distgrad.ops.helpers import Order
from distgrad.ops.reduction import check_reduction, share

Formula: TypeAlias = "Callable[..., Any]"
Member: TypeAlias = "Callable[[Any], tuple[Formula, ...]]"
Twin: TypeAlias = "Callable[..., OpResult | None]"
_ndarray = np.ndarray
_BLOCK = 512
_MOST_SETTINGS = 64
_EMPTY = inspect.Parameter.empty


def of_one(member: Member) -> Twin:
    """Return the twin of an op of one input."""
    made = _Made(member, ("x",), _loops)

    def twin(a: Any, **settings: Any) -> OpResult | None:
        kernels = made[a.dtype] if type(a) is _ndarray else None
        if kernels is None or not a.size:
            return None
        p: Sequence[Any] | None = kernels.defaults
        if settings or p is None:
            p = kernels.settled(settings)
            if p is None:
                return None
        x, order = in_memory(a)
        result, y = blank(a, a.shape, order)
        kernels.forward(x, y, *p)
        mine = order is None
        kept: dict[str, Any] = {"x": a if mine and x.base is a else x, "y": result if mine else y}
        return result, _reading(kernels.backs[0], a, order, p, kept)

    return _named(twin, member, made)


def of_one_where(fits: Callable[[Array], bool]) -> Callable[[Member], Twin]:
    """Return ``of_one`` for what holds for some arrays alone; others are left to the reference."""

    def limited(member: Member) -> Twin:
        whole = of_one(member)
        made: _Made = whole.made  # type: ignore[attr-defined]

        def twin(a: Any, **settings: Any) -> OpResult | None:
            if type(a) is not _ndarray or not a.size or made[a.dtype] is None or not fits(a):
                return None
            return whole(a, **settings)

        return _named(twin, member, made)

    return limited


def of_two(member: Member) -> Twin:
    """Return the twin of an op of two inputs, for inputs of one shape."""
    return _of_two(member, False)


def of_operands(member: Member) -> Twin:
    """Return the twin of an op of two inputs, which are broadcast; one may be a number."""
    return _of_two(member, True)


def of_three_operands(member: Member) -> Twin:
    """Return the twin of an op of three arrays, which are broadcast."""
    names = ("a", "b", "c")
    made = _Made(member, names, _loops)

    def twin(*arrays: Any, **settings: Any) -> OpResult | None:
        if len(arrays) != 3 or {*map(type, arrays)} != {_ndarray}:
            return None
        if not _in_rows(arrays):
            return broadcast(made, names, arrays, settings)
        a = arrays[0]
        kernels = made[a.dtype]
        p = None if kernels is None else kernels.settled(settings)
        if kernels is None or p is None:
            return None
        result, y = blank(a, a.shape, None)
        kernels.forward(*[x.reshape(-1) for x in arrays], y, *p)
        kept = dict(zip((*names, "y"), (*arrays, result), strict=True))
        return result, tuple([_reading(back, a, None, p, kept) for back in kernels.backs])

    return _named(twin, member, made)


def _in_rows(arrays: Sequence[Array]) -> bool:
    """Whether the arrays have elements, one shape and one dtype, and lie in a row each."""
    first = arrays[0]
    for a in arrays:
        flags = a.flags
        if a.shape != first.shape or a.dtype != first.dtype or not a.size:
            return False
        if not (flags.c_contiguous and flags.writeable):
            return False
    return True


def _of_two(member: Member, operands: bool) -> Twin:
    names = ("a", "b")
    made = _Made(member, names, _loops)

    def twin(a: Any, b: Any, **settings: Any) -> OpResult | None:
        if type(a) is not _ndarray or type(b) is not _ndarray or a.shape != b.shape:
            return broadcast(made, names, (a, b), settings) if operands else None
        if a.dtype != b.dtype or not a.size:
            return None
        kernels = made[a.dtype]
        p = None if kernels is None else kernels.settled(settings)
        if kernels is None or p is None:
            return None
        x, order = in_memory(a)
        z = in_order(b, order)
        result, y = blank(a, a.shape, order)
        kernels.forward(x, z, y, *p)
        mine = order is None
        kept = {
            "a": a if mine and x.base is a else x,
            "b": b if mine and z.base is b else z,
            "y": result if mine else y,
        }
        first, second = kernels.backs
        return result, (_reading(first, a, order, p, kept), _reading(second, a, order, p, kept))

    return _named(twin, member, made)


def of_loss(member: Member) -> Twin:
    """Return the twin of a loss of two inputs of one shape, with its ``reduction``."""
    each, made = of_two(member), _Made(member, ("a", "b"), _sums)

    def twin(a: Any, b: Any, *, reduction: str = "mean", **settings: Any) -> OpResult | None:
        check_reduction(reduction)
        if reduction == "none":
            return each(a, b, **settings)
        if not suits(a) or not suits(a, b) or a.shape != b.shape:
            return None
        kernels = made[a.dtype]
        p = None if kernels is None else kernels.settled(settings)
        if kernels is None or p is None:
            return None
        x, order = in_memory(a)
        z = in_order(b, order)
        scale, shape = share(a.size if reduction == "mean" else 1, a.dtype)[()], a.shape
        total = empty(a, (1,))
        run(kernels.forward, x, z, scale, total, *p, writes=(3,))

        def closure(back: _Back) -> Callable[[Array], Array]:
            def vjp(g: Array) -> Array:
                result, d = blank(x, shape, order)
                run(back.run, x, z, flat(g), scale, d, *p, writes=(4,), units=(0, 1, 4))
                return result

            return vjp

        return total.reshape(()), (closure(kernels.backs[0]), closure(kernels.backs[1]))

    twin.each = each  # type: ignore[attr-defined]  # where nothing is reduced
    return on_forms(_named(twin, member, made))


def _named(twin: Twin, member: Member, made: _Made) -> Twin:
    twin.__name__, twin.__doc__ = member.__name__, f"The twin of ``ops.{member.__name__}``."
    twin.made = made  # type: ignore[attr-defined]  # for who looks at its kernels
    return twin


class _Back(NamedTuple):
    """A way back: its kernel, and the names of the arrays it reads beside the gradient."""

    run: Callable[..., None]
    reads: tuple[str, ...]


class _Kernels:
    """What a member comes to in one dtype."""

    def __init__(self, member: Member, dtype: Any, inputs: tuple[str, ...], loops: Any) -> None:
        value, *backs = member(dtype.type)
        self.dtype = dtype.type
        self.forward, self.backs = loops(dtype.type(0), value, backs, inputs)
        op = inspect.signature(REGISTRY[member.__name__].function).parameters
        names = [*inspect.signature(value).parameters][len(inputs) :]
        self._defaults = {name: op[name].default for name in names}
        self._settled: dict[Any, tuple[Any, ...]] = {}
        self.defaults = self.settled({}) if _EMPTY not in self._defaults.values() else None

    def settled(self, given: dict[str, Any]) -> tuple[Any, ...] | None:
        """Return the settings in the arrays' dtype; None for what the reference has to refuse."""
        if not given and not self._defaults:
            return ()
        key = tuple(given.items())
        try:
            return self._settled[key]
        except (KeyError, TypeError):  # TypeError: an array as a setting
            pass
        settings = {**self._defaults, **given}
        if len(settings) != len(self._defaults):
            return None
        try:
            found = tuple([self.dtype(v) for v in settings.values()])
            if len(self._settled) < _MOST_SETTINGS:  # a schedule may make a new one every step
                self._settled[key] = found
        except (TypeError, ValueError, OverflowError):
            return None
        return found


class _Made(dict[Any, "_Kernels | None"]):
    """The kernels of a member, by dtype; None for a dtype that has none."""

    def __init__(self, member: Member, inputs: tuple[str, ...], loops: Any) -> None:
        super().__init__()
        self._how = member, inputs, loops

    def __missing__(self, dtype: Any) -> _Kernels | None:
        """Make them."""
        member, inputs, loops = self._how
        found = None
        if dtype in (np.dtype(np.float32), np.dtype(np.float64)):
            found = _Kernels(member, dtype, inputs, loops)
        self[dtype] = found
        return found


def _reading(
    back: _Back, a: Array, order: Order, p: Sequence[Any], arrays: dict[str, Array]
) -> Callable[[Array], Array]:
    """Return the gradient closure. It holds what it reads by itself: the engine looks for that.

    The inputs and the value themselves where they can be read in a row, so that the engine knows
    them by sight.
    """
    way, reads, shape = back.run, back.reads, a.shape
    r = arrays[reads[0]]
    if len(reads) == 1:

        def of_one_array(g: Array) -> Array:
            result, d = blank(r, shape, order)
            way(in_order(g, order), r if r.ndim == 1 else r.reshape(-1), d, *p)
            return result

        return of_one_array
    s = arrays[reads[1]]
    if len(reads) == 2:

        def of_two_arrays(g: Array) -> Array:
            result, d = blank(r, shape, order)
            way(in_order(g, order), r.reshape(-1), s.reshape(-1), d, *p)
            return result

        return of_two_arrays
    t = arrays[reads[2]]

    def of_three_arrays(g: Array) -> Array:
        result, d = blank(r, shape, order)
        way(in_order(g, order), r.reshape(-1), s.reshape(-1), t.reshape(-1), d, *p)
        return result

    return of_three_arrays


# -- the loops ------------------------------------------------------------------------------------


def _reads(back: Formula, inputs: tuple[str, ...]) -> tuple[str, ...]:
    first, *names = inspect.signature(back).parameters
    assert first == "g", f"a way back takes g first; got {first}"
    return tuple([name for name in names if name in {*inputs, "y"}])


def _loops(zero: Any, value: Formula, backs: Sequence[Formula], inputs: tuple[str, ...]) -> Any:
    return _forward(inlined(value), len(inputs)), [
        _Back(_backward(inlined(back), len(reads)), reads)
        for back, reads in ((back, _reads(back, inputs)) for back in backs)
    ]


def _forward(value: Formula, inputs: int) -> Callable[..., None]:
    def of_one_input(x: Array, y: Array, *p: Any) -> None:
        for i in range(y.size):
            y[i] = value(x[i], *p)

    def of_two_inputs(a: Array, b: Array, y: Array, *p: Any) -> None:
        for i in range(y.size):
            y[i] = value(a[i], b[i], *p)

    def of_three_inputs(a: Array, b: Array, c: Array, y: Array, *p: Any) -> None:
        for i in range(y.size):
            y[i] = value(a[i], b[i], c[i], *p)

    return kernel((of_one_input, of_two_inputs, of_three_inputs)[inputs - 1])


def _backward(back: Formula, reads: int) -> Callable[..., None]:
    def reading_one(g: Array, r: Array, d: Array, *p: Any) -> None:
        for i in range(d.size):
            d[i] = back(g[i], r[i], *p)

    def reading_two(g: Array, r: Array, s: Array, d: Array, *p: Any) -> None:
        for i in range(d.size):
            d[i] = back(g[i], r[i], s[i], *p)

    def reading_three(g: Array, r: Array, s: Array, t: Array, d: Array, *p: Any) -> None:
        for i in range(d.size):
            d[i] = back(g[i], r[i], s[i], t[i], *p)

    return kernel((reading_one, reading_two, reading_three)[reads - 1])


def _sums(zero: Any, value: Formula, backs: Sequence[Formula], inputs: tuple[str, ...]) -> Any:
    each = inlined(value)

    def total(a: Array, b: Array, scale: Any, y: Array, *p: Any) -> None:
        # A block is summed in its own dtype, blocks in float64: large batches lose nothing.
        whole = 0.0
        for begin in range(0, a.size, _BLOCK):
            x, z, part = a[begin : begin + _BLOCK], b[begin : begin + _BLOCK], zero
            for i in range(x.size):
                part += each(x[i], z[i], *p)
            whole += part
        y[0] = y.dtype.type(whole) * scale

    def backward(back: Formula) -> Callable[..., None]:
        def of_a_number(a: Array, b: Array, g: Array, scale: Any, d: Array, *p: Any) -> None:
            each = g[0] * scale
            for i in range(d.size):
                d[i] = back(each, a[i], b[i], *p)

        return kernel(of_a_number)

    return kernel(total), [_Back(backward(inlined(back)), ("a", "b")) for back in backs]
