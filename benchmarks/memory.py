"""What a rank keeps in memory to train the 10.8 M GPT: parameters, gradients, AdamW's state.

In bytes per parameter, beside the formulas of Rajbhandari et al. 2020 (float32: 4 + 4 + 8): the
peak of a few steps, looked at after forward, backward and the optimizer's step, above what the
process had before the model was made; memory that ranks share counts once, divided among them, and
the code of libraries does not count. In brackets the peak while backward runs, when gradients are
on their way. The batch is one sequence of 4 tokens, so that activations are few.
With ``--apart`` every rank has a host name of its own and shares nothing, as on separate nodes;
with ``--apart 2`` every two have (needs root: it makes UTS namespaces).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

WORKER = str(Path(__file__).resolve().parent / "workers" / "memory_of_rank.py")
APART = 'hostname "node$((OMPI_COMM_WORLD_RANK / {}))" && exec "$@"'


def formula(zero: int, ranks: int, *, per_node: int) -> float:
    """Return bytes per parameter of the published formulas; values once per node in a node."""
    values, gradients, state = 4.0, 4.0, 8.0
    if zero >= 1:
        state /= ranks
        values /= ranks if zero == 3 else min(per_node, ranks)
    if zero >= 2:
        gradients /= ranks
    return values + gradients + state


def measure(zero: int, ranks: int, *, apart: int) -> tuple[float, float]:
    """Return the peak at rest, a mean over the ranks, and that of a rank while backward runs."""
    command = [sys.executable, WORKER, "--zero", str(zero)]
    if apart:
        command = ["unshare", "--uts", "sh", "-c", APART.format(apart), "sh", *command]
    done = subprocess.run(
        ["mpirun", "--oversubscribe", "-n", str(ranks), *command],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"zero={zero} on {ranks} ranks failed:\n{done.stderr}")
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    rest = [statistics.mean(moment) for moment in zip(*(f["bytes"] for f in found), strict=True)]
    return max(rest), max(max(f["inside"]) for f in found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--zero", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--apart", type=int, nargs="?", const=1, default=0, metavar="PER_NODE")
    args = parser.parse_args()
    what = "bytes per parameter, measured (while backward runs) / formula"
    print(what + f", {args.apart} a node" * bool(args.apart))
    print("zero  " + "".join(f"{n:>4} ranks                " for n in args.ranks))
    for zero in args.zero:
        cells = []
        for ranks in args.ranks:
            found, inside = measure(zero, ranks, apart=args.apart)
            wanted = formula(zero, ranks, per_node=args.apart or ranks)
            cells.append(f"{found:6.2f} ({inside:5.2f}) / {wanted:5.2f} {found / wanted - 1:+4.0%}")
        print(f"{zero:4}  " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
