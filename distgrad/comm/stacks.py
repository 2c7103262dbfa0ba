"""Where the ranks are in their code: each tells its own stack, and one rank asks for all of them.

A rank that waits answers while it waits, one that computes through its listener. Who can do
neither (stopped, or a C function that keeps the GIL) is looked up in its host's process table.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from time import perf_counter
from traceback import FrameSummary
from types import FrameType

from distgrad.comm import neighbours
from distgrad.comm.rank_state import Notice, RankState
from distgrad.comm.transport import Transport

SECONDS = 2.0
"""How long a rank that computes may take to answer: listeners look once a second."""
_FRAMES = 12  # of a stack; the innermost ones
_THREADS = 3  # of a rank
_GROUPS = 6  # different stacks that are printed
_LOOKED_UP = 4  # ranks that are looked up in the process table
_HERE = str(Path(__file__).parent)
_OUTER = ("runpy.py", "<frozen runpy>", "threading.py")


class RollCall:
    """One question to all ranks, where they are; ``silent`` are those that do not wait."""

    def __init__(self, transport: Transport, silent: Iterable[int]) -> None:
        self._state = state = transport.state
        self._silent = sorted(silent)
        self._since = perf_counter()
        transport.announce(Notice(state.rank, "where", {}, waits_for=self._silent[:_LOOKED_UP]))

    def answered(self, rank: int) -> bool:
        """Whether a rank has told its stack."""
        return rank in self._state.stacks and self._state.stacks[rank][0] > self._since

    def report(self, waiting: Mapping[int, str]) -> str:
        """Return the stacks of all ranks, equal ones once; ``waiting`` says who is in what."""
        state = self._state
        heard = {r: n for r, (_, n) in [*state.stacks.items()] if self.answered(r)}
        texts = {state.rank: own(), **{r: notice.text for r, notice in heard.items()}}
        looked_up = _look_up(self._silent)
        for notice in heard.values():
            looked_up = {int(r): text for r, text in notice.seen.items()} | looked_up
        mute = [r for r in self._silent if r not in texts]
        return "\n".join([*_mute(mute, looked_up), *_grouped(texts, waiting, self._silent)])


def answers(state: RankState) -> Iterator[tuple[int, Notice]]:
    """Yield what is to be sent, and to whom, because others have asked where this rank is."""
    while state.wanted_by:
        asker, silent = state.wanted_by.popitem()
        seen = {} if state.rank in silent else _look_up(silent)
        facts = {str(rank): text for rank, text in seen.items()}
        yield asker, Notice(state.rank, "here", {}, own(), seen=facts)


def own() -> str:
    """Return the stack of the main thread, and those of other threads that are no helpers."""
    frames = sys._current_frames()
    main = threading.main_thread()
    told = [_formatted(frames[main.ident])] if main.ident in frames else []
    others = [t for t in threading.enumerate() if t is not main and not t.daemon]
    for thread in others[: _THREADS - 1]:
        if thread.ident in frames and thread is not threading.current_thread():
            told.append(f"  thread {thread.name}:\n{_formatted(frames[thread.ident])}")
    return "\n".join(told)


def _formatted(frame: FrameType | None) -> str:
    shown = [*traceback.extract_stack(frame)]
    while shown and shown[0].filename.endswith(_OUTER):
        shown.pop(0)
    # Of the wait itself one line is enough, so that ranks that wait in one place look alike.
    while len(shown) > 1 and _waits(shown[-1]) and _waits(shown[-2]):
        shown.pop()
    left_out = len(shown) - _FRAMES
    head = f"  ({left_out} outer calls)\n" if left_out > 0 else ""
    return head + "".join(traceback.format_list(shown[-_FRAMES:])).rstrip("\n")


def _waits(frame: FrameSummary) -> bool:
    return frame.filename.startswith(_HERE)


def _look_up(ranks: Collection[int]) -> dict[int, str]:
    """Return what this host's process table says of those ranks that are on it."""
    return neighbours.describe([*ranks][:_LOOKED_UP])


def _mute(ranks: list[int], looked_up: Mapping[int, str]) -> Iterator[str]:
    known = [r for r in ranks if r in looked_up]
    for rank in known:
        yield f"rank {rank} cannot tell where it is: {looked_up[rank]}"
    if unknown := [r for r in ranks if r not in looked_up]:
        yield f"{spelled(unknown)} did not answer"


def _grouped(
    texts: Mapping[int, str], waiting: Mapping[int, str], silent: Collection[int]
) -> Iterator[str]:
    """Yield the different stacks, each with its ranks: those all wait for first."""
    ranks: dict[tuple[str, str], list[int]] = {}
    for rank, text in sorted(texts.items()):
        doing = f"waits in {waiting[rank]}" if rank in waiting else "is"
        ranks.setdefault((doing, text), []).append(rank)
    found = sorted(ranks.items(), key=lambda item: (item[1][0] not in silent, -len(item[1])))
    for (doing, text), held in found[:_GROUPS]:
        verb = doing if len(held) == 1 else {"is": "are"}.get(doing, doing.replace("waits", "wait"))
        yield f"{spelled(held)} {verb} here:\n{text}"
    if rest := sorted(r for _, held in found[_GROUPS:] for r in held):
        yield f"{spelled(rest)} elsewhere"


def spelled(ranks: Iterable[int]) -> str:
    """Return ranks as words: "rank 3", "ranks 0-2, 5"."""
    listed = sorted(ranks)
    runs = []
    for _, run in groupby(enumerate(listed), key=lambda pair: pair[1] - pair[0]):
        numbers = [rank for _, rank in run]
        runs.append(f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}")
    return f"rank{'s' if len(listed) > 1 else ''} {', '.join(runs)}"
