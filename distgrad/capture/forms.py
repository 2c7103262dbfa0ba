"""Arrays without values: an op's body that is run on them tells which calls it comes to.

A body is written in NumPy's functions, which arrays of another library pass through; these are
such arrays. What they do not know raises Unlowered, and the line stays one of Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.op import Op
from distgrad.autograd.types import Shape
from distgrad.capture.calls import Buffer, Tape, Unlowered
from distgrad.capture.strides import dense, in_order, order_of, spread, without_copy

FUNCTIONS: dict[Any, Callable[..., Any]] = {}
"""NumPy's functions that are no ufuncs."""
REDUCE: dict[Any, Callable[..., Any]] = {}
"""What ``reduce`` of a ufunc comes to."""


class Flags(NamedTuple):
    """Of NumPy's flags of an array those that kernels ask for."""

    c_contiguous: bool
    f_contiguous: bool
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
        return Flags(self.dense, self.T.dense)

    @property
    def dense(self) -> bool:
        """Whether its elements lie in C order without gaps."""
        wanted = dense(self.shape, self.itemsize)
        return not self.size or all(
            n == 1 or s == w for n, s, w in zip(self.shape, self.strides, wanted, strict=True)
        )

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
        if order != "C":
            raise Unlowered("a copy in another order")
        return self._copied([*range(self.ndim)])

    def _copied(self, axes: Sequence[int]) -> Form:
        """Return a copy whose axes lie in this order in memory."""
        new: Form = self.tape.new(self.shape, self.dtype, in_order(self.shape, axes, self.itemsize))
        self.tape.elementwise(
            np.logical_or if self.dtype.kind == "b" else np.positive,
            [self, self] if self.dtype.kind == "b" else [self],
            new,
        )
        return new

    def astype(self, dtype: Any, copy: bool = True) -> Form:
        """Return a copy in another dtype, between which numbers are converted in one way only."""
        wanted = np.dtype(dtype)
        if wanted == self.dtype and not copy:
            return self
        axes = sorted(range(self.ndim), key=lambda i: -abs(self.strides[i]))
        turned = self.transpose(axes)
        lies = self if turned.dense else self._copied(axes)
        if wanted == self.dtype:
            return self._copied(axes) if lies is self else lies
        if wanted.char not in "fd" or self.dtype.char not in "fd?bhilqBHILQ":
            raise Unlowered(f"{self.dtype} as {wanted}")
        strides = in_order(self.shape, axes, wanted.itemsize)
        new: Form = self.tape.new(self.shape, wanted, strides)
        rows = [x.transpose(axes).reshape(self.size) for x in (lies, new)]
        self.tape.kernel("cast", *rows, units=(0, 1))
        return new

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
        if method == "reduce" and ufunc in REDUCE:
            return REDUCE[ufunc](self, target, *inputs, **settings)
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
        out = tape.new(shape, given, laid(shape, given.itemsize, inputs))
    elif out.shape != shape or out.dtype != given:
        raise Unlowered("an output of another form")
    tape.elementwise(ufunc, forms, out)
    return out


_WEAK = {int, float, bool}


def _as_form(tape: Tape, x: Any, dtype: Any) -> Form:
    if isinstance(x, Form):
        return x if x.dtype == dtype else x.astype(dtype)
    if isinstance(x, np.ndarray) and x.size > 1:
        raise Unlowered("an array of nobody")
    constant: Form = tape.constant(np.asarray(x, dtype))
    return constant


def laid(shape: Shape, itemsize: int, inputs: Sequence[Any]) -> Shape:
    """Return the strides that NumPy gives what it computes of these, number by number."""
    steps = [spread(f.shape, f.strides, shape) for f in inputs if isinstance(f, Form)]
    alone = [[0 if n == 1 else s for n, s in zip(shape, own, strict=True)] for own in steps]
    if any(s < 0 for own in alone for s in own):
        raise Unlowered("steps backwards")
    return in_order(shape, order_of(alone), itemsize)


def _product(tape: Tape, a: Any, b: Any, out: Form | None) -> Form:
    if not isinstance(a, Form) or not isinstance(b, Form) or not a.ndim or not b.ndim:
        raise Unlowered("a product with a number")
    if a.ndim < 2 or b.ndim < 2:
        if out is not None:
            raise Unlowered("an output of another form")
        left, right = (a if a.ndim > 1 else a[None]), (b if b.ndim > 1 else b[:, None])
        product = _product(tape, left, right, None)
        column = product if b.ndim > 1 else product[..., 0]
        return column if a.ndim > 1 else column[..., 0, :] if b.ndim > 1 else column[..., 0]
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
