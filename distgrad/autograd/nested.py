"""Nested tuples, lists and dicts of arrays, flattened and built up again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """Return the leaves of ``tree`` and its structure, which is comparable with ``==``."""
    leaves: list[Any] = []
    return leaves, _structure(tree, leaves)


def rebuild(structure: Any, leaves: Sequence[Any]) -> Any:
    """Return ``leaves`` in a structure that ``flatten`` returned."""
    return _build(structure, iter(leaves))


_LEAF = "*"


@dataclass(frozen=True)
class _Tuple:
    """A tuple, or a named one (what np.linalg.eigh returns)."""

    kind: Any
    parts: list[Any]

    def __str__(self) -> str:
        return f"{self.kind.__name__}({', '.join(map(str, self.parts))})"


def _order(key: Any) -> tuple[str, Any]:
    return type(key).__name__, key


def _structure(tree: Any, leaves: list[Any]) -> Any:
    if isinstance(tree, dict):
        # Sorted: two dicts of the same keys have their leaves in the same order.
        parts = {k: _structure(tree[k], leaves) for k in sorted(tree, key=_order)}
        return {k: parts[k] for k in tree}
    if type(tree) is list:
        return [_structure(v, leaves) for v in tree]
    if isinstance(tree, tuple):
        return _Tuple(type(tree), [_structure(v, leaves) for v in tree])
    if tree is None:
        return None  # an argument that is left out
    leaves.append(tree)
    return _LEAF


def _build(structure: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(structure, dict):
        parts = {k: _build(structure[k], leaves) for k in sorted(structure, key=_order)}
        return {k: parts[k] for k in structure}
    if isinstance(structure, list):
        return [_build(v, leaves) for v in structure]
    if isinstance(structure, _Tuple):
        values = [_build(v, leaves) for v in structure.parts]
        return structure.kind(values) if structure.kind is tuple else structure.kind(*values)
    return None if structure is None else next(leaves)
