"""Collectives as generators over a channel; the table below is the only list of all-reduces."""

from __future__ import annotations

from collections.abc import Callable

from distgrad.comm.algorithms import native, ring, tree
from distgrad.comm.channel import Channel
from distgrad.comm.message import Array, Steps

ALL_REDUCE: dict[str, Callable[[Channel, Array], Steps]] = {
    "ring": ring.all_reduce,
    "tree": tree.all_reduce,
    "native": native.all_reduce,
}

__all__ = ["ALL_REDUCE"]
