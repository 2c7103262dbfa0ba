"""From a program's lines to stretches of machine-level calls, with lines of Python in between.

Each line is run once more on Forms, which have no values: what it comes to is a list of calls.
A line that meets what Forms do not know stays as it is; so does an op one of whose closures does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distgrad.autograd.engine import seed_of
from distgrad.autograd.node import Joint
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.autograd.walk import unbroadcast
from distgrad.capture.asked import Beside, Spot
from distgrad.capture.backward import seed
from distgrad.capture.beside import beside
from distgrad.capture.calls import OUTSIDE, Buffer, Tape, Unlowered
from distgrad.capture.clipping import NORMS
from distgrad.capture.forms import Form
from distgrad.capture.gradients import (
    Accumulate,
    Add,
    Cast,
    Fit,
    Pull,
    PullAll,
    PullInto,
    Seed,
)
from distgrad.capture.lines import Apply, Call, Constant, Line, Read, ReadGradient, View
from distgrad.capture.plain import plainly
from distgrad.capture.tree import Tree
from distgrad.capture.twins import BODIES, INDEXED, lowering
from distgrad.capture.varying import opens
from distgrad.capture.whole import Whole
from distgrad.errors import DistgradError

_SEEDS = (seed, getattr(seed_of, "__wrapped__", seed_of))
_STRANGE = (
    *(Unlowered, DistgradError, TypeError, ValueError, AttributeError, LookupError),
    NotImplementedError,
)
"""What a body raises that does with a Form what is for arrays alone."""


@dataclass(eq=False)
class Stretch:
    """Lines that are run as machine-level calls, one after the other."""

    calls: list[Any] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    first: list[tuple[Tensor, str, int]] = field(default_factory=list)
    """Leaves that get their first gradient, their names, and the line."""
    beside: list[Beside] = field(default_factory=list)
    checks: list[Any] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    """Numbers of values that are made here and asked for by lines of Python."""


class Lowered:
    """A program's lines as stretches and lines of Python, in order."""

    def __init__(self, lines: Sequence[Line], arguments: Sequence[Array], result: Tree) -> None:
        self.arguments, self.result = arguments, result
        self.lines = lines
        self._python: set[int] = set()
        """Lines that must stay as they are."""
        self._wanted_as_values = {*result.numbers}
        for line in lines:
            if not (isinstance(line, Call) and line.function in NORMS):
                self._wanted_as_values.update(line.reads)
        while not self._tried():
            pass

    def _tried(self) -> bool:
        self.tape = Tape(Form, lowering)
        self.forms: dict[int, Form] = {}
        self.outside: list[Form] = []
        """The values that are not made by calls."""
        self.closures: dict[int, tuple[int, Any]] = {}
        self.parts: list[int | Stretch] = []
        self._made: set[int] = set()  # values that are made by calls
        self._homes: dict[int, Stretch] = {}  # and where
        self.numbers: set[int] = set()
        """Values made by calls that are numbers of Python."""
        self._leaves: dict[int, Form] = {}  # gradients
        self._borrowed: dict[int, int] = {}  # values that are gradients, and by which line
        self._open: set[int] = set()  # values whose shapes depend on values, and their closures
        self._stretch: Stretch | None = None
        for number, array in enumerate(self.arguments):
            self.forms[number] = self._outside(number, array.shape, array.dtype, array.strides)
        for number, line in enumerate(self.lines):
            calls, checks = len(self.tape.calls), len(self.tape.checks)
            if number not in self._python:
                try:
                    self._lower(number, line)
                    continue
                except _STRANGE:
                    del self.tape.calls[calls:], self.tape.checks[checks:]
                self._python.add(number)
                borrowed = [self._borrowed[n] for n in line.reads if n in self._borrowed]
                if borrowed:  # they are wanted as values
                    self._python.update(borrowed)
                    return False
                if line.kind in {"back", "grad"} and line.reads:
                    source = self.closures.get(line.reads[0])
                    if source is not None:  # its closures are wanted as they are
                        self._python.add(source[0])
                        return False
            self._stays(number, line)
        self._close()
        wanted = [n for n in self.result.numbers if n in self._made]
        for n in wanted:
            self._show(n)
        return True

    # -- lines of Python --------------------------------------------------------------------------

    def _stays(self, number: int, line: Line) -> None:
        self._close()
        for n in line.reads:
            if n in self._made:
                self._show(n)
        self.parts.append(number)
        known = self._keeps_form(line)
        written = zip(line.writes, line.forms, strict=False)
        for to, form in written:
            self._made.discard(to)
            self.forms.pop(to, None)
            if known and form is not None and len(form) == 3:
                self.forms[to] = self._outside(to, *form)
            elif not known:
                self._open.add(to)
        if isinstance(line, Call) and not getattr(line.function, "keeps_gradients", False):
            self._leaves.clear()  # it may give them other gradients

    def _keeps_form(self, line: Line) -> bool:
        """Whether what the line writes has the shapes it had, whatever the values are."""
        settings = line.attributes.numbers if isinstance(line, Apply) else line.reads
        if isinstance(line, Apply | Call) and any(n not in self.forms for n in settings):
            return False  # a number may be the length of what is made
        masks = [n for n in settings if n in self.forms and self.forms[n].dtype == np.bool_]
        return not opens(line, self._open, masks)

    def _outside(self, key: Any, shape: Any, dtype: Any, strides: Any) -> Form:
        size = dtype.itemsize + sum((n - 1) * abs(s) for n, s in zip(shape, strides, strict=True))
        buffer = Buffer(size if 0 not in shape else 0, ("value", key))
        buffer.shared = OUTSIDE
        form = Form(self.tape, buffer, shape, dtype, strides)
        self.outside.append(form)
        return form

    def _show(self, number: int) -> None:
        """Let a value be seen by lines of Python, or returned: it has memory of its own each time.

        What such a line makes may be a view of it, and leave the step.
        """
        form = self.forms[number]
        buffer = form.buffer
        if buffer.source is not None and not (
            isinstance(buffer.source, np.ndarray) or buffer.source[0] in {"value", "fresh"}
        ):
            raise Unlowered(f"value {number} is a part of a gradient")
        buffer.kept = True
        if buffer.source is None:
            buffer.source = "fresh", id(buffer)
        for part in self.parts:
            if part is self._homes[number] and number not in part.shown:
                part.shown.append(number)

    def _close(self) -> None:
        if self._stretch is not None:
            self._stretch.calls = self.tape.calls[self._calls :]
            self._stretch.checks = self.tape.checks[self._checks :]
            self.parts.append(self._stretch)
            self._stretch = None

    # -- lines that come to calls -----------------------------------------------------------------

    def _lower(self, number: int, line: Line) -> None:
        if self._stretch is None:
            self._calls, self._checks = len(self.tape.calls), len(self.tape.checks)
            opened = Stretch()
        else:
            opened = self._stretch
        _LOWERED[type(line)](self, opened, number, line)
        opened.lines.append(number)
        self._stretch = opened

    def _homed(self, opened: Stretch, numbers: Sequence[int]) -> None:
        for n in numbers:
            self._made.add(n)
            self._homes[n] = opened

    def _read(self, opened: Stretch, number: int, line: Read) -> None:
        (to,) = line.writes
        array = line.leaf.array
        shape, dtype, strides = line.forms[0]  # type: ignore[misc]
        if (array.shape, array.dtype, array.strides) != (shape, dtype, strides):
            raise Unlowered("a leaf that has changed")
        self.forms[to] = self._outside(to, shape, dtype, strides)
        self.forms[to].buffer.shared = None
        opened.reads.append(line)

    def _read_gradient(self, opened: Stretch, number: int, line: ReadGradient) -> None:
        (to,) = line.writes
        total = self._leaves.get(id(line.leaf))
        if total is None or to in self._wanted_as_values:
            raise Unlowered("a gradient that may be anywhere")
        self.forms[to], self._borrowed[to] = total, number

    def _constant(self, opened: Stretch, number: int, line: Constant) -> None:
        (to,) = line.writes
        a = line.array
        self.forms[to] = self._outside(to, a.shape, a.dtype, a.strides)
        opened.constants.append(line)

    def _view(self, opened: Stretch, number: int, line: View) -> None:
        (of,), (to,) = line.reads, line.writes
        shape, dtype, offset, strides = line.form
        source = self.forms[of]
        if source.dtype != dtype:
            raise Unlowered("another dtype")
        self._write(opened, line, [to], [source.seen_as(shape, strides, offset)])

    def _apply(self, opened: Stretch, number: int, line: Apply) -> None:
        if isinstance(line.op, Whole) or (line.attributes.numbers and line.op not in INDEXED):
            raise Unlowered("settings that vary, or a user's function")
        inputs, settings = self._filled(line.inputs), self._filled(line.attributes)
        body = None if line.fused else BODIES.get(line.op)
        if body is not None:
            result = body(self.tape, *inputs, **settings)
        elif line.fused:
            twin = lowering(line.op)
            if twin is None:
                raise Unlowered("a twin that nothing is known of")
            result = twin(self.tape, *inputs, **settings)
        else:
            result = line.op.function(*inputs, **settings)
        value, closures = result
        *to, at = line.writes
        self._write(opened, line, to, value if isinstance(value, tuple) else (value,))
        self.closures[at] = number, closures

    def _pull(self, opened: Stretch, number: int, line: Pull) -> None:
        closure = self._closures(line)
        if line.number >= 0:
            closure = closure[line.number]
        self._write(opened, line, line.writes, [closure(*self._filled(line.gs))])

    def _pull_all(self, opened: Stretch, number: int, line: PullAll) -> None:
        joint = self._closures(line)
        if not isinstance(joint, Joint):
            raise Unlowered("closures of another kind")
        found = joint.function(line.wanted, *self._filled(line.gs))
        asked = [found[i] for i, wanted in enumerate(line.wanted) if wanted]
        self._write(opened, line, line.writes, asked)

    def _closures(self, line: Line) -> Any:
        found = self.closures.get(line.reads[0])
        if found is None:
            raise Unlowered("closures of a line of Python")
        return found[1]

    def _pull_into(self, opened: Stretch, number: int, line: PullInto) -> None:
        closure = self._closures(line)[line.number]
        out = self._first_gradient(line.leaf)
        closure(self.forms[line.reads[1]], out)
        opened.first.append((line.leaf, line.name, number))
        self._leaves[id(line.leaf)] = out

    def _accumulate(self, opened: Stretch, number: int, line: Accumulate) -> None:
        g, leaf = self.forms[line.reads[0]], line.leaf
        if line.first:
            out = self._first_gradient(leaf)
            if g.shape != out.shape or g.dtype != out.dtype:
                raise Unlowered("a gradient of another form")
            self.tape.elementwise(np.positive, [g], out)
            opened.first.append((leaf, line.name, number))
            self._leaves[id(leaf)] = out
            return
        total = self._leaves.get(id(leaf))
        if total is None:
            raise Unlowered("a gradient that may be anywhere")
        if total.shape != g.shape or total.dtype != g.dtype:
            raise Unlowered("a gradient of another form")
        self.tape.elementwise(np.add, [total, g], total)

    def _first_gradient(self, leaf: Tensor) -> Form:
        place = leaf._place
        if place is None:
            raise Unlowered("a gradient without a place")
        a = place.gradient
        if not a.flags.c_contiguous:
            raise Unlowered("a place that is not dense")
        buffer = Buffer(a.nbytes, ("place", leaf))
        buffer.shared = OUTSIDE
        return Form(self.tape, buffer, a.shape, a.dtype)

    def _seed(self, opened: Stretch, number: int, line: Seed) -> None:
        if line.reads:
            raise Unlowered("weights")
        one = self.tape.constant(np.full(line.shape, 1.0, line.dtype))
        self._write(opened, line, line.writes, [one])

    def _call(self, opened: Stretch, number: int, line: Call) -> None:
        made = plainly(self.tape, line, self.forms)
        if made is not None:
            self._write(opened, line, line.writes, [made])
            if line.forms[0] is None:
                self.numbers.update(line.writes)
            return
        if line.function not in _SEEDS:
            where = self.lines, self._leaves, self.forms, self.numbers
            opened.beside.append(beside(Spot(self.tape, number, line, *where)))
            return
        if line.result is None:  # the gradient that it was given
            return
        given, _ = line.args.value
        gradient, weights = given[1], given[2:]
        if gradient is not None or any(type(w) is not float for w in weights):
            raise Unlowered("a gradient of the user's")
        shape, dtype, _ = line.forms[0]  # type: ignore[misc]
        one = np.full(shape, math.prod(weights, start=1.0), dtype)
        self._write(opened, line, line.writes, [self.tape.constant(one)])

    def _fit(self, opened: Stretch, number: int, line: Fit) -> None:
        g: Any = self.forms[line.reads[0]]
        self._write(opened, line, line.writes, [unbroadcast(g, line.shape)])

    def _cast(self, opened: Stretch, number: int, line: Cast) -> None:
        if line.real:
            raise Unlowered("complex numbers")
        self._write(opened, line, line.writes, [self.forms[line.reads[0]].astype(line.dtype)])

    def _add(self, opened: Stretch, number: int, line: Add) -> None:
        a, b = [self.forms[n] for n in line.reads]
        out: Any = None
        if line.in_place:
            if a.buffer.source is not None or a.buffer.kept or a.shape != b.shape:
                raise Unlowered("a sum that others read")
            out = a
        self._write(opened, line, line.writes, [np.add(a, b, out=out)])

    def _filled(self, tree: Tree) -> Any:
        if any(n not in self.forms for n in tree.numbers):
            raise Unlowered("no array")
        values = _Lookup(self.forms)
        return tree.fill(values)  # type: ignore[arg-type]

    def _write(self, opened: Stretch, line: Line, to: Sequence[int], found: Sequence[Any]) -> None:
        for form, was in zip(found, line.forms, strict=False):
            if not isinstance(form, Form):
                raise Unlowered("no Form comes out")
            if was is not None and (form.shape, form.dtype) != was[:2]:
                raise Unlowered(f"{form.shape} {form.dtype} comes out, which was {was[:2]}")
            if was is not None and not _same_layout(form, was[2]):
                raise Unlowered(f"another layout comes out: {form.strides}, which was {was[2]}")
        for n, form in zip(to, found, strict=True):
            self.forms[n] = form
        self._homed(opened, to)


class _Lookup:
    def __init__(self, forms: dict[int, Form]) -> None:
        self._forms = forms

    def __getitem__(self, number: int) -> Form:
        return self._forms[number]


def _same_layout(form: Form, strides: Sequence[int]) -> bool:
    return not form.size or all(
        n == 1 or a == b for n, a, b in zip(form.shape, form.strides, strides, strict=True)
    )


_LOWERED: dict[type[Line], Callable[..., None]] = {
    Read: Lowered._read,
    ReadGradient: Lowered._read_gradient,
    Constant: Lowered._constant,
    View: Lowered._view,
    Apply: Lowered._apply,
    Pull: Lowered._pull,
    PullAll: Lowered._pull_all,
    PullInto: Lowered._pull_into,
    Accumulate: Lowered._accumulate,
    Seed: Lowered._seed,
    Fit: Lowered._fit,
    Call: Lowered._call,
    Cast: Lowered._cast,
    Add: Lowered._add,
}
