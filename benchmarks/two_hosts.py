"""Time one training step on two hosts: messages eager and not, and PyTorch's DDP over gloo.

The hosts are network namespaces of this machine, made by the tool netbox, whose path is the first
argument; it needs root. Paired: in each round one run of each candidate in turn, in fresh processes
of one thread a rank; the figures are medians over rounds, and the ratios those of medians.

  asked   a message above 64 KiB waits for the receiver's answer: Open MPI's own limit
  eager   it is sent at once: what dg.init sets
  zero=1  the same; the optimizer is shared out, values come back under the next forward pass
  alone   both compute at the same time and do not talk
  wire    what a zero=1 step sends, with nothing computed
  gloo    PyTorch's DDP (--peer-python names a Python with torch)

python benchmarks/two_hosts.py NETBOX --rounds 7
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
WORKERS = Path(__file__).resolve().parent / "workers"
ENVIRON = {
    **{k: v for k, v in os.environ.items() if k not in {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}},
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(REPO),
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "DISTGRAD_TUNING": "off",
}
OWN_LIMIT = {"OMPI_MCA_btl_tcp_eager_limit": "65536"}  # set by the user, so dg.init sets none
FIRST_HOST = "node0"
PATIENCE = 900.0  # seconds for a run


def milliseconds(output: str, what: str) -> float:
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        sys.exit(f"{what} failed:\n{output}")
    return float(json.loads(lines[-1])["ms"])


class Hosts:
    """Two hosts, and how a step is timed on them."""

    def __init__(self, netbox: str, steps: int, peer_python: str) -> None:
        self.netbox, self.steps, self.peer = netbox, steps, peer_python
        self._port = 29500

    def call(self, *words: str) -> str:
        done = subprocess.run(
            ["bash", self.netbox, *words],
            env=ENVIRON,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"netbox {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def distgrad(self, workload: str, own: dict[str, str], *options: str) -> float:
        script = [str(WORKERS / "distgrad_step.py"), workload, "--steps", str(self.steps)]
        script += ["--free", *options]
        command = ["bash", self.netbox, "mpirun", "-n", "2", "--map-by", "node", sys.executable]
        done = subprocess.run(
            [*command, *script],
            env=ENVIRON | own,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return milliseconds(done.stdout + done.stderr, f"distgrad {workload}")

    def alone(self, workload: str) -> float:
        script = [str(WORKERS / "distgrad_step.py"), workload, "--steps", str(self.steps)]
        outputs = self._both(lambda rank: [sys.executable, *script, "--alone", str(rank)])
        return statistics.mean(milliseconds(text, f"{workload} alone") for text in outputs)

    def gloo(self, workload: str) -> float:
        self._port += 1
        common = [
            *(f"MASTER_ADDR={FIRST_HOST}", f"MASTER_PORT={self._port}"),
            *("WORLD_SIZE=2", "GLOO_SOCKET_IFNAME=eth0"),
        ]
        script = [self.peer, str(WORKERS / "torch_step.py"), workload, "--steps", str(self.steps)]
        outputs = self._both(lambda rank: ["env", f"RANK={rank}", *common, *script])
        return milliseconds(outputs[0], f"PyTorch {workload}")

    def _both(self, command: Callable[[int], list[str]]) -> list[str]:
        """Run ``command(rank)`` on both hosts at the same time; return what each printed."""
        jobs = [
            subprocess.Popen(
                ["bash", self.netbox, "exec", f"node{rank}", *command(rank)],
                env=ENVIRON,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(2)
        ]
        try:
            return [job.communicate(timeout=PATIENCE)[0] for job in jobs]
        finally:
            for job in jobs:
                job.kill()  # one that waits for the other; those that have ended are not there


def has_torch(python: str) -> bool:
    probe = subprocess.run([python, "-c", "import torch"], capture_output=True, check=False)
    return probe.returncode == 0


def compared(
    candidates: dict[str, Callable[[], float]], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the median milliseconds of each, and what part of each other's ``eager`` takes."""
    found: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            found[name].append(run())
    medians = {name: statistics.median(times) for name, times in found.items()}
    return medians, {n: medians["eager"] / ms for n, ms in medians.items() if n != "eager"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("netbox", help="path of the tool")
    parser.add_argument("--workloads", nargs="+", default=["mlp", "cnn", "gpt"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="timed steps in a run")
    parser.add_argument("--rate", default="1gbit", help="of each host's link, each way")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("only root can make the two hosts")
    hosts = Hosts(args.netbox, args.steps, args.peer_python)
    with_peer = has_torch(args.peer_python)
    if not with_peer:
        print("PyTorch is not installed in this Python: distgrad alone (see --peer-python)")
    rows = []
    hosts.call("up", "2", args.rate)
    try:
        for workload in args.workloads:
            candidates: dict[str, Callable[[], float]] = {
                "asked": lambda w=workload: hosts.distgrad(w, OWN_LIMIT),
                "eager": lambda w=workload: hosts.distgrad(w, {}),
                "zero=1": lambda w=workload: hosts.distgrad(w, {}, "--zero", "1"),
                "wire": lambda w=workload: hosts.distgrad(w, {}, "--zero", "1", "--transfer"),
                "alone": lambda w=workload: hosts.alone(w),
            }
            if with_peer:
                candidates["gloo"] = lambda w=workload: hosts.gloo(w)
            times, ratios = compared(candidates, args.rounds)
            shown = ", ".join(f"{name} {ms:.0f} ms" for name, ms in times.items())
            against = ", ".join(f"{r:.2f} of {name}" for name, r in ratios.items())
            bound = times["zero=1"] / max(times["alone"], times["wire"])
            print(f"{workload}: {shown}; eager is {against}; zero=1 is {bound:.2f} of its bound")
            rows.append({"workload": workload, "ms": times, "eager_over": ratios})
    finally:
        hosts.call("down")
    if args.json:
        result = {"rate": args.rate, "rounds": args.rounds, "rows": rows}
        Path(args.json).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
