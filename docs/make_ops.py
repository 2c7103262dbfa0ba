"""Writes docs/ops.md from the registry of ops: nothing in that page is written by hand.

python docs/make_ops.py [--check]     # --check: exit 1 if the page is not what would be written
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from distgrad import kernels, ops
from distgrad.autograd.op import COMPOSED, PLAIN, REGISTRY, Op
from distgrad.autograd.signature import draw

PAGE = Path(__file__).with_name("ops.md")
INTRODUCTION = """\
# Ops

Every differentiable operation, from the registry that `@op` fills (`python docs/make_ops.py`
writes this page, a test compares it). NumPy's functions in the second column work on Tensors;
more of them are composed from these ops. [adding-an-op.md](adding-an-op.md) shows how to declare
one.

*Signature*: the axes of inputs and output; `...` is any number of axes, inputs broadcast.
*dtypes*: what comes out for float32 and float64 in; "both" keeps each.
*Fused*: a kernel takes the reference's place for plain arrays and first-order gradients, where
numba is installed. *Order*: how often it can be differentiated (∞: `create_graph`, `hessian`, …).
"""


def main() -> int:
    """Write the page, or compare it."""
    text = page()
    if sys.argv[1:] == ["--check"]:
        return int(not PAGE.exists() or PAGE.read_text() != text)
    PAGE.write_text(text)
    return 0


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    modules = dict.fromkeys(op.function.__module__ for op in REGISTRY.values())
    for module in sorted(m for m in modules if m.startswith("distgrad.")):
        doc = (sys.modules[module].__doc__ or "").strip().splitlines()[0]
        rows = [row(o) for o in REGISTRY.values() if o.function.__module__ == module]
        head = "| op | NumPy, Tensor | signature | what | dtypes | fused | order |"
        line = "|---|---|---|---|---|---|---|"
        title = module.rpartition(".")[2].strip("_")
        parts.append(f"\n## {title}\n\n{doc}\n\n" + "\n".join([head, line, *sorted(rows)]) + "\n")
    others = [f"ops.{n}" for n in ops.__all__ if not isinstance(getattr(ops, n), Op)]
    for title, what, names in (
        ("NumPy functions, composed", "Computed from several ops:", list(COMPOSED)),
        ("Other functions, composed", "In `distgrad.ops`, beside the ops themselves:", others),
        ("Without a gradient", "NumPy functions whose results stand outside the tape:", PLAIN),
    ):
        listed = ", ".join(f"`{n}`" for n in sorted(set(names)))
        parts.append(f"\n## {title}\n\n{what}\n\n{listed}.\n")
    return "".join(parts)


def row(op: Op) -> str:
    """Return the table line of one op."""
    what = " ".join(_paragraph(op.__doc__ or "")).replace("|", "\\|")
    signatures = " or ".join(f"`{s}`" for s in op.signatures)
    names = ", ".join(f"`{n}`" for n in op.stands_for)
    order = "∞" if op.second_order else "1"
    fused = "yes" if op in kernels.TWINS else ""
    return f"| `{op.name}` | {names} | {signatures} | {what} | {_dtypes(op)} | {fused} | {order} |"


def _paragraph(doc: str) -> list[str]:
    lines = []
    for line in doc.strip().splitlines():
        if not line.strip():
            break
        lines.append(line.strip())
    return lines


def _dtypes(op: Op) -> str:
    """Return the precisions that come out for float32 and float64 in, by running the op."""
    results = []
    for dtype in (np.float32, np.float64):
        rng = np.random.default_rng(0)
        inputs, settings = next(iter(op.samples(rng) if op.samples else ()), None) or (
            draw(op.signatures[0], rng, op.domain),
            {},
        )
        cast = [
            np.asarray(x, dtype) if getattr(x, "dtype", np.dtype(int)).kind == "f" else x
            for x in inputs
        ]
        out: Any = op(*cast, **settings)
        kinds = dict.fromkeys(t.dtype.name for t in (out if isinstance(out, tuple) else (out,)))
        results.append("/".join(kinds))
    if results == ["float32", "float64"]:
        return "both"
    return ", ".join(results) if results[0] != results[1] else results[0]


if __name__ == "__main__":
    sys.exit(main())
