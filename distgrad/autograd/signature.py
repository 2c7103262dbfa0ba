"""Reads an op's signature ("m k, k n -> m n") for error messages and for test inputs.

Nothing here runs while a computation succeeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from distgrad.autograd.types import Array
from distgrad.errors import ShapeError


class Signed(Protocol):
    """What is read of an op."""

    name: str
    signatures: tuple[str, ...]
    inputs: list[str]
    variadic: bool
    attribute_names: list[str]


def parse(signature: str) -> tuple[list[list[str]], list[list[str]]]:
    """Split a signature into the axis names of its inputs and of its outputs."""
    left, right = signature.split("->")
    return [s.split() for s in left.split(",")], [s.split() for s in right.split(",")]


def explain(op: Signed, inputs: Sequence[Any], error: Exception) -> ShapeError:
    """Word a failed call of ``op``: what it expects, what it got, which axis disagrees."""
    got = ", ".join("None" if x is None else str(np.shape(x)) for x in inputs)
    # The most specific signatures that have the right numbers of axes, if any has.
    fits = [s for s in op.signatures if _counts_fit(s, inputs)]
    candidates = [s for s in fits if "..." not in s] or fits or op.signatures
    wants = " or ".join(f"'{s}'" for s in candidates)
    reasons = [r for s in candidates if (r := _first_conflict(op, s, inputs))]
    reason = reasons[-1] if reasons else str(error)
    if len(inputs) > len(op.inputs) and not op.variadic:
        named = ", ".join(f"{name}=" for name in op.attribute_names)
        reason = f"{', '.join(op.inputs)} by position, {named or 'nothing'} by name"
    return ShapeError(f"{op.name} expects {wants}; got {got}: {reason}")


def _counts_fit(signature: str, inputs: Sequence[Any]) -> bool:
    axes, _ = parse(signature)
    return len(axes) == len(inputs) and all(
        x is None or np.ndim(x) == len(names) or ("..." in names and np.ndim(x) >= len(names) - 1)
        for names, x in zip(axes, inputs, strict=True)
    )


def _first_conflict(op: Signed, signature: str, inputs: Sequence[Any]) -> str | None:
    axes, _ = parse(signature)
    seen: dict[str, tuple[int, str]] = {}
    if len(axes) != len(inputs):
        return None
    for name, names, x in zip(op.inputs, axes, inputs, strict=False):
        if x is None:
            continue  # an optional input that was left out
        shape = np.shape(x)
        fixed = [n for n in names if n != "..."]
        if len(shape) < len(fixed) or ("..." not in names and len(shape) != len(fixed)):
            return f"{name} has {len(shape)} axes, not {len(fixed)} ({' '.join(names)})"
        for axis, length in _match(names, shape):
            if axis in seen and seen[axis][0] != length:
                return f"{axis} is {seen[axis][0]} in {seen[axis][1]} but {length} in {name}"
            seen.setdefault(axis, (length, name))
    return None


def _match(names: list[str], shape: tuple[int, ...]) -> list[tuple[str, int]]:
    if "..." not in names:
        return list(zip(names, shape, strict=True))
    cut = names.index("...")
    tail = names[cut + 1 :]
    matched = list(zip(names[:cut], shape, strict=False))
    return matched + list(zip(tail, shape[len(shape) - len(tail) :], strict=True))


def draw(signature: str, rng: np.random.Generator, domain: tuple[float, float]) -> list[Array]:
    """Draw float64 inputs whose shapes fit the signature: lengths 2..4, ``...`` is (2, 3)."""
    axes, _ = parse(signature)
    lengths: dict[str, int] = {}
    inputs = []
    for names in axes:
        shape: list[int] = []
        for name in names:
            if name == "...":
                shape += [2, 3]
            else:
                shape.append(lengths.setdefault(name, 2 + len(lengths) % 3))
        inputs.append(rng.uniform(*domain, size=shape))
    return inputs
