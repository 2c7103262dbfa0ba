"""The order of calls, which of them run strip by strip together, and where their memory lies.

Calls on as many elements each, one after the other, are a group: it is run for a few thousand
elements at a time, which stay in the processor's first cache, and what only the group itself reads
has no more memory than a strip. Any order that keeps who reads what gives the same bits.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

from distgrad.capture.calls import Buffer, Call, Operand

STRIP = 4096
"""Elements of a strip, about."""
_WHOLE = 256
"""Strips are a multiple: vectors are as full as without strips, and so have the same bits."""
_AHEAD, _LITTLE = 64, 8
"""How many calls before its turn one is made in a lean order, and one that makes what is large."""
_LARGE = 1 << 18
"""Bytes that are to lie in memory no longer than they need to."""
_ALIGN = 64


@dataclass(eq=False)
class Group:
    """Calls that are run together: one, or several on the same elements."""

    calls: list[Call] = field(default_factory=list)
    unit: int = 1
    """Elements that are not cut."""
    local: set[Buffer] = field(default_factory=set)
    """Buffers that are as long as a strip."""

    @property
    def elements(self) -> int:
        """How many elements a call works on."""
        first = self.calls[0]
        return first.units * first.elements

    @property
    def strip(self) -> int:
        """How many units are run at a time; 0 where all are."""
        if self.calls[0].one_by_one:
            return 1
        if not self.calls[0].elements:
            return 0
        step = _WHOLE // math.gcd(_WHOLE, self.unit)
        units = max(step, STRIP // self.unit // step * step)
        return units if units * self.unit < self.elements else 0


def live(stretches: Sequence[Sequence[Call]]) -> list[list[Call]]:
    """Return the calls whose results are read, in order."""
    read: set[Buffer] = set()
    found: list[list[Call]] = []
    for calls in reversed(stretches):
        kept: list[Call] = []
        for call in reversed(calls):
            written = [o.buffer for o in call.operands if o.written]
            if any(b in read or b.kept or b.source is not None for b in written):
                kept.append(call)
                read.update(o.buffer for o in call.operands if not o.written)
                # A sum reads what it writes.
                read.update(b for b in written)
        found.append(kept[::-1])
    return found[::-1]


def groups(calls: Sequence[Call], lean: bool = False) -> list[Group]:
    """Return the calls in an order in which those on the same elements stand together.

    In a ``lean`` one nothing is made long before its turn: it would lie in memory until then.
    """
    calls = _late(calls)
    before, after = _needs(calls)
    left = [len(b) for b in before]
    reach = [_LITTLE if makes(call) >= _LARGE else _AHEAD for call in calls]
    if not lean:
        reach = [len(calls)] * len(calls)
    ready = [i for i, n in enumerate(left) if not n]
    made: list[Group] = []

    def finish(i: int) -> None:
        for j in after[i]:
            left[j] -= 1
            if not left[j]:
                ready.append(j)

    while ready:
        ready.sort()
        turn = ready[0]
        near = [i for i in ready if i - turn <= reach[i]]
        alone = next((i for i in near if not _can_join(calls[i])), None)
        if alone is not None:
            ready.remove(alone)
            made.append(Group([calls[alone]]))
            finish(alone)
            continue
        sizes = defaultdict(list)
        for i in near:
            sizes[calls[i].units * calls[i].elements].append(i)
        chosen = max(sizes.values(), key=lambda found: (len(found), -found[0]))
        group, inside = Group(), set[int]()
        size = calls[chosen[0]].units * calls[chosen[0]].elements
        waiting = chosen
        while waiting:
            i = min(waiting)
            waiting.remove(i)
            if i in ready:
                ready.remove(i)
            if not _joined(group, calls[i]):
                ready.append(i)
                continue
            inside.add(i)
            finish(i)
            waiting = [
                j
                for j in ready
                if j - turn <= reach[j]
                and _can_join(calls[j])
                and calls[j].units * calls[j].elements == size
                and (calls[j].elements in (1, group.unit) or group.unit == 1)
                and all(aligned for k, aligned in before[j].items() if k in inside)
            ]
        made.append(group)
    return made


def _late(calls: Sequence[Call]) -> list[Call]:
    """Let calls that read nothing (zeros are written, say) stand before those that need them."""
    waiting: dict[object, list[Call]] = defaultdict(list)
    found: list[Call] = []

    def need(call: Call) -> None:
        for o in call.operands:
            for first in waiting.pop(o.buffer.shared or o.buffer, []):
                need(first)
        found.append(call)

    for call in calls:
        if len(call.operands) == 1 and call.operands[0].written:
            b = call.operands[0].buffer
            waiting[b.shared or b].append(call)
        else:
            need(call)
    for rest in [*waiting.values()]:
        found += rest
    return found


def makes(call: Call) -> int:
    """Return how many bytes of planned memory a call writes."""
    return sum(o.extent for o in call.operands if o.written and o.buffer.source is None)


def _can_join(call: Call) -> bool:
    return bool(call.elements) and not call.one_by_one


def _joined(group: Group, call: Call) -> bool:
    if group.unit > 1 and call.elements not in (1, group.unit):
        return False
    group.unit = max(group.unit, call.elements)
    group.calls.append(call)
    return True


def _needs(calls: Sequence[Call]) -> tuple[list[dict[int, bool]], list[list[int]]]:
    """Return which calls each one comes after, and whether they may be in one group."""
    seen: dict[object, list[tuple[int, Operand]]] = defaultdict(list)
    places: dict[Call | None, int] = {call: i for i, call in enumerate(calls)}
    before: list[dict[int, bool]] = []
    after: list[list[int]] = [[] for _ in calls]
    border = -1
    for i, call in enumerate(calls):
        mine: dict[int, bool] = {} if border < 0 else {border: False}
        if call.beside is not None:
            mine, border = dict.fromkeys(range(i), False), i
        for o in call.operands:
            shared = o.buffer.shared
            for j, other in seen[shared or o.buffer]:
                if not (o.written or other.written):
                    continue
                if other.buffer is o.buffer and not _overlap(o, other):
                    continue
                same = other.buffer is o.buffer and _aligned(call, o, calls[j], other)
                mine[j] = mine.get(j, True) and same
        if call.follows in places and places[call.follows] < i:
            mine.setdefault(places[call.follows], True)
        for o in call.operands:
            seen[o.buffer.shared or o.buffer].append((i, o))
        before.append(mine)
        for j in mine:
            after[j].append(i)
    return before, after


def _overlap(a: Operand, b: Operand) -> bool:
    return a.offset < b.offset + b.extent and b.offset < a.offset + a.extent


def _aligned(x: Call, a: Operand, y: Call, b: Operand) -> bool:
    """Whether the same elements lie in the same places."""
    return (a.offset, a.extent) == (
        b.offset,
        b.extent,
    ) and a.step * y.elements == b.step * x.elements != 0


def shorten(made: Sequence[Sequence[Group]]) -> None:
    """Find the buffers of which a strip is enough."""
    users: dict[Buffer, set[Group]] = defaultdict(set)
    for stretch in made:
        for group in stretch:
            for call in group.calls:
                for o in call.operands:
                    users[o.buffer].add(group)
    for stretch in made:
        for group in stretch:
            if group.strip and not group.calls[0].one_by_one:
                _shorten(group, users)


def _shorten(group: Group, users: dict[Buffer, set[Group]]) -> None:
    for call in group.calls:
        for o in call.operands:
            b = o.buffer
            if b.source is None and not b.kept and users[b] == {group}:
                whole = o.extent == b.size and o.step * call.units == b.size
                if whole and _first_written(group, b):
                    group.local.add(b)
    for call in group.calls:  # all must see it in the same places
        for o in call.operands:
            if o.buffer in group.local and o.step * call.units != o.buffer.size:
                group.local.discard(o.buffer)


def _first_written(group: Group, buffer: Buffer) -> bool:
    for call in group.calls:
        uses = [o for o in call.operands if o.buffer is buffer]
        if uses:
            return all(o.written for o in uses)
    return False


Span: TypeAlias = "tuple[int, int, int]"
"""The first call that a buffer has to be in memory for, the last one, and its size."""


def placed(made: Sequence[Sequence[Group]]) -> tuple[dict[Buffer, int], int]:
    """Return where in one stretch of memory each planned buffer lies, and how long that is."""
    return _packed((first, last, b, size) for b, (first, last, size) in spans(made).items())


def needed(made: Sequence[Sequence[Group]]) -> int:
    """Return the most bytes that are in use at a time: no plan of these calls takes less."""
    changes: dict[int, int] = defaultdict(int)
    for first, last, size in spans(made).values():
        changes[first] += size
        changes[last + 1] -= size
    return max(accumulate(changes[time] for time in sorted(changes)), default=0)


def spans(made: Sequence[Sequence[Group]]) -> dict[Buffer, Span]:
    """Return when each planned buffer is in use, and its size."""
    found: dict[Buffer, Span] = {}
    time = 0
    for stretch in made:
        for group in stretch:
            begin, end = time, time + len(group.calls)
            for call in group.calls:
                for o in call.operands:
                    b = o.buffer
                    if b.source is not None:
                        continue
                    local = b in group.local
                    first, last = (time, time) if local else (begin, end)
                    before = found.get(b, (first, last, 0))
                    size = _local_size(group, b) if local else b.size
                    found[b] = before[0], max(before[1], last), size
                time += 1
            time = end + 1
    return {b: (first, time if b.kept else last, n) for b, (first, last, n) in found.items()}


def _local_size(group: Group, buffer: Buffer) -> int:
    return buffer.size * group.strip * group.unit // group.elements


def _packed(wanted: Iterable[tuple[int, int, Buffer, int]]) -> tuple[dict[Buffer, int], int]:
    active: list[tuple[int, int, int]] = []  # offset, size, end
    places: dict[Buffer, int] = {}
    top = 0
    for begin, end, buffer, size in sorted(wanted, key=lambda x: (x[0], -x[3])):
        active = [x for x in active if x[2] >= begin]
        active.sort()
        room = -(-max(size, 1) // _ALIGN) * _ALIGN
        best, at = None, 0
        for offset, taken, _ in active:
            gap = offset - at
            if gap >= room and (best is None or gap < best[0]):
                best = gap, at
            at = max(at, offset + taken)
        place = at if best is None else best[1]
        active.append((place, room, end))
        places[buffer] = place
        top = max(top, place + room)
    return places, top
