"""What a program is made of: one line for each thing a step does, run on the values by number.

A line reads values, runs, writes values. Nothing here knows how lines are found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.op import Op
from distgrad.autograd.tensor import Tensor, output
from distgrad.autograd.types import Array, Shape
from distgrad.autograd.walk import as_tensor, unbroadcast
from distgrad.capture.tree import Tree
from distgrad.errors import CaptureError

Values = list[Any]
_ndarray = np.ndarray


class Line:
    """One step of a program.

    ``reads`` and ``writes`` are the numbers of values; ``what`` tells lines of two recordings
    apart, beside the numbers.
    """

    kind = ""

    def __init__(self, name: str, reads: Sequence[int], writes: Sequence[int], *what: Any) -> None:
        self.name, self.what = name, what
        self.reads, self.writes = tuple(reads), tuple(writes)
        self.last: tuple[int, ...] = ()
        """The values that nobody reads afterwards."""
        self.seconds = 0.0
        """What it took when it was recorded."""
        self.forms: tuple[tuple[Shape, np.dtype[Any]] | None, ...] = ()
        """Shape and dtype of what it writes; None for what is no array."""

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        raise NotImplementedError


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


class Apply(Line):
    """An op: its own body or its fused twin, and the closures it returns."""

    kind = "op"

    def __init__(
        self, op: Op, fused: bool, inputs: Tree, attributes: Tree, to: Sequence[int], closures: int
    ) -> None:
        reads = [*inputs.numbers, *attributes.numbers]
        super().__init__(op.name, reads, [*to, closures], inputs, attributes, fused, len(to))
        self.op, self.fused, self.inputs, self.attributes = op, fused, inputs, attributes

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        function, body = self._function(), self.op.function
        *to, closures = self.writes
        if len(to) > 1:
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


class Seed(Line):
    """What a backward pass starts from: one, or the product of the weights listeners have named."""

    kind = "back"

    def __init__(self, weights: Sequence[int], shape: Shape, dtype: np.dtype[Any], to: int) -> None:
        super().__init__("seed", weights, (to,), shape, dtype)
        self.shape, self.dtype = shape, dtype

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        weights, (to,), shape, dtype = self.reads, self.writes, self.shape, self.dtype
        if not weights:
            one = np.full(shape, 1.0, dtype)
            one.flags.writeable = False  # it serves every call

            def start(v: Values) -> None:
                v[to] = one

            return start

        def run(v: Values) -> None:
            weight = 1.0
            for number in weights:
                weight *= v[number]
            v[to] = np.full(shape, weight, dtype)

        return run


class Pull(Line):
    """One closure of an op: from the gradients of its results to that of input ``number``."""

    kind = "back"

    def __init__(self, name: str, closures: int, number: int, gs: Tree, to: int) -> None:
        super().__init__(name, (closures, *gs.numbers), (to,), number, gs)
        self.number, self.gs = number, gs

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        closures, number, gs, (to,) = self.reads[0], self.number, self.gs, self.writes
        if number < 0:  # the only closure of an op of one input
            if gs.plain is not None and len(gs.plain) == 1:
                (g,) = gs.plain

                def only(v: Values) -> None:
                    v[to] = v[closures](v[g])

                return only

            def of_several(v: Values) -> None:
                v[to] = v[closures](*gs.fill(v))

            return of_several
        if gs.plain is not None and len(gs.plain) == 1:
            (g,) = gs.plain

            def one(v: Values) -> None:
                v[to] = v[closures][number](v[g])

            return one

        def run(v: Values) -> None:
            v[to] = v[closures][number](*gs.fill(v))

        return run


class PullAll(Line):
    """The closure for all inputs of an op whose gradients share their work."""

    kind = "back"

    def __init__(
        self, name: str, closures: int, wanted: tuple[bool, ...], gs: Tree, to: Sequence[int]
    ) -> None:
        super().__init__(name, (closures, *gs.numbers), to, wanted, gs)
        self.wanted, self.gs = wanted, gs

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        closures, wanted, gs = self.reads[0], self.wanted, self.gs
        places = [i for i, asked in enumerate(wanted) if asked]
        pairs = list(zip(self.writes, places, strict=True))

        def run(v: Values) -> None:
            joint: Joint = v[closures]
            found = joint.function(wanted, *gs.fill(v))
            for to, i in pairs:
                v[to] = found[i]

        return run


class Fit(Line):
    """Broadcasting undone: a gradient is summed to the shape of its input."""

    kind = "back"

    def __init__(self, g: int, shape: Shape, to: int) -> None:
        super().__init__("sum to shape", (g,), (to,), shape)
        self.shape = shape

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        (g,), (to,), shape = self.reads, self.writes, self.shape

        def run(v: Values) -> None:
            v[to] = unbroadcast(v[g], shape)

        return run


class Cast(Line):
    """A gradient takes the dtype of its input."""

    kind = "back"

    def __init__(self, g: int, dtype: np.dtype[Any], real: bool, to: int) -> None:
        super().__init__("as dtype", (g,), (to,), dtype, real)
        self.dtype, self.real = dtype, real

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        (g,), (to,), dtype, real = self.reads, self.writes, self.dtype, self.real

        def run(v: Values) -> None:
            v[to] = (np.real(v[g]) if real else v[g]).astype(dtype)

        return run


class Add(Line):
    """Two gradients of one value are added, in place where the first is a sum already."""

    kind = "back"

    def __init__(self, a: int, b: int, in_place: bool, to: int) -> None:
        super().__init__("add", (a, b), (to,), in_place)
        self.in_place = in_place

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        (a, b), (to,), in_place = self.reads, self.writes, self.in_place

        def run(v: Values) -> None:
            v[to] = np.add(v[a], v[b], out=v[a]) if in_place else np.asarray(np.add(v[a], v[b]))

        return run


class Accumulate(Line):
    """A gradient is added to ``grad`` of a parameter, or is its first."""

    kind = "grad"

    def __init__(self, name: str, g: int, leaf: Tensor, first: bool) -> None:
        super().__init__(name, (g,), (), leaf, first)
        self.leaf, self.first = leaf, first

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        (g,), leaf, first, name = self.reads, self.leaf, self.first, self.name

        def run(v: Values) -> None:
            if (leaf.grad is None) is not first:
                raise CaptureError(
                    f"{name} {'has' if first else 'has no'} gradient already, and had "
                    f"{'none' if first else 'one'} here when the step was captured: gradients were "
                    f"set or forgotten in another place. Call zero_grad() of the optimizer or the "
                    f"model inside the step, or always outside"
                )
            accumulate(leaf, v[g])

        return run


def accumulate(leaf: Tensor, g: Array) -> None:
    """Add ``g`` to the gradient of ``leaf`` as the engine does."""
    total, place = leaf.grad, leaf._place
    if total is not None and total._node is None and type(g) is _ndarray:
        np.add(total.array, g, total.array)
    elif total is None and place is not None:
        np.copyto(place.gradient, g)
        leaf.grad = output(place.gradient, None, 0)
    else:
        leaf.accumulate_(as_tensor(g))


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
