"""What a communication hook gets: one bucket's gradients of this rank, and ways to send them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from inspect import GEN_CREATED, getgeneratorstate
from typing import Any, TypeVar

import numpy as np

from distgrad.autograd.layout import FlatLayout
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.comm import Part
from distgrad.comm.algorithms import ring, tree
from distgrad.comm.group import Group
from distgrad.comm.message import Request, Steps
from distgrad.comm.quick import add_up
from distgrad.errors import CommError
from distgrad.parallel.exchange import Exchange
from distgrad.parallel.future import Pending
from distgrad.parallel.hooks.coded import Code, coded_sum

Made = TypeVar("Made", bound=Generator[Any, None, Any])


class GradBucket:
    """A bucket of gradients on its way, with the methods of PyTorch's ``dist.GradBucket``.

    ``buffer()`` is this rank's part of the global batch's gradient: its shards' gradients, each
    with its share of the samples, added up. So the **sum** over the ranks is what the hook has to
    leave there; there is nothing to divide by. Arrays are NumPy's. The steps of a hook that is a
    generator communicate with ``yield from bucket.all_reduce(array)`` and ``all_gather``.
    """

    def __init__(
        self,
        number: int,
        count: int,
        names: Sequence[str],
        params: Sequence[Tensor],
        layout: FlatLayout,
        exchange: Exchange,
        parts: Sequence[Part],
        out: Array,
        may_be_left_out: bool,
    ) -> None:
        self.names = list(names)
        """Names of the parameters."""
        self.name = f"bucket {number} ({' … '.join(dict.fromkeys((names[0], names[-1])))})"
        """What it is called in messages."""
        self.may_be_left_out = may_be_left_out
        """Whether ``if_left_out`` can be called back (``nonfinite="skip"``)."""
        self.code: Code | None = None
        """The form in which ``all_reduce`` and ``all_gather`` send numbers; None: as they are."""
        self.whole: Pending | None = None  # the sum with everything, if the hook has started it
        self.group: Group | None = None  # of the hook's steps, once they run
        self.undo: list[Callable[[], None]] = []
        self._number, self._count, self._params = number, count, list(params)
        self._exchange, self._parts, self._out = exchange, parts, out
        self._layout = layout
        self._buffer: Array | None = None
        self._replaced = False
        self._steps: list[tuple[str, Generator[Any, None, Any]]] = []  # that the hook has made

    # -- PyTorch's ------------------------------------------------------------------------------

    def index(self) -> int:
        """Return its number; buckets start in this order, the last layer's parameters first."""
        return self._number

    def is_last(self) -> bool:
        """Return whether it is the last one of the batch."""
        return self._number == self._count - 1

    def buffer(self) -> Array:
        """Return the flat array of gradients, in which the hook leaves their sum."""
        if self.whole is not None:
            raise CommError("bucket.buffer() after bucket.start_sum(): it is being summed")
        if self._buffer is None:
            self._buffer = self._out[: self._layout.size]
            add_up([array[: self._layout.size] for _, _, array in self._parts], self._buffer)
        return self._buffer

    def set_buffer(self, array: Array) -> None:
        """Let ``buffer()`` be another array, of any dtype; the gradients are what is in it."""
        self.buffer()
        self._buffer, self._replaced = np.asarray(array).reshape(-1), True

    def gradients(self) -> list[Array]:
        """Return the parameters' gradients, in their shapes: views of ``buffer()``."""
        return [slot.view(self.buffer()) for slot in self._layout.slots]

    def parameters(self) -> list[Tensor]:
        """Return the parameters."""
        return list(self._params)

    def write(self, found: Array, hook: str) -> None:
        """Put what the hook found in the gradients' place. Errors: CommError if it does not fit."""
        out = self._out[: self._layout.size]
        if found.size != out.size or not np.can_cast(found.dtype, out.dtype, "same_kind"):
            raise CommError(
                f"the hook {hook} left {found.dtype} x {found.size} for {self.name} of {out.dtype} "
                f"x {out.size}; it returns the sum of all ranks' gradients, in their order"
            )
        if found is not self._buffer or self._replaced:
            out[...] = found.reshape(-1)

    def check_all_run(self, hook: str) -> None:
        """Raise CommError if the hook has made steps of which none was taken: nothing was sent."""
        for verb, steps in self._steps:
            if getgeneratorstate(steps) == GEN_CREATED:
                raise CommError(
                    f"the hook {hook} calls bucket.{verb}(…) for {self.name} and does not run its "
                    f"steps: write `yield from bucket.{verb}(…)`, or return them"
                )

    # -- ranks ----------------------------------------------------------------------------------

    @property
    def rank(self) -> int:
        """This rank's number."""
        return self._exchange.comm.rank

    @property
    def size(self) -> int:
        """The number of ranks."""
        return self._exchange.comm.size

    def start_sum(self) -> Pending:
        """Start the sum as it is without a hook, with its bits; return it for the hook to return.

        It takes the place of ``buffer()``, which must not be called before or after.
        """
        if self._buffer is not None:
            raise CommError("bucket.start_sum() after bucket.buffer(): use bucket.all_reduce")
        self.whole = self._exchange.start(self._parts, self._out, self.name)
        return self.whole

    def start_flags(self) -> Pending:
        """Start the sum of what says who used which parameter: exact, whatever the hook does."""
        end = self._layout.size
        parts = [(level, index, array[end:]) for level, index, array in self._parts]
        return self._exchange.start(parts, self._out[end:], f"flags of {self.name}")

    def all_reduce(self, array: Array) -> Steps:
        """Steps that replace a flat array by its sum over all ranks; the same bits on each."""
        return self._made("all_reduce", self._all_reduce(array))

    def _all_reduce(self, array: Array) -> Steps:
        if self.code is not None and array.dtype.kind == "f":
            yield from coded_sum(self._running(), array, self.code)
        else:
            yield from tree.all_reduce(self._running(), array)

    def sum_coded(self, code: Code, error: Array | None = None) -> Steps:
        """Steps that sum ``buffer()`` in the form ``code``; ``error`` gets what this rank lost."""
        return self._made("sum_coded", self._sum_coded(code, error))

    def _sum_coded(self, code: Code, error: Array | None) -> Steps:
        yield from coded_sum(self._running(), self.buffer(), code, error)

    def all_gather(self, array: Array) -> Generator[Sequence[Request], None, list[Array]]:
        """Steps that return every rank's flat array, in rank order; all are of one length."""
        return self._made("all_gather", self._all_gather(array))

    def _all_gather(self, array: Array) -> Generator[Sequence[Request], None, list[Array]]:
        group, code = self._running(), self.code
        if code is not None and array.dtype.kind == "f":
            sent = np.empty(code.nbytes(array.size), np.uint8)
            code.encode(array, sent)
        else:
            sent, code = array, None
        n = sent.size
        everyone = np.empty(n * group.size, sent.dtype)
        everyone[n * group.rank : n * (group.rank + 1)] = sent
        slices = [slice(n * r, n * (r + 1)) for r in range(group.size)]
        yield from ring.all_gather(group, everyone, slices)
        if code is None:
            return [everyone[s] for s in slices]
        found = [np.empty_like(array) for _ in slices]
        for s, values in zip(slices, found, strict=True):
            code.decode(everyone[s], values)
        return found

    def if_left_out(self, undo: Callable[[], None]) -> None:
        """Call ``undo()`` if the batch turns out not to be finite and is left out on all ranks."""
        if self.may_be_left_out:
            self.undo.append(undo)

    def _made(self, verb: str, steps: Made) -> Made:
        self._steps.append((verb, steps))
        return steps

    def _running(self) -> Group:
        if self.group is None:
            raise CommError(
                "bucket.all_reduce and all_gather are steps of a hook: write "
                "`yield from bucket.all_reduce(array)` in it, or return them"
            )
        return self.group
