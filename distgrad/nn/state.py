"""States: dictionaries of names and arrays, loaded into live ones and summed up in a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import ShapeError


class IncompatibleKeys(NamedTuple):
    """What ``load_state_dict`` returns: names the state lacks, names the model does not have."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return (
            f"IncompatibleKeys(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )


def load(own: Mapping[str, Array], state: Mapping[str, Any], strict: bool) -> IncompatibleKeys:
    """Copy ``state`` into the arrays of ``own`` in place, after checking all of it."""
    loaded = {id(a) for n, a in own.items() if n in state}
    # A shared array may stand in a file under one of its names only.
    missing = [n for n, a in own.items() if n not in state and id(a) not in loaded]
    unexpected = [n for n in state if n not in own]
    if strict and (missing or unexpected):
        raise ShapeError(
            f"the state belongs to another model: missing {missing or 'nothing'}, "
            f"unexpected {unexpected or 'nothing'}; pass strict=False to load what fits"
        )
    given = {
        n: state[n].array if isinstance(state[n], Tensor) else np.asarray(state[n])
        for n in own
        if n in state
    }
    for name, value in given.items():
        mine = own[name]
        if mine.shape != value.shape:
            raise ShapeError(
                f"'{name}' has shape {mine.shape} in the model and {value.shape} in the state"
            )
        if not np.can_cast(value.dtype, mine.dtype, "same_kind"):
            raise ShapeError(
                f"'{name}' is {mine.dtype} in the model and {value.dtype} in the state, which "
                f"it cannot hold; convert it first"
            )
    for name, value in given.items():
        np.copyto(own[name], value)
    return IncompatibleKeys(missing, unexpected)


def state_sha256(state: Mapping[str, Array]) -> str:
    """Return the SHA-256 over names and bytes of a state_dict, in the sorted order of its keys."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(state[name]).tobytes())
    return digest.hexdigest()
