"""A timeline of all ranks: what each does, when, and for whom it waits."""

from distgrad.observe.timeline import asked as _asked
from distgrad.observe.timeline.recording import profile
from distgrad.tracing import span

__all__ = ["profile", "span"]

_asked.listen()
