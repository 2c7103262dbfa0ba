"""Loss against bytes sent and against time: without a hook, with each hook, local SGD and DiLoCo.

Each setting trains in a job of its own. --launch is what starts it, by default two ranks on this
machine; over two hosts it is what starts Python there. Options it does not know are the worker's
(--batch, --width, --layers, --lr, --text). --micro times one call of each hook on a 4 MiB bucket
instead (--ranks 1: the work alone, without a transfer).
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

WORKERS = Path(__file__).resolve().parent / "workers"
TRAIN, MICRO = WORKERS / "compression_train.py", WORKERS / "compression_micro.py"
METHODS = ["none", "fp16", "bf16", "int8", "powerSGD-2", "powerSGD-4", "topk-1%", "local-8"]
METHODS += ["DiLoCo-50"]


def run(launch: list[str], method: str, options: list[str]) -> dict[str, Any]:
    command = [*launch, str(TRAIN), method, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stderr}")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def reached(points: list[list[float]], target: float, column: int) -> float | None:
    """What had been spent when the loss first was at most ``target``, between two evaluations."""
    for (*a, high), (*b, low) in pairwise(points):
        if low <= target:
            share = 1.0 if high <= low else (high - target) / (high - low)
            return a[column] + min(max(share, 0.0), 1.0) * (b[column] - a[column])
    return None


def table(results: dict[str, dict[str, Any]], target: float) -> list[dict[str, Any]]:
    rows = []
    print(f"{'':11} {'ms/step':>8} {'bytes/param/step':>17} {'last loss':>10}", end=" ")
    print(f"{'to loss ' + format(target, '.4f'):>17}: s {'MB':>9}")
    for method, result in results.items():
        points, n = result["points"], result["parameters"]
        steps, seconds, sent, loss = points[-1]
        row = {
            "method": method,
            "ms": seconds / steps * 1e3,
            "bytes_per_parameter": sent / steps / n,
            "loss": loss,
            "seconds_to": reached(points, target, 1),
            "bytes_to": reached(points, target, 2),
        }
        to = "not reached" if row["seconds_to"] is None else f"{row['seconds_to']:.2f}"
        megabytes = "" if row["bytes_to"] is None else f"{row['bytes_to'] / 1e6:.1f}"
        print(
            f"{method:11} {row['ms']:8.2f} {row['bytes_per_parameter']:17.4f} {loss:10.4f} "
            f"{to:>20} {megabytes:>9}"
        )
        rows.append(row)
    return rows


def draw(results: dict[str, dict[str, Any]], file: str) -> None:
    plt = importlib.import_module("matplotlib.pyplot")
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True, layout="constrained")
    for method, result in results.items():
        points = np.array(result["points"][1:])
        axes[0].plot(points[:, 2] / 1e6, points[:, 3], label=method)
        axes[1].plot(points[:, 1], points[:, 3], label=method)
    axes[0].set(xscale="log", xlabel="MB sent by a rank", ylabel="validation loss")
    axes[1].set(xlabel="seconds")
    axes[1].legend()
    figure.savefig(file, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", choices=["mlp", "gpt"], default="mlp")
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="METHOD")
    parser.add_argument("--ranks", type=int, default=2, help="on this machine, without --launch")
    parser.add_argument("--launch", metavar="COMMAND", help="what starts Python with a script")
    parser.add_argument("--steps", type=int, default=600, help="of the first method")
    parser.add_argument("--longer", type=float, default=1.0, help="times the steps of the others")
    parser.add_argument("--every", type=int, default=25)
    parser.add_argument("--tolerance", type=float, default=0.01, help="of the loss to be reached")
    parser.add_argument("--json", metavar="FILE", help="write all points here")
    parser.add_argument("--plot", metavar="FILE", help="draw the losses (needs matplotlib)")
    parser.add_argument("--micro", action="store_true", help="time single calls")
    args, rest = parser.parse_known_args()  # what it does not know is for the worker
    default = [sys.executable, "-m", "distgrad", "run", "--threads", "1", "-n", str(args.ranks)]
    launch = shlex.split(args.launch) if args.launch else default
    if args.micro:
        sys.exit(subprocess.run([*launch, str(MICRO), *rest], check=False).returncode)
    options = ["--workload", args.workload, "--every", str(args.every)]
    results: dict[str, dict[str, Any]] = {}
    for method in args.methods:
        # Steps that take less time may be more of them: what counts is when the loss is reached.
        steps = args.steps if method == args.methods[0] else int(args.longer * args.steps)
        results[method] = run(launch, method, [*options, "--steps", str(steps), *rest])
        print(f"{method}: {results[method]['points'][-1]}", file=sys.stderr, flush=True)
    reference = results.get("none") or next(iter(results.values()))
    target = min(loss for *_, loss in reference["points"]) * (1 + args.tolerance)
    rows = table(results, target)
    if args.json:
        Path(args.json).write_text(json.dumps({"rows": rows, "results": results}, indent=1) + "\n")
    if args.plot:
        draw(results, args.plot)


if __name__ == "__main__":
    main()
