"""What is computed again rather than kept: of large programs, what a pass over memory gives back.

The forward pass makes arrays that only the backward pass reads again, long after. Where what such
an array was made from lies in memory still, the call that made it is made a second time, with the
same bits, just before it is needed. Products are never repeated: they cost more than memory does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from distgrad.capture.calls import Buffer, Call
from distgrad.capture.schedule import makes

_LARGE = 1 << 18
_LONG = 4
"""Times its size that other calls make between two uses of an array: from then on it is large."""
_PRODUCTS = {"matmul", "multiply_matrices", "multiply_by_library", "multiply_in_parts", "attend"}


def repeated(stretches: Sequence[Sequence[Call]]) -> list[list[Call]]:
    """Return the calls of each stretch, with those that are made twice."""
    seen = [{o.buffer for call in calls for o in call.operands} for calls in stretches]
    homes = Counter(b for buffers in seen for b in buffers)
    return [_in_one([*calls], {b for b in homes if homes[b] > 1}) for calls in stretches]


def _in_one(calls: list[Call], elsewhere: set[Buffer]) -> list[Call]:
    uses = _uses(calls)
    made = [0, *accumulate(map(makes, calls))]
    again: dict[int, list[Call]] = defaultdict(list)  # before which call
    for b in uses:
        if not _planned(b) or b.size < _LARGE or b in elsewhere:
            continue
        gap = _gap(calls, uses[b], b, made)
        if gap is not None and _saves(calls, uses, b, gap):
            again[gap[1]].append(_second(calls, uses[b], gap, b))
            uses[b] = [i for i in uses[b] if i <= gap[0]]
    found: list[Call] = []
    for i, call in enumerate(calls):
        for second in again[i]:
            second.follows = found[-1]
            found.append(second)
        found.append(call)
    return found


def _planned(b: Buffer) -> bool:
    return b.source is None and not b.kept


def _uses(calls: Sequence[Call]) -> dict[Buffer, list[int]]:
    uses: dict[Buffer, list[int]] = {}
    for i, call in enumerate(calls):
        for b in {o.buffer: None for o in call.operands}:
            uses.setdefault(b, []).append(i)
    return uses


def _writers(calls: Sequence[Call], uses: Sequence[int], b: Buffer) -> list[int]:
    return [i for i in uses if any(o.written and o.buffer is b for o in calls[i].operands)]


def _gap(
    calls: Sequence[Call], mine: Sequence[int], b: Buffer, made: Sequence[int]
) -> tuple[int, int] | None:
    """Return the uses between which an array may be away; None where it has to stay."""
    first = calls[mine[0]]
    if _writers(calls, mine, b) != mine[:1] or first.name in _PRODUCTS:
        return None
    pairs = pairwise(mine[1:])  # it is read at least once before

    def between(gap: tuple[int, int]) -> int:
        return made[gap[1]] - made[gap[0] + 1]

    gap = max(pairs, key=between, default=None)
    return gap if gap is not None and between(gap) >= _LONG * b.size else None


def _saves(
    calls: Sequence[Call], uses: dict[Buffer, list[int]], b: Buffer, gap: tuple[int, int]
) -> bool:
    """Whether what it is made from is there still, or small, and has not changed."""
    kept = 0
    maker = uses[b][0]
    for o in calls[maker].operands:
        if o.written:
            continue
        theirs = uses[o.buffer]
        if o.buffer.shared is not None or max(_writers(calls, theirs, o.buffer), default=0) > maker:
            return False
        if _planned(o.buffer) and theirs[-1] < gap[1]:
            kept += o.buffer.size
    return 4 * kept < b.size


def _second(calls: list[Call], uses: Sequence[int], gap: tuple[int, int], b: Buffer) -> Call:
    """Return the call that makes ``b`` again; what reads it from then on reads another array."""
    maker = calls[uses[0]]
    others = {o.buffer: Buffer(o.buffer.size) for o in maker.operands if o.written}
    for i in [i for i in uses if i >= gap[1]]:
        calls[i] = _with(calls[i], {b: others[b]})
    return _with(maker, others)


def _with(call: Call, others: dict[Buffer, Buffer]) -> Call:
    operands = [replace(o, buffer=others.get(o.buffer, o.buffer)) for o in call.operands]
    return replace(call, operands=operands)
