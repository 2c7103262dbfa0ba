"""The lines of a backward pass: closures, sums, and gradients that reach their parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from distgrad.autograd.node import Joint
from distgrad.autograd.tensor import Tensor, output
from distgrad.autograd.types import Array, Shape
from distgrad.autograd.walk import as_tensor, unbroadcast
from distgrad.capture.lines import Line, Values
from distgrad.capture.tree import Tree
from distgrad.errors import CaptureError

_ndarray = np.ndarray


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


class PullInto(Line):
    """A closure that writes the first gradient of a parameter where it has to be."""

    kind = "grad"

    def __init__(self, name: str, closures: int, number: int, g: int, leaf: Tensor) -> None:
        super().__init__(name, (closures, g), (), number, leaf)
        self.number, self.leaf = number, leaf

    def runner(self) -> Callable[[Values], None]:
        """Return the function that runs it."""
        (closures, g), number, leaf, name = self.reads, self.number, self.leaf, self.name

        def run(v: Values) -> None:
            if leaf.grad is not None:
                raise unexpected(name, first=True)
            place = leaf._place
            if place is None:
                accumulate(leaf, v[closures][number](v[g]))
            else:
                memory = place.gradient
                v[closures][number](v[g], memory)
                leaf.grad = output(memory, None, 0)

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
                raise unexpected(name, first=first)
            accumulate(leaf, v[g])

        return run


def unexpected(name: str, *, first: bool) -> CaptureError:
    """Return the error of a gradient that is there, or is not, as when the step was recorded."""
    return CaptureError(
        f"{name} {'has a gradient already' if first else 'has no gradient'}, and had "
        f"{'none' if first else 'one'} here when the step was captured: gradients were set or "
        f"forgotten in another place. Call zero_grad() of the optimizer or the model inside the "
        f"step, or always outside"
    )


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
