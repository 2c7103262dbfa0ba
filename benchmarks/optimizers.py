"""Time every optimizer, clipping and zero_grad beside PyTorch, one thread pinned to one core.

Walks the public optimizers. The parameters are 4.2 M in 8 arrays ("large") and 1,000 arrays of 64
("small"); distgrad moves them as a bare list of parameters whose gradients backward has written
("list"), with gradients that the user assigned ("assigned"), and as views of the buckets of a
DistributedDataParallel in a world of one ("bucket"). PyTorch's figure is that of the best of its
fused, foreach and for-loop forms. All take turns, A B C A B C; a row has the medians, the median
over rounds of distgrad / PyTorch (below 1: distgrad is faster) and its quartiles.

python benchmarks/optimizers.py [--quick] [--only SGD Adam clip_grad_norm_] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
os.environ |= dict.fromkeys(THREADS, "1")

import numpy as np  # noqa: E402  # after the threads are counted

import distgrad as dg  # noqa: E402
from distgrad import kernels, nn, optim  # noqa: E402

SIZES = {
    "large": [(1024, 1024)] * 4 + [(1024,)] * 4,
    "small": [(64,)] * 1000,
}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        {"lr": 0.1},
        {"lr": 0.1, "maximize": True},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4},
    ],
    "Adam": [{}, {"amsgrad": True, "weight_decay": 1e-2}],
    "AdamW": [{}, {"amsgrad": True}],
    "RMSprop": [{}, {"centered": True, "momentum": 0.9}],
    "LBFGS": [{"max_iter": 1, "history_size": 5}],
}
"""Settings to be timed; an optimizer that is not named is timed with its defaults."""

FORMS: tuple[dict[str, bool], ...] = ({"fused": True}, {"foreach": True}, {"foreach": False}, {})
SKIPPED = {
    "Optimizer": "the base class",
    "Lookahead": "wraps another",
}
ROWS = 128
"""SparseAdam: one row in so many has a gradient, which is a sparse tensor under PyTorch alone."""
OTHERS = ("clip_grad_norm_", "clip_grad_norm_ (clips)", "clip_grad_value_", "zero_grad")
Timed = Callable[[], Any]


@dataclass
class Row:
    """What is compared: distgrad's forms by their names, and PyTorch's."""

    name: str
    settings: dict[str, Any]
    ours: dict[str, Timed]
    theirs: dict[str, Timed]


class Model(nn.Module):
    """The parameters, as a bucket wants them."""

    def __init__(self, arrays: list[np.ndarray[Any, Any]]) -> None:
        super().__init__()
        self.all = nn.ParameterList([nn.Parameter(a) for a in arrays])


def arrays_of(sizes: str, seed: int, only_matrices: bool) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    shapes = [s for s in SIZES[sizes] if len(s) == 2 or not only_matrices]
    if only_matrices and not shapes:
        shapes = [(8, 8)] * 1000
    return [rng.standard_normal(s, dtype=np.float32) for s in shapes]


def gradients_of(sizes: str, name: str) -> list[np.ndarray[Any, Any]]:
    grads = arrays_of(sizes, 1, name == "Muon")
    for g in grads if name == "SparseAdam" else ():
        g[np.arange(len(g)) % ROWS != 0] = 0
    return grads


def our_params(sizes: str, form: str, only_matrices: bool) -> list[nn.Parameter]:
    arrays = arrays_of(sizes, 0, only_matrices)
    if form != "bucket":
        return [nn.Parameter(a) for a in arrays]
    model = Model(arrays)
    dg.DistributedDataParallel(model)
    return list(model.parameters())


def give(params: list[nn.Parameter], sizes: str, form: str, name: str) -> None:
    """Give gradients, after the optimizer was made: as backward does, or as a user may."""
    for p, g in zip(params, gradients_of(sizes, name), strict=True):
        if form == "assigned":
            p.grad = dg.Tensor(g)
        else:
            p.accumulate_(dg.Tensor(g))


def their_params(torch: Any, sizes: str, name: str) -> list[Any]:
    params = []
    arrays = arrays_of(sizes, 0, name == "Muon")
    for a, g in zip(arrays, gradients_of(sizes, name), strict=True):
        p = torch.nn.Parameter(torch.from_numpy(a))
        p.grad = torch.from_numpy(g)
        if name == "SparseAdam":
            p.grad = p.grad.to_sparse(1)
        params.append(p)
    return params


def stepped(name: str, optimizer: Any, loss: Any) -> Timed:
    """Return what makes a step; LBFGS asks for the loss."""
    return (lambda: optimizer.step(lambda: loss)) if name == "LBFGS" else optimizer.step


def row_of_optimizer(name: str, settings: dict[str, Any], sizes: str, torch: Any) -> Row:
    matrices = name == "Muon"
    ours: dict[str, Timed] = {}
    for form in ("list", "assigned", "bucket"):
        params = our_params(sizes, form, matrices)
        optimizer = getattr(optim, name)(params, **settings)
        give(params, sizes, form, name)
        ours[form] = stepped(name, optimizer, dg.Tensor(np.float32(1)))
    theirs: dict[str, Timed] = {}
    for extra in FORMS if torch is not None and hasattr(torch.optim, name) else ():
        try:
            params = their_params(torch, sizes, name)
            optimizer = getattr(torch.optim, name)(params, **settings, **extra)
            step = stepped(name, optimizer, torch.tensor(1.0))
            step()
        except (TypeError, RuntimeError, ValueError):
            continue  # not every optimizer has every form
        theirs[" ".join(f"{k}={v}" for k, v in extra.items()) or "default"] = step
    return Row(name, settings, ours, theirs)


def row_of_other(name: str, sizes: str, torch: Any) -> Row:
    """Return what is timed of clipping and forgetting; a limit that is not met changes nothing."""
    ours: dict[str, Timed] = {}
    for form in ("list", "assigned", "bucket"):
        params = our_params(sizes, form, False)
        optimizer = optim.SGD(params)
        give(params, sizes, form, name)
        ours[form] = other_timed(name, dg, params, optimizer)
    theirs: dict[str, Timed] = {}
    if torch is not None:
        params = their_params(torch, sizes, name)
        utils = torch.nn.utils
        theirs["default"] = other_timed(name, utils, params, torch.optim.SGD(params))
    return Row(name, {}, ours, theirs)


def other_timed(name: str, where: Any, params: list[Any], optimizer: Any) -> Timed:
    value_ = where.clip_grad_value_
    norm_ = where.clip_grad_norm_
    if name == "clip_grad_norm_":
        return lambda: norm_(params, 1e9)
    if name == "clip_grad_norm_ (clips)":
        limits = (200.0 * 0.99**k for k in count())  # below the norm, each time
        return lambda: norm_(params, next(limits))
    if name == "clip_grad_value_":
        return lambda: value_(params, 1.0)
    return lambda: optimizer.zero_grad(set_to_none=False)


def public_optimizers() -> list[str]:
    kinds = {n: k for n in optim.__all__ if isinstance(k := getattr(optim, n), type)}
    return [n for n, k in kinds.items() if issubclass(k, optim.Optimizer) and n not in SKIPPED]


def measure(row: Row, rounds: int) -> dict[str, Any]:
    """Let all take turns; return medians in ms and paired ratios."""
    calls = {("distgrad", k): f for k, f in row.ours.items()}
    calls |= {("torch", k): f for k, f in row.theirs.items()}
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for number in range(rounds + 2):
        for key, call in calls.items():
            began = time.perf_counter()
            call()
            if number > 1:  # the first two compile, and touch memory
                times[key].append((time.perf_counter() - began) * 1e3)
    medians = {key: statistics.median(found) for key, found in times.items()}
    result: dict[str, Any] = {
        "name": row.name,
        "settings": row.settings,
        "distgrad_ms": {k: medians["distgrad", k] for k in row.ours},
    }
    if not row.theirs:
        return result
    best = min(row.theirs, key=lambda k: medians["torch", k])
    result |= {"torch_ms": medians["torch", best], "torch_form": best, "ratio": {}}
    for form in row.ours:
        pairs = zip(times["distgrad", form], times["torch", best], strict=True)
        low, middle, high = statistics.quantiles([a / b for a, b in pairs], n=4)
        result["ratio"][form] = {"median": middle, "quartiles": [low, high]}
    return result


def shown(result: dict[str, Any]) -> str:
    settings = ", ".join(f"{k}={v}" for k, v in result["settings"].items() if k != "lr")
    title = result["name"] + (f" {settings}" if settings else "")
    cells = []
    for form, ms in result["distgrad_ms"].items():
        cell = f"{form} {ms:.3f} ms"
        if "ratio" in result:
            ratio = result["ratio"][form]
            low, high = ratio["quartiles"]
            cell += f" {ratio['median']:.2f} ({low:.2f}-{high:.2f})"
        cells.append(cell)
    if "torch_ms" in result:
        cells.append(f"PyTorch {result['torch_ms']:.3f} ms ({result['torch_form']})")
    return f"  {title:50} " + ", ".join(cells)


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return worst ratio and geometric mean by form, of the optimizers that do a peer's work."""
    apart = {*OTHERS, "SparseAdam"}
    peers = [r for r in results if "ratio" in r and r["name"] not in apart]
    found: dict[str, Any] = {}
    for form in ("list", "assigned", "bucket") if peers else ():
        ratios = {r["ratio"][form]["median"]: r["name"] for r in peers}
        worst = max(ratios)
        mean = statistics.geometric_mean(r["ratio"][form]["median"] for r in peers)
        found[form] = {"worst": worst, "worst_name": ratios[worst], "geometric_mean": mean}
    return found


def stamp(torch: Any) -> dict[str, str]:
    """Return the processor and the versions: what a figure holds for."""
    versions = {n: importlib.metadata.version(n) for n in ("numpy", "distgrad")}
    return {
        "processor": processor(),
        "fused": kernels.status(),
        "core type forced on OpenBLAS": os.environ.get("OPENBLAS_CORETYPE", "none"),
        "python": platform.python_version(),
        **versions,
        "torch": "-" if torch is None else str(torch.__version__),
    }


def processor() -> str:
    """Return the name, the family and the vectors of the processor, as far as Linux tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    found = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = found.get("flags", "").split()
    vectors = next((f for f in ("avx512f", "avx2", "avx") if f in flags), "")
    name, family = found.get("model name", platform.machine()), found.get("cpu family", "-")
    return f"{name} (family {family}, model {found.get('model', '-')}) {vectors}".strip()


def pinned() -> Any:
    """Pin this process to a core; return PyTorch, with one thread, if it is installed."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        print("PyTorch is not installed in this Python: distgrad alone")
        return None
    torch.set_num_threads(1)
    return torch


def rows_of(sizes: str, only: list[str] | None, torch: Any) -> list[Callable[[], Row]]:
    """Return what makes each row: made one by one, so that memory is free again."""
    rows: list[Callable[[], Row]] = []
    for name in public_optimizers():
        for settings in VARIANTS.get(name, [{}]):
            if only is None or name in only:
                rows.append(lambda n=name, s=settings: row_of_optimizer(n, s, sizes, torch))  # type: ignore[misc]
    for name in OTHERS:
        if only is None or name.partition(" ")[0] in only:
            rows.append(lambda n=name: row_of_other(n, sizes, torch))  # type: ignore[misc]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the rows (all)")
    parser.add_argument("--sizes", nargs="+", choices=[*SIZES], default=[*SIZES])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--quick", action="store_true", help="5 rounds: under a minute")
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # PyTorch's, of its own deprecated ways
    torch = pinned()
    report: dict[str, Any] = {"stamp": stamp(torch)}
    print(", ".join(f"{k} {v}" for k, v in report["stamp"].items()))
    known = {*public_optimizers(), *(n.partition(" ")[0] for n in OTHERS)}
    if unknown := sorted({*(args.only or ())} - known):
        sys.exit(f"nothing is called {unknown}; there are {sorted(known)}")
    for sizes in args.sizes:
        total = sum(int(np.prod(s)) for s in SIZES[sizes])
        print(f"{sizes}: {total:,} parameters in {len(SIZES[sizes])} arrays")
        results = []
        for make in rows_of(sizes, args.only, torch):
            results.append(measure(make(), 5 if args.quick else args.rounds))
            print(shown(results[-1]), flush=True)
        report[sizes] = {"rows": results, "summary": summary(results)}
        for form, found in report[sizes]["summary"].items():
            print(
                f"  {form}: worst {found['worst']:.2f} ({found['worst_name']}), "
                f"geometric mean {found['geometric_mean']:.2f}"
            )
    if args.json:
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
