"""How long `import distgrad` takes beyond NumPy's own import: medians of paired fresh processes."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


# With bytecode, as every import but the first finds it: compiling costs twice the import itself.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def seconds(modules: str) -> float:
    command = [sys.executable, "-c", CODE.format(modules)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    seconds("distgrad")
    pairs = [(seconds("numpy"), seconds("distgrad")) for _ in range(args.rounds)]
    numpy = statistics.median(a for a, _ in pairs)
    beyond = statistics.median(b - a for a, b in pairs)
    print(f"numpy {numpy:.3f} s, distgrad {beyond:.3f} s beyond it (bar: 0.35)")


if __name__ == "__main__":
    main()
