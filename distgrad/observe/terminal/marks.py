"""How rank 0 tells ``distgrad run`` what to show: marked lines among those it writes to stderr.

A launcher gives its ranks no terminal, and passes on what they write line by line. A mark is an
escape sequence that terminals ignore (OSC, with a number nobody uses) around JSON in ASCII.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

VARIABLE = "DISTGRAD_LIVE"
"""Set for ranks whose stderr is read by somebody who knows marks."""
BY_CALLER = "caller"
"""Its value for a ``distgrad run`` that passes them on to whoever has started it."""

_BEGIN, _END = b"\x1b]7397;", b"\x1b\\\n"
_TAG = re.compile(rb"(.*<stderr>:|\[\d+\]) ?")  # of --tag-output, and of MPICH's -prepend-rank
_LONGEST = 1 << 16  # bytes of a mark; what goes on longer is none


def encode(mark: Mapping[str, Any]) -> str:
    """Return the line that says it."""
    return f"{_BEGIN.decode()}{json.dumps(mark)}{_END.decode()}"


class Reader:
    """Takes bytes as they come and gives back what is text (bytes) and what is a mark (dict)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes | dict[str, Any]]:
        """Yield what is complete; the beginning of a mark waits for its end."""
        data, self._rest = self._rest + data, b""
        while data:
            text, begin, rest = data.partition(_BEGIN)
            if not begin:
                text, begin = _split_beginning(text)
                if not begin:
                    yield text
                    return
            text, tag = _split_tag(text)
            body, end, after = rest.partition(_END)
            if text:
                yield text
            if not end and len(rest) < _LONGEST:
                self._rest = tag + begin + rest
                return
            mark = _parsed(body) if end else None
            # One that is none is somebody else's.
            yield tag + begin if mark is None else mark
            data = rest if mark is None else after

    def end(self) -> bytes:
        """Return what has waited in vain."""
        rest, self._rest = self._rest, b""
        return rest


def _split_beginning(text: bytes) -> tuple[bytes, bytes]:
    """Cut off what may be the beginning of a mark's beginning."""
    for length in range(min(len(_BEGIN) - 1, len(text)), 0, -1):
        if text.endswith(_BEGIN[:length]):
            return text[:-length], text[-length:]
    return text, b""


def _split_tag(text: bytes) -> tuple[bytes, bytes]:
    """Cut off what mpirun has put before a mark; it goes with it."""
    start = text.rfind(b"\n") + 1
    return (text[:start], text[start:]) if _TAG.fullmatch(text[start:]) else (text, b"")


def _parsed(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
