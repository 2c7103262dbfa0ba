"""Names in files of others: prefixes that come and go, names that have changed since."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def renamed_(state: dict[str, Any], prefix: str, rename: Callable[[str], str | None]) -> None:
    """Give what stands under ``prefix`` the name that ``rename`` returns; drop it for None."""
    for name in [n for n in state if n.startswith(prefix)]:
        value = state.pop(name)
        new = rename(name[len(prefix) :])
        if new is not None:
            state[prefix + new] = value


def within(outer: str, parts: str) -> Callable[[str], str]:
    """Return what puts ``outer.`` before names that begin with one of ``parts`` (a|b|…)."""
    begins = re.compile(rf"(?:{parts})\.")
    return lambda name: f"{outer}.{name}" if begins.match(name) else name
