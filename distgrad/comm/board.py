"""What the ranks of a node tell each other through memory: who is where, and small arrays.

Every number has one writer and only grows. It knows nothing of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from distgrad.comm.message import Array

SLOTS = 60
"""Collectives a rank can be ahead of the slowest one.

Of many numbers a multiple: in steps of as many collectives each slot has the same one every time.
"""
SMALL = 4096
"""Bytes of an array that travels with the notice itself."""
PIECE = 1 << 20
"""Bytes per rank of the staging room of one collective: what ordinary arrays pass through."""
SLICED_PIECE = 3 * PIECE // 8
"""The same of a sum by slices inside a node: ranks that share gradients out (zero=2, 3) have little
memory. All of it would be 3 % of what each of four keeps of 10.8 M parameters, whose sums take 1.4
times as long with a quarter of it (8.4 ms instead of 5.9, of a step of 770)."""
LANES = 2
_SPIN = 100  # looks, of about 0.3 µs each: for a rank that is about to come
_CLOSER = 12  # looks of a compiled call in the same time
_LINE = 64  # bytes; what another rank writes lies in a line of its own
_TEXT = 2 * _LINE  # where a slot's description is
_DATA = 6 * _LINE
_SLOT = _DATA + SMALL


def size_of(ranks: int) -> int:
    """Return the bytes a board for so many ranks takes."""
    return ranks * (_LINE + SLOTS * _SLOT) + LANES * (ranks + 1) * PIECE


class Flag:
    """Complete once a number another rank writes has reached a value: a request without message."""

    __slots__ = ("_index", "_value", "_words", "peer", "sending")

    def __init__(self, words: memoryview, index: int, value: int, peer: int) -> None:
        self._words, self._index, self._value = words, index, value
        self.peer = peer
        self.sending = False

    def test(self) -> bool:
        """Whether it has."""
        there: bool = self._words[self._index] >= self._value
        return there


class Board:
    """The memory of one node's ranks, seen by one of them; ``ranks`` are those of the transport.

    A slot belongs to one collective: its number and the digest and text of what it is, the stage
    the rank has reached in it, and a small array.
    """

    def __init__(
        self,
        memory: memoryview,
        ranks: Sequence[int],
        rank: int,
        signal: Callable[[], None],
        *,
        spins: bool,
    ) -> None:
        self.ranks = tuple(ranks)
        self.others = tuple(r for r in ranks if r != rank)
        self._signal = signal
        self._words = memory.cast("B").cast("q")
        self._bytes = memory.cast("B")
        count = len(self.ranks)
        self._low = {r: i * _LINE // 8 for i, r in enumerate(self.ranks)}
        start = count * _LINE
        self._slots = {
            r: [start + (i * SLOTS + slot) * _SLOT for slot in range(SLOTS)]
            for i, r in enumerate(self.ranks)
        }
        self._mine = self._slots[rank]
        self.texts = [b""] * SLOTS
        """What stands in this rank's slots."""
        self._lows = [*self._low.values()]
        self._others_slots = [[at >> 3 for at in self._slots[r]] for r in self.others]
        self.place = self.ranks.index(rank)
        """Which of them this one is."""
        self.rank = rank
        self.spins = _SPIN if spins else 1
        """How often a wait looks before it lets others have the core."""
        self.close_looks = self.spins * _CLOSER if spins else 1
        """The same, where looking is compiled."""
        flat = np.frombuffer(memory, np.uint8)
        self._flat: Array = flat
        rooms = start + count * SLOTS * _SLOT
        room = (count + 1) * PIECE
        self._rooms = [flat[rooms + lane * room :][:room] for lane in range(LANES)]
        self._small: dict[tuple[np.dtype[np.generic], int, int], list[Array]] = {}  # views
        self.done = 0
        """Collectives below this number are complete here, and others are told so,"""
        self.early: set[int] = set()
        """and these above it."""
        self.ready = 0
        """All ranks are known to be ready for the collectives below this number."""

    @property
    def order(self) -> list[int]:
        """Where the others' notices are and this rank's own, for a call that is compiled.

        The address of the words, how many lie between two slots, the first word of this rank's
        slots, the one that says how many collectives are complete here, how many others there are,
        and the first words of theirs.
        """
        address: int = self._flat.__array_interface__["data"][0]
        firsts = [self._slots[r][0] >> 3 for r in self.others]
        low = self._low[self.rank]
        return [address, _SLOT >> 3, self._mine[0] >> 3, low, len(firsts), *firsts]

    # -- which collective -----------------------------------------------------------------------

    def free(self, number: int, ahead: int = SLOTS) -> list[Flag]:
        """Return what must be complete before collective ``number`` may use its slot (or lane)."""
        needed = number - ahead + 1
        # This rank's own count too: what it has written it reads itself.
        return self._not_yet([(r, self._low[r], needed) for r in self.ranks])

    def post(self, number: int, digest: int, text: bytes) -> None:
        """Say that this rank is in collective ``number``; all it wrote before can be read."""
        slot = number % SLOTS
        self.describe(slot, text)
        word = self._mine[slot] >> 3
        self._words[word + 1] = digest
        self._words[word] = number + 1
        self._signal()

    def describe(self, slot: int, text: bytes) -> None:
        """Write to a slot what its collective is, unless that is what the last one was."""
        if self.texts[slot] is not text:
            at = self._mine[slot] + _TEXT
            self._bytes[at : at + len(text)] = text
            self.texts[slot] = text

    def arrivals(self, number: int) -> list[Flag]:
        """Return what is complete once all others are in collective ``number``."""
        slot = number % SLOTS
        return self._not_yet([(r, self._slots[r][slot] >> 3, number + 1) for r in self.others])

    def digest(self, rank: int, number: int) -> int:
        """Return the digest that a rank posted."""
        word: int = self._words[(self._slots[rank][number % SLOTS] >> 3) + 1]
        return word

    def text(self, rank: int, number: int) -> bytes:
        """Return the text that a rank posted."""
        at = self._slots[rank][number % SLOTS] + _TEXT
        return bytes(self._bytes[at : at + _DATA - _TEXT])

    def finish(self, number: int) -> None:
        """Say that this rank needs nothing of collective ``number`` any more."""
        if number != self.done:
            self.early.add(number)
            return
        self.done += 1
        while self.done in self.early:
            self.early.remove(self.done)
            self.done += 1
        self._words[self._low[self.rank]] = self.done
        self._signal()

    def is_free(self, number: int) -> bool:
        """Whether there is nothing to wait for in ``free``."""
        if number >= self.ready:
            words = self._words
            self.ready = min([words[index] for index in self._lows]) + SLOTS
        return number < self.ready

    def have_arrived(self, number: int) -> bool:
        """Whether there is nothing to wait for in ``arrivals``."""
        words, slot = self._words, number % SLOTS
        for slots in self._others_slots:  # noqa: SIM110 - a generator's frame would cost more
            if words[slots[slot]] <= number:
                return False
        return True

    def agree(self, number: int, digest: int) -> bool:
        """Whether all others, who have arrived, posted this digest."""
        words, slot = self._words, number % SLOTS
        for slots in self._others_slots:  # noqa: SIM110 - the same
            if words[slots[slot] + 1] != digest:
                return False
        return True

    def have_reached(self, number: int, stage: int) -> bool:
        """Whether there is nothing to wait for in ``reached``."""
        words, slot, value = self._words, number % SLOTS, (number << 24) + stage
        for slots in self._others_slots:  # noqa: SIM110 - the same
            if words[slots[slot] + _LINE // 8] < value:
                return False
        return True

    # -- inside a collective ----------------------------------------------------------------------

    def reach(self, number: int, stage: int) -> None:
        """Say that this rank has come to ``stage`` (below 2^24, growing) of the collective."""
        self._words[(self._mine[number % SLOTS] + _LINE) >> 3] = (number << 24) + stage
        self._signal()

    def reached(self, number: int, stage: int) -> list[Flag]:
        """Return what is complete once all others have come to ``stage``."""
        slot, value = number % SLOTS, (number << 24) + stage
        return self._not_yet([(r, (self._slots[r][slot] + _LINE) >> 3, value) for r in self.others])

    def small(self, number: int, dtype: np.dtype[np.generic], count: int) -> list[Array]:
        """Return the small arrays of all ranks in this collective, in rank order."""
        slot = number % SLOTS
        key = (dtype, count, slot)
        found = self._small.get(key)
        if found is None:
            rows = [self._slots[r][slot] + _DATA for r in self.ranks]
            stop = count * dtype.itemsize
            found = [self._flat[at : at + stop].view(dtype) for at in rows]
            if len(self._small) > 64 * SLOTS:
                self._small.clear()
            self._small[key] = found
        return found

    def room(self, number: int) -> Array:
        """Return the staging room of the collective, (ranks + 1) * PIECE bytes."""
        return self._rooms[number % LANES]

    def _not_yet(self, flags: list[tuple[int, int, int]]) -> list[Flag]:
        words = self._words
        return [Flag(words, index, value, r) for r, index, value in flags if words[index] < value]
