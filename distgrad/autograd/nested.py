"""Nested tuples, lists and dicts of arrays, flattened and built up again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def flatten(tree: Any) -> tuple[list[Any], Any]:
    """Return the leaves of ``tree`` and its structure, which is comparable with ``==``."""
    leaves: list[Any] = []
    return leaves, _structure(tree, leaves)


def rebuild(structure: Any, leaves: Sequence[Any]) -> Any:
    """Return ``leaves`` in a structure that ``flatten`` returned."""
    return _build(structure, iter(leaves))


_LEAF = "*"


def _structure(tree: Any, leaves: list[Any]) -> Any:
    if isinstance(tree, dict):
        # Sorted: two dicts of the same keys have their leaves in the same order.
        return {k: _structure(tree[k], leaves) for k in sorted(tree)}
    if type(tree) is list:
        return [_structure(v, leaves) for v in tree]
    if type(tree) is tuple:
        return tuple(_structure(v, leaves) for v in tree)
    leaves.append(tree)
    return _LEAF


def _build(structure: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(structure, dict):
        return {k: _build(v, leaves) for k, v in structure.items()}
    if isinstance(structure, list):
        return [_build(v, leaves) for v in structure]
    if isinstance(structure, tuple):
        return tuple(_build(v, leaves) for v in structure)
    return next(leaves)
