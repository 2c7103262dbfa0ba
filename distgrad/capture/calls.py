"""Machine-level calls: which function, on what memory, and how the call is cut into strips.

A call works on units: elements, or rows. Its words may be numbers, the addresses of operands, of
words of its own, and counts of units; the rest of the lowering looks at nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.types import Array, Shape
from distgrad.capture.loops import Loop, loop
from distgrad.capture.strides import dense, merge, spread
from distgrad.kernels import part

Form: TypeAlias = Any
"""Of forms.py, which says what is called here."""
_FEW_ROWS = 256


class Unlowered(Exception):  # noqa: N818 (no error: the line stays one of Python)
    """What a line does has no machine-level form."""


@dataclass(eq=False)
class Buffer:
    """A stretch of memory: planned (its size alone is known), or an array that is there."""

    size: int
    source: Any = None
    """None where it is planned; an array that never moves; or a key of who finds it each time."""
    kept: bool = False
    """Whether it is read by others than machine-level calls."""
    shared: Any = None
    """What stands for all memory that this may be a part of; None where it is by itself."""


_IN_ROWS = {
    np.positive: "copy_rows",
    np.add: "add_in_rows",
    np.subtract: "subtract_in_rows",
    np.multiply: "multiply_in_rows",
    np.divide: "divide_in_rows",
}
"""Kernels for rows with gaps between them. NumPy's inner loop is called anew for each."""
OUTSIDE = object()
"""Stands for all memory that is not the program's: who knows what is a part of what."""


@dataclass(frozen=True)
class Operand:
    """Where a call reads or writes: ``step`` bytes on from one unit to the next."""

    buffer: Buffer
    offset: int
    step: int
    extent: int
    """The bytes from the first to behind the last."""
    written: bool = False


@dataclass(frozen=True)
class At:
    """A word that is the address of an operand."""

    operand: int


@dataclass(frozen=True)
class Own:
    """A word that is the address of a word of the same call."""

    word: int


@dataclass(frozen=True)
class Count:
    """A word that counts: so many for each unit."""

    each: int


@dataclass(eq=False)
class Call:
    """A call of machine code."""

    name: str
    function: int
    of_numpy: bool
    words: list[Any]
    operands: list[Operand]
    units: int = 1
    elements: int = 0
    """Of a unit; 0 where it cannot be cut."""
    one_by_one: bool = False
    """Whether each unit is a call of its own."""
    beside: Any = None
    """The line beside the tape that it belongs to: then it comes after all that were before it."""
    follows: Call | None = None
    """Before which it is not to be made, though it could be."""


class Tape:
    """The calls that a stretch of a program comes to, in order."""

    def __init__(self, form: Any, lowering: Callable[..., Any]) -> None:
        """``form`` makes arrays without values; ``lowering(op)`` says what a twin comes to."""
        self._form, self.lowering = form, lowering
        self.calls: list[Call] = []
        self.checks: list[Any] = []
        """What ``check`` was told."""
        self._constants: dict[Any, Buffer] = {}

    def new(self, shape: Shape, dtype: Any, strides: Shape | None = None) -> Form:
        """Return a new array."""
        return self._form(self, Buffer(math.prod(shape) * dtype.itemsize), shape, dtype, strides)

    def zeros(self, shape: Shape, dtype: Any) -> Form:
        """Return a new array of zeros."""
        new = self.new(shape, dtype)
        self.kernel("clear", new.reshape(new.size), units=(0,))
        return new

    def constant(self, array: Array) -> Form:
        """Return an array that never changes."""
        key = array.dtype, array.shape, array.tobytes()
        if key not in self._constants:
            kept = np.array(array, order="C")
            kept.flags.writeable = False
            self._constants[key] = Buffer(array.nbytes, kept)
        return self._form(self, self._constants[key], array.shape, array.dtype)

    def check(self, number: Form, function: Callable[..., None], *forms: Form) -> None:
        """Let ``function``, which says what is wrong, be called with the arrays ``forms``.

        That is if ``number``, one of int64, is not negative when the stretch has run.
        """
        number.buffer.kept = True  # nothing else may be written there meanwhile
        self.checks.append((number, function, forms))

    # -- ufuncs -----------------------------------------------------------------------------------

    def elementwise(self, ufunc: np.ufunc, forms: Sequence[Form], out: Form) -> None:
        """Write ``ufunc(*forms)`` to ``out``."""
        found = loop(ufunc, (*[f.dtype for f in forms], out.dtype))
        if found is None:
            raise Unlowered(f"np.{ufunc.__name__} of these dtypes")
        if not out.size:  # a row of 0 elements is told from none by nobody below
            raise Unlowered("nothing to do")
        shape, strides = _merged(out, forms)
        forms = [*forms, out]
        if len(shape) == 2 and self._by_rows(ufunc, forms, shape, strides):
            return
        self._loops(ufunc, found, forms, [f.offset for f in forms], shape, strides)

    def _loops(
        self,
        ufunc: np.ufunc,
        found: Loop,
        forms: Sequence[Form],
        offsets: Sequence[int],
        shape: Sequence[int],
        strides: Sequence[Sequence[int]],
    ) -> None:
        kernel = _IN_ROWS.get(ufunc)
        if kernel and 1 < len(shape) < 4 and self._in_rows(kernel, forms, offsets, shape, strides):
            return
        if len(shape) > 2:  # the shortest axis outside
            k = min(range(len(shape) - 1), key=lambda i: shape[i])
            if shape[k] > _FEW_ROWS:
                raise Unlowered("many axes")
            rest = [*shape[:k], *shape[k + 1 :]]
            inside = [[*s[:k], *s[k + 1 :]] for s in strides]
            for i in range(shape[k]):
                at = [o + i * s[k] for o, s in zip(offsets, strides, strict=True)]
                self._loops(ufunc, found, forms, at, rest, inside)
            return
        if len(shape) == 2 and shape[0] > shape[1]:  # the long one inside
            shape, strides = shape[::-1], [s[::-1] for s in strides]
        inner = shape[-1] if shape else 1
        steps = [s[-1] if shape else 0 for s in strides]
        rows = shape[0] if len(shape) == 2 else 0
        operands = []
        last = len(forms) - 1
        for i, (f, o, s) in enumerate(zip(forms, offsets, strides, strict=True)):
            operands.append(operand(f, o, s, shape, s[0] if rows else steps[i], i == last))
        count: Any = inner if rows else Count(1)
        words = [
            *(Own(4), Own(4 + len(forms)), Own(5 + len(forms)), found.data),
            *(At(i) for i in range(len(forms))),
            count,
            *steps,
        ]
        call = Call(ufunc.__name__, found.function, True, words, operands, rows or inner)
        call.one_by_one, call.elements = bool(rows), 0 if rows else 1
        self.calls.append(call)

    def _in_rows(
        self,
        kernel: str,
        forms: Sequence[Form],
        offsets: Sequence[int],
        shape: Sequence[int],
        strides: Sequence[Sequence[int]],
    ) -> bool:
        """Go by rows of elements that lie side by side in all arrays, two axes of rows at most."""
        item = forms[-1].itemsize
        if forms[-1].dtype.char not in "fd" or any(s[-1] != item or min(s) < 0 for s in strides):
            return False
        given = zip(forms, offsets, strides, strict=True)
        parts = [spanned(f, shape, s, at - f.offset) for f, at, s in given]
        lengths = [1, *shape][-3:]
        steps = [step // item for s in strides for step in [0, *s][-3:-1]]
        self.kernel(kernel, *parts, *lengths, *steps, out=len(parts) - 1)
        return True

    def _by_rows(
        self,
        ufunc: np.ufunc,
        forms: Sequence[Form],
        shape: Sequence[int],
        strides: Sequence[Sequence[int]],
    ) -> bool:
        """Write a row, or a column, combined with a matrix as one call."""
        rows, columns = shape
        out = forms[-1]
        item = out.itemsize
        whole, row, column = [columns * item, item], [0, item], [item, 0]
        seen = [list(s) for s in strides]

        def matrix(f: Form) -> Form:
            return f.seen_as(shape, whole)

        name = "add_row" if ufunc is np.add else "multiply_row" if ufunc is np.multiply else None
        if len(forms) == 3 and name is not None and out.dtype.char in "fd":
            if seen == [row, whole, whole]:
                forms, seen = [forms[1], forms[0], out], [whole, row, whole]
            if seen == [whole, row, whole]:
                line = forms[1].seen_as([columns], [item])
                self.kernel(name, matrix(forms[0]), line, matrix(out), units=(0, 2))
                return True
        if ufunc is np.positive and seen == [column, whole] and out.dtype.char in "fd":
            self.kernel(
                "spread_column", forms[0].seen_as([rows], [item]), matrix(out), units=(0, 1)
            )
            return True
        # A column is spread first: a call for each row would cost more.
        columnar = [s[1] == 0 and s[0] > 0 for s in seen[:2]]
        if len(forms) == 3 and any(columnar) and seen[2] == whole and rows > columns // 8:
            at = columnar.index(True)
            other = seen[1 - at]
            if other[1] != item or forms[at].dtype != out.dtype:
                return False
            line = forms[at].seen_as([rows], seen[at][:1])
            if seen[at] != column:
                self.elementwise(np.positive, [line], line := self.new((rows,), out.dtype))
            wide = self.new((rows, columns), out.dtype)
            self.kernel("spread_column", line, wide, units=(0, 1))
            pair = [wide if i == at else f.seen_as(shape, other) for i, f in enumerate(forms[:2])]
            self.elementwise(ufunc, pair, matrix(out))
            return True
        return False

    # -- products ---------------------------------------------------------------------------------

    def product(self, a: Form, b: Form, out: Form, batch: Shape) -> None:
        """Write the matrix products to ``out``."""
        found = loop(np.matmul, (a.dtype, b.dtype, out.dtype))
        if found is None:
            raise Unlowered("np.matmul of these dtypes")
        forms = [a, b, out]
        outer = [spread(f.shape[:-2], f.strides[:-2], batch) for f in forms]
        shape, outer = merge(batch, outer)
        self._products(found, forms, [f.offset for f in forms], shape, outer)

    def _products(
        self,
        found: Loop,
        forms: Sequence[Form],
        offsets: Sequence[int],
        shape: Sequence[int],
        outer: Sequence[Sequence[int]],
    ) -> None:
        if len(shape) > 1:
            if shape[0] > _FEW_ROWS:
                raise Unlowered("many axes")
            for i in range(shape[0]):
                at = [o + i * s[0] for o, s in zip(offsets, outer, strict=True)]
                self._products(found, forms, at, shape[1:], [s[1:] for s in outer])
            return
        a, b, out = forms
        # One at a time: NumPy's loop over several moves the addresses that it is given.
        count = shape[0] if shape else 1
        operands = [
            operand(f, o, [*s, *f.strides[-2:]], [*shape, *f.shape[-2:]], (*s, 0)[0], f is out)
            for f, o, s in zip(forms, offsets, outer, strict=True)
        ]
        words = [
            *(Own(4), Own(7), Own(11), found.data),
            *(At(0), At(1), At(2)),
            *(1, a.shape[-2], a.shape[-1], b.shape[-1]),
            *(0, 0, 0),
            *(*a.strides[-2:], *b.strides[-2:], *out.strides[-2:]),
        ]
        call = Call("matmul", found.function, True, words, operands, count)
        call.one_by_one = count > 1
        self.calls.append(call)

    # -- kernels ----------------------------------------------------------------------------------

    def kernel(
        self,
        kernel: Callable[..., Any] | str,
        *args: Any,
        writes: int = 1,
        units: Sequence[int] | None = None,
        out: int | tuple[int, ...] | None = None,
    ) -> None:
        """Call a kernel with dense Forms and numbers.

        The last ``writes`` are written, or those numbered ``out``; ``units`` says which of them are
        cut along their first axes, the others are read whole.
        """
        if out is None:
            out = tuple(range(len(args) - writes, len(args)))
        written = out if isinstance(out, tuple) else (out,)
        machine = _machine()
        function: Any = getattr(machine, kernel) if isinstance(kernel, str) else kernel
        kinds: list[Any] = []
        words: list[Any] = [0, 0]
        operands: list[Operand] = []
        floats: list[int] = []
        length, elements = 1, 0
        for i, x in enumerate(args):
            if not hasattr(x, "strides") or isinstance(x, np.generic):
                kind = machine.kind_of(np.asarray(x).dtype, None)
                kinds.append(kind)
                if machine.is_float(kind):
                    floats.append(_bits(x))
                else:
                    words.append(int(x))
                continue
            if not x.dense or not x.size:
                raise Unlowered("a kernel of what is not dense")
            kinds.append(machine.kind_of(x.dtype, x.ndim))
            cut = units is not None and i in units
            inner = math.prod(x.shape[1:])
            if cut:
                length, elements = x.shape[0], max(elements, inner)
            step = inner * x.itemsize if cut else 0
            operands.append(Operand(x.buffer, x.offset, step, x.size * x.itemsize, i in written))
            words += [
                *(0, 0, Count(inner) if cut else x.size, x.itemsize, At(len(operands) - 1)),
                *(Count(1) if cut else x.shape[0], *x.shape[1:]),
                *x.seen_as(x.shape, dense(x.shape, x.itemsize)).strides,
            ]
        room = machine.FEW if len(words) <= machine.FEW else machine.MANY
        if len(words) > room or len(floats) > machine.FLOATS:
            raise Unlowered("a kernel of more words than are handed over")
        address = machine.entry(function, kinds)
        # Two words of its own stand behind those it is handed: for a result and an error.
        words += [0] * (room - len(words)) + floats + [0] * (machine.FLOATS - len(floats)) + [0, 0]
        words[:2] = [Own(len(words) - 2), Own(len(words) - 1)]
        name = kernel if isinstance(kernel, str) else function.__name__
        self.calls.append(Call(name, address, False, words, operands, length, elements))


def _machine() -> Any:
    from distgrad.kernels import machine  # noqa: PLC0415 (numba is not imported before)

    return machine


def available() -> bool:
    """Whether calls can be made here: numba is there, and all lies where it is looked for."""
    from distgrad.capture.loops import readable  # noqa: PLC0415

    works = part("machine", "works")
    return works is not None and readable() and bool(works())


def _bits(x: Any) -> int:
    number = np.zeros(2, np.asarray(x).dtype) if np.asarray(x).dtype.itemsize == 4 else None
    if number is None:
        return int(np.asarray(x, np.float64).view(np.int64))
    number[0] = x
    return int(number.view(np.int64)[0])


def operand(
    f: Form,
    offset: int,
    strides: Sequence[int],
    shape: Sequence[int],
    step: int,
    written: bool,
) -> Operand:
    """Return where a call reads or writes elements with these strides. Errors: Unlowered."""
    if any(s < 0 for s in strides):
        raise Unlowered("steps backwards")
    extent = f.itemsize + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    return Operand(f.buffer, offset, step, extent, written)


def spanned(f: Form, shape: Sequence[int], strides: Sequence[int], at: int = 0) -> Form:
    """Return the memory from the first of these elements to the last, in a row."""
    length = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) // f.itemsize
    return f.seen_as([length], [f.itemsize], at)


def _merged(out: Form, forms: Sequence[Form]) -> tuple[list[int], list[list[int]]]:
    """Return as few axes as do, and the strides of the inputs and ``out`` along them."""
    strides = [spread(f.shape, f.strides, out.shape) for f in (*forms, out)]
    order = sorted(range(out.ndim), key=lambda i: -out.strides[i])
    turned = [[s[i] for i in order] for s in strides]
    return merge([out.shape[i] for i in order], turned)
