"""What a program is made of: one line for each thing a step does, run on the values by number.

A line reads values, runs, writes values. Nothing here knows how lines are found.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.op import Op
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array, Shape
from distgrad.capture.tree import Tree
from distgrad.errors import CaptureError

Values = list[Any]
_ndarray = np.ndarray


class Line(ABC):
    """One step of a program.

    ``reads`` and ``writes`` are the numbers of values; ``what`` tells lines of two recordings
    apart, beside the numbers.
    """

    kind = ""

    def __init__(self, name: str, reads: Sequence[int], writes: Sequence[int], *what: Any) -> None:
        self.name, self.what = name, what
        self.reads, self.writes = tuple(reads), tuple(writes)
        self.seconds = 0.0
        """What it took when it was recorded."""
        self.forms: tuple[tuple[Shape, np.dtype[Any], Shape] | None, ...] = ()
        """Shape, dtype and strides of what it writes; None for what is no array."""

    @abstractmethod
    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""


class Read(Line):
    """The array of a parameter or buffer, as it is when the step comes to it."""

    kind = "read"

    def __init__(self, name: str, leaf: Tensor, to: int) -> None:
        super().__init__(name, (), (to,), leaf)
        self.leaf = leaf

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        leaf, (to,) = self.leaf, self.writes

        def run(v: Values) -> None:
            v[to] = leaf.array

        return run


class ReadGradient(Read):
    """The array of a leaf's gradient."""

    kind = "read"

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        leaf, (to,) = self.leaf, self.writes

        def run(v: Values) -> None:
            v[to] = leaf.grad.array  # type: ignore[union-attr]

        return run


class ReadPart(ReadGradient):
    """A leaf's gradient itself, of which this rank has a part: a Tensor that cannot be read."""

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        leaf, (to,) = self.leaf, self.writes

        def run(v: Values) -> None:
            v[to] = leaf.grad

        return run


class Constant(Line):
    """An array that depends on shapes and settings alone."""

    kind = "const"

    def __init__(self, array: Array, to: int) -> None:
        super().__init__("constant", (), (to,), array)
        self.array = array

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        array, (to,) = self.array, self.writes

        def run(v: Values) -> None:
            v[to] = array

        return run


class View(Line):
    """A part of an argument that was taken with NumPy's slices."""

    kind = "view"

    def __init__(self, of: int, array: Array, offset: int, to: int) -> None:
        super().__init__("view", (of,), (to,), array.shape, array.dtype, array.strides, offset)
        self.form = array.shape, array.dtype, offset, array.strides

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        (of,), (to,) = self.reads, self.writes
        shape, dtype, offset, strides = self.form

        def run(v: Values) -> None:
            v[to] = np.ndarray(shape, dtype, v[of], offset, strides)

        return run


class Measured(Line):
    """Some lengths of a value, which depend on values, and were read as Python's numbers."""

    kind = "size"

    def __init__(self, of: int, lengths: dict[int, int], where: str) -> None:
        super().__init__("lengths", (of,), (), tuple(lengths.items()))
        self.lengths, self.where = lengths, where

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        (of,), lengths, where = self.reads, self.lengths, self.where

        def run(v: Values) -> None:
            shape = v[of].shape
            for axis, length in lengths.items():
                if shape[axis] != length:
                    raise CaptureError(
                        f"{where}: a length was read as a number, which was {length} when the step "
                        f"was captured and would be {shape[axis]} now: how many a mask or index "
                        f"picks depends on values. Use what needs no number (x.mean(), "
                        f"mask.sum(), dg.where), or leave this step uncaptured"
                    )

        return run


class Apply(Line):
    """An op: its own body or its fused twin, and the closures it returns."""

    kind = "op"

    def __init__(
        self,
        op: Op,
        fused: bool,
        inputs: Tree,
        attributes: Tree,
        to: Sequence[int] | int,
        closures: int,
    ) -> None:
        reads = [*inputs.numbers, *attributes.numbers]
        self.several = not isinstance(to, int)
        """Whether it returns a tuple of values, be it of one."""
        writes = [to] if isinstance(to, int) else [*to]
        writes.append(closures)
        super().__init__(
            op.name, reads, writes, inputs, attributes, fused, len(writes), self.several
        )
        self.op, self.fused, self.inputs, self.attributes = op, fused, inputs, attributes

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        function, body = self._function(), self.op.function
        *to, closures = self.writes
        if self.several:
            return self._of_several(function, to, closures)
        (at,) = to
        given: dict[str, Any] = {} if self.attributes.numbers else self.attributes.value
        plain = None if self.attributes.numbers else self.inputs.plain
        if plain is not None and len(plain) == 1:
            (a,) = plain

            def of_one(v: Values) -> None:
                result = function(v[a], **given)
                # A twin may decline what has another form than when it was recorded.
                value, v[closures] = body(v[a], **given) if result is None else result
                v[at] = value if type(value) is _ndarray else np.asarray(value)

            return of_one
        if plain is not None and len(plain) == 2:
            a, b = plain

            def of_two(v: Values) -> None:
                result = function(v[a], v[b], **given)
                value, v[closures] = body(v[a], v[b], **given) if result is None else result
                v[at] = value if type(value) is _ndarray else np.asarray(value)

            return of_two
        if plain is not None and len(plain) == 3:
            a, b, c = plain

            def of_three(v: Values) -> None:
                result = function(v[a], v[b], v[c], **given)
                value, v[closures] = body(v[a], v[b], v[c], **given) if result is None else result
                v[at] = value if type(value) is _ndarray else np.asarray(value)

            return of_three
        inputs, attributes = self.inputs, self.attributes

        def run(v: Values) -> None:
            arrays, settings = inputs.fill(v), attributes.fill(v)
            result = function(*arrays, **settings)
            value, v[closures] = body(*arrays, **settings) if result is None else result
            v[at] = value if type(value) is _ndarray else np.asarray(value)

        return run

    def _function(self) -> Callable[..., Any]:
        function: Any = self.op.fused if self.fused else self.op.function
        return function  # type: ignore[no-any-return]

    def _of_several(
        self, function: Any, to: Sequence[int], closures: int
    ) -> Callable[[Values], None]:
        inputs, attributes, body = self.inputs, self.attributes, self.op.function

        def run(v: Values) -> None:
            arrays, settings = inputs.fill(v), attributes.fill(v)
            result = function(*arrays, **settings)
            values, v[closures] = body(*arrays, **settings) if result is None else result
            for at, value in zip(to, values, strict=True):
                v[at] = value if type(value) is _ndarray else np.asarray(value)

        return run


class Call(Line):
    """Something that is done beside the tape: a function that was declared ``apart``."""

    kind = "call"

    def __init__(
        self, name: str, function: Callable[..., Any], args: Tree, result: Tree | None
    ) -> None:
        writes = () if result is None else result.numbers
        super().__init__(name, args.numbers, writes, function, args, result)
        self.function, self.args, self.result = function, args, result

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        function, args, result = self.function, self.args, self.result
        if result is None and not args.numbers:
            given, settings = args.value

            def plainly(v: Values) -> None:
                function(*given, **settings)

            return plainly
        if result is None:

            def silently(v: Values) -> None:
                given, settings = args.fill(v)
                function(*given, **settings)

            return silently

        def run(v: Values) -> None:
            given, settings = args.fill(v)
            result.take(function(*given, **settings), v)

        return run
