"""In which order collectives that are in flight together go on."""

from __future__ import annotations

import pytest

from distgrad.comm import work as work_module
from distgrad.comm.group import Group
from distgrad.comm.work import Work
from distgrad.comm.worlds.local import LocalTransport


class Check:
    """A request that is complete when the test says so."""

    def __init__(self):
        self.complete = False

    def test(self):
        return self.complete


@pytest.mark.parametrize("late", ["first", "second", "third", None])
def test_what_was_started_earlier_sends_before_what_was_started_later(monkeypatch, late):
    # All checks but one arrive at the moment at which the last collective begins.
    checks = {name: Check() for name in ("first", "second", "third")}
    sent = []

    def check(group, what, *, everyone):
        yield (checks[what],)

    def steps(name):
        sent.append(name)
        yield from ()

    monkeypatch.setattr(work_module, "agree", check)
    transport = LocalTransport()
    works = []
    for name in checks:
        if name == "third":
            for other, arrived in checks.items():
                arrived.complete = other != late
        works.append(Work(Group(transport), name, steps(name), everyone=True, timeout=5.0))
    expected = [] if late == "third" else [name for name in checks if name != late]
    assert sent == expected
    for arrived in checks.values():
        arrived.complete = True
    for work in works:
        work.wait()
    assert sorted(sent) == ["first", "second", "third"]
