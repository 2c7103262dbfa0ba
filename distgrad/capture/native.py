"""A program whose lines are run as machine-level calls as far as they can be: no Python between.

One thread runs a program at a time; another that comes meanwhile is told so, and replays the lines
themselves. Planned memory belongs to the thread: what the program of one step leaves there the
next one overwrites.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from itertools import repeat
from operator import attrgetter, is_, itemgetter
from typing import Any

import numpy as np

from distgrad.autograd.tensor import output
from distgrad.autograd.types import Array
from distgrad.capture import again, schedule
from distgrad.capture.arena import arena
from distgrad.capture.asked import Beside
from distgrad.capture.assemble import Code
from distgrad.capture.calls import Buffer, Call, Unlowered, available
from distgrad.capture.forms import Form
from distgrad.capture.gradients import unexpected
from distgrad.capture.lines import Line, Values
from distgrad.capture.lower import Lowered, Stretch
from distgrad.capture.tree import Tree
from distgrad.capture.views import fills_fresh, seen_on
from distgrad.errors import CaptureError

_ndarray = np.ndarray
_gradient, _place = attrgetter("grad"), attrgetter("_place")
_usable = cache(available)
_ENOUGH = 16 << 20
"""Bytes of planned memory from which on time is spent to need less: below, memory is cheap."""


class Moved(Exception):  # noqa: N818 (no error: the lines themselves are replayed)
    """Something does not lie in memory as it did when the step was recorded."""

    def __init__(self, line: int) -> None:
        self.line = line
        """From which line on the lines themselves have to be run."""


def lowered(lines: Sequence[Line], arguments: Sequence[Array], result: Tree) -> Native | None:
    """Return the lines as machine-level calls; None where there is no numba, or nothing to gain."""
    if not _usable():
        return None
    try:
        made = Lowered(lines, arguments, result)
    except Unlowered:
        return None
    if not any(isinstance(part, Stretch) and part.calls for part in made.parts):
        return None
    return Native(made)


class Native:
    """The parts of a program in order: stretches of calls, and lines of Python."""

    def __init__(self, found: Lowered) -> None:
        stretches = [p for p in found.parts if isinstance(p, Stretch)]
        calls = schedule.live([p.calls for p in stretches])
        self.groups, places, self.size = _planned(calls)
        if self.size >= _ENOUGH:
            self.groups, places, self.size = _planned(again.repeated(calls), lean=True)
        self._code = Code(self.groups, places)
        self.stretches = stretches
        self.lines = sum(len(s.lines) for s in stretches)
        """How many lines are run so."""
        self.found = found
        self._lock = threading.Lock()
        self._memory: Array | None = None
        self._fresh: dict[Any, Array] = {}  # memory of what leaves the step, of the present call
        parts = [
            _Part(found, p, self._code, stretches.index(p), places, self._fresh)
            if isinstance(p, Stretch)
            else p
            for p in found.parts
        ]
        first = next(i for i, p in enumerate(parts) if isinstance(p, _Part))
        self._steps: list[tuple[Callable[..., None], tuple[int, ...]]] = []
        dying = _dying(found, parts)
        for i, p in enumerate(parts):
            if isinstance(p, _Part):
                p.is_first = i == first
                self._steps.append((p.run, dying[i]))
            else:
                self._steps.append((found.lines[p].runner(), dying[i]))
        self._native = [p for p in parts if isinstance(p, _Part)]
        later: set[Any] = set()
        for p in reversed(self._native):
            p.spent = [key for key in p.asked("fresh") if key not in later]
            later.update(p.spent)

    def run(self, values: Values) -> bool:
        """Go through the parts; return False, having done nothing, if another thread does so.

        Errors: Moved.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            of_thread = vars(arena)
            memory = of_thread["memory"]
            if memory is None or memory.size < self.size:
                memory = arena.taken(self.size)
            of_thread["memory"] = None  # a step that is run inside takes memory of its own
            try:
                self._settle(memory)
                for run, dying in self._steps:
                    run(values)
                    for number in dying:
                        values[number] = None
            finally:
                of_thread["memory"] = memory
        finally:
            self._fresh.clear()
            self._lock.release()
        return True

    def forget(self, memory: Array) -> None:
        """Hold this memory no longer."""
        if memory is self._memory:  # or another thread has given other memory
            self._memory = None
            for part in self._native:
                part.forget()

    def _settle(self, memory: Array) -> None:
        if memory is self._memory:
            return
        self._memory = memory
        arena.users.add(self)
        self._code.settle(memory.ctypes.data)
        for part in self._native:
            part.settle(memory)


def _planned(
    calls: Sequence[Sequence[Call]], lean: bool = False
) -> tuple[list[list[schedule.Group]], dict[Buffer, int], int]:
    made = [schedule.groups(c, lean) for c in calls]
    schedule.shorten(made)
    return made, *schedule.placed(made)


class _Part:
    """A stretch, ready to run."""

    is_first = False
    spent: Sequence[Any] = ()
    """What of ``fresh`` no later part asks for: its arrays live as long as their readers do."""

    def __init__(
        self,
        found: Lowered,
        stretch: Stretch,
        code: Code,
        number: int,
        places: dict[Any, int],
        fresh: dict[Any, Array],
    ) -> None:
        from distgrad.kernels import machine  # noqa: PLC0415 (numba)

        self._stretch, self._code, self._run, self._places = stretch, code, machine.run, places
        self.line, self._fresh = stretch.lines[0], fresh
        self._begin, self._end, self._moved, self._keys, slots = code.stretches[number]
        self._forms = {f.buffer.source: f for f in found.outside}
        reads = {line.writes[0]: line.leaf for line in stretch.reads}
        self._reads, self._arrays_of_leaves = [*reads.items()], _getter([*reads])
        self._constants = [(c.writes[0], c.array) for c in stretch.constants]
        values = [what for kind, what in self._keys if kind == "value"]
        self._values = _getter(values)
        self._leaves = [what for kind, what in self._keys if kind == "place"]
        self._pack = struct.Struct(f"={len(values) + len(self._leaves)}q").pack_into
        self._at = 8 * slots
        new = [key for key in self._keys if key[0] == "fresh"]
        self._new = [(key, slots + i) for i, key in enumerate(self._keys) if key in new]
        # The signature has the forms of arguments, and constants stay: others are looked at.
        known = {*range(len(found.arguments)), *reads, *(n for n, _ in self._constants)}
        self._varying = [n for n in values if n not in known]
        self._steady: list[Any] = [None] * (len(reads) + len(self._leaves))
        self._gradients: list[int] = []
        self._ids: list[int] = []
        self._shown = [(n, found.forms[n]) for n in stretch.shown]
        self._numbers_of_python = found.numbers
        self._whole = {f.buffer.source: f for _, f in self._shown if fills_fresh(f)}
        """Of fresh memory what is one array from end to end."""
        looked = set(map(id, reads.values())) & set(map(id, self._leaves))
        self._beside = [
            (b, looked.issuperset(map(id, b.leaves)), *code.beside[b]) for b in stretch.beside
        ]
        """With whether this stretch looks at all their leaves."""
        self._first = [leaf for leaf, _, _ in stretch.first]
        self._checks = [(self._place_of(f), check, forms) for f, check, forms in stretch.checks]
        self._memory: Array | None = None

    def asked(self, kind: str) -> list[Any]:
        """Return the keys of this kind of what is read or written."""
        forms = [f for _, f in self._shown] + [f for c in self._checks for f in c[2]]
        keys = [*self._keys, *(f.buffer.source for f in forms)]
        return [*dict.fromkeys(k for k in keys if type(k) is tuple and k[0] == kind)]

    def settle(self, memory: Array) -> None:
        """Note where planned memory is."""
        self._memory = memory
        self._numbers = memory[: memory.size // 8 * 8].data.cast("q")

    def forget(self) -> None:
        """Hold planned memory no longer."""
        self._memory = None
        del self._numbers

    def run(self, v: Values) -> None:
        """Do what the lines do."""
        steady = self._look(v)
        self._find(v)
        at, given = self._begin, 0
        called: list[Beside] = []
        for one, seen, begin, end in self._beside:
            ready = one.ready(steady and seen and one.was_ready)
            one.was_ready = ready
            if ready and called:
                called.append(one)
                continue
            # What may be wrong is looked at before anything is changed.
            self._call(at, begin)
            self._check(v)
            if ready:
                called, at = [one], begin
                continue
            given = self._give_gradients(given, one.number)
            for before in called:
                before.done(v)
            for n, form in one.reads:
                self._let_see(n, form, v)
            one.runner(v)
            called, at = [], end
        self._call(at, self._end)
        self._check(v)
        self._give_gradients(given, None)
        for before in called:
            before.done(v)
        for n, form in self._shown:
            self._let_see(n, form, v)
        for key in self.spent:
            del self._fresh[key]

    def _let_see(self, number: int, form: Form, v: Values) -> None:
        array = self._array(form, v)
        v[number] = array.item() if number in self._numbers_of_python else array

    def _call(self, begin: int, end: int) -> None:
        code = self._code
        if failed := self._run(code.w, begin, end, self._moved, code.base):
            raise CaptureError(
                f"a kernel of a captured step failed (word {failed}): is memory left?"
            )

    def _give_gradients(self, done: int, line: int | None) -> int:
        """Let leaves have what lines before ``line`` have computed; return how many have it."""
        for leaf, _, number in self._stretch.first[done:]:
            if line is not None and number > line:
                break
            place = leaf._place
            assert place is not None  # or it would have moved
            leaf.grad = output(place.gradient, None, 0)
            done += 1
        return done

    def _check(self, v: Values) -> None:
        for at, check, forms in self._checks:
            if self._numbers[at] >= 0:
                check(*[self._array(f, v) for f in forms])

    def _look(self, v: Values) -> bool:
        """See whether all is as it was when the step was recorded; return whether leaves stay.

        Errors: Moved, CaptureError.
        """
        for n, leaf in self._reads:
            v[n] = leaf.array
        for n, array in self._constants:
            v[n] = array
        if not all(map(is_, map(_gradient, self._first), repeat(None))):
            name = next(name for leaf, name, _ in self._stretch.first if leaf.grad is not None)
            raise unexpected(name, first=True)
        found = [*self._arrays_of_leaves(v), *map(_place, self._leaves)]
        steady = all(map(is_, found, self._steady))
        if not steady:
            self._look_again(v)
            self._steady = found
        for n in self._varying:
            self._refuse_other(n, v[n])
        return steady

    def _find(self, v: Values) -> None:
        """Let the calls find what may be in another place each time, by the objects' addresses."""
        words = self._code.w
        for key, word in self._new:
            if key not in self._fresh:
                form = self._whole.get(key)
                self._fresh[key] = (
                    np.empty(self._sizes[key], np.uint8)
                    if form is None
                    else np.empty(form.shape, form.dtype)
                )
            words[word] = id(self._fresh[key])
        ids = [*map(id, self._values(v))]
        if ids != self._ids:
            self._pack(words, self._at, *ids, *self._gradients)
            self._ids = ids

    def _look_again(self, v: Values) -> None:
        """See whether leaves and their gradients, which are elsewhere now, have their forms."""
        for n, _ in self._reads:
            self._refuse_other(n, v[n])
        self._gradients, self._ids = [], []
        for leaf in self._leaves:
            place = leaf._place
            if place is None or not place.gradient.flags.c_contiguous:
                self._has_moved("the place of a gradient")
            self._gradients.append(id(place.gradient))

    def _refuse_other(self, number: int, array: Any) -> None:
        form = self._forms.get(("value", number))
        if form is not None and (
            type(array) is not _ndarray
            or array.shape != form.shape
            or array.dtype != form.dtype
            or array.strides != form.strides
        ):
            self._has_moved(f"value {number}")

    def _has_moved(self, what: str) -> None:
        if self.is_first:
            raise Moved(self.line)
        raise CaptureError(
            f"{what} has another shape, dtype or memory layout than when the step was captured: "
            f"give it that before the step, or capture the step anew"
        )

    @cached_property
    def _sizes(self) -> dict[Any, int]:
        return {
            o.buffer.source: o.buffer.size
            for c in self._stretch.calls
            for o in c.operands
            if type(o.buffer.source) is tuple
        }

    def _place_of(self, number: Form) -> int:
        """Return which of the numbers in planned memory this one is."""
        assert number.buffer.source is None
        assert number.dtype == np.int64
        return (self._places[number.buffer] + number.offset) // 8

    def _array(self, form: Form, v: Values) -> Array:
        source, offset = form.buffer.source, form.offset
        memory: Any
        if source is None:
            memory, offset = self._memory, offset + self._places[form.buffer]
        elif isinstance(source, _ndarray):
            memory = source
        else:
            memory = v[source[1]] if source[0] == "value" else self._fresh[source]
            if (memory.shape, memory.strides) == (form.shape, form.strides) and (
                memory.dtype == form.dtype
            ):
                return memory  # type: ignore[no-any-return]
        return seen_on(memory, form, offset)


def _getter(numbers: Sequence[int]) -> Callable[[Values], tuple[Any, ...]]:
    """Return the function that picks the values with these numbers."""
    if len(numbers) < 2:
        return lambda v: tuple([v[n] for n in numbers])
    return itemgetter(*numbers)


def _dying(found: Lowered, parts: Sequence[Any]) -> list[tuple[int, ...]]:
    last: dict[int, int] = {}
    for i, p in enumerate(parts):
        if isinstance(p, _Part):
            used = {n for _, n in p.asked("value")}
            used |= {n for n, _ in (*p._reads, *p._shown)}
        else:
            used = {*found.lines[p].reads, *found.lines[p].writes}
        last.update(dict.fromkeys(used, i))
    for n in found.result.numbers:
        last.pop(n, None)
        form = found.forms.get(n)
        if form is not None and type(form.buffer.source) is tuple:
            last.pop(form.buffer.source[1], None)
    dying: list[list[int]] = [[] for _ in parts]
    for n, i in last.items():
        dying[i].append(n)
    return [tuple(d) for d in dying]
