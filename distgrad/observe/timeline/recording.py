"""``profile``: a timeline of all ranks, from the first statement of a block to its last."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from distgrad.autograd.mode import call_observer, watching
from distgrad.comm import cores, gather_json
from distgrad.errors import DistgradError
from distgrad.observe.time.table import Share, Shares
from distgrad.observe.timeline.clock import Clock, identity, measure
from distgrad.observe.timeline.lines import Line, lines
from distgrad.observe.timeline.summary import Summary, share_of
from distgrad.observe.timeline.totals import Totals, totals
from distgrad.observe.timeline.trace_event import TraceWriter
from distgrad.observe.timeline.tracer import OpTracer, RankTracer, Step
from distgrad.parallel import World
from distgrad.parallel.numerics import blas_threads
from distgrad.parallel.world import current_world
from distgrad.tracing import tracer

TRACE, SUMMARY = "trace.json", "summary.txt"
_LAST = 100


class profile:  # noqa: N801 (used as a function, as PyTorch's)
    """Records what every rank does, and when, and writes it to ``folder``.

    ``with dg.observe.profile("timeline"):`` around the training, on every rank. Of each step:
    reading data, forward and backward of each module, clipping, the optimizer, evaluations and
    checkpoints, each collective in flight, and what a rank waits for others and for transfers;
    with ``kernels`` every op, too (which costs time, and runs captured steps op by op). A step
    ends where an optimizer has moved parameters. The newest ``last`` steps are kept, or with
    ``steps=range(10, 20)`` these, counted from 0. Where steps are so short that to record them
    would cost more than one or two percent, only every second, fourth, … is recorded; ``every=1``
    records all of them. Leaving the block is collective: rank 0 then
    writes ``trace.json``, which https://ui.perfetto.dev and chrome://tracing open,
    ``rank-N.jsonl`` and ``summary.txt``. After an exception each rank writes its own part alone,
    ``trace-N.json``. Nothing that is computed changes.
    Errors: DistgradError for a folder that cannot be made, and inside another profile.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        last: int = _LAST,
        steps: range | None = None,
        every: int | None = None,
        kernels: bool = False,
        world: World | None = None,
    ) -> None:
        none = steps is not None and (len(steps) < 1 or min(steps[0], steps[-1]) < 0)
        if last < 1 or none or (every is not None and every < 1):
            raise DistgradError(
                f"profile(last={last}, steps={steps}, every={every}): last is the number of steps "
                f"to keep, 1 or more, steps a range of their numbers, counted from 0, every 1 or "
                f"more"
            )
        self.folder, self.kernels = Path(folder), kernels
        self.world = current_world() if world is None else world
        if kernels or steps is not None:
            every = every or 1
        self.tracer = (OpTracer if kernels else RankTracer)(last, steps, every)
        self.report: Summary | None = None
        """Where the time went, on every rank, once the block is left."""

    def __enter__(self) -> profile:
        if tracer.get() is not None:
            raise DistgradError(
                "a profile inside another one (`distgrad run --timeline` is one): leave one out"
            )
        self._make_folder()
        self._clock = identity(self.world.comm.transport.host)
        self._first = measure(self.world.comm, self._clock)
        self._origin = gather_json(self.world.comm, self._first.at, "beginning of a timeline")[0]
        self._before = [(variable, variable.get()) for variable in self._variables()]
        self.tracer.start()
        for variable, _ in self._before:
            variable.set(self.tracer)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        resting = self.tracer.stop()
        for variable, before in self._before:
            variable.set(before)  # not reset: of a whole program this may be another context
        steps = [*self.tracer.kept]
        wanted = self.tracer.wanted
        if not resting and (wanted is None or self.tracer.seen in wanted):
            steps.append(self.tracer.rest)
        if error is None:
            self._write_all(steps)
        else:
            self._write_own(steps)

    def summary(self) -> str:
        """Return the first thing to do and where the time went; "" inside the block."""
        return "" if self.report is None else f"{self.report}{self._kept()}"

    # -- beginning ----------------------------------------------------------------------------

    def _variables(self) -> list[ContextVar[Any]]:
        return [tracer, call_observer, *([watching] if self.kernels else [])]

    def _make_folder(self) -> None:
        error = ""
        if self.world.rank == 0:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                (self.folder / TRACE).unlink(missing_ok=True)  # an older run's
            except OSError as caught:
                error = str(caught)
        told = gather_json(self.world.comm, error, "folder of a timeline")[0]
        if told:
            raise DistgradError(
                f"profile: rank 0 cannot write to '{self.folder}' ({told}); name another folder"
            )

    # -- the end ------------------------------------------------------------------------------

    def _write_all(self, steps: Sequence[Step]) -> None:
        comm = self.world.comm
        clock = Clock(self._first, measure(comm, self._clock))
        found = totals([*self.tracer.kept] or steps)
        found.steps *= bool(self.tracer.kept)
        mine = share_of(found, comm.transport.host, blas_threads(), cores.mine())
        told = gather_json(comm, [vars(found), vars(mine)], "summary of a timeline")
        ranks = [_totals_of(total) for total, _ in told]
        shares = Shares(tuple(Share(**share) for _, share in told))
        self.report = Summary(ranks, shares, timed=comm.size == 1 or comm.transport.timed)
        text = self._as_text(clock, lines(steps, clock, self._origin))
        if comm.rank:
            comm.send(np.frombuffer(text.encode(), np.uint8), 0)
            return
        with (self.folder / TRACE).open("w", encoding="utf-8") as file:
            writer = TraceWriter(file)
            for rank in range(comm.size):
                if rank:
                    text = comm.recv(None, rank).tobytes().decode()
                self._write_rank(writer, rank, text)
            writer.close()
        (self.folder / SUMMARY).write_text(f"{self.summary()}\n", encoding="utf-8")

    def _write_own(self, steps: Sequence[Step]) -> None:
        """Write what this rank alone knows: after an exception others may be anywhere."""
        rank = self.world.rank
        self.folder.mkdir(parents=True, exist_ok=True)
        clock = Clock(self._first, self._first)
        text = self._as_text(clock, lines(steps, clock, self._origin))
        with (self.folder / f"trace-{rank}.json").open("w", encoding="utf-8") as file:
            writer = TraceWriter(file)
            self._write_rank(writer, rank, text)
            writer.close()

    def _write_rank(self, writer: TraceWriter, rank: int, text: str) -> None:
        (self.folder / f"rank-{rank}.jsonl").write_text(text, encoding="utf-8")
        first, *rest = text.splitlines()
        writer.add(rank, json.loads(first)["host"], map(Line.of_json, rest))

    def _as_text(self, clock: Clock, found: Iterable[Line]) -> str:
        """Return a rank's part as lines of JSON, of which the first is about the rank."""
        head = {
            "rank": self.world.rank,
            "ranks": self.world.size,
            "host": self.world.comm.transport.host,
            "steps": self.tracer.seen,
            "left_out": self.tracer.left_out,
            "clock_offset": clock.last.offset,
            "clock_error": clock.error,
        }
        return "".join([json.dumps(head) + "\n", *(line.as_json() + "\n" for line in found)])

    def _kept(self) -> str:
        """Say which steps are in the files, where that is not all, and what was left out."""
        kept, seen = len(self.tracer.kept), self.tracer.seen
        every = self.tracer.every or 1
        which = f", one of {every}: steps are short" if every > 1 else ""
        said = f"\n\nthe files have {kept} of {seen} steps{which}" if kept < seen else ""
        if self.tracer.left_out:
            said += f"\n\n{self.tracer.left_out} calls of modules in very long steps were left out"
        return said


def _totals_of(found: dict[str, Any]) -> Totals:
    layers = {name: (forward, backward) for name, (forward, backward) in found["layers"].items()}
    ops = {name: (calls, seconds) for name, (calls, seconds) in found["ops"].items()}
    return Totals(**{**found, "layers": layers, "ops": ops})
