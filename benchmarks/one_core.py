"""One training step of nine workloads on one core, beside PyTorch and JAX.

Every side does the same work from the same weights (their losses are compared): float32, AdamW,
clipping by the global norm 1, one thread pinned to one core. Each runs in a process of its own
that makes a few steps when it is its turn: A B C, A B C, …; what is shown is the median over
rounds of milliseconds and of ratios to the fastest peer of the same run (less than 1: distgrad is
faster), with quartiles. The row's own matrix products, by NumPy and alone, take turns with them.
Then first steps, with and without compiled kernels of an earlier run, and peak memory, each in
fresh processes. PyTorch and JAX are looked for in this Python; other Pythons can be named.

  python benchmarks/one_core.py --quick
  python benchmarks/one_core.py --jax-python PYTHON --json one_core.json --plot one_core.png
  python benchmarks/one_core.py --rows gpt cnn --json one_core.json    # the file keeps other rows
  python benchmarks/one_core.py --rows --json one_core.json --markdown # only shows what it has
  python benchmarks/one_core.py --isa avx2     # as on a CPU without AVX-512
  python benchmarks/one_core.py --cores all    # distgrad on a rank a core, peers with all threads
  python benchmarks/one_core.py --more         # models of many kinds beside PyTorch, 15 minutes
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import tables
from turns import FORCED, Place, Side, WorkerError, fresh, ratio, started, take_turns

sys.path.insert(0, str(Path(__file__).resolve().parent / "workers"))
from rows import ALL, MORE, ROWS

PEERS = {  # the name of a side -> framework, form
    "torch": ("torch", "eager"),
    "torch compiled": ("torch", "compiled"),
    "torch channels-last": ("torch", "channels-last"),
    "jax": ("jax", "jit"),
}
KEPT = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 32),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
"""JAX's processes keep freed memory: without, a step of the MLP took 14 or 20 ms, by luck."""
AVX2 = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Zen",
    "NUMBA_CPU_NAME": "znver3",
    "NUMBA_CPU_FEATURES": "",  # what a CPU of that name has, not this one
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
}
"""What keeps every side to AVX2 on a CPU with AVX-512."""
CHOICES = {name.rpartition(" ")[2]: name for name in PEERS}
CONVOLUTIONAL = (
    *("cnn", "resnet", "mobilenet", "efficientnet", "resnext", "unet", "unet-bilinear", "dcgan"),
    *("style", "simclr"),
)
SAME_LOSS = 0.01
"""By what part (and by what, of small ones) losses of the third step may differ: by rounding."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", nargs="*", choices=[*ALL], metavar="ROW", help=", ".join(ROWS))
    add("--more", action="store_true", help=f"rows of many kinds: {', '.join(MORE)}")
    add("--peers", nargs="*", choices=[*CHOICES], metavar="PEER", help=", ".join(CHOICES))
    add("--rounds", type=int, help="turns of each side (default 9; 3 with --quick)")
    add("--turn", type=float, help="seconds of a turn (default 0.3; 0.1 with --quick)")
    add("--quick", action="store_true", help="few short turns; no compiling, no fresh processes")
    add("--fresh", action=argparse.BooleanOptionalAction, help="measure first steps and memory")
    add("--core", type=int, default=max(os.sched_getaffinity(0)), help="(default: the last)")
    add("--isa", choices=["own", "avx2"], default="own", help="limit all sides to AVX2")
    add("--cores", choices=["one", "all"], default="one")
    add("--torch-python", default=sys.executable, metavar="PYTHON", help="one that has torch")
    add("--jax-python", default=sys.executable, metavar="PYTHON", help="one that has JAX")
    add("--json", type=Path, metavar="FILE", help="add the figures to this file")
    add("--markdown", action="store_true", help="print the table as Markdown at the end")
    add("--plot", metavar="FILE", help="draw the ratios (PNG, PDF, SVG)")
    args = parser.parse_args()
    if args.rows is None:
        args.rows = [*(MORE if args.more else ROWS)]
    args.rounds = args.rounds or (3 if args.quick else 9)
    args.turn = args.turn or (0.1 if args.quick else 0.3)
    if args.fresh is None:
        args.fresh = not (args.quick or args.more) and args.cores == "one"
    if args.peers is None:
        args.peers = [p for p in CHOICES if not (args.quick and p == "compiled")]
    if args.isa != "own":  # no variable holds the compiler of torch.compile back
        args.peers = [p for p in args.peers if p != "compiled"]
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install 'distgrad[plot]'")
    return args


def available(args: argparse.Namespace) -> list[Side]:
    """Return the peers that can run here; say of the others why not."""
    pythons = {"torch": args.torch_python, "jax": args.jax_python}
    found = []
    missing = set()
    for name in (CHOICES[p] for p in args.peers):
        framework, form = PEERS[name]
        probe = [pythons[framework], "-c", f"import {framework}"]
        if (
            framework in missing
            or subprocess.run(probe, capture_output=True, check=False).returncode
        ):
            if framework not in missing:
                print(f"no {framework} in {pythons[framework]}: see --{framework}-python")
            missing.add(framework)
        elif form == "compiled" and not any(map(shutil.which, _compilers())):
            print(f"no '{name}': there is no C++ compiler ({', '.join(_compilers())})")
        else:
            kept = KEPT if framework == "jax" else {}
            found.append(Side(name, framework, form, pythons[framework], kept))
    return found


def _compilers() -> list[str]:
    return list(filter(None, [os.environ.get("CXX"), "g++", "clang++"]))


def sides_of(row: str, peers: list[Side], place: Place) -> list[Side]:
    forms = {"distgrad": "eager", "distgrad captured": "captured"}
    if place.ranks > 1:
        forms |= {f"{name} zero=1": f"{form} zero=1" for name, form in forms.items()}
    sides = [Side(name, "distgrad", form, sys.executable) for name, form in forms.items()]
    for peer in peers:
        if peer.form == "channels-last" and row not in CONVOLUTIONAL:
            continue
        if peer.form == "compiled" and row == "pinn":
            continue  # torch.compile has no gradients of gradients
        if row in MORE and peer.name not in ("torch", "torch channels-last"):
            continue  # 29 models to compile, and none written in JAX
        sides.append(peer)
    if place.core is not None and ALL[row].products:
        sides.append(Side("products", "product", "numpy", sys.executable))
    return sides


def limited(side: Side, isa: str) -> Side:
    """Return a side that uses the vector instructions of ``isa`` alone."""
    return side._replace(environment={**side.environment, **(AVX2 if isa == "avx2" else {})})


def place_of(row: str, args: argparse.Namespace) -> Place:
    if args.cores == "one":
        return Place(args.core, 1)
    cores = len(os.sched_getaffinity(0))
    # Every rank has as many samples as the next.
    ranks = next(n for n in range(cores, 0, -1) if ALL[row].batch % n == 0)
    return Place(None, cores, ranks)


def measure(row: str, peers: list[Side], args: argparse.Namespace) -> tuple[dict[str, Any], Any]:
    """Return the row's figures, and the versions that its workers named."""
    place = place_of(row, args)
    sides = [limited(side, args.isa) for side in sides_of(row, peers, place)]
    workers, failed = started(sides, row, place)
    try:
        times = dict(
            zip(
                (w.side.name for w in workers),
                take_turns(workers, args.rounds, args.turn),
                strict=True,
            )
        )
    finally:
        for worker in workers:
            worker.stop()
    losses = {w.side.name: w.ready["loss"] for w in workers if w.side.name != "products"}
    if place.ranks == 1:
        failed |= other_work(losses)
    found = {
        name: {"ms": statistics.median(ms), "rounds_ms": ms, "loss": losses.get(name)}
        for name, ms in times.items()
    }
    if args.fresh:
        for side in sides:
            if side.name in found and side.name != "products":
                found[side.name] |= fresh(side, row, place)
    ratios = {name: against(name, times) for name in tables.ours(found)}
    result = {"row": row, "title": ALL[row].title, "ranks": place.ranks, "sides": found}
    versions = {k: v for w in workers for k, v in w.ready["versions"].items()}
    return result | {"ratios": ratios, "failed": failed}, versions


def other_work(losses: dict[str, float]) -> dict[str, str]:
    """Say of which sides the loss is not distgrad's."""
    own = losses["distgrad"]
    limit = SAME_LOSS * max(own, 0.1)
    off = {name: loss for name, loss in losses.items() if not abs(loss - own) <= limit}
    return {n: f"its third loss is {loss:.4f}, distgrad's {own:.4f}" for n, loss in off.items()}


def against(name: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """Return the ratios of a side to every peer, to the fastest, and to the products."""
    others = [n for n in times if not n.startswith("distgrad")]
    found = {other: ratio(times[name], times[other]) for other in others}
    peers = {n: statistics.median(times[n]) for n in others if n != "products"}
    if peers:
        found["best peer"] = found[min(peers, key=lambda n: peers[n])]
    return found


def line(row: dict[str, Any]) -> str:
    times = ", ".join(f"{n} {tables.shown(s['ms'])} ms" for n, s in row["sides"].items())
    ratios = []
    for name, found in row["ratios"].items():
        for other in ("best peer", "products"):
            if other in found:
                r = found[other]
                spread = f"{r['low']:.2f}–{r['high']:.2f}"
                ratios.append(f"{name} / {other} {r['median']:.2f} ({spread})")
    memory = [f"{n} {s['peak_mib']:.0f} MiB" for n, s in row["sides"].items() if "peak_mib" in s]
    first = [
        f"{n} {s['first_fresh_s']:.1f} s, then {s['first_s']:.2f} s"
        for n, s in row["sides"].items()
        if "first_fresh_s" in s
    ]
    parts = [times, ", ".join(ratios)]
    parts += [f"{k}: {', '.join(v)}" for k, v in (("peak", memory), ("first step", first)) if v]
    parts += [f"{name}: {why}" for name, why in row["failed"].items()]
    return f"{row['title']}\n  " + "\n  ".join(filter(None, parts))


def main() -> None:
    args = arguments()
    result = {"machine": tables.machine(args.isa), "cores": args.cores, "rows": []}
    if args.json and args.json.exists():
        result = earlier(json.loads(args.json.read_text()), result, args.json)
    forced = [name for name in FORCED if name in os.environ]
    if forced and args.rows:
        print(f"{', '.join(forced)}: unset for the workers, who choose their own kernels")
    peers = available(args) if args.rows else []
    for row in args.rows:
        try:
            found, versions = measure(row, peers, args)
        except WorkerError as error:
            sys.exit(f"a worker of row '{row}' ended while it was measured:\n{error}")
        print(line(found), flush=True)
        result["machine"]["versions"] |= versions
        rows = {r["row"]: r for r in result["rows"]} | {row: found}
        result["rows"] = [rows[name] for name in ALL if name in rows]
        if args.json:
            args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.markdown:
        print(tables.markdown(result))
    if args.plot:
        tables.plot(result, args.plot)


def earlier(old: dict[str, Any], new: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return what the file holds, if it is of this machine and kind of run."""
    for key in ("cpu", "cores", "vectors"):
        if old["machine"][key] != new["machine"][key]:
            was = old["machine"][key]
            sys.exit(f"{file} is of another machine or --isa ({was}): name another file")
    if old["cores"] != new["cores"]:
        sys.exit(f"{file} is of --cores {old['cores']}: name another file")
    old["machine"]["versions"] |= new["machine"]["versions"]
    return old


if __name__ == "__main__":
    main()
