"""Examples that nobody has to write: of ops from their samples, of functions that work in place.

An op's inputs are those of the smallest of the samples that the registry checks it with, rounded.
``abs_`` is shown by what ``abs`` is shown by.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from example_files import Example, examples
from names import Name

from distgrad.autograd import Op
from distgrad.autograd.signature import draw

PRELUDE = "import numpy as np\n\nfrom distgrad import ops"
LARGEST = 24
"""An input of more numbers is drawn in the example rather than spelled out."""


def shown(names: Sequence[Name]) -> dict[str, tuple[str, list[Example]]]:
    """Return, by dotted name, what kind of example a name has, and the examples.

    Kinds: "written", "in place", "op", "alias" (described elsewhere); "" for none.
    """
    written = examples()
    by_name = {name.dotted: name for name in names}
    found = {}
    for name in names:
        kind, those = "", written.get((name.module, name.name), [])
        if name.alias:
            kind, those = "alias", []
        elif those:
            kind = "written"
        elif made := _in_place(name, by_name, written):
            kind, those = "in place", [made]
        elif isinstance(name.value, Op):
            kind, those = "op", [of_op(name.value)]
        found[name.dotted] = (kind, those)
    return found


def _in_place(
    name: Name,
    by_name: Mapping[str, Name],
    written: Mapping[tuple[str, str], list[Example]],
) -> Example | None:
    base = by_name.get(name.dotted.removesuffix("_"))
    if base is None or base.dotted == name.dotted:
        return None
    module, _, home = base.home.rpartition(".")
    those = written.get((module, home))
    return those and in_place(those[0], name.name)


def in_place(example: Example, name: str) -> Example | None:
    """Return the example of ``f`` as one of ``f_``, whose first argument takes the result."""
    *before, last = ast.parse(example.code).body
    call: Any = last.value if isinstance(last, ast.Expr) else None
    while isinstance(call, ast.Attribute | ast.Subscript):
        call = call.value
    if not isinstance(call, ast.Call) or not call.args:
        return None
    lines = [ast.unparse(statement) for statement in before]
    if not isinstance(call.args[0], ast.Name):
        taken = {n.id for n in ast.walk(ast.parse(example.prelude + "\n" + example.code))
                 if isinstance(n, ast.Name)}  # fmt: skip
        fresh = next(n for n in "xtuvwpq" if n not in taken)
        lines.append(f"{fresh} = {ast.unparse(call.args[0])}")
        call.args[0] = ast.Name(fresh)
    function = call.func
    if not isinstance(function, ast.Attribute):
        return None
    function.attr = name
    lines += [ast.unparse(call), ast.unparse(call.args[0])]
    code = "\n".join(lines)
    return Example(
        example.module, (name,), "", code, example.prelude, f"{example.where}, as {name}"
    )


def of_op(op: Op) -> Example:
    """Return an example made of an op's smallest sample."""
    rng = np.random.default_rng(0)
    samples = (
        [(list(inputs), settings) for inputs, settings in op.samples(rng)] if op.samples else []
    )
    samples = samples or [(draw(op.signatures[0], rng, op.domain), {})]
    inputs, settings = min(samples, key=lambda sample: sum(np.size(x) for x in sample[0]))
    lines, arguments = [], []
    letters = iter("abcdefghijklm")
    for value in inputs:
        if np.ndim(value) == 0 and not isinstance(value, list | tuple):
            arguments.append(_number(value))
            continue
        letter = next(letters)
        lines.append(f"{letter} = {_spelled(value, op)}")
        arguments.append(letter)
    arguments += [f"{key}={_setting(value)}" for key, value in settings.items()]
    lines.append(f"ops.{op.name}({', '.join(arguments)})")
    return Example("distgrad.ops", (op.name,), "", "\n".join(lines), PRELUDE, f"a sample of {op}")


def _number(value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic | np.ndarray) else value
    return repr(round(plain, 2) if isinstance(plain, float) else plain)


def _setting(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"np.array({value.tolist()})"
    if isinstance(value, np.dtype | type):
        return f"np.{np.dtype(value).name}"
    return repr(value)


def _spelled(value: Any, op: Op) -> str:
    array = np.asarray(value)
    if array.size > LARGEST and array.dtype.kind == "f":
        low, high = op.domain
        return f"np.random.default_rng(0).uniform({low}, {high}, {array.shape})"
    spelled = np.round(array, 2) if array.dtype.kind in "fc" else array
    dtype = "" if array.dtype in (np.float64, np.int64, np.bool_, np.complex128) else (
        f", np.{array.dtype.name}")  # fmt: skip
    return f"np.array({spelled.tolist()}{dtype})"
