"""What an argument may be: the vocabulary of annotations, in words and as a test.

``eps: NonNegative`` is a float to type checkers and readers, and "a number, 0 or more" to
``distgrad.arguments``, which compares what is given with what is annotated. What depends on several
arguments (groups that divide channels), or on an input, is checked where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Annotated, Any, NamedTuple, TypeAlias

import numpy as np


class Kind(NamedTuple):
    """What an argument is, in words, and whether a value is that."""

    words: str
    holds: Callable[[Any], bool]
    of: tuple[type, ...] = ()
    """The types of its values: another value of these is a wrong value, no wrong type."""


def whole(low: float = -math.inf, high: float = math.inf, *, quotients: bool = False) -> Kind:
    """A whole number from ``low`` to ``high``; with ``quotients`` it may be written 2.0."""

    def holds(value: Any) -> bool:
        if quotients and isinstance(value, float | np.floating):
            return value.is_integer() and bool(low <= value <= high)
        integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
        return integer and bool(low <= value <= high)

    # An infinity or a fraction is a wrong value of a quotient, a wrong type of a length.
    return Kind("a whole number" + _range(low, high, 1), holds, (Real if quotients else Integral,))


def number(
    low: float = -math.inf, high: float = math.inf, *, without: Sequence[float] = ()
) -> Kind:
    """A real number from ``low`` to ``high``, not NaN; ``without`` names ends that are excluded."""

    def holds(value: Any) -> bool:
        if isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iuf":
            value = value.item()
        return isinstance(value, Real) and low <= float(value) <= high and value not in without

    return Kind("a number" + _range(low, high, 0, without), holds, (Real,))


def _range(low: float, high: float, least: int, without: Sequence[float] = ()) -> str:
    """Return ", 0 or more" and the like; whole numbers from ``least`` = 1 on are above 0."""
    if high < math.inf:
        if without:
            ends = "[("[low in without], "])"[high in without]
            return f" in {ends[0]}{low:g}, {high:g}{ends[1]}"
        return f", {high:g} or less" if low == -math.inf else f", from {low:g} to {high:g}"
    if low == -math.inf:
        return ""
    above = 0 if low == 1 and least else low if low in without else None
    return f", {low:g} or more" if above is None else f" above {above:g}"


def one_or_several(kind: Kind, *, gaps: bool = False) -> Kind:
    """One of a kind, or several, one for each axis; with ``gaps`` some may be None."""

    def holds(value: Any) -> bool:
        if isinstance(value, tuple | list | np.ndarray):
            return len(value) > 0 and all(kind.holds(v) or (gaps and v is None) for v in value)
        return kind.holds(value) or (gaps and value is None)

    return Kind(f"{kind.words}, or one for each axis", holds, (*kind.of, tuple, list))


def sequence_of(kind: Kind, *, least: int = 1) -> Kind:
    """Several of a kind, ``least`` or more: "a sequence of whole numbers above 0"."""

    def holds(value: Any) -> bool:
        several = isinstance(value, tuple | list | np.ndarray) and len(value) >= least
        return several and all(kind.holds(v) for v in value)

    words = kind.words.removeprefix("a ").replace("number", "numbers")
    return Kind(f"a sequence of {words}", holds, (tuple, list))


def one_of(*choices: object) -> Kind:
    """One of a few words or numbers."""

    def holds(value: Any) -> bool:
        # Numbers and names from NumPy arrays too; True is not 1 here.
        return type(value) is not bool and isinstance(value, str | Real) and value in choices

    return Kind(joined([repr(c) for c in choices]), holds, tuple({type(c) for c in choices}))


def either(*kinds: Kind) -> Kind:
    """What one of ``kinds`` says."""
    words = list(dict.fromkeys(k.words for k in kinds))
    # None comes last, however it was written.
    words.sort(key=lambda w: w == "None")
    types = tuple(t for k in kinds for t in k.of)
    return Kind(joined(words), lambda v: any(k.holds(v) for k in kinds), types)


def joined(words: Sequence[str]) -> str:
    """Return "a, b or c", with a comma before "or" where one of them has commas of its own."""
    if len(words) == 1:
        return words[0]
    comma = "," if any("," in w for w in words) else ""
    return f"{', '.join(words[:-1])}{comma} or {words[-1]}"


def _is_array(value: Any) -> bool:
    try:
        # A Tensor's dtype, not its values, which a captured step may not read.
        dtype = value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype
        return np.dtype(dtype).kind in "fiubc"
    except (TypeError, ValueError):
        return False


def _is_switch(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or (isinstance(value, int) and value in {0, 1})


NONE = Kind("None", lambda v: v is None)
SWITCH = Kind("True or False", _is_switch)
FUNCTION = Kind("a function", callable)
ARRAY = Kind("a Tensor, an array or numbers", _is_array)

# Lengths, numbers of channels, axes: whole numbers as Python and NumPy have them.
Integer: TypeAlias = Annotated[int, whole()]
Count: TypeAlias = Annotated[int, whole(0)]
Size: TypeAlias = Annotated[int, whole(1)]
# One for all axes, or one for each.
Integers: TypeAlias = Annotated[int | Sequence[int], one_or_several(whole())]
Counts: TypeAlias = Annotated[int | Sequence[int], one_or_several(whole(0))]
Sizes: TypeAlias = Annotated[int | Sequence[int], one_or_several(whole(1))]
Lengths: TypeAlias = Annotated[
    int | Sequence[int | None], one_or_several(whole(0), gaps=True)
]  # None: as many as the input has
# How often or how long something is done: 1.0 is once, as such numbers are often quotients.
Times: TypeAlias = Annotated[int, whole(0, quotients=True)]
Steps: TypeAlias = Annotated[int, whole(1, quotients=True)]

NonNegative: TypeAlias = Annotated[float, number(0)]
Positive: TypeAlias = Annotated[float, number(0, without=[0])]
Fraction: TypeAlias = Annotated[float, number(0, 1)]
Decay: TypeAlias = Annotated[float, number(0, 1, without=[1])]
Probability: TypeAlias = Annotated[float, number(0, 1)._replace(words="a probability, from 0 to 1")]
AnyNumber: TypeAlias = Annotated[float, Kind("a number", lambda v: isinstance(v, Real))]
"""NaN too."""
TrueOrFalse: TypeAlias = Annotated[bool, Kind("True or False", lambda v: isinstance(v, bool))]
"""Not 0 or 1, which by position is most often something else."""
