"""How long `import distgrad` takes beyond NumPy's own import: medians of paired fresh processes."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(modules: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(modules)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    pairs = [(seconds("numpy"), seconds("distgrad")) for _ in range(args.rounds)]
    numpy = statistics.median(a for a, _ in pairs)
    beyond = statistics.median(b - a for a, b in pairs)
    print(f"numpy {numpy:.3f} s, distgrad {beyond:.3f} s beyond it (bar: 0.35)")


if __name__ == "__main__":
    main()
