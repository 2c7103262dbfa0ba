"""Notes what one rank does, as it does it: the part of a timeline that costs time in every step.

A note is a tuple with its kind first, the time as ``perf_counter`` gives it; what is made of them
is found out at the end (spans.py).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

from distgrad.autograd.mode import call_observer
from distgrad.autograd.node import next_number
from distgrad.tracing import tracer

# (ENTER | LEAVE, module, number of the next node, time): a module's forward pass.
# (BACK | BACK_END, module, time): the gradients of what it recorded there.
# (BEGIN, kind, name, time), (END, time): what says so itself.
# (WALK, token, time), (WALK_END, token, time): a backward pass.
# (SPAN, kind, name, begun, ended): what is told of when it is over.
# (FLIGHT, context, number, what, begun, ended): a collective.
# (PAUSE,): nothing was noted until here, whatever ended meanwhile.
ENTER, LEAVE, BACK, BACK_END, BEGIN, END, WALK, WALK_END, SPAN, FLIGHT, PAUSE = range(11)
Note: TypeAlias = "tuple[Any, ...]"

MOST = 200_000
"""Notes of a step; modules that are called after them are left out."""
_NOTE, _SHARE = 1e-6, 0.005  # seconds that a note costs, and the part of a step that all may
_LOOKED_AT = range(2, 5)  # steps from which it is found out how many can be noted
_LAYERLESS = {"evaluation", "checkpoint"}  # of which the whole is enough


class Step(NamedTuple):
    """What was noted from the end of the step before to the end of this one."""

    number: int
    begun: float
    ended: float
    notes: Sequence[Note]


class RankTracer:
    """The ``tracing.Tracer`` and observer of module calls of one rank.

    A step ends where an optimizer has moved parameters. The newest ``last`` steps are kept, or
    those of ``steps`` if that is given, numbered from 0. Only ``every`` so many-th step is noted;
    with None as many as cost little, which is every one unless steps are short.
    """

    records = False

    def __init__(self, last: int, steps: range | None, every: int | None = 1) -> None:
        self.wanted = steps
        self.every = every
        self.kept: deque[Step] = deque(maxlen=None if steps is not None else last)
        self.seen = 0
        """How many steps have ended."""
        self.left_out = 0
        """Calls of modules that came after so many notes that nothing was noted of them."""
        self._notes: list[Note] = []
        self._note = self._notes.append
        self._optimizers = 0  # whose steps have begun and are not over: one may step another
        self._quiet = 0  # how many of them have no layers
        self._flying: dict[tuple[str, int], tuple[str, float]] = {}
        self._begun = perf_counter()
        self._seen_before = 0  # steps, when the last captured step began
        self._shortest = math.inf  # step, of those that are looked at

    def start(self) -> None:
        """Begin the first step now."""
        self._begun = perf_counter()

    # -- modules, as autograd's ``call_observer`` ---------------------------------------------

    def entered(self, module: Any) -> None:
        """Note that a module's forward pass begins."""
        if self._quiet:
            return
        if len(self._notes) >= MOST:
            self.left_out += 1
            return
        self._note((ENTER, module, next_number(), perf_counter()))

    def left(self, module: Any) -> None:
        """Note that it is over."""
        if not self._quiet:
            self._note((LEAVE, module, next_number(), perf_counter()))

    # -- the rest, as ``tracing.tracer`` ------------------------------------------------------

    def begin(self, kind: str, name: str = "") -> None:
        """Note that something begins."""
        if kind == "optimizer":
            self._optimizers += 1
        elif kind == "captured step":
            self._seen_before = self.seen
        elif kind in _LAYERLESS:
            self._quiet += 1
        self._note((BEGIN, kind, name, perf_counter()))

    def end(self, kind: str) -> None:
        """Note that what began last is over."""
        self._note((END, perf_counter()))
        if kind == "optimizer":
            self._optimizers -= 1
            if not self._optimizers:
                self.end_step()
        elif kind in _LAYERLESS:
            self._quiet = max(0, self._quiet - 1)

    def was(self, kind: str, name: str, begun: float, ended: float) -> None:
        """Note something that is over."""
        self._note((SPAN, kind, name, begun, ended))

    def started(self, context: str, number: int, what: str) -> None:
        """Remember since when a collective is under way."""
        if (context, number) not in self._flying:
            self._flying[context, number] = what, perf_counter()

    def completed(self, context: str, number: int) -> None:
        """Note its flight."""
        found = self._flying.pop((context, number), None)
        if found is not None:  # it had begun before there was a timeline
            self._note((FLIGHT, context, number, *found, perf_counter()))

    def stepped(self) -> None:
        """End the step, unless the optimizer in the captured step has been heard of."""
        if self.seen == self._seen_before:
            self.end_step()

    def end_step(self) -> None:
        """End a step; perhaps rest for some."""
        now, number, notes = perf_counter(), self.seen, self._notes
        if self.wanted is None or number in self.wanted:
            self.kept.append(Step(number, self._begun, now, notes[:]))
        if self.every is None and number in _LOOKED_AT:
            self._look_at(number, now - self._begun)
        self.seen, self._begun = number + 1, now
        notes.clear()
        if self.every is not None and (steps := -(number + 1) % self.every):
            tracer.set(_Resting(self, steps))
            call_observer.set(None)

    def _look_at(self, number: int, seconds: float) -> None:
        """Find out how many steps can be noted; a power of two, which other ranks' steps share."""
        self._shortest = min(self._shortest, seconds)
        if number == _LOOKED_AT[-1]:
            self.every = 1
            while len(self._notes) * _NOTE > _SHARE * self._shortest * self.every:
                self.every *= 2

    def go_on(self, steps: int) -> None:
        """Note again, after so many steps of which nothing was noted."""
        self.seen += steps
        self._flying.clear()
        self._quiet = self._optimizers = 0
        self._begun = perf_counter()
        self._note((PAUSE,))
        tracer.set(self)
        call_observer.set(self)

    def stop(self) -> bool:
        """Count the steps to the end; return whether nothing is noted of the last one."""
        listener = tracer.get()
        if not isinstance(listener, _Resting):
            return False
        self.seen += listener.seen
        return True

    @property
    def rest(self) -> Step:
        """What was noted since the last step ended."""
        return Step(self.seen, self._begun, perf_counter(), self._notes)

    # -- backward ---------------------------------------------------------------------------------

    def walking(self, nodes: Iterable[Any]) -> Iterator[Any]:
        """Yield the nodes; note whose they are, by the numbers noted in the forward pass.

        Nodes come newest first, so that one leaves modules where the forward pass entered them.
        """
        note, marks, token = self._note, self._marks(), object()
        code, module, bound = next(marks)
        inside: list[Any] = []
        note((WALK, token, perf_counter()))
        try:
            for node in nodes:
                if node.sequence < bound:
                    now = perf_counter()
                    begun: list[Any] = []  # modules, of which no node has come yet
                    while node.sequence < bound:
                        if code == LEAVE:
                            begun.append(module)
                        elif begun:
                            begun.pop()
                        elif inside:
                            note((BACK_END, inside.pop(), now))
                        code, module, bound = next(marks)
                    for module_begun in begun:
                        note((BACK, module_begun, now))
                    inside += begun
                yield node
        finally:
            now = perf_counter()
            while inside:
                note((BACK_END, inside.pop(), now))
            note((WALK_END, token, now))

    def _marks(self) -> Iterator[tuple[int, Any, int]]:
        """Yield where modules were entered and left, newest first; at the end nothing, for ever.

        Two optimizers may share a forward pass, so those of the step before are looked at, too.
        """
        before = self.kept[-1].notes if self.kept else ()
        for notes in (self._notes, before):
            for code, *rest in reversed(notes):
                if code <= LEAVE:
                    yield code, rest[0], rest[1]
        while True:
            yield ENTER, None, -1


class _Resting:
    """Hears in a ``RankTracer``'s place of ``steps`` steps that are not noted, and counts them."""

    def __init__(self, notes: RankTracer, steps: int) -> None:
        self._notes, self._steps, self._left = notes, steps, steps
        self._optimizers = 0
        self._ended = False  # a step, in the captured one that is running

    def begin(self, kind: str, name: str = "") -> None:
        """Look for optimizers."""
        if kind == "optimizer":
            self._optimizers += 1
        elif kind == "captured step":
            self._ended = False

    def end(self, kind: str) -> None:
        """Count the step that an optimizer has ended."""
        if kind == "optimizer":
            self._optimizers -= 1
            if self._optimizers <= 0:
                self._end_step()

    def stepped(self) -> None:
        """Count the step that a captured one has ended."""
        if not self._ended:
            self._end_step()

    def _end_step(self) -> None:
        self._ended = True
        self._left -= 1
        if not self._left:
            self._notes.go_on(self._steps)

    def was(self, kind: str, name: str, begun: float, ended: float) -> None:
        """Not of interest."""

    def walking(self, nodes: Iterable[Any]) -> Iterator[Any]:
        """Return the nodes."""
        return iter(nodes)

    def started(self, context: str, number: int, what: str) -> None:
        """Not of interest."""

    def completed(self, context: str, number: int) -> None:
        """Not of interest."""

    @property
    def seen(self) -> int:
        """How many steps have ended since the last that was noted."""
        return self._steps - self._left


class OpTracer(RankTracer):
    """Notes every op as well, as one who watches them all (``autograd.mode.watching``)."""

    entire = False

    def __init__(self, last: int, steps: range | None, every: int | None = 1) -> None:
        super().__init__(last, steps, every)
        self._ops: list[tuple[Any, float]] = []  # that have begun

    def before_forward(self, op: Any) -> None:
        """Remember when an op begins."""
        self._ops.append((op, perf_counter()))

    def after_forward(
        self,
        op: Any,
        inputs: Sequence[Any],
        attributes: Mapping[str, Any],
        values: Sequence[Any],
        node: Any,
    ) -> None:
        """Note an op."""
        now = perf_counter()
        while self._ops:  # above it lie those that have raised
            begun_op, begun = self._ops.pop()
            if begun_op is op:
                self._note((SPAN, "op", op.name, begun, now))
                return

    def after_backward(self, *_: Any) -> None:
        """Of the way back ``walking`` tells."""

    def walking(self, nodes: Iterable[Any]) -> Iterator[Any]:
        """Yield the nodes; note also how long each takes."""
        for node in super().walking(nodes):
            begun = perf_counter()
            yield node
            self._note((SPAN, "op", f"{node.op.name} backward", begun, perf_counter()))
