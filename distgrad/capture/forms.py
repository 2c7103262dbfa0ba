"""Arrays without values: an op's body that is run on them tells which calls it comes to.

A body is written in NumPy's functions, which arrays of another library pass through; these are
such arrays. What they do not know raises Unlowered, and the line stays one of Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.op import Op
from distgrad.autograd.types import Shape
from distgrad.capture.calls import Buffer, Tape, Unlowered
from distgrad.capture.strides import dense, without_copy

FUNCTIONS: dict[Any, Callable[..., Any]] = {}
"""NumPy's functions that are no ufuncs."""


class Flags(NamedTuple):
    """Of NumPy's flags of an array those that kernels ask for."""

    c_contiguous: bool
    writeable: bool = True


class Form(np.lib.mixins.NDArrayOperatorsMixin):
    """Shape, dtype and strides of an array, and where it lies: an offset in a buffer."""

    __slots__ = ("buffer", "dtype", "offset", "shape", "strides", "tape")

    def __init__(
        self,
        tape: Tape,
        buffer: Buffer,
        shape: Shape,
        dtype: Any,
        strides: Shape | None = None,
        offset: int = 0,
    ) -> None:
        self.tape, self.buffer, self.shape, self.dtype = tape, buffer, tuple(shape), dtype
        self.strides = dense(shape, dtype.itemsize) if strides is None else tuple(strides)
        self.offset = offset

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """The bytes of an element."""
        return int(self.dtype.itemsize)

    @property
    def T(self) -> Form:  # noqa: N802 (NumPy's name)
        """The axes reversed."""
        return self.transpose()

    @property
    def flags(self) -> Flags:
        """What kernels ask of an array."""
        return Flags(self.dense)

    @property
    def dense(self) -> bool:
        """Whether its elements lie in C order without gaps."""
        wanted = dense(self.shape, self.itemsize)
        return not self.size or all(
            n == 1 or s == w for n, s, w in zip(self.shape, self.strides, wanted, strict=True)
        )

    @property
    def in_order(self) -> bool:
        """Whether no axis has longer strides than one before it."""
        steps = [s for n, s in zip(self.shape, self.strides, strict=True) if n > 1 and s]
        return all(a >= b > 0 for a, b in pairwise([*steps, *steps[-1:]]))

    def __len__(self) -> int:
        return self.shape[0]

    def __bool__(self) -> bool:
        raise Unlowered("asks for values")

    __float__ = __int__ = __index__ = item = tolist = __bool__

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise Unlowered("asks for an array")

    def seen_as(self, shape: Sequence[int], strides: Sequence[int], more: int = 0) -> Form:
        """Return another view of the same memory."""
        where = self.offset + more
        return Form(self.tape, self.buffer, tuple(shape), self.dtype, tuple(strides), where)

    # -- shapes -----------------------------------------------------------------------------------

    def reshape(self, *shape: Any, order: str = "C") -> Form:
        """The same elements in another shape; copied where they do not lie in a row."""
        given = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        lengths = [int(n) for n in given]
        if order != "C":
            raise Unlowered("reshapes in another order")
        if -1 in lengths:
            known = -math.prod(lengths)
            if not known:
                raise Unlowered("reshapes nothing")
            lengths[lengths.index(-1)] = self.size // known
        if math.prod(lengths) != self.size:
            raise Unlowered("a shape that does not fit")
        if self.dense:
            return self.seen_as(lengths, dense(lengths, self.itemsize))
        strides = without_copy(self.shape, self.strides, lengths)
        if strides is not None:
            return self.seen_as(lengths, strides)
        return self.copy().seen_as(lengths, dense(lengths, self.itemsize))

    def transpose(self, *axes: Any) -> Form:
        """The axes in another order."""
        given = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        order = [int(i) % self.ndim for i in given] if given else [*range(self.ndim)][::-1]
        return self.seen_as([self.shape[i] for i in order], [self.strides[i] for i in order])

    def swapaxes(self, a: int, b: int) -> Form:
        """Two axes exchanged."""
        order = [*range(self.ndim)]
        order[a], order[b] = order[b], order[a]
        return self.transpose(order)

    def squeeze(self, axis: Any = None) -> Form:
        """Axes of length 1 left out."""
        asked = range(self.ndim) if axis is None else (axis if isinstance(axis, tuple) else (axis,))
        gone = {i % self.ndim for i in asked if self.shape[i] == 1}
        kept = [i for i in range(self.ndim) if i not in gone]
        return self.seen_as([self.shape[i] for i in kept], [self.strides[i] for i in kept])

    def __getitem__(self, index: Any) -> Form:
        given = list(index) if type(index) is tuple else [index]
        if not all(type(i) in _BASIC for i in given):
            raise Unlowered("an index that copies")
        if given.count(Ellipsis) > 1:
            raise Unlowered("an index with several ...")
        named = sum(i is not None and i is not Ellipsis for i in given)
        if Ellipsis not in given:
            given.append(Ellipsis)
        at = given.index(Ellipsis)
        given[at : at + 1] = [slice(None)] * (self.ndim - named)
        shape, strides, offset, axis = [], [], 0, 0
        for i in given:
            if i is None:
                shape.append(1)
                strides.append(0)
                continue
            n, s = self.shape[axis], self.strides[axis]
            axis += 1
            if type(i) is slice:
                start, stop, step = i.indices(n)
                length = len(range(start, stop, step))
                shape.append(length)
                strides.append(s * step)
                offset += start * s if length else 0
            else:
                if not -n <= i < n:
                    raise Unlowered("an index out of range")
                offset += (i % n) * s
        return self.seen_as(shape, strides, offset)

    def __setitem__(self, index: Any, value: Any) -> None:
        place = self[index]
        if not isinstance(value, Form) or value.buffer is not place.buffer:
            raise Unlowered("writes into an array")
        # The end of ``a[i] += b``: it is written.
        if (value.offset, value.shape, value.strides) != (place.offset, place.shape, place.strides):
            raise Unlowered("writes into an array")

    def copy(self, order: str = "C") -> Form:
        """Return a copy in C order."""
        new: Form = self.tape.new(self.shape, self.dtype)
        self.tape.elementwise(np.positive, [self], new)
        return new

    def astype(self, dtype: Any, **settings: Any) -> Form:
        """Return a copy; another dtype is not known here."""
        if np.dtype(dtype) != self.dtype or settings or not self.dense:
            raise Unlowered("another dtype")
        return self.copy()

    def lowered(self, op: Op, inputs: Sequence[Any], settings: Mapping[str, Any]) -> Form:
        """Return what the twin of ``op`` returns for these, of which this is the first."""
        found = self.tape.lowering(op)
        if found is None:
            raise Unlowered(f"the twin of {op.name}")
        value: Form = found(self.tape, *inputs, **settings)[0]
        return value

    # -- NumPy's protocols ------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        out = settings.pop("out", None)
        target = out[0] if isinstance(out, tuple) else out
        if method == "reduce" and ufunc is np.add:
            return _summed(self, target, *inputs, **settings)
        if settings.get("order") == "C" and target is None and ufunc is np.matmul:
            del settings["order"]
        if method != "__call__" or settings:
            raise Unlowered(f"np.{ufunc.__name__}.{method}")
        if ufunc is np.matmul:
            a, b = inputs
            return _product(self.tape, a, b, target)
        if ufunc.signature is not None or ufunc.nout != 1:
            raise Unlowered(f"np.{ufunc.__name__}")
        return _each(self.tape, ufunc, inputs, target)

    def __array_function__(self, function: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
        known = FUNCTIONS.get(function)
        if known is None:
            raise Unlowered(f"np.{function.__name__}")
        return known(*args, **kwargs)


_MOST_SUMS = 64
_BASIC = {int, slice, type(None), type(...)}


# -- ufuncs ---------------------------------------------------------------------------------------


def _each(tape: Tape, ufunc: np.ufunc, inputs: Sequence[Any], out: Form | None) -> Form:
    kinds = [type(x) if type(x) in _WEAK else getattr(x, "dtype", None) for x in inputs]
    if any(k is None for k in kinds):  # a dtype may equal None
        raise Unlowered("an input of another kind")
    try:
        *taken, given = ufunc.resolve_dtypes((*kinds, None))
    except TypeError as error:
        raise Unlowered(str(error)) from error
    forms = [_as_form(tape, x, dtype) for x, dtype in zip(inputs, taken, strict=True)]
    try:
        shape = np.broadcast_shapes(*[f.shape for f in forms])
    except ValueError as error:
        raise Unlowered(str(error)) from error
    if not math.prod(shape):
        raise Unlowered("nothing to do")
    if out is None:
        out = tape.new(shape, given, _layout(shape, given.itemsize, forms))
    elif out.shape != shape or out.dtype != given:
        raise Unlowered("an output of another form")
    tape.elementwise(ufunc, forms, out)
    return out


_WEAK = {int, float, bool}


def _as_form(tape: Tape, x: Any, dtype: Any) -> Form:
    if isinstance(x, Form):
        if x.dtype != dtype:
            raise Unlowered("dtypes that differ")
        return x
    if isinstance(x, np.ndarray) and x.size > 1:
        raise Unlowered("an array of nobody")
    constant: Form = tape.constant(np.asarray(x, dtype))
    return constant


def _layout(shape: Shape, itemsize: int, forms: Sequence[Form]) -> Shape | None:
    """Return the strides that NumPy gives what comes out; None for C order."""
    if all(f.in_order for f in forms):
        return None
    full = [f for f in forms if f.size > 1]
    if all(f.shape == shape for f in full):
        order = tuple(sorted(range(len(shape)), key=lambda i: -abs(full[0].strides[i])))
        if all(f.transpose(order).dense for f in full):
            turned = dense([shape[i] for i in order], itemsize)
            return tuple(turned[order.index(i)] for i in range(len(shape)))
    raise Unlowered("layouts that differ")


def _product(tape: Tape, a: Any, b: Any, out: Form | None) -> Form:
    if not isinstance(a, Form) or not isinstance(b, Form) or a.ndim < 2 or b.ndim < 2:
        raise Unlowered("a product with a vector")
    if a.dtype != b.dtype or a.shape[-1] != b.shape[-2] or not a.size or not b.size:
        raise Unlowered("a product of these")
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-1])
    if out is None:
        out = tape.new(shape, a.dtype)
    if out.shape != shape or out.dtype != a.dtype:
        raise Unlowered("an output of another form")
    tape.product(a, b, out, batch)
    return out


def _summed(
    form: Form, out: Form | None, a: Any, axis: Any = 0, dtype: Any = None, keepdims: bool = False
) -> Form:
    if a is not form or dtype is not None or not a.dense or a.dtype.kind != "f" or not a.size:
        raise Unlowered("a sum of these")
    if a.dtype.itemsize < 4:
        raise Unlowered("a sum in float16")
    asked = range(a.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = sorted(i % a.ndim for i in asked) if a.ndim else []
    kept = tuple(n for i, n in enumerate(a.shape) if i not in axes)
    shape = tuple(1 if i in axes else n for i, n in enumerate(a.shape)) if keepdims else kept
    if out is None:
        out = form.tape.new(shape, a.dtype)
    if out.shape != shape or not out.dense or out.dtype != a.dtype:
        raise Unlowered("an output of another form")
    # Axes of length 1 are none; the others have to be the first or the last ones.
    long = [i for i in axes if a.shape[i] > 1]
    real = [i for i in range(a.ndim) if a.shape[i] > 1]
    if not long:
        raise Unlowered("a sum of one")
    if long == real[-len(long) :]:
        rows, columns = math.prod(kept), math.prod(a.shape[i] for i in long)
        form.tape.sum_along(a.reshape(rows, columns), out.reshape(rows))
    elif long == real[: len(long)]:
        rows, columns = math.prod(a.shape[i] for i in long), math.prod(kept)
        form.tape.sum_over(a.reshape(rows, columns), out.reshape(columns))
    elif long == [*range(long[0], long[-1] + 1)]:
        outer, rows = math.prod(a.shape[: long[0]]), math.prod(a.shape[i] for i in long)
        parts, sums = a.reshape(outer, rows, -1), out.reshape(outer, -1)
        if outer > _MOST_SUMS:
            raise Unlowered("many sums")
        for i in range(outer):
            form.tape.sum_over(parts[i], sums[i])
    else:
        raise Unlowered("a sum over axes in the middle")
    return out


# -- other functions ------------------------------------------------------------------------------


def _function(*functions: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def known(body: Callable[..., Any]) -> Callable[..., Any]:
        FUNCTIONS.update(dict.fromkeys(functions, body))
        return body

    return known


@_function(np.reshape)
def _reshape(a: Form, shape: Any, order: str = "C") -> Form:
    return a.reshape(shape if isinstance(shape, tuple | list) else (shape,), order=order)


@_function(np.expand_dims)
def _expand_dims(a: Form, axis: Any) -> Form:
    axes = axis if isinstance(axis, tuple) else (axis,)
    new = {i % (a.ndim + len(axes)) for i in axes}
    parts = iter(zip(a.shape, a.strides, strict=True))
    both = [(1, 0) if i in new else next(parts) for i in range(a.ndim + len(axes))]
    return a.seen_as([n for n, _ in both], [s for _, s in both])


@_function(np.broadcast_to)
def _broadcast_to(a: Form, shape: Any, subok: bool = False) -> Form:
    wanted = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    extra = len(wanted) - a.ndim
    strides = [0] * extra
    for n, m, s in zip(a.shape, wanted[extra:], a.strides, strict=True):
        if n not in (1, m):
            raise Unlowered("a shape that does not fit")
        strides.append(s if n == m else 0)
    return a.seen_as(wanted, strides)


@_function(np.swapaxes)
def _swapaxes(a: Form, axis1: int, axis2: int) -> Form:
    return a.swapaxes(axis1, axis2)


@_function(np.transpose)
def _transpose(a: Form, axes: Any = None) -> Form:
    return a.transpose(axes) if axes is not None else a.transpose()


@_function(np.empty_like)
def _empty_like(
    a: Form, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
) -> Form:
    if dtype is not None or shape is None or order != "C":
        raise Unlowered("an array like it of another kind")
    new: Form = a.tape.new(tuple(shape), a.dtype)
    return new


@_function(np.concatenate)
def _concatenate(parts: Sequence[Any], axis: int = 0, out: Form | None = None) -> Form:
    first = next(p for p in parts if isinstance(p, Form))
    parts = [first.tape.constant(p) if isinstance(p, np.ndarray) else p for p in parts]
    if not all(isinstance(p, Form) and p.dtype == first.dtype for p in parts):
        raise Unlowered("parts that differ")
    if out is None and first.ndim > 1 and not all(p.dense for p in parts):
        raise Unlowered("layouts that differ")
    axis %= first.ndim
    shape = list(first.shape)
    shape[axis] = sum(p.shape[axis] for p in parts)
    new: Form = first.tape.new(tuple(shape), first.dtype) if out is None else out
    begin = 0
    for p in parts:
        place = new[(*(slice(None),) * axis, slice(begin, begin + p.shape[axis]))]
        begin += p.shape[axis]
        first.tape.elementwise(np.positive, [p], place)
    return new


@_function(np.split)
def _split(a: Form, indices_or_sections: Any, axis: int = 0) -> list[Form]:
    axis %= a.ndim
    length, given = a.shape[axis], indices_or_sections
    if isinstance(given, int):
        if given < 1 or length % given:
            raise Unlowered("parts that differ")
        given = range(length // given, length, length // given)
    ends = [*given, length]
    if not all(0 <= i <= j <= length for i, j in zip([0, *ends], ends, strict=False)):
        raise Unlowered("parts that overlap")
    before = (slice(None),) * axis
    return [a[(*before, slice(int(i), int(j)))] for i, j in zip([0, *ends], ends, strict=False)]
