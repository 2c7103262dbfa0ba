"""What a timeline says in words: where the time went, and the first thing to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from distgrad.comm.stacks import spelled
from distgrad.observe.durations import spell_seconds
from distgrad.observe.time.table import CULPABLE, Share, Shares, lower_median
from distgrad.observe.timeline.totals import Totals
from distgrad.tracing import KINDS

_LAYERS = 5  # that are listed
_OPS = 8
_WORDS = {**KINDS, "other": "other (loss functions, your own code)"}
_WORTH_A_LINE = 0.001  # of the time
_PHASE = {"other": "code outside of the model", "optimizer": "optimizer", "data": "data loading"}


class Summary:
    """The totals of all ranks, in rank order, as text.

    ``shares`` are the same as a split of time; those of simulated ranks, which take turns
    (``timed`` is False), say nothing of who waits for whom.
    """

    def __init__(self, ranks: Sequence[Totals], shares: Shares, *, timed: bool) -> None:
        self.ranks, self.shares, self.timed = ranks, shares, timed

    @property
    def steps(self) -> int:
        """How many steps it is about."""
        return self.ranks[0].steps

    def __str__(self) -> str:
        if not self.steps:
            said = "a step ends where an optimizer has moved the parameters, and none has"
            return "\n".join([f"{said}: of {spell_seconds(self.shares.seconds)}", *self.table()])
        return "\n".join([self.headline(), f"first: {self.advice()}", "", *self.table()])

    def headline(self) -> str:
        """Return what a step took."""
        ranks = spelled(range(len(self.ranks)))
        counted = f"{self.steps} step{'s' if self.steps > 1 else ''}"
        return f"{counted} of {spell_seconds(self.shares.step)} on {ranks}"

    # -- the table ----------------------------------------------------------------------------

    def table(self) -> list[str]:
        """Return where the time went, by kind for each rank, and the layers that took most."""
        kinds = [*KINDS, "other"]
        parts = {kind: [_part(t, kind) for t in self.ranks] for kind in kinds}
        mean = {kind: sum(column) / len(column) for kind, column in parts.items()}
        shown = [kind for kind in kinds if mean[kind] >= _WORTH_A_LINE]
        shown.sort(key=lambda kind: -mean[kind])
        few = [*range(len(self.ranks))][:8]
        head = "".join(f"{f'rank {rank}':>9}" for rank in few) if len(self.ranks) > 1 else ""
        lines = [f"{'of a step':40}{'mean':>9}{'ms':>10}{head}"]
        for kind in shown:
            ms = mean[kind] * self.shares.step * 1e3
            each = "".join(f"{parts[kind][rank]:9.1%}" for rank in few) if head else ""
            lines.append(f"{_WORDS[kind]:40}{mean[kind]:9.1%}{ms:10.3g}{each}")
        lines += self._hidden()
        return [*lines, *self._layers(), *self._ops()]

    def _hidden(self) -> list[str]:
        hidden = [
            max(0.0, t.under_way - t.kinds.get("waiting", 0.0) - t.kinds.get("transfer", 0.0))
            for t in self.ranks
        ]
        mean = sum(hidden) / len(hidden) / max(1, self.steps)
        if len(self.ranks) == 1 or not self.timed:
            return []
        return [f"{spell_seconds(mean)} of communication a step were hidden under computing"]

    def _layers(self) -> list[str]:
        layers = self._mean_layers()
        top = sorted(layers, key=lambda name: -sum(layers[name]))[:_LAYERS]
        if not top:
            return []
        lines = ["", f"{'layers that took most':40}{'of step':>9}{'forward':>10}{'backward':>10}"]
        for name in top:
            forward, backward = layers[name]
            part = (forward + backward) / self.shares.step
            lines.append(
                f"{name[:39]:40}{part:9.1%}{spell_seconds(forward):>10}{spell_seconds(backward):>10}"
            )
        return lines

    def _mean_layers(self) -> dict[str, tuple[float, float]]:
        """Return forward and backward seconds of each layer, a step and rank."""
        names = dict.fromkeys(name for t in self.ranks for name in t.layers)
        count = len(self.ranks) * max(1, self.steps)
        return {
            name: (
                sum(t.layers.get(name, (0.0, 0.0))[0] for t in self.ranks) / count,
                sum(t.layers.get(name, (0.0, 0.0))[1] for t in self.ranks) / count,
            )
            for name in names
        }

    def _ops(self) -> list[str]:
        ops = self.ranks[0].ops
        top = sorted(ops, key=lambda name: -ops[name][1])[:_OPS]
        if not top:
            return []
        steps = max(1, self.steps)
        lines = ["", f"{'ops that took most, on rank 0':40}{'of step':>9}{'calls':>10}{'each':>10}"]
        for name in top:
            calls, seconds = ops[name]
            part = seconds / max(self.ranks[0].seconds, 1e-9)
            each = spell_seconds(seconds / calls)
            lines.append(f"{name[:39]:40}{part:9.1%}{calls / steps:10.3g}{each:>10}")
        return lines

    # -- the first thing to do ----------------------------------------------------------------

    def advice(self) -> str:
        """Return the first thing to do about where the time goes."""
        if self.timed and (slow := self.shares.slow()):
            return self._wait_for(slow)
        mean = {
            kind: sum(_part(t, kind) for t in self.ranks) / len(self.ranks)
            for kind in (*KINDS, "other")
        }
        for kind, cure in _CURES.items():
            if mean[kind] > CULPABLE and (self.timed or kind not in ("waiting", "transfer")):
                return f"{_WORDS[kind]} takes {mean[kind]:.0%} of the time: {cure}"
        layers = self._mean_layers()
        if not layers:
            return "nothing stands out"
        top = max(layers, key=lambda name: sum(layers[name]))
        part = sum(layers[top]) / self.shares.step
        return f"nothing stands out; of the layers {top} takes most, {part:.0%} of the time"

    def _wait_for(self, slow: Mapping[int, float]) -> str:
        """Say for which rank the others wait, for which of its doings, and what helps."""
        worst = max(slow, key=lambda rank: slow[rank])
        kind, longer = self._longest_beyond_others(worst)
        alike = [rank for rank in slow if self._longest_beyond_others(rank)[0] == kind]
        phase = _PHASE.get(kind, kind)
        whose = (
            f"{spelled(alike)}'s {phase}" if len(alike) == 1 else f"the {phase} of {spelled(alike)}"
        )
        waiting = [rank for rank in range(len(self.ranks)) if rank not in slow]
        verb = "waits" if len(waiting) == 1 else "wait"
        host = self.shares.ranks[worst].host
        said = (
            f"{spelled(waiting)} {verb} {slow[worst]:.0%} of the time for {whose}, "
            f"which takes {spell_seconds(longer)} a step longer than theirs"
        )
        if kind == "data":
            return f"{said}: give its DataLoader workers (num_workers=2), or bring its data nearer"
        means = self.shares.lacks(slow)
        return f"{said}: {means or f'see what else runs on host {host}, and how hot it is'}"

    def _longest_beyond_others(self, rank: int) -> tuple[str, float]:
        """Return what ``rank`` does longer than most, and by how much a step (s)."""
        found = {}
        for kind in (*KINDS, "other"):
            if kind not in ("waiting", "transfer"):
                usual = lower_median([_seconds(self.ranks[r], kind) for r in self.shares.peers])
                found[kind] = (_seconds(self.ranks[rank], kind) - usual) / max(1, self.steps)
        kind = max(found, key=lambda k: found[k])
        return kind, found[kind]


_CURES = {
    "data": "let workers read ahead: DataLoader(…, num_workers=2)",
    "evaluation": "evaluate less often, or fewer samples: Trainer.fit(evaluate_every=…)",
    "checkpoint": "save less often (every=…), or to a faster disk",
    "recording": "steps of ever new shapes are recorded anew: pad batches, or drop_last=True",
    "transfer": "send less, or more seldom: larger batches, or what docs/which-strategy.md says",
    "waiting": "steps take the ranks unequally long: samples of unequal size, or too few cores",
    "optimizer": "steps are small for so many parameters: larger batches, or zero=1",
    "other": "see which part of your code it is with dg.observe.span('name') around it",
}


def share_of(total: Totals, host: str, threads: int, cores: str) -> Share:
    """Return a rank's totals as a split of time; what is done now and then does not count."""
    kinds = total.kinds
    now_and_then = kinds.get("evaluation", 0.0) + kinds.get("checkpoint", 0.0)
    held = kinds.get("waiting", 0.0), kinds.get("transfer", 0.0)
    seconds = total.seconds - now_and_then
    hidden = max(0.0, total.under_way - sum(held))
    return Share(host, total.steps, seconds, *held, hidden, kinds.get("data", 0.0), threads, cores)


def _seconds(total: Totals, kind: str) -> float:
    return total.other if kind == "other" else total.kinds.get(kind, 0.0)


def _part(total: Totals, kind: str) -> float:
    return _seconds(total, kind) / max(total.seconds, 1e-9)
