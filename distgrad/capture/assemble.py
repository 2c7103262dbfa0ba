"""Words for the machine-level calls of a program: see ``kernels/machine.py`` for what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.capture.calls import At, Buffer, Call, Count, Own
from distgrad.capture.schedule import Group

_ROOM = 64
_KINDS = ("value", "place", "fresh")
"""What is looked for anew at every call, in the order of a stretch's objects."""


class Code:
    """The words of all stretches, and which of them depend on where memory is."""

    def __init__(self, made: Sequence[Sequence[Group]], places: dict[Buffer, int]) -> None:
        from distgrad.kernels import machine  # noqa: PLC0415 (numba)

        self._machine = machine
        self._places = places
        self._words: list[int] = [0] * _ROOM
        self._arena: list[tuple[int, int]] = []  # word, offset
        self._own: list[tuple[int, int]] = []  # word, the word it is the address of
        self._moved: list[tuple[int, int, int]] = []
        self._slots: dict[Any, int] = {}
        self.keep: list[Any] = []
        self.beside: dict[Any, tuple[int, int]] = {}
        """First word and last of what is done beside the tape."""
        self.stretches: list[tuple[int, int, Any, list[Any], int]] = []
        """First word, last, what moves, the keys of objects and where their addresses stand."""
        for groups in made:
            self._stretch(groups)
        self.w: Any = np.array(self._words, np.int64)
        self.base = self.w.ctypes.data
        for word, target in self._own:
            self.w[word] = self.base + 8 * target
        at = np.array(self._arena, np.int64).reshape(-1, 2)
        self._arena_words, self._arena_offsets = at[:, 0].copy(), at[:, 1].copy()

    def settle(self, arena: int) -> None:
        """Let planned buffers lie from this address on."""
        self.w[self._arena_words] = self._arena_offsets + arena

    def _stretch(self, groups: Sequence[Group]) -> None:
        self._moved, self._slots = [], {}
        keys: dict[Any, None] = {}
        for group in groups:
            for call in group.calls:
                for o in call.operands:
                    if o.buffer.source is not None and not isinstance(o.buffer.source, np.ndarray):
                        keys.setdefault(o.buffer.source)
        ordered = sorted(keys, key=lambda key: _KINDS.index(key[0]))
        slots = len(self._words)
        self._words += [0] * max(len(keys), 1)
        self._slots = {key: slots + i for i, key in enumerate(ordered)}
        begin = len(self._words)
        for group in groups:
            if group.strip:
                head = len(self._words)
                machine = self._machine
                units = group.elements // group.unit if group.elements else group.calls[0].units
                self._words += [0, machine.LOOP, units, group.strip]
                for call in group.calls:
                    self._call(call, group)
                self._words[head] = len(self._words) - head
            else:
                for call in group.calls:
                    begin_of = self.beside.get(call.beside, (len(self._words),))[0]
                    self._call(call, group)
                    if call.beside is not None:
                        self.beside[call.beside] = begin_of, len(self._words)
        moved = np.array(self._moved, np.int64).reshape(-1, 3)
        self.stretches.append((begin, len(self._words), moved, ordered, slots))

    def _call(self, call: Call, group: Group) -> None:
        machine, words = self._machine, self._words
        head = len(words)
        what = machine.OF_NUMPY
        if not call.of_numpy:
            few = machine.FEW + machine.FLOATS + 2
            what = machine.OF_FEW if len(call.words) == few else machine.OF_MANY
        looped = bool(group.strip)
        # Units of the group in units of the call.
        factor = group.unit // max(call.elements, 1) if call.elements else 1
        steps = [0 if o.buffer in group.local else o.step * factor for o in call.operands]
        counts = [i for i, x in enumerate(call.words) if type(x) is Count] if looped else []
        if call.one_by_one:
            counts = []
        pointers = [
            (i, steps[x.operand])
            for i, x in enumerate(call.words)
            if looped and type(x) is At and steps[x.operand]
        ]
        args = head + machine.HEAD + 2 * (len(counts) + len(pointers))
        words += [0, what, call.function, len(counts), len(pointers), args]
        for i in counts:
            words += [args + i, call.words[i].each * factor]
        for i, step in pointers:
            words += [args + i, step]
        for i, x in enumerate(call.words):
            if type(x) is int:
                words.append(x)
            elif type(x) is Own:
                self._own.append((args + i, args + x.word))
                words.append(0)
            elif type(x) is Count:
                words.append(x.each * call.units)
            else:
                self._address(
                    args + i, call.operands[x.operand].buffer, call.operands[x.operand].offset
                )
        words[head] = len(words) - head

    def _address(self, word: int, buffer: Buffer, offset: int) -> None:
        if buffer.source is None:
            self._arena.append((word, self._places[buffer] + offset))
            self._words.append(0)
        elif isinstance(buffer.source, np.ndarray):
            self.keep.append(buffer.source)
            self._words.append(buffer.source.ctypes.data + offset)
        else:
            self._moved.append((word, self._slots[buffer.source], offset))
            self._words.append(0)
