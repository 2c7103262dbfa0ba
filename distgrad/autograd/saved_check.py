"""Notices arrays that were changed in place between forward and backward.

NumPy arrays carry no version number, so what a closure will read is remembered by content: whole
for small arrays, elements spread over large ones (all of them under ``detect_anomaly``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import FunctionType
from typing import Any, NoReturn

import numpy as np

from distgrad.autograd.node import Node, SavedArray
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import GradError

WHOLE = 1024
"""Arrays of up to this many bytes are compared whole, of larger ones SPREAD elements."""
SPREAD = 32


def inside(holder: Any, entire: bool) -> list[SavedArray]:
    """Return what a closure reaches, through others too and through lists that a loop filled."""
    found: list[SavedArray] = []
    holders, seen = [holder], {id(holder)}
    while holders:
        top = holders.pop()
        if type(top) is FunctionType:
            top = [cell.cell_contents for cell in top.__closure__ or ()]
        for value in top:
            for a in value if type(value) is tuple else (value,):
                if type(a) is np.ndarray:
                    found.append((a, fingerprint(a, entire), None))
                elif type(a) in {list, FunctionType} and id(a) not in seen:
                    holders.append(a)
                    seen.add(id(a))
    return found


def saved_tensors(tensors: Sequence[Tensor], *, entire: bool) -> list[SavedArray]:
    """Return (array, fingerprint) pairs of tensors that will all be read again."""
    return [(x.array, fingerprint(x.array, entire), None) for x in tensors]


def refuse_changed(node: Node) -> NoReturn:
    """Raise the GradError of a node that read an array which was changed since."""
    a = changed([*node.read, *node.given])
    shape = () if a is None else a.shape
    line = f" ({node.origin})" if node.origin else ""
    raise GradError(
        f"an array of shape {shape} that {node.op.name}{line} read in the forward pass was "
        f"changed in place before backward, so that the gradient would be wrong; change a copy, "
        f"or call backward first (an optimizer's step changes parameters in place). Run inside "
        f"dg.detect_anomaly() to be told the line of the forward pass"
    )


def check_held(node: Node) -> None:
    """Raise GradError if a leaf that ``node`` would read again was given another array since."""
    if node.edges is None:
        return
    held = [*node.read, *node.given]
    for _, source, _, _, _ in node.edges:
        # Another array of the same content will do: an optimizer moves parameters together.
        if isinstance(source, Tensor) and not any(
            a is source.array
            or (
                a.shape == source.shape
                and a.dtype == source.dtype
                and fingerprint(source.array, type(old) is str) == old
            )
            for a, old, _ in held
        ):
            raise GradError(
                f"the data of a tensor of shape {source.shape} that {node.op.name} read in the "
                f"forward pass was replaced before it is read again; assign tensor.array[...] "
                f"after the last backward pass, or make a new tensor"
            )


def changed(saved: Sequence[SavedArray]) -> Array | None:
    """Return the first array whose content is no longer what it was when it was saved."""
    for a, old, _ in saved:
        new = (
            a.tobytes()
            if type(old) is bytes and a.nbytes == len(old)
            else fingerprint(a, type(old) is str)
        )
        if new != old:
            return a
    return None


def fingerprint(a: Array, entire: bool) -> bytes | str:
    """Return all bytes of a small array, those of elements at equal distances of a large one.

    ``entire`` asks for a checksum of all bytes instead.
    """
    return a.tobytes() if not entire and a.nbytes <= WHOLE else large(a, entire)


def large(a: Array, entire: bool) -> bytes | str:
    """Return what ``fingerprint`` does of an array of more than WHOLE bytes."""
    if entire:
        return hashlib.sha1(np.ascontiguousarray(a).data, usedforsecurity=False).hexdigest()
    flags = a.flags
    if flags.c_contiguous:
        flat = a.ravel()
    elif flags.f_contiguous:
        flat = a.T.ravel()
    else:
        flat = _in_memory(a)
    return flat[:: flat.size // SPREAD or 1].tobytes()


def _in_memory(a: Array) -> Array:
    """The elements in a row, as they lie in memory if it has no gaps (channels-last)."""
    if a.ndim == 2:  # in one order or the other it would have been seen to lie in a row
        return _corner(a)
    strides = a.strides
    turned = a.transpose(sorted(range(a.ndim), key=lambda i: -strides[i]))
    return turned.reshape(-1) if turned.flags.c_contiguous else _corner(a)


_EACH = [SPREAD, *(max(2, round(2 * SPREAD ** (1 / axes))) for axes in range(1, 65))]


def _corner(a: Array) -> Array:
    """Elements from all over an array that cannot be flattened without a copy."""
    each = _EACH[a.ndim]
    if a.ndim == 2:
        n, m = a.shape
        return a[:: n // each or 1, :: m // each or 1]
    return a[tuple([slice(None, None, n // each or 1) for n in a.shape])]
