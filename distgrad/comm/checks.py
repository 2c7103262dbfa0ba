"""What a verb of the communicator is given, checked before any rank is asked for anything."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from distgrad.comm.algorithms import combine
from distgrad.comm.canonical import Part
from distgrad.comm.group import even_slices
from distgrad.comm.message import Array
from distgrad.comm.quick import KnownSum
from distgrad.comm.transport import TAGS
from distgrad.errors import CommError


class Checks:
    """Checks for a group of ``size`` ranks; every CommError begins with the rank's ``label``."""

    def __init__(self, label: str, size: int) -> None:
        self.label, self.size = label, size

    def flat(self, kind: str, array: object, name: str, *, summed: bool = False) -> Array:
        """Return the array as a flat view; CommError names what the wire cannot carry."""
        if not isinstance(array, np.ndarray):
            fault = f" needs a NumPy array, got {type(array).__name__}"
        elif array.dtype.hasobject:
            fault = ": Python objects do not cross the wire; send numbers or bytes"
        elif summed and array.dtype.kind not in "iufc":
            fault = f" sums numbers, not {array.dtype}; convert with .astype"
        elif not (array.flags.c_contiguous and array.flags.writeable):
            fault = (
                " needs a C-contiguous, writable array, because it is changed in place; "
                "pass np.ascontiguousarray(array) or a copy"
            )
        else:
            return array.reshape(-1)
        raise CommError(f"{self.label} {kind} {name!r}{fault}")

    def sent(self, kind: str, array: object, name: str) -> Array:
        """Return an array that is only read, C-contiguous (a copy if need be), of its shape."""
        if not isinstance(array, np.ndarray):
            fault = f" needs a NumPy array, got {type(array).__name__}"
        elif array.dtype.hasobject:
            fault = ": Python objects do not cross the wire; send numbers or bytes"
        else:
            return array if array.flags.c_contiguous else array.copy()
        raise CommError(f"{self.label} {kind} {name!r}{fault}")

    def rows(self, kind: str, array: object, name: str) -> Array:
        """Return an array that is only read and has an axis 0, along which ranks may differ."""
        rows = self.sent(kind, array, name)
        if rows.ndim == 0:
            raise CommError(
                f"{self.label} {kind} {name!r} needs an axis 0, along which the ranks' arrays are "
                "joined; pass array.reshape(1)"
            )
        return rows

    def one_each(self, kind: str, arrays: object, name: str) -> list[Array]:
        """Return arrays of one dtype, one for each rank, that differ along axis 0 at most."""
        found = [self.rows(kind, array, name) for array in self.counted(kind, arrays, name)]
        for array in found:
            if (array.dtype, array.shape[1:]) != (found[0].dtype, found[0].shape[1:]):
                raise CommError(
                    f"{self.label} {kind} {name!r}: arrays may differ in length along axis 0 "
                    f"alone; got {_kind_of(found[0])} and {_kind_of(array)}"
                )
        return found

    def counted(self, kind: str, arrays: object, name: str) -> Sequence[object]:
        """Return the arrays if there is one for each rank."""
        if isinstance(arrays, np.ndarray) or not isinstance(arrays, Sequence):
            got = type(arrays).__name__
        elif len(arrays) != self.size:
            got = f"{len(arrays)} arrays"
        else:
            return arrays
        raise CommError(
            f"{self.label} {kind} {name!r} needs a list of one array for each of the {self.size} "
            f"ranks; got {got}"
        )

    def op(self, kind: str, op: str, array: Array, name: str) -> np.ufunc:
        """Return the function that ``op`` names, if there is one of this dtype."""
        fault = combine.fault_of(op, array.dtype)
        if fault:
            raise CommError(f"{self.label} {kind} {name!r}: {fault}")
        return combine.OPS[op]

    def rank(self, what: str, rank: object) -> int:
        """Return a rank of this group; ``what`` says what for."""
        if isinstance(rank, int | np.integer) and 0 <= rank < self.size:
            return int(rank)
        hint = ": name the rank, there is no receiving from any" if rank is None else ""
        raise CommError(f"{self.label} no rank {rank} to {what}; size is {self.size}{hint}")

    def tag(self, tag: object) -> int:
        """Return a tag that a message can have."""
        if isinstance(tag, int | np.integer) and 0 <= tag < TAGS:
            return int(tag)
        raise CommError(f"{self.label} tag={tag!r}: tags are integers from 0 to {TAGS - 1}")

    def cut(
        self, kind: str, flat: Array, slices: Sequence[slice] | None, name: str
    ) -> tuple[Sequence[slice], str]:
        """Check the slices; return them and, where the caller chose them, their spelling."""
        if slices is None:
            return even_slices(flat.size, self.size), ""
        bounds = [(s.start, s.stop) for s in slices]
        if len(bounds) != self.size or any(not 0 <= a <= b <= flat.size for a, b in bounds):
            raise CommError(
                f"{self.label} {kind} {name!r} of {flat.size} elements needs one slice(start, "
                f"stop) inside them for each of the {self.size} ranks; got {list(slices)}"
            )
        return slices, " in slices " + " ".join(f"{a}:{b}" for a, b in bounds)

    def parts(self, known: KnownSum, parts: Sequence[Part], out: Array, name: str) -> list[Array]:
        """Return the parts as flat arrays, checked against the sum and ``out``."""
        held = {(level, index): array for level, index, array in parts}
        mine = [(level, index) for level, index, _ in parts]
        if sorted(mine) != sorted(known.nodes):
            raise CommError(
                f"{self.label} {known.what}: the parts are for the nodes {mine}, but this rank "
                f"is expected to bring {known.nodes}; make them with TreeSum(run) and name the "
                "same absent summands on all ranks"
            )
        flats = [self.flat(known.what, held[node], name, summed=True) for node in known.nodes]
        for part in flats:
            if part.dtype != out.dtype or part.size != out.size:
                raise CommError(
                    f"{self.label} {known.what}: a part is {part.dtype} x {part.size}, out is "
                    f"{out.dtype} x {out.size}; they must be alike"
                )
        return flats


@lru_cache(maxsize=4096)
def describe(kind: str, name: str, dtype: np.dtype[Any], count: object, extra: str = "") -> str:
    """Return what a collective is called: on every rank the same, or it is a mismatch."""
    return f"{kind} {name!r} {dtype} x {count}{extra}"


def row_of(array: Array) -> str:
    """Spell the shape of an array whose length only its own rank knows."""
    return f"({', '.join(['*', *map(str, array.shape[1:])])})"


def _kind_of(array: Array) -> str:
    return f"{array.dtype} {row_of(array)}"
