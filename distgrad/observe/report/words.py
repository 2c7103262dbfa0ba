"""Numbers as the report's sentences and tables have them."""

from __future__ import annotations

import math
from datetime import datetime


def spell_number(value: float) -> str:
    """Return a measured number: 0.1234, 1.2e-05, 12,345."""
    if not math.isfinite(value):
        return {"inf": "infinity", "-inf": "-infinity"}.get(str(value), "NaN")
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e6):
        return f"{value:.2e}"
    return f"{value:,.0f}" if size >= 1e3 or value == int(value) else f"{value:.4g}"


def spell_bytes(count: float) -> str:
    """Return a size: 512 B, 3.4 KiB, 1.25 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:,.4g} TiB"


def spell_share(part: float) -> str:
    """Return a part of a whole: 12.3%."""
    return f"{part:.1%}"


def spell_moment(text: str) -> str:
    """Return an ISO 8601 moment without its fractions: 2024-05-01 12:34:56 UTC; else the text."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return text
    zone = " UTC" if moment.utcoffset() is not None and not moment.utcoffset() else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{zone or moment.strftime(' %z').rstrip()}"


def listed(names: list[str], most: int = 1000) -> str:
    """Return names as words: a, b and c; of more than ``most``: a, b and 5 more."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
