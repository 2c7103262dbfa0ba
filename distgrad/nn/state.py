"""States: dictionaries of names and arrays, loaded into live ones and summed up in a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import GradError, ShapeError

_MOST_NAMES = 6  # in a message


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
            f"the state belongs to another model: missing {_listed(missing) or 'nothing'}, "
            f"unexpected {_listed(unexpected) or 'nothing'}; {_cure(missing, unexpected)}"
        )
    given = {
        n: state[n].array if isinstance(state[n], Tensor) else np.asarray(state[n])
        for n in own
        if n in state
    }
    misfits = {n: (own[n].shape, a.shape) for n, a in given.items() if own[n].shape != a.shape}
    if misfits:
        raise ShapeError(_of_another_shape(misfits))
    for name, value in given.items():
        mine = own[name]
        if not np.can_cast(value.dtype, mine.dtype, "same_kind"):
            raise ShapeError(
                f"'{name}' is {mine.dtype} in the model and {value.dtype} in the state, which "
                f"it cannot hold; convert it first"
            )
    for name, value in given.items():
        np.copyto(own[name], value)
    return IncompatibleKeys(missing, unexpected)


def _listed(names: list[str]) -> str:
    """Return names as a list; of many the first ones and how many more there are."""
    if len(names) <= _MOST_NAMES:
        return str(names) if names else ""
    return f"{names[:_MOST_NAMES]} and {len(names) - _MOST_NAMES} more"


def _cure(missing: list[str], unexpected: list[str]) -> str:
    """Return what to do about names that do not fit together."""
    if missing and unexpected:
        longer, shorter = unexpected[0], missing[0]
        if longer.endswith(f".{shorter}"):
            before = longer.removesuffix(shorter)
            if {n.removeprefix(before) for n in unexpected} == set(missing):
                return (
                    f"the state's names begin with {before!r}: load {{name.removeprefix({before!r})"
                    f": t for name, t in state.items()}}"
                )
        if shorter.endswith(f".{longer}"):
            before = shorter.removesuffix(longer)
            if {before + n for n in unexpected} == set(missing):
                return (
                    f"the model's names begin with {before!r}: load the state into "
                    f"model.{before.rstrip('.')}"
                )
    return (
        "pass strict=False to load what fits: what is missing keeps the model's values, what is "
        "unexpected is left out"
    )


def _of_another_shape(misfits: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> str:
    """Say which tensors (name to shapes in model and state) do not fit, and what to do."""
    name, (mine, given) = next(iter(misfits.items()))
    text = f"'{name}' has shape {mine} in the model and {given} in the state"
    if len(mine) == 2 and mine[::-1] == given:
        return f"{text}, its transpose: turn it, state['{name}'].T, and all that are like it"
    others = f" (also: {_listed([n for n in misfits if n != name])})" if len(misfits) > 1 else ""
    return (
        f"{text}{others}: make the model with that size, or, to train a head of another size anew, "
        f"take the name{'s' if others else ''} out of the state and pass strict=False"
    )


def retype(own: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Let tensors take over the dtypes of ``state``. Errors: GradError for one in a bucket."""
    for name, tensor in own.items():
        if name not in state:
            continue
        dtype = np.asarray(
            state[name].array if isinstance(state[name], Tensor) else state[name]
        ).dtype
        if tensor._listener is not None:
            raise GradError(
                f"'{name}' lives in the buckets of a DistributedDataParallel; load the state "
                f"without assign=True, or before you make that"
            )
        if dtype != tensor.dtype:
            tensor.array = tensor.array.astype(dtype)
            tensor.grad = tensor._place = None


def state_sha256(state: Mapping[str, Array]) -> str:
    """Return the SHA-256 over names and bytes of a state_dict, in the sorted order of its keys."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(state[name]).tobytes())
    return digest.hexdigest()
