"""Sums of arrays that travel in another form: 16 bits, or 8 with a scale.

Each rank sums its slice of everyone's numbers in the precision of the array and in rank order, and
codes the sum once: the error does not grow with the number of ranks. Knows no gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np

from distgrad.comm.algorithms import ring
from distgrad.comm.group import Group, even_slices
from distgrad.comm.message import Array, Steps

_BYTES = np.dtype(np.uint8)


class Code(Protocol):
    """A form in which numbers travel."""

    unit: int
    """Numbers that are coded together: slices are cut between them."""

    def nbytes(self, count: int) -> int:
        """Return the length of ``count`` coded numbers, in bytes."""

    def encode(self, values: Array, out: Array) -> None:
        """Write ``values`` (flat) to ``out``, bytes."""

    def decode(self, coded: Array, out: Array) -> None:
        """Write the numbers of ``coded`` to ``out``."""


def coded_sum(group: Group, values: Array, code: Code, error: Array | None = None) -> Steps:
    """Replace a flat array by c(sum over the ranks r, in order, of c(values_r)); c codes.

    In ``error`` is left what this rank's numbers lost by it: values - c(values), and in the slice
    this rank sums what its sum lost, too, so that over all ranks nothing is missing.
    """
    rank, size = group.rank, group.size
    slices = _slices(values.size, size, code.unit)
    lengths = [code.nbytes(s.stop - s.start) for s in slices]
    own = slices[rank]
    landings = [group.scratch(lengths[rank], _BYTES) for _ in range(size)]
    arrivals = [group.recv(landings[r], r) if r != rank else [] for r in range(size)]
    sends = []
    for shift in range(1, size + 1):  # to each its slice, the next rank first, the own one last
        dest = (rank + shift) % size
        coded = landings[rank] if dest == rank else group.scratch(lengths[dest], _BYTES)
        code.encode(values[slices[dest]], coded)
        if dest != rank:
            sends += group.send(coded, dest)
        if error is not None:
            lost = error[slices[dest]]
            code.decode(coded, lost)
            np.subtract(values[slices[dest]], lost, out=lost)

    total, summand = (group.scratch(own.stop - own.start, values.dtype) for _ in range(2))
    for r in range(size):
        yield arrivals[r]
        code.decode(landings[r], summand if r else total)
        if r:
            np.add(total, summand, out=total)
    yield sends
    yield from _share(group, values, total, code, slices, lengths)
    if error is not None:
        error[own] += np.subtract(total, values[own], out=total)


def _share(
    group: Group,
    values: Array,
    total: Array,
    code: Code,
    slices: Sequence[slice],
    lengths: Sequence[int],
) -> Steps:
    """Fill ``values``, on every rank, with what the ranks' sums are after coding."""
    bounds = [slice(a, b) for a, b in pairwise(accumulate(lengths, initial=0))]
    everything = group.scratch(bounds[-1].stop, _BYTES)
    code.encode(total, everything[bounds[group.rank]])
    yield from ring.all_gather(group, everything, bounds)
    for where, coded in zip(slices, bounds, strict=True):
        code.decode(everything[coded], values[where])


def _slices(count: int, size: int, unit: int) -> list[slice]:
    """Cut ``count`` numbers into slices for ``size`` ranks, between units."""
    units = even_slices(-(-count // unit), size)
    return [slice(min(s.start * unit, count), min(s.stop * unit, count)) for s in units]
