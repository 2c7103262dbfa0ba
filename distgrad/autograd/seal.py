"""Notices arrays that were changed in place between forward and backward.

NumPy arrays carry no version number, so what a closure will read is remembered by content: whole
for small arrays, elements spread over large ones (all of them under ``detect_anomaly``).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from distgrad.autograd.node import CONSTANT, Edge
from distgrad.autograd.tensor import Array, Tensor

Seal: TypeAlias = "tuple[Array, Any]"
Seals: TypeAlias = "tuple[list[Seal], list[Seal]]"

WHOLE = 1024
"""Arrays of up to this many bytes are compared whole, of larger ones SPREAD elements."""
SPREAD = 32


def seal_node(edges: Sequence[Edge], joint: Any, *, entire: bool) -> Seals:
    """Return (array, fingerprint) pairs: of what the closures read, of other inputs from outside.

    The closures are all that a backward pass needs; to be run again for gradients of gradients an
    op needs its inputs too. ``entire`` takes every element of large arrays into account.
    """
    # This runs for every recorded op: loops instead of calls, by measurement.
    take = _entire if entire else fingerprint
    read: list[Seal] = []
    seen: list[int] = []
    for closure in [e[0] for e in edges] if joint is None else (joint.func,):
        if closure is None:
            continue
        for cell in getattr(closure, "__closure__", None) or ():
            a = cell.cell_contents
            if type(a) is np.ndarray and id(a) not in seen:
                seen.append(id(a))
                read.append((a, take(a)))
    given: list[Seal] = []
    for _, source, index, _, _ in edges:
        a = source if index == CONSTANT else source.data if isinstance(source, Tensor) else None
        if type(a) is np.ndarray and id(a) not in seen:
            given.append((a, take(a)))
    return read, given


def seal(tensors: Sequence[Tensor], *, entire: bool) -> Seals:
    """Return (array, fingerprint) pairs of tensors that will all be read again."""
    take = _entire if entire else fingerprint
    return [(x.data, take(x.data)) for x in tensors], []


def changed(seals: Sequence[Seal]) -> Array | None:
    """Return the first array whose content is no longer what it was when it was sealed."""
    for a, old in seals:
        if (_entire if type(old) is int else fingerprint)(a) != old:
            return a
    return None


def fingerprint(a: Array) -> bytes:
    """Return all bytes of a small array, those of elements at equal distances of a large one."""
    if a.nbytes <= WHOLE:
        return a.tobytes()
    flat = a if a.ndim == 1 else a.reshape(-1) if a.flags.c_contiguous else _corner(a)
    return flat[:: flat.size // SPREAD].tobytes()


def _corner(a: Array) -> Array:
    """At least SPREAD elements from all over an array that cannot be flattened without a copy."""
    each = max(2, round(4 * SPREAD ** (1 / a.ndim)))
    return a[tuple([slice(None, None, max(1, n // each)) for n in a.shape])].reshape(-1)


def _entire(a: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(a).data)
