"""A recorded step: its lines in order, which values die where, and what it looked like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.capture.lines import Call, Line, Values
from distgrad.capture.native import Moved, lowered
from distgrad.capture.tree import Tree, alike
from distgrad.nn import Module
from distgrad.nn.replaced import REPLACED
from distgrad.optim import Optimizer

_WIDTH = 48
_UNKNOWN: Any = object()
_training, _mode = attrgetter("training"), attrgetter("requires_grad", "_listener")


class Program:
    """The lines of one recording; ``print`` shows them, ``run`` goes through them."""

    def __init__(
        self,
        lines: Sequence[Line],
        count: int,
        result: Tree,
        modules: Sequence[tuple[Module, bool]],
        leaves: Sequence[Tensor],
        had: Sequence[tuple[Tensor, bool]],
    ) -> None:
        self.lines, self.result = tuple(lines), result
        self._count = count
        self._modules = [m for m, _ in modules]
        self._training = [training for _, training in modules]
        self._leaves = list(leaves)
        self._modes = [*map(_mode, leaves)]
        self._asked = [leaf for leaf, _ in had]
        self._had = [none for _, none in had]
        self._change = REPLACED.count
        self._sizes = [len(m._registered) for m in self._modules]
        self._plan = self._planned()
        self.native: Any = _UNKNOWN
        """What the lines were lowered to; None where they are replayed one by one."""
        self.steps = any(isinstance(line, Call) and _is_step(line) for line in self.lines)
        """Whether an optimizer moves parameters in it."""
        self.calls = 0
        """How often it was run, the recordings included."""

    def fits(self) -> bool:
        """Whether modules and parameters are in the modes they had when the step was recorded."""
        return (
            [*map(_training, self._modules)] == self._training
            and [*map(_mode, self._leaves)] == self._modes
            and [leaf.grad is None for leaf in self._asked] == self._had
            and (self._change == REPLACED.count or self._are_there())
        )

    def _are_there(self) -> bool:
        """Whether no module or leaf was replaced since, and no module got another one."""
        change = REPLACED.count
        if (
            REPLACED.since(self._change, self._modules)
            or REPLACED.since(self._change, self._leaves)
            or [len(m._registered) for m in self._modules] != self._sizes
        ):
            return False
        self._change = change
        return True

    def run(self, arrays: Sequence[Any]) -> Any:
        """Do what the step does, for other arguments; return what it returns."""
        values: Values = [None] * self._count
        values[: len(arrays)] = arrays
        if self.native is _UNKNOWN:
            self.native = lowered(self.lines, arrays, self.result)
        start = 0
        if self.native is not None:
            try:
                if self.native.run(values):
                    return self.result.fill(values)
            except Moved as moved:
                start = moved.line
        for run, last in self._plan[start:]:
            run(values)
            for number in last:
                values[number] = None
        return self.result.fill(values)

    def goes_on_from(self, old: Program) -> None:
        """Take over what another recording of the same lines was lowered to."""
        self.calls, self.native = old.calls + 1, old.native

    def difference(self, other: Program) -> str | None:
        """Say where another recording of the same step differs; None if it does not."""
        for number, (a, b) in enumerate(zip(self.lines, other.lines, strict=False)):
            if type(a) is not type(b) or a.name != b.name or a.reads != b.reads:
                return f"line {number} was {_short(a)} and is {_short(b)}"
            if not alike(a.what, b.what):
                return f"line {number}, {_short(a)}, had {_told(a, b)} and has {_told(b, a)}"
        if len(self.lines) != len(other.lines):
            return f"it had {len(self.lines)} lines and has {len(other.lines)}"
        return None if self.result == other.result else "it returns something else"

    def __str__(self) -> str:
        total = sum(line.seconds for line in self.lines) or 1.0
        called = 0 if self.native in (None, _UNKNOWN) else self.native.lines
        more = f"; {called} of them as machine-level calls" if called else ""
        rows = [f"{len(self.lines)} lines, {total * 1e6:,.0f} µs when recorded{more}"]
        rows.append(f"{'line':>4}  {'kind':5}{'what':{_WIDTH}}{'values':24}{'bytes':>12}{'µs':>9}")
        for number, line in enumerate(self.lines):
            reads = " ".join(map(str, line.reads))
            writes = " ".join(map(str, line.writes))
            flow = f"{reads} -> {writes}" if writes else reads
            shapes = ", ".join(
                f"{'×'.join(map(str, form[0])) or '1'} {form[1]}" for form in line.forms if form
            )
            what = f"{line.name}{': ' if shapes else ''}{shapes}"
            size = sum(int(np.prod(f[0], dtype=np.int64)) * f[1].itemsize for f in line.forms if f)
            rows.append(
                f"{number:>4}  {line.kind:5}{what[: _WIDTH - 1]:{_WIDTH}}{flow[:23]:24}"
                f"{size or '':>12}{line.seconds * 1e6:>9.1f}"
            )
        return "\n".join(rows)

    def _planned(self) -> list[tuple[Callable[[Values], None], tuple[int, ...]]]:
        last: dict[int, int] = {}
        for number, line in enumerate(self.lines):
            for value in (*line.reads, *line.writes):
                last[value] = number
        for value in self.result.numbers:
            last.pop(value, None)
        dying: list[list[int]] = [[] for _ in self.lines]
        for value, number in last.items():
            dying[number].append(value)
        return [
            (line.runner(), tuple(values)) for line, values in zip(self.lines, dying, strict=True)
        ]


def _is_step(line: Call) -> bool:
    (first, *_), _ = line.args.value if line.args.value[0] else ((None,), {})
    return isinstance(first, Optimizer) and line.function.__name__ == "step"


def _short(line: Line) -> str:
    return f"{line.kind} {line.name}"


def _told(a: Line, b: Line) -> str:
    for x, y in zip(a.what, b.what, strict=False):
        if not alike(x, y):
            return repr(x.value if isinstance(x, Tree) else x)
    return "something else"
