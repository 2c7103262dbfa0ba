"""Time every op, layer, loss and public function beside PyTorch's, forward and backward, one core.

python benchmarks/ops.py [--quick] [--only NAME…] [--sizes 64 10000 1000000] [--json FILE]

Paired: distgrad, PyTorch, distgrad, … in turn in one process, pinned to one core; the figure is the
median over rounds of the ratio distgrad / PyTorch (below 1: distgrad is faster). Besides plain
matrices there are ones with a prime number of columns, transposed ones and slices. Functions that
are no op (group ``function``) are timed with plain ones, and forward alone where PyTorch has no
gradient.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import function_rows  # noqa: F401 (adds its cases, as layer_shapes does)
import numpy as np
import torch  # pip install 'distgrad[oracle]'
from op_calls import CASES, Case, Fixed
from threadpoolctl import threadpool_limits

import distgrad as dg
from distgrad import kernels

SIZES = {64: (8, 8), 10_000: (100, 100), 1_000_000: (1000, 1000)}
ODD = {64: (5, 13), 10_000: (99, 101), 1_000_000: (991, 1009)}
LAYOUTS = ("plain", "odd", "transposed", "sliced")
OTHERS = ("convolution", "recurrent")
"""Groups whose time is that of matrix products: the summary is given with and without them."""


def laid_out(x: np.ndarray, layout: str) -> np.ndarray:
    """Return the same numbers with other strides."""
    if layout == "transposed":
        return np.ascontiguousarray(x.T).T
    if layout == "sliced":
        wide = np.empty((*x.shape[:-1], x.shape[-1] + x.shape[-1] // 2 + 2), x.dtype)
        part = wide[..., 1 : 1 + x.shape[-1]]
        part[...] = x
        return part
    return x


def drawn(case: Case, size: int, layout: str) -> tuple[list[Any], list[Any]]:
    """Return the inputs of each library: the same numbers in the same memory layout."""
    shape = (ODD if layout == "odd" else SIZES)[size]
    arrays = [
        x if isinstance(x, Fixed) else laid_out(x, layout)
        for x in case.draw(np.random.default_rng(5), shape)
    ]
    return [_our_input(a, case) for a in arrays], [_their_input(a) for a in arrays]


def results(case: Case, size: int, layout: str) -> tuple[Any, Any]:
    """Return what both libraries compute, the first of several."""
    x, y = drawn(case, size, layout)
    ours, theirs = case.build()
    return _first(ours(*x)), _first(theirs(*y))


def sides(case: Case, size: int, layout: str) -> list[Callable[[], Any]]:
    """Return one training step of each library; forward alone of what has no gradient."""
    x, y = drawn(case, size, layout)
    ours, theirs = case.build()
    out = _first(ours(*x))
    if not getattr(out, "requires_grad", False):
        return [lambda: ours(*x), lambda: theirs(*y)]
    g = np.ones(out.shape, out.dtype)
    return [
        _step(ours, x, dg.Tensor(g), list(getattr(ours, "parameters", list)())),
        _step(theirs, y, torch.from_numpy(g), list(getattr(theirs, "parameters", list)())),
    ]


def _our_input(a: Any, case: Case) -> Any:
    if case.group == "function":
        a, grad = (a.array, False) if isinstance(a, Fixed) else (a, True)
        return dg.Tensor(a, requires_grad=grad) if isinstance(a, np.ndarray) else a
    if isinstance(a, Fixed):
        # A functional's case says itself how a constant goes in.
        plain = case.group in ("layer", "loss", "pool") or case.name == "where"
        return a.array if plain and case.name != "ctc" else a
    return dg.Tensor(a, requires_grad=True)


def _their_input(a: Any) -> Any:
    if isinstance(a, Fixed):
        return torch.from_numpy(a.array)
    if not isinstance(a, np.ndarray):
        return a
    return torch.from_numpy(a).requires_grad_()


def _first(out: Any) -> Any:
    return out[0] if isinstance(out, tuple | list) else out


def _step(function: Any, inputs: list[Any], g: Any, parameters: list[Any]) -> Callable[[], None]:
    leaves = [x for x in inputs if getattr(x, "requires_grad", False)] + parameters

    def step() -> None:
        for p in leaves:
            p.grad = None
        _first(function(*inputs)).backward(g)

    return step


def time_pair(pair: list[Callable[[], Any]], rounds: int, seconds: float) -> dict[str, Any]:
    loops = []
    for step in pair:
        step()
        began = time.perf_counter()
        step()
        once = time.perf_counter() - began
        loops.append(max(1, int(seconds / once)))
        if once > 0.03:  # what takes long varies little
            rounds = min(rounds, 3 if once < 0.3 else 1)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for step, n, found in zip(pair, loops, times, strict=True):
            began = time.perf_counter()
            for _ in range(n):
                step()
            found.append((time.perf_counter() - began) / n * 1e6)
    ratios = sorted(a / b for a, b in zip(*times, strict=True))
    return {
        "ratio": statistics.median(ratios),
        "low": ratios[len(ratios) // 4],
        "high": ratios[-1 - len(ratios) // 4],
        "us": statistics.median(times[0]),
        "torch_us": statistics.median(times[1]),
    }


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for case in CASES:
        words = [word.lower() for word in args.only or ()]
        if words and not any(w in case.name.lower() or w == case.group for w in words):
            continue
        for size in args.sizes:
            for layout in args.layouts if case.strided else ["plain"]:
                rounds = min(args.rounds, 5) if case.group == "function" else args.rounds
                try:
                    found = time_pair(sides(case, size, layout), rounds, args.seconds)
                except Exception as error:
                    error.add_note(f"in {case.name}, {size} elements, {layout}")
                    raise
                yield {"name": case.name, "group": case.group, "size": size, "layout": layout,
                       **found}  # fmt: skip


def geometric_mean(ratios: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios)))


def print_rows(found: list[dict[str, Any]], most: int) -> None:
    for size in sorted({row["size"] for row in found}):
        part = sorted((r for r in found if r["size"] == size), key=lambda r: -r["ratio"])
        print(f"\n{size} elements, worst first: ratio (quartiles)  µs, PyTorch's")
        for row in part[:most]:
            layout = "" if row["layout"] == "plain" else f", {row['layout']}"
            print(
                f"{row['ratio']:7.2f} ({row['low']:.2f}–{row['high']:.2f})  "
                f"{row['name'] + layout:42} {row['us']:10.1f} {row['torch_us']:10.1f}"
            )


def print_summary(found: list[dict[str, Any]]) -> None:
    print(f"\n{'elements':>10}  {'rows':>5}  {'geometric mean':>14}  {'median':>6}  {'worst':>6}  "
          f"{'above 1.5':>9}")  # fmt: skip
    sizes = sorted({row["size"] for row in found})
    kept = [r for r in found if r["group"] not in OTHERS]
    parts = [(f"{size}", [r for r in found if r["size"] == size]) for size in sizes]
    parts.append(("≥ 10⁴", [r for r in found if r["size"] >= 10_000]))
    parts.append(("≥ 10⁴ *", [r for r in kept if r["size"] >= 10_000]))
    ops = [r for r in found if r["group"] != "function"]
    parts.append(("≥ 10⁴ †", [r for r in ops if r["size"] >= 10_000]))
    for label, part in parts:
        ratios = [r["ratio"] for r in part]
        if ratios:
            print(
                f"{label:>10}  {len(ratios):5}  {geometric_mean(ratios):14.2f}  "
                f"{statistics.median(ratios):6.2f}  {max(ratios):6.2f}  "
                f"{sum(r > 1.5 for r in ratios):9}"
            )
    print("* without convolutions and recurrent layers  † ops, layers and losses alone")


def stamp() -> dict[str, Any]:
    forced = {k: v for k, v in os.environ.items() if k.startswith(("OPENBLAS_CORE", "OPENBLAS_L2"))}
    return {
        "cpu": _cpu(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("distgrad", "numpy", "torch")},
        "kernels": kernels.status(),
        "torch cpu": torch.backends.cpu.get_cpu_capability(),
        **forced,
    }


def _cpu() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line for line in lines if line.startswith("flags")), "")
    vector = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return f"{names[0] if names else platform.machine()}, {vector}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="cases of group NAME, or with NAME in theirs"
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), choices=SIZES)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=LAYOUTS)
    parser.add_argument("--quick", action="store_true", help="plain layouts, few rounds")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.003, help="the least time of a round")
    parser.add_argument("--most", type=int, default=1000, help="rows to print for each size")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    args = parser.parse_args()
    if args.quick:
        args.layouts, args.rounds, args.seconds = ["plain"], 3, 0.001
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    threadpool_limits(1)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    made = stamp()
    print(", ".join(f"{k} {v}" for k, v in made.items()), f"core {core}", sep=", ")
    found = []
    for row in rows(args):
        found.append(row)
        if sys.stderr.isatty():
            print(f"\r{row['name']:40}", end="", file=sys.stderr, flush=True)
    print_rows(found, args.most)
    print_summary(found)
    if args.json:
        Path(args.json).write_text(json.dumps({"stamp": made, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
