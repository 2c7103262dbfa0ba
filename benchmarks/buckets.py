"""Compare bucket sizes: one training step on several ranks, each size in turn, as ratios to 4 MiB.

This is the measurement behind the default of DistributedDataParallel's ``bucket_mb``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).resolve().parent / "workers" / "distgrad_step.py"
REFERENCE = 4.0


def milliseconds(workload: str, ranks: int, bucket_mb: float, steps: int) -> float:
    launch = [sys.executable, "-m", "distgrad", "run", "--threads", "1", "-n", str(ranks)]
    options = [workload, "--steps", str(steps), "--bucket-mb", str(bucket_mb)]
    done = subprocess.run(
        [*launch, str(WORKER), *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{workload} on {ranks} ranks failed:\n{done.stderr}")
    value: float = json.loads(done.stdout.strip().splitlines()[-1])["ms"]
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", nargs="+", default=["mlp", "gpt"])
    parser.add_argument("--ranks", nargs="+", type=int, default=[2])
    parser.add_argument("--sizes", nargs="+", type=float, default=[0.25, 1, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    for workload in args.workloads:
        for ranks in args.ranks:
            ratios: dict[float, list[float]] = {size: [] for size in args.sizes}
            for _ in range(args.rounds):
                reference = milliseconds(workload, ranks, REFERENCE, args.steps)
                for size in args.sizes:
                    found = milliseconds(workload, ranks, size, args.steps)
                    ratios[size].append(found / reference)
            shown = ", ".join(f"{s:g} MiB {statistics.median(r):.2f}" for s, r in ratios.items())
            print(f"{workload} on {ranks} ranks, time relative to 4 MiB: {shown}", flush=True)


if __name__ == "__main__":
    main()
