"""What the checks of ``distgrad doctor`` find, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from distgrad.cli.doctor_finding import OK, Finding, examine


def look(check: Callable[..., Iterable[Finding]], *arguments: object) -> list[Finding]:
    """Return the findings of a check, each of which says what to type if something is wrong."""
    found = examine("it", lambda: check(*arguments))
    for finding in found:
        assert finding.check == "it"
        assert bool(finding.cure) == (finding.state != OK), finding
        assert "\n" not in finding.text + finding.cure
    return found


def the_one(check: Callable[..., Iterable[Finding]], *arguments: object, state: str) -> Finding:
    """Return the only finding of this state."""
    (one,) = [finding for finding in look(check, *arguments) if finding.state == state]
    return one
