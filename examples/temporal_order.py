"""Learn the order of two symbols with an RNN, without and with clipping of the gradient's norm.

Pascanu, Mikolov & Bengio (2013), section 4.1; the task is Hochreiter & Schmidhuber's (1997), 6a.
Whenever the RNN begins to learn, gradients grow a hundredfold, and unless they are clipped a step
throws it back to chance. Both runs start from the same bits and read the same sequences.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.nn import functional as F

# Symbols 0 and 1 are A and B, whose order is asked for; 2 to 5 distract.
SYMBOLS, DISTRACTORS, CLASSES = 6, 2, 4
SOLVED = 0.99  # of the test sequences, as in the paper
COLORS = ("tab:red", "tab:blue")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--length", type=int, default=60, help="symbols in a sequence")
    parser.add_argument("--hidden", type=int, default=50, help="units of the RNN")
    parser.add_argument("--steps", type=int, default=6000, help="steps of each run")
    parser.add_argument("--global-batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--clip-norm", type=float, default=1.0, help="largest norm of a gradient")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shards", type=int, default=2, help="logical shards: a power of two")
    parser.add_argument("--capture", action="store_true", help="record a step once, then replay it")
    parser.add_argument("--evaluate-every", type=int, default=200, metavar="N")
    parser.add_argument("--test", type=int, default=10000, metavar="N", help="test sequences")
    parser.add_argument("--run", metavar="DIR", help="folder for a run folder of each training")
    parser.add_argument("--plot", metavar="FILE", help="draw both runs: .png, .pdf or .svg")
    args = parser.parse_args()
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error('--plot needs matplotlib: pip install -e ".[plot]"')
    return args


def temporal_order(count: int, length: int, *key: int) -> dg.data.ArrayDataset:
    """``count`` sequences and their classes AA, AB, BA, BB (0 to 3), drawn from ``key``.

    The first A or B stands at 1/10 to 2/10 of the length, the second at 4/10 to 5/10.
    """
    rng = np.random.default_rng(key)
    x = rng.integers(DISTRACTORS, SYMBOLS, (count, length), dtype=np.int8)
    y = rng.integers(CLASSES, size=count)
    rows = np.arange(count)
    for tenth, symbol in ((1, y // 2), (4, y % 2)):
        low, high = tenth * length // 10, (tenth + 1) * length // 10
        x[rows, rng.integers(low, high, count, endpoint=True)] = symbol
    return dg.data.ArrayDataset(x, y)


class Reader(nn.Module):
    """Symbols (b, t) to logits (b, 4): an RNN reads, its last state answers."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(SYMBOLS, hidden, batch_first=True)
        self.head = nn.Linear(hidden, CLASSES)
        for p in self.parameters():
            nn.init.normal_(p, std=0.1) if p.ndim == 2 else nn.init.zeros_(p)
        # Orthogonal: on its way back a gradient is shrunk by the slope of tanh alone, at first.
        recurrent = self.rnn.weight_hh_l0
        recurrent.data[...] = np.linalg.qr(recurrent.data)[0]

    def forward(self, x: Any) -> Tensor:
        _, last = self.rnn(F.one_hot(x, SYMBOLS).float())  # 1 b h
        return self.head(last[0])


@dataclass
class Run:
    """What a training was like, step by step."""

    clip_norm: float | None
    norms: list[float] = field(default_factory=list)  # before clipping
    losses: list[float] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)  # steps
    errors: list[float] = field(default_factory=list)  # the share of wrong answers then
    test_accuracy: float = math.nan
    outcome: str = ""
    first_bits: str = ""
    last_bits: str = ""

    @property
    def name(self) -> str:
        return "no clipping" if self.clip_norm is None else f"clipped at {self.clip_norm:g}"

    @property
    def peak(self) -> int:
        return int(np.argmax(self.norms))  # a NaN counts as the largest

    @property
    def solved(self) -> bool:
        return self.test_accuracy >= SOLVED


class Diverged:
    """Stops a run whose numbers are finite no more: it failed, the next one starts."""

    def check(self, state: dg.TrainState) -> str | None:
        finite = math.isfinite(state.loss) and math.isfinite(state.gradient_norm)
        return None if finite else f"diverged at step {state.step}"

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass


def train(args: argparse.Namespace, clip_norm: float | None) -> Run:
    """Train and test; ``clip_norm`` is what ``dg.clip_grad_norm_`` is called with, if at all."""
    dg.manual_seed(args.seed)
    model = Reader(args.hidden)
    run = Run(clip_norm, first_bits=nn.state_sha256(model.state_dict()))

    count = args.steps * args.global_batch_size  # no sequence is read twice
    sequences = temporal_order(count, args.length, args.seed, 0)
    loader = dg.data.DataLoader(sequences, args.global_batch_size)
    validation = dg.data.DataLoader(temporal_order(1000, args.length, args.seed, 1), 500)
    test = dg.data.DataLoader(temporal_order(args.test, args.length, args.seed, 2), 500)

    def note(state: dg.TrainState) -> None:
        run.norms.append(state.gradient_norm)
        run.losses.append(state.loss)
        if state.step % args.evaluate_every == 0:
            run.evaluated.append(state.step)
            run.errors.append(1 - state.evaluation["accuracy"])

    trainer = dg.Trainer(
        model,
        optim.SGD(model.parameters(), lr=args.lr, momentum=0.9),
        F.cross_entropy,
        clip_norm=clip_norm,
        metrics={"accuracy": dg.accuracy},
        nonfinite="continue",  # a run that fails is a result
        callbacks=[note],
        capture=args.capture,
        run=args.run and Path(args.run) / run.name.replace(" ", "-"),
    )
    state = trainer.fit(
        loader,
        epochs=1,
        evaluate=validation,
        evaluate_every=args.evaluate_every,
        stop=[Diverged()],
    )
    run.last_bits = nn.state_sha256(model.state_dict())
    run.test_accuracy = trainer.evaluate(test)["accuracy"]
    diverged = state.step < args.steps
    run.outcome = state.stopped if diverged else "solved" if run.solved else "failed"
    return run


def table(runs: Sequence[Run]) -> str:
    head = ("", "largest gradient norm", "loss at the end", "test accuracy", "outcome")
    lines = [
        (
            run.name,
            f"{run.norms[run.peak]:.1f} at step {run.peak + 1}",
            f"{np.mean(run.losses[-100:]):.4f}",
            f"{run.test_accuracy:.4f}",
            run.outcome,
        )
        for run in runs
    ]
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (head, *lines)
    )


def plot(path: str, runs: Sequence[Run], clip_norm: float) -> None:
    """Draw the gradient's norm, the loss and the error over the steps, a column for each run."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 (an extra)
    from matplotlib.figure import Figure  # noqa: PLC0415 (the same)

    figure = Figure(figsize=(10, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("Temporal order of two symbols: an RNN without and with gradient clipping")
    axes = figure.subplots(3, len(runs), sharex=True, sharey="row", squeeze=False)
    for run, (norm, loss, error), color in zip(runs, axes.T, COLORS, strict=True):
        steps = np.arange(1, len(run.norms) + 1)
        norm.set_title(f"{run.name}: {run.outcome}, test accuracy {run.test_accuracy:.2%}")
        norm.semilogy(steps, run.norms, color=color, linewidth=0.6)
        threshold = norm.axhline(clip_norm, color="black", linestyle="--", linewidth=1)
        loss.plot(steps, run.losses, color=color, linewidth=0.6)
        chance = loss.axhline(math.log(CLASSES), color="gray", linestyle=":")
        error.plot(run.evaluated, run.errors, color=color, marker=".")
        error.axhline(1 - 1 / CLASSES, color="gray", linestyle=":")
        error.set_xlabel("step")
    names = ("gradient norm\n(before clipping)", "training loss", "validation error")
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.set_ylabel(name)
    lines = {f"clipping threshold, {clip_norm:g}": threshold, "chance": chance}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=120)


def main() -> None:
    args = arguments()
    world = dg.init(shards=args.shards)
    runs = [train(args, clip_norm) for clip_norm in (None, args.clip_norm)]
    sequences = f"{args.global_batch_size} sequences of {args.length}"
    world.print(f"{args.steps} steps of {sequences}, {world}")
    world.print(f"both runs start from the bits {runs[0].first_bits}")
    world.print(table(runs))
    world.print(f"sha256 {runs[-1].last_bits}")
    if args.plot and world.rank == 0:  # one file, one writer
        plot(args.plot, runs, args.clip_norm)
        print(f"plot in {args.plot}")


if __name__ == "__main__":
    main()
