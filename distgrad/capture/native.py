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
from typing import Any

import numpy as np

from distgrad.autograd.tensor import output
from distgrad.autograd.types import Array
from distgrad.capture import schedule
from distgrad.capture.assemble import Code
from distgrad.capture.calls import Unlowered, available
from distgrad.capture.forms import Form
from distgrad.capture.gradients import unexpected
from distgrad.capture.lines import Line, Values
from distgrad.capture.lower import Lowered, Stretch
from distgrad.capture.tree import Tree
from distgrad.errors import CaptureError

_ndarray = np.ndarray
_usable = cache(available)


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
        self.groups = [schedule.groups(c) for c in calls]
        schedule.shorten(self.groups)
        places, self.size = schedule.placed(self.groups)
        self._code = Code(self.groups, places)
        self.stretches = stretches
        self.lines = sum(len(s.lines) for s in stretches)
        """How many lines are run so."""
        self.found = found
        self._lock = threading.Lock()
        self._arena: Array | None = None
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

    def run(self, values: Values) -> bool:
        """Go through the parts; return False, having done nothing, if another thread does so.

        Errors: Moved.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            with _memory as arena:
                self._settle(arena.of(self.size))
                for run, dying in self._steps:
                    run(values)
                    for number in dying:
                        values[number] = None
        finally:
            self._fresh.clear()
            self._lock.release()
        return True

    def _settle(self, arena: Array) -> None:
        if arena is self._arena:
            return
        self._arena = arena
        self._code.settle(arena.ctypes.data)
        for part in self._native:
            part.settle(arena)


class _Memory(threading.local):
    """Planned memory of a thread; one that is asked for meanwhile is another."""

    def __init__(self) -> None:
        self._array = np.empty(0, np.uint8)
        self._depth = 0

    def __enter__(self) -> _Memory:
        self._depth += 1
        return self

    def __exit__(self, *raised: object) -> None:
        self._depth -= 1

    def of(self, size: int) -> Array:
        """Return at least ``size`` bytes, at the start of a cache line."""
        if self._depth > 1:
            return _aligned(size)
        if self._array.size < size or not self._array.size:
            self._array = _aligned(size)
        return self._array


def _aligned(size: int) -> Array:
    room = np.empty(size + 128, np.uint8)
    skip = -room.ctypes.data % 64
    return room[skip : skip + size + 64]


_memory = _Memory()


class _Part:
    """A stretch, ready to run."""

    is_first = False

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
        self._pack = struct.Struct(f"={len(self._keys)}q").pack_into
        self._at = 8 * slots
        self._forms = {f.buffer.source: f for f in found.outside}
        reads = {line.writes[0]: line.leaf for line in stretch.reads}
        self._reads = [*reads.items()]
        self._constants = [(c.writes[0], c.array) for c in stretch.constants]
        self._shown = [(n, found.forms[n]) for n in stretch.shown]
        self._checks = stretch.checks
        self._arena: Array | None = None
        self._last: dict[int, Array] = {}
        self._stable = set(reads)

    def numbers(self) -> set[int]:
        """Return the values that are read."""
        forms = [f for _, f in self._shown] + [f for c in self._checks for f in c[1:]]
        keys = [*self._keys, *(f.buffer.source for f in forms)]
        return {k[1] for k in keys if type(k) is tuple and k[0] == "value"}

    def settle(self, arena: Array) -> None:
        """Note where planned memory is."""
        self._arena = arena

    def run(self, v: Values) -> None:
        """Do what the lines do."""
        for n, leaf in self._reads:
            v[n] = leaf.array
        for n, array in self._constants:
            v[n] = array
        for leaf, name, none in self._stretch.begun:
            if (leaf.grad is None) is not none:
                raise unexpected(name, first=none)
        objects = [self._found(key, v) for key in self._keys]
        self._pack(self._code.w, self._at, *map(id, objects))
        code = self._code
        if failed := self._run(code.w, self._begin, self._end, self._moved, code.base):
            raise CaptureError(
                f"a kernel of a captured step failed (word {failed}): is memory left?"
            )
        for check, *forms in self._checks:
            check(*[self._array(f, v) for f in forms])
        for leaf in self._stretch.first:
            leaf.grad = output(leaf._place.gradient, None, 0)  # type: ignore[union-attr]
        for n, form in self._shown:
            v[n] = self._array(form, v)

    def _found(self, key: Any, v: Values) -> Array:
        kind, what = key
        if kind == "value":
            array = v[what]
            if self._last.get(what) is not array:
                form = self._forms[key]
                if (
                    type(array) is not _ndarray
                    or array.shape != form.shape
                    or array.dtype != form.dtype
                    or array.strides != form.strides
                ):
                    self._has_moved(f"value {what}")
                if what in self._stable:
                    self._last[what] = array
            return array  # type: ignore[no-any-return]
        if kind == "place":
            place = what._place
            if place is None or not place.gradient.flags.c_contiguous:
                self._has_moved("the place of a gradient")
            return place.gradient  # type: ignore[no-any-return]
        made = self._fresh.get(key)
        if made is None:
            made = self._fresh[key] = np.empty(self._sizes[key], np.uint8)
        return made

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

    def _array(self, form: Form, v: Values) -> Array:
        source, offset = form.buffer.source, form.offset
        memory: Any
        if source is None:
            memory, offset = self._arena, offset + self._places[form.buffer]
        elif isinstance(source, _ndarray):
            memory = source
        elif source[0] == "value":
            memory = v[source[1]]
            if memory.shape == form.shape and memory.strides == form.strides:
                return memory  # type: ignore[no-any-return]
        else:
            memory = self._fresh[source]
        if not memory.flags.c_contiguous:
            return np.asarray(_Seen(memory, form))
        return np.ndarray(form.shape, form.dtype, memory, offset, form.strides)


class _Seen:
    """A view of memory with gaps."""

    def __init__(self, memory: Array, form: Form) -> None:
        self.memory = memory  # which lives as long as the view
        self.__array_interface__ = {
            "version": 3,
            "data": (memory.ctypes.data + form.offset, not memory.flags.writeable),
            "typestr": form.dtype.str,
            "shape": form.shape,
            "strides": form.strides,
        }


def _dying(found: Lowered, parts: Sequence[Any]) -> list[tuple[int, ...]]:
    last: dict[int, int] = {}
    for i, p in enumerate(parts):
        if isinstance(p, _Part):
            used = p.numbers() | {n for n, _ in p._reads} | {n for n, _ in p._shown}
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
