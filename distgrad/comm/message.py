"""What travels between ranks, as types: arrays, messages, and the steps that wait for them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Request(Protocol):
    """One message in flight."""

    peer: int
    sending: bool

    def test(self) -> bool:
        """Make progress; True once the message is complete, and from then on."""


# An algorithm yields the requests it waits for and is resumed when all are complete.
Steps: TypeAlias = Generator[Sequence[Request], None, None]
