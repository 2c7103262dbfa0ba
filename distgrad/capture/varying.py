"""Which lines of a program give arrays whose lengths depend on values."""

from __future__ import annotations

from collections.abc import Collection

from distgrad import ops
from distgrad.capture.lines import Apply, Call, Line
from distgrad.capture.whole import Whole


def opens(line: Line, varying: set[int], masks: Collection[int]) -> bool:
    """Whether what ``line`` writes has such lengths, or may have.

    ``varying`` are the values that have them already, ``masks`` those that hold booleans.
    """
    if not varying.isdisjoint(line.reads):
        return True
    if isinstance(line, Call):
        return line.result is not None and not getattr(line.function, "keeps_form", False)
    if not isinstance(line, Apply):
        return False
    if isinstance(line.op, Whole):
        return not line.op.keeps_form
    return line.op is ops.getitem and any(n in masks for n in line.attributes.numbers)
