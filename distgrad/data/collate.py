"""Samples to batches by PyTorch's rules: Tensors stacked, containers walked. Knows no loader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.tensor import Tensor
from distgrad.errors import DataError
from distgrad.ops import stack


@explained
def default_collate(batch: Sequence[Any]) -> Any:
    """Return the samples of ``batch`` as one: Tensors of shape (n, …), in the samples' structure.

    Tensors, arrays and NumPy numbers keep their dtype; Python's ints become int64, floats float64.
    Strings stay as they are. Mappings and named tuples keep their type, tuples and lists become
    lists. The rules are ``torch.utils.data.default_collate``'s.
    Errors: DataError for samples of different shapes, lengths or keys, and for other objects.
    """
    if not len(batch):
        raise DataError("a batch of no samples was to be collated: give one or more")
    first = batch[0]
    if isinstance(first, str | bytes):
        return batch
    return _containers(first, batch) if _is_container(first) else _leaves(first, batch)


def default_convert(data: Any) -> Any:
    """Return ``data`` with its arrays and NumPy numbers as Tensors, the rest as it is."""
    if isinstance(data, np.ndarray | np.generic):
        return Tensor(np.asarray(data)) if data.dtype.kind in "biufc" else data
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if _is_named(data):
        return type(data)(*[default_convert(value) for value in data])
    if isinstance(data, tuple | list):
        return [default_convert(value) for value in data]
    return data


def emptied(one: Any, two: Any) -> Any:
    """Return what a batch of no sample would be, given that of one, and of the same one twice.

    What grows from the one to the other is cut to nothing: an axis of an array, whichever it is, a
    list, a count; the rest stays. Errors: DataError for an object that cannot be cut.
    """
    if isinstance(one, Tensor | np.ndarray):
        sizes = zip(one.shape, two.shape, strict=True)
        return one[tuple([slice(None) if n == m else slice(0) for n, m in sizes])]
    if isinstance(one, Mapping):
        return {key: emptied(value, two[key]) for key, value in one.items()}
    if isinstance(one, str | bytes | bool | None):
        return one
    if isinstance(one, int | float | complex):
        return one - (two - one)
    if isinstance(one, tuple | list):
        if len(one) != len(two):
            return one[:0]
        parts = [emptied(a, b) for a, b in zip(one, two, strict=True)]
        return type(one)(*parts) if _is_named(one) else type(one)(parts)
    raise DataError(
        f"this rank has no sample of a small batch, and collate_fn made a {type(one).__name__}, of "
        f"which it is not known how it is empty: let it return Tensors, arrays, numbers, or "
        f"tuples, lists and dicts of them, or leave small batches out with drop_last=True"
    )


def _is_container(sample: Any) -> bool:
    return isinstance(sample, Mapping | Sequence)


def _leaves(first: Any, batch: Sequence[Any]) -> Tensor:
    if isinstance(first, Tensor):
        if any(isinstance(x, Tensor) and x.requires_grad for x in batch):
            joined: Tensor = stack(list(batch))
            return joined
        return Tensor(_stacked([x.array if isinstance(x, Tensor) else x for x in batch]))
    if isinstance(first, np.ndarray | np.generic) and first.dtype.kind in "biufc":
        return Tensor(_stacked(batch))
    if isinstance(first, bool | int | float | complex):
        numbers = np.array(batch)
        if numbers.dtype.hasobject:
            raise DataError(
                f"samples hold numbers that no dtype can, as {max(batch, key=abs)}: an int64 ends "
                f"at {2**63 - 1}"
            )
        return Tensor(numbers)
    of = f" of {first.dtype}" if isinstance(first, np.ndarray) else ""
    raise DataError(
        f"samples hold a {type(first).__name__}{of}, which is not put into a batch by itself: "
        f"return Tensors, arrays, numbers, strings, or tuples, lists and mappings of them from the "
        f"data set, or pass collate_fn= to the DataLoader, which is given the list of samples"
    )


def _containers(first: Any, batch: Sequence[Any]) -> Any:
    if isinstance(first, Mapping):
        return _mapping(first, batch)
    fields = [default_collate(field) for field in _fields(batch)]
    return type(first)(*fields) if _is_named(first) else fields


def _is_named(sample: Any) -> bool:
    return isinstance(sample, tuple) and hasattr(sample, "_fields")


def _stacked(arrays: Sequence[Any]) -> np.ndarray[Any, Any]:
    shapes = {np.shape(array) for array in arrays}
    if len(shapes) > 1:
        raise DataError(
            f"samples of different shapes cannot be stacked to a batch: "
            f"{', '.join(map(str, sorted(shapes)))}; cut or pad them in the data set, or pass "
            f"collate_fn= to the DataLoader"
        )
    return np.stack([np.asarray(array) for array in arrays])


def _mapping(first: Mapping[Any, Any], batch: Sequence[Any]) -> Any:
    if any(sample.keys() != first.keys() for sample in batch):
        other = next(sample for sample in batch if sample.keys() != first.keys())
        raise DataError(
            f"samples with different keys cannot be one batch: {list(first)} and {list(other)}"
        )
    values = {key: default_collate([sample[key] for sample in batch]) for key in first}
    try:
        return type(first)(values)  # type: ignore[call-arg]  # as the common ones are made
    except TypeError:
        return values


def _fields(batch: Sequence[Any]) -> list[tuple[Any, ...]]:
    lengths = {len(sample) for sample in batch}
    if len(lengths) > 1:
        raise DataError(
            f"samples of different lengths cannot be one batch: {sorted(lengths)} fields; return "
            f"as many from every sample, or pass collate_fn= to the DataLoader"
        )
    return list(zip(*batch, strict=True))
