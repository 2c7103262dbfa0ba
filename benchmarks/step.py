"""Time one training step of three workloads beside PyTorch, on one rank and on two.

Paired: distgrad, PyTorch, distgrad, … in turn, each in fresh processes of one thread a rank; the
figure is the median over rounds of the ratio distgrad / PyTorch (below 1: distgrad is faster).
PyTorch is looked for in this Python; --peer-python names another one that has it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

WORKERS = Path(__file__).resolve().parent / "workers"
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def milliseconds(output: str) -> float:
    value: float = json.loads(output.strip().splitlines()[-1])["ms"]
    return value


def time_distgrad(workload: str, ranks: int, steps: int) -> float:
    script = [str(WORKERS / "distgrad_step.py"), workload, "--steps", str(steps)]
    start = [sys.executable]
    if ranks > 1:
        start += ["-m", "distgrad", "run", "--threads", "1", "-n", str(ranks)]
    done = subprocess.run(
        [*start, *script],
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"distgrad {workload} on {ranks} ranks failed:\n{done.stderr}")
    return milliseconds(done.stdout)


def time_torch(python: str, workload: str, ranks: int, steps: int, port: int) -> float:
    command = [python, str(WORKERS / "torch_step.py"), workload, "--steps", str(steps)]
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    jobs = [
        subprocess.Popen(
            command,
            env={**os.environ, **ONE_THREAD, **rendezvous, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(ranks)
    ]
    outputs = [job.communicate()[0] for job in jobs]
    if any(job.returncode for job in jobs):
        sys.exit(f"PyTorch {workload} on {ranks} ranks failed")
    return milliseconds(outputs[0])


def has_torch(python: str) -> bool:
    probe = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    return probe.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workloads", nargs="+", default=["mlp", "cnn", "gpt"])
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="timed steps in a run")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    args = parser.parse_args()
    with_peer = has_torch(args.peer_python)
    if not with_peer:
        print("PyTorch is not installed in this Python: distgrad alone (see --peer-python)")
    rows = []
    for workload in args.workloads:
        for ranks in args.ranks:
            ours, theirs = [], []
            for number in range(args.rounds):
                ours.append(time_distgrad(workload, ranks, args.steps))
                if with_peer:
                    port = 29500 + number
                    theirs.append(time_torch(args.peer_python, workload, ranks, args.steps, port))
            row = {"workload": workload, "ranks": ranks, "distgrad_ms": statistics.median(ours)}
            text = f"{workload} on {ranks}: distgrad {row['distgrad_ms']:.1f} ms"
            if with_peer:
                ratios = sorted(a / b for a, b in zip(ours, theirs, strict=True))
                row |= {
                    "torch_ms": statistics.median(theirs),
                    "ratio": statistics.median(ratios),
                    "ratio_min": ratios[0],
                    "ratio_max": ratios[-1],
                }
                text += (
                    f", PyTorch {row['torch_ms']:.1f} ms, ratio {row['ratio']:.2f} "
                    f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
                )
            print(text, flush=True)
            rows.append(row)
    result = {"machine": platform.processor() or platform.machine(), "rows": rows}
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
