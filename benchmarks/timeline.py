"""What a step costs more while a timeline of it is recorded (``dg.observe.profile``).

One rank, one thread pinned to one core, in turns in one process: steps with and without; a round's
ratio is that of its two halves, and what is shown is the median over the rounds, with quartiles.
Opening and writing the timeline is not counted, nor are the first steps of each half.

  python benchmarks/timeline.py
  python benchmarks/timeline.py --rows gpt --forms captured --kernels
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "workers"))
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
"""What images set: BLAS reads it when it is loaded."""
_FIRST = 200  # steps at most that find out how often one is recorded


def seconds_of(step: Callable[[], Any], seconds: float) -> float:
    """Return the mean time of a step, of as many as take so long."""
    begun, count = perf_counter(), 0
    while (passed := perf_counter() - begun) < seconds:
        step()
        count += 1
    return passed / count


def ratios(step: Callable[[], Any], rounds: int, turn: float, **how: Any) -> list[float]:
    """Return for each round the time of a step with a timeline over that without."""
    import distgrad as dg  # noqa: PLC0415 (after the variables that BLAS reads)

    few = min(_FIRST, max(3, round(turn / seconds_of(step, turn))))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            off = seconds_of(step, turn)
            with dg.observe.profile(f"{folder}/{number}", **how):
                for _ in range(few):
                    step()
                on = seconds_of(step, turn)
            found.append(on / off)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", nargs="+", default=["small", "mlp", "nano"], help="of benchmarks/one_core.py")
    add("--forms", nargs="+", default=["eager", "captured"], choices=["eager", "captured"])
    add("--rounds", type=int, default=15)
    add("--turn", type=float, default=0.4, help="seconds of half a round")
    add("--kernels", action="store_true", help="record every op, too")
    args = parser.parse_args()
    if args.rounds < 2:
        parser.error("--rounds: quartiles are of 2 rounds or more")
    for name in FORCED:
        os.environ.pop(name, None)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import distgrad_rows  # noqa: PLC0415 (the same)
    from rows import ROWS  # noqa: PLC0415

    for row in args.rows:
        for form in args.forms:
            step = distgrad_rows.build(row, form)
            for _ in range(3):  # compiles and records
                step()
            found = ratios(step, args.rounds, args.turn, kernels=args.kernels)
            low, _, high = quantiles(found, n=4)
            more = f"{median(found) - 1:+.1%} ({low - 1:+.1%} to {high - 1:+.1%})"
            print(f"{ROWS[row].title}, {form}: {more}", flush=True)


if __name__ == "__main__":
    main()
