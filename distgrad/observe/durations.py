"""How lengths of time are spelled, everywhere: what was measured, and what is left.

What was measured has three digits and its unit below a minute, and from a minute on the two
largest units, whole: 1.5 µs, 23.7 ms, 12.4 s, 3 min 20 s, 2 h 5 min, 3 d 4 h. What is left is a
guess, drawn again and again, and a value in a log without a blank in it: whole seconds, as on a
clock, 0:12, 1:23, 2:03:04, from two days on 3d4h. It is rounded first, then its unit is chosen:
59.96 s are 1 min 0 s.
"""

from __future__ import annotations

import math

_UNITS = ((1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"))
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_DAYS = 2 * _DAY  # from here on in days
_NAMES = {1: "s", _MINUTE: "min", _HOUR: "h"}


def spell_seconds(seconds: float) -> str:
    """Return a measured length of time, in s: 3.1 ms, 12.4 s, 3 min 20 s; NaN, infinity."""
    if not math.isfinite(seconds):
        return {"inf": "infinity", "-inf": "-infinity"}.get(str(seconds), "NaN")
    if seconds < 0:
        return f"-{spell_seconds(-seconds)}"
    if not seconds:
        return "0 s"
    for size, unit in _UNITS:
        rounded = float(f"{seconds / size:.3g}")
        if rounded < (1000 if size < 1 else _MINUTE):
            return f"{rounded:.3g} {unit}"
    for large, small, end in ((_MINUTE, 1, _HOUR), (_HOUR, _MINUTE, _DAYS)):
        count = round(seconds / small)  # of the smaller unit
        if count * small < end:
            more, rest = divmod(count, large // small)
            return f"{more} {_NAMES[large]} {rest} {_NAMES[small]}"
    days, hours = divmod(round(seconds / _HOUR), 24)
    return f"{days:,} d {hours} h"


def spell_left(seconds: float) -> str:
    """Return the time that is left, in s, as on a clock: 0:12, 1:23, 2:03:04, 3d4h; ? if none."""
    if not math.isfinite(seconds):
        return "?"
    whole = max(0, round(seconds))
    minutes, hours = whole // _MINUTE, whole // _HOUR
    if whole >= _DAYS:
        return f"{hours // 24}d{hours % 24}h"
    return f"{hours}:{minutes % 60:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
