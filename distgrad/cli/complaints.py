"""Leaves out what Open MPI's mpirun says of a rank that ends as asked, or explains itself.

After a traceback, or a Ctrl-C, these paragraphs would be the last word, with the reason above them.
"""

from __future__ import annotations

import re

_RULE = re.compile(rb"^-{60,}\n", re.MULTILINE)  # before and after a paragraph
_COMPLAINT = re.compile(
    rb"-+\n(?:MPI_ABORT was invoked on rank \d+"
    rb"|\w+ has exited due to process rank \d+"
    rb"|\w+ detected that one or more processes exited with non-zero status)"
)
_RAISED = re.compile(rb"^\[rank \d+/\d+\] Traceback \(most recent call last\):$", re.MULTILINE)
_LONGEST = 4096  # bytes of a paragraph


class Complaints:
    """Takes bytes as they come and gives back those that are to be shown."""

    def __init__(self) -> None:
        self.understood = False
        """Whether it is known why ranks end; a traceback makes it so."""
        self._held = b""

    def left_out(self, data: bytes) -> bytes:
        """Return what is to be shown; a paragraph waits for its end."""
        self.understood = self.understood or _RAISED.search(data) is not None
        if not self.understood:
            return data
        data, self._held, shown = self._held + data, b"", b""
        while begin := _RULE.search(data):
            shown += data[: begin.start()]
            end = _RULE.search(data, begin.end())
            if end is None:
                self._held = data[begin.start() :]
                return shown if len(self._held) < _LONGEST else shown + self.end()
            if not _COMPLAINT.match(data, begin.start()):
                shown += data[begin.start() : end.end()]
            data = data[end.end() :]
        whole, newline, last = data.rpartition(b"\n")
        if last and not last.strip(b"-"):  # it may become a rule
            data, self._held = whole + newline, last
        return shown + data

    def end(self) -> bytes:
        """Return what has waited in vain."""
        rest, self._held = self._held, b""
        return rest
