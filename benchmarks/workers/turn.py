"""A row under one framework and in one form, timed on request: a worker of benchmarks/one_core.py.

python turn.py FRAMEWORK FORM ROW [--core N] [--threads T] [--requests FOLDER] [--batch N]

Prints a line of JSON when the first steps are done, then answers each line of its requests:
{"steps": k} with the milliseconds of one, {"peak": true} with the most memory that it has had.
Requests come on the standard input, or for each rank from a pipe of its own in FOLDER, so that one
that waits for them sleeps. Rank 0 answers.
"""

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path

BEGAN = time.perf_counter()


def peak_mib():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def serve(step, requests, answer):
    """``step`` returns the loss; what frameworks compute later is waited for at a turn's end."""
    for line in requests:
        request = json.loads(line)
        if "peak" in request:
            answer({"peak_mib": peak_mib()})
            continue
        if request["steps"] > 1:
            step()  # what the other workers have put into the caches goes
        start = time.perf_counter()
        for _ in range(request["steps"]):
            loss = step()
        loss = float(loss)
        took = (time.perf_counter() - start) / request["steps"]
        answer({"ms": took * 1e3, "loss": loss})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("framework")
    parser.add_argument("form")
    parser.add_argument("row")
    parser.add_argument("--core", type=int, help="the only one to run on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--requests", type=Path)
    args = parser.parse_args()
    # mpirun's own variables: the ranks of Open MPI (and Slurm) and of MPICH.
    rank = int(os.environ.get("OMPI_COMM_WORLD_RANK", os.environ.get("PMI_RANK", "0")))

    def answer(found):
        if rank == 0:
            print(json.dumps(found), flush=True)

    framework = importlib.import_module(f"{args.framework}_rows")
    if args.core is not None:  # now: JAX counts its cores when it makes its first array
        os.sched_setaffinity(0, {args.core})
    # Before anything is answered: who has an answer may close its end, and nobody could open ours.
    requests = (args.requests / str(rank)).open() if args.requests else sys.stdin
    step = framework.build(args.row, args.form, threads=args.threads, batch=args.batch)
    start = time.perf_counter()
    float(step())
    done = time.perf_counter()
    losses = [float(step()) for _ in range(2)]
    answer(
        {
            "first_s": done - start,
            "start_s": done - BEGAN,
            "loss": losses[-1],
            "versions": framework.versions(),
        }
    )
    serve(step, requests, answer)


if __name__ == "__main__":
    main()
