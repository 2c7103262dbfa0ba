"""Reading samples by number, and telling data sets apart. Knows no data set by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distgrad.errors import DataError

Arrays = tuple[NDArray[Any], ...]


class Samples(Protocol):
    """What a loader reads: anything with a length whose samples stand under their numbers."""

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Return sample ``index``, 0 to ``len(self) - 1``."""
        ...


def fetch(dataset: Samples, indices: ArrayLike) -> Arrays:
    """Return the samples ``indices`` (1-d integers), each field stacked to (n, …), freshly copied.

    Raises DataError if there are no indices or if samples differ in their fields' shapes.
    """
    numbers = as_indices(indices)
    many = _batched(dataset, "__getitems__")
    if many is not None:
        return tuple(many(numbers))
    samples: list[Any] = [dataset[int(i)] for i in numbers]
    if isinstance(samples[0], Mapping):
        raise DataError(
            f"samples of {type(dataset).__name__} are mappings, not tuples of arrays: pass "
            f"collate_fn=dg.data.default_collate to the DataLoader for a mapping of Tensors"
        )
    if not isinstance(samples[0], tuple):
        samples = [(sample,) for sample in samples]
    try:
        fields = list(zip(*samples, strict=True))
        return tuple(np.stack([np.asarray(x) for x in field]) for field in fields)
    except ValueError as error:
        raise DataError(
            f"samples of {type(dataset).__name__} cannot be stacked to a batch: {error}; every "
            "sample must be an array, or a tuple of as many arrays, of the same shapes"
        ) from error


def gather(dataset: Samples, indices: ArrayLike) -> Arrays | list[Any]:
    """Return the samples ``indices``: stacked if the data set does that, else a list of them."""
    numbers = as_indices(indices)
    own = _batched(dataset, "_gather")
    if own is not None:
        found: Arrays | list[Any] = own(numbers)
        return found
    many = _batched(dataset, "__getitems__")
    if many is None:
        return [dataset[int(i)] for i in numbers]
    some = many(numbers)
    return tuple(some) if isinstance(some, tuple) else list(some)


def _batched(dataset: Samples, name: str) -> Any:
    """Return the method ``name``, which reads many samples; None if it knows not of all of them.

    A subclass that has a ``__getitem__`` of its own (to augment what it inherits) and no ``name``
    beside it reads one by one.
    """
    for kind in type(dataset).__mro__:
        if name in vars(kind):
            break
        if "__getitem__" in vars(kind):
            return None
    return getattr(dataset, name, None)


def fingerprint(dataset: Samples) -> str:
    """Return what tells the contents of ``dataset`` from another's; "" if it cannot say.

    Asks the data set for ``fingerprint()``, which those of distgrad have: a digest of sizes, dtypes
    and a sample of the values, so that ranks can compare without reading everything.
    """
    own = getattr(dataset, "fingerprint", None)
    return str(own()) if callable(own) else ""


def as_indices(indices: ArrayLike) -> NDArray[np.integer[Any]]:
    """Return 1-d integers. Errors: DataError for anything else, and for none."""
    numbers = np.asarray(indices)
    if numbers.size == 0:
        raise DataError("a batch or Subset of no samples was asked for: give one index or more")
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise DataError(f"indices must be 1-d integers; got {numbers.dtype} of {numbers.shape}")
    return numbers


def digest(*arrays: NDArray[Any]) -> str:
    """Digest shapes, dtypes and up to 64 evenly spread rows of each array."""
    found = hashlib.blake2b(digest_size=8)
    for array in arrays:
        found.update(f"{array.shape} {array.dtype.str}".encode())
        rows = np.linspace(0, len(array) - 1, min(len(array), 64)).astype(np.int64)
        if not array.dtype.hasobject:  # those would be addresses
            found.update(np.ascontiguousarray(array[rows]).tobytes())
    return found.hexdigest()
