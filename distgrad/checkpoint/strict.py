"""JSON from files nobody vouches for: parsed within bounds, and nothing in it has two meanings.

Bounded in bytes, values, depth and digits, so that memory and time are, too. Duplicate keys and
NaN are refused. What the values must be is the caller's business.
"""

import json
import math
import reprlib
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from distgrad.errors import CheckpointError

MOST_BYTES = 1 << 23
MOST_VALUES = 200_000  # a value costs Python up to 250 bytes
MOST_LEVELS = 100  # of lists and objects in each other; Python's own stack ends near 1000
MOST_DIGITS = 4300  # Python's own limit, where it has one
_NUMBER = 400  # characters: a float's longest useful spelling has fewer
_TOO_DEEP = f"{{}} nests lists and objects more than {MOST_LEVELS} deep"

Hook = Callable[[dict[str, Any]], Any]


def check_bounds(raw: bytes, what: str) -> None:
    """Raise CheckpointError if ``raw`` is more JSON than ``parse`` takes."""
    values = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    if len(raw) > MOST_BYTES or values > MOST_VALUES:
        raise CheckpointError(
            f"{what} has {len(raw):,} bytes and up to {values:,} values; {MOST_BYTES:,} and "
            f"{MOST_VALUES:,} are the most: keep long lists in arrays, and fewer arrays"
        )


def parse(raw: bytes, what: str, hook: Hook = lambda found: found) -> Any:
    """Return the values in strict JSON; ``hook`` may replace each object, the innermost first.

    Raises CheckpointError, naming ``what``, for anything else.
    """
    check_bounds(raw, what)

    def whole(text: str) -> int:
        if len(text) > MOST_DIGITS:
            raise CheckpointError(f"{what} has an integer of {len(text)} digits")
        return int(text)

    def real(text: str) -> float:
        value = float(text) if len(text) <= _NUMBER else math.inf
        if not math.isfinite(value):
            raise CheckpointError(f"{what} has the number {shown(text)}, which no float holds")
        return value

    def constant(text: str) -> NoReturn:
        raise CheckpointError(f"{what} has {text}, which is not JSON")

    def pairs(found: list[tuple[str, Any]]) -> Any:
        table = dict(found)
        if len(table) != len(found):
            raise CheckpointError(f"{what} has a key twice among {shown(sorted(table))}")
        return hook(table)

    try:
        value = json.loads(
            raw.decode(),  # json's own guess would take UTF-16 and a byte order mark
            object_pairs_hook=pairs,
            parse_int=whole,
            parse_float=real,
            parse_constant=constant,
        )
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are such
        raise CheckpointError(f"{what} is not JSON: {error}") from error
    except RecursionError:
        raise CheckpointError(_TOO_DEEP.format(what)) from None
    check_depth(value, what)
    return value


def shown(value: object) -> str:
    """Return a short ``repr`` without characters that a terminal or a log could not take."""
    return _SHORT.repr(value).encode("ascii", "backslashreplace").decode()


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


def check_depth(value: object, what: str) -> None:
    """Raise CheckpointError if lists and objects in ``value`` nest deeper than ``parse`` takes."""
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return
    raise CheckpointError(_TOO_DEEP.format(what))


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
