"""Environment variables that turn something on or off."""

from __future__ import annotations

from collections.abc import Mapping

_OFF = frozenset({"0", "off", "no", "false"})


def off(environment: Mapping[str, str], variable: str) -> bool:
    """Whether the variable is 0, off, no or false, in any case."""
    return environment.get(variable, "").strip().lower() in _OFF


def on(environment: Mapping[str, str], variable: str) -> bool:
    """Whether the variable has any other value than these, and one."""
    return bool(environment.get(variable, "").strip()) and not off(environment, variable)
