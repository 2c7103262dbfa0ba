"""The cost of an op on small arrays, and of small programs, beside PyTorch.

A chain of 20 of each op, forward and backward, on arrays of 1, 8 and 64 floats: microseconds of
processor time per link. Then whole programs: REINFORCE (one state at a time), a network with
second derivatives, a small MLP. Two processes of one thread take turns in short rounds; a row is
the median of either and the median over rounds of their ratio (below 1: distgrad is faster).
PyTorch is looked for in this Python; --peer-python names another one that has it.

python benchmarks/engine.py [--ops "y + x" tanh] [--programs reinforce] [--rounds 15]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKER = Path(__file__).resolve().parent / "workers" / "small.py"
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
SIZES = (1, 8, 64)
PROGRAMS = {"reinforce": 128, "pinn": 256, "mlp": 32}
"""Hidden units, points, samples in a batch."""


class Worker:
    """One framework in a process of its own, which times what it is asked for."""

    def __init__(self, python: str, framework: str) -> None:
        self.process = subprocess.Popen(
            [python, str(WORKER), framework],
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ops: list[str] = self._answer()

    def time(self, name: str, size: int) -> float:
        assert self.process.stdin is not None
        print(json.dumps([name, size]), file=self.process.stdin, flush=True)
        value: float = self._answer()
        return value

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(map(str, self.process.args))} failed")  # type: ignore[arg-type]
        return json.loads(line)


def compare(workers: list[Worker], name: str, size: int, rounds: int) -> list[float]:
    """Return the medians of the workers, and that of the ratio if there are two."""
    times = [[w.time(name, size) for w in workers] for _ in range(rounds)]
    columns = [statistics.median(c) for c in zip(*times, strict=True)]
    if len(workers) == 2:
        columns.append(statistics.median(ours / theirs for ours, theirs in times))
    return columns


def has_torch(python: str) -> bool:
    probe = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    return probe.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ops", nargs="*", metavar="OP", help="some of the rows (all)")
    parser.add_argument("--programs", nargs="*", choices=[*PROGRAMS], default=[*PROGRAMS])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peer-python", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    args = parser.parse_args()
    workers = [Worker(sys.executable, "distgrad")]
    if has_torch(args.peer_python):
        workers.append(Worker(args.peer_python, "torch"))
    else:
        print("PyTorch is not installed in this Python: distgrad alone (see --peer-python)")

    rows: dict[str, list[list[float]]] = {}
    print(f"{'µs a link':14}" + "".join(f"{f'{size} float(s)':>24}" for size in SIZES))
    for name in workers[0].ops if args.ops is None else args.ops:
        rows[name] = [compare(workers, name, size, args.rounds) for size in SIZES]
        cells = ["  ".join(f"{value:6.2f}" for value in cell).rjust(24) for cell in rows[name]]
        print(f"{name:14}" + "".join(cells), flush=True)
    if len(workers) == 2 and rows:
        by_size = [statistics.median(cells[i][2] for cells in rows.values()) for i in range(3)]
        every = statistics.median(cell[2] for cells in rows.values() for cell in cells)
        print(f"{'median':14}" + "".join(f"{m:24.2f}" for m in by_size))
        print(f"median ratio of all: {every:.2f}")
    for name in args.programs:
        rows[name] = [compare(workers, name, PROGRAMS[name], args.rounds)]
        print(f"{name:14}" + "  ".join(f"{v:10.2f}" for v in rows[name][0]), flush=True)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
