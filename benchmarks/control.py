"""What two or more ranks in a node cost beside as many processes that do not talk.

Paired: the ranks of a job, then as many processes of the same model at the same time, one core
each, in turns; the figure is the median over rounds of the ratio of their times a step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

WORKER = str(Path(__file__).resolve().parent / "workers" / "distgrad_step.py")
STEPS = {"gpt": 8, "cnn": 30, "mlp": 60, "small": 2000}
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def milliseconds(output: str) -> list[float]:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    return [json.loads(line)["ms"] for line in lines]


def talking(workload: str, ranks: int, steps: int, *how: str) -> float:
    launch = [sys.executable, "-m", "distgrad", "run", "--threads", "1", "-n", str(ranks)]
    done = subprocess.run(
        [*launch, WORKER, workload, "--steps", str(steps), "--free", *how],
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{workload} on {ranks} ranks failed:\n{done.stderr}")
    return statistics.mean(milliseconds(done.stdout))


def silent(workload: str, ranks: int, steps: int) -> float:
    cores = sorted(os.sched_getaffinity(0))
    jobs = [
        subprocess.Popen(
            [sys.executable, WORKER, workload, "--steps", str(steps), "--alone", str(rank)],
            env={**os.environ, **ONE_THREAD},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    for rank, job in enumerate(jobs):
        os.sched_setaffinity(job.pid, {cores[rank % len(cores)]})
    outputs = [job.communicate()[0] for job in jobs]
    if any(job.returncode for job in jobs):
        sys.exit(f"the control of {workload} failed")
    return statistics.mean(ms for output in outputs for ms in milliseconds(output))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--zero", type=int, default=0)
    parser.add_argument("--meet", action="store_true", help="ranks that only meet, too")
    args = parser.parse_args()
    named = {f"zero={args.zero}": ["--zero", str(args.zero)]}
    if args.meet:
        named["meeting only"] = ["--meet"]
    for workload in args.workloads:
        steps = STEPS[workload]
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in named}
        for _ in range(args.rounds):
            ours = {n: talking(workload, args.ranks, steps, *how) for n, how in named.items()}
            theirs = silent(workload, args.ranks, steps)
            for name, ms in ours.items():
                found[name].append((ms, theirs))
        for name, pairs in found.items():
            ratios = sorted(a / b for a, b in pairs)
            ms, control = (statistics.median(times) for times in zip(*pairs, strict=True))
            print(
                f"{workload} on {args.ranks}, {name}: {ms:.3f} ms, control {control:.3f} ms, "
                f"ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
