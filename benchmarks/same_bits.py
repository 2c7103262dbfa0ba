"""Print the README's table: one SHA-256 per model, whatever number of ranks trained it.

Trains the examples for 50 steps in one process, on simulated ranks, on MPI ranks, and killed with
`kill -9` and resumed on another number of ranks. About two minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MODELS = {
    "MLP": ["train.py", "--model", "mlp"],
    "CNN, batch-norm, dropout": ["train.py", "--model", "cnn"],
    "small GPT": ["char_gpt.py", "--layers", "2", "--width", "64", "--sample", "0"],
}
COMMON = ["--steps", "50", "--shards", "4", "--json"]


def command(world: str, ranks: int, script: list[str]) -> list[str]:
    path = [str(EXAMPLES / script[0]), *script[1:], *COMMON]
    if world == "process":
        return [sys.executable, *path]
    return [sys.executable, "-m", "distgrad", world, "-n", str(ranks), *path]


def sha256(output: str) -> str:
    value: str = json.loads(output.strip().splitlines()[-1])["sha256"]
    return value


def train(world: str, ranks: int, script: list[str]) -> str:
    done = subprocess.run(
        command(world, ranks, script), capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode:
        sys.exit(f"{' '.join(command(world, ranks, script))} failed:\n{done.stderr}")
    return sha256(done.stdout)


def killed_and_resumed(script: list[str], first: int, second: int) -> str:
    """Kill mpirun and all ranks as soon as a checkpoint is there; finish on ``second`` ranks."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        options = ["--checkpoint", folder, "--every", "5"]
        job = subprocess.Popen(
            command("run", first, script + options),
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        while not list(Path(folder).glob("step-*")) and job.poll() is None:
            time.sleep(0.002)
        for process in processes_with(folder):
            os.kill(process, signal.SIGKILL)
        job.wait()
        newest = max((path.name for path in Path(folder).glob("step-*")), default="none")
        if newest in ("none", "step-000050"):
            said.seek(0)
            sys.exit(
                f"{' '.join(script)} was not killed in the middle: newest checkpoint {newest}; "
                f"it ended with {job.returncode} and said:\n{said.read().decode()}"
            )
        return train("run", second, [*script, *options, "--resume"])


def processes_with(word: str) -> list[int]:
    """Return the processes that have ``word`` in their command line: a job's mpirun and ranks."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if word.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    found: dict[str, set[str]] = {}
    for name, script in MODELS.items():
        rows = {"one process": train("process", 1, script)}
        for n in (2, 3, 4):
            rows[f"{n} simulated ranks"] = train("debug", n, script)
            rows[f"{n} MPI ranks"] = train("run", n, script)
        rows["4 ranks, kill -9, resumed on 3"] = killed_and_resumed(script, 4, 3)
        rows["2 ranks, kill -9, resumed on 1"] = killed_and_resumed(script, 2, 1)
        print(f"\n{name}")
        for row, value in rows.items():
            print(f"  {row:32} {value}", flush=True)
        found[name] = set(rows.values())
    different = [name for name, values in found.items() if len(values) > 1]
    if different:
        sys.exit(f"not the same bits: {', '.join(different)}")
    print("\none value per model")


if __name__ == "__main__":
    main()
