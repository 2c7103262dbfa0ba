"""Data sets: samples by number, many at a time where that is faster. Knows no order and no rank."""

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distgrad.errors import DataError

Arrays = tuple[NDArray[Any], ...]


@runtime_checkable
class Dataset(Protocol):
    """Anything with a length whose samples are tuples of arrays or numbers (or one array).

    A data set may also have ``__getitems__(indices) -> tuple of stacked arrays`` (PyTorch's name);
    ``fetch`` uses it where it exists.
    """

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Return sample ``index``, 0 to ``len(self) - 1``."""
        ...


def fetch(dataset: Dataset, indices: ArrayLike) -> Arrays:
    """Return the samples ``indices`` (1-d integers), each field stacked to (n, …), freshly copied.

    Raises DataError if there are no indices or if samples differ in their fields' shapes.
    """
    numbers = _as_indices(indices)
    many = getattr(dataset, "__getitems__", None)
    if many is not None:
        return tuple(many(numbers))
    samples: list[Any] = [dataset[int(i)] for i in numbers]
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


def fingerprint(dataset: Dataset) -> str:
    """Return what tells the contents of ``dataset`` from another's; "" if it cannot say.

    Asks the data set for ``fingerprint()``, which those of distgrad have: a digest of sizes, dtypes
    and a sample of the values, so that ranks can compare without reading everything.
    """
    own = getattr(dataset, "fingerprint", None)
    return "" if own is None else str(own())


class ArrayDataset:
    """Samples are rows: sample i is ``(arrays[0][i], arrays[1][i], …)``.

    Raises DataError for no arrays, no samples, or arrays of unequal length.
    """

    def __init__(self, *arrays: NDArray[Any]) -> None:
        self.arrays = tuple(np.asarray(array) for array in arrays)
        lengths = [len(array) if array.ndim else None for array in self.arrays]
        if not lengths or None in lengths or len(set(lengths)) > 1:
            shapes = ", ".join(str(array.shape) for array in self.arrays)
            raise DataError(
                f"ArrayDataset needs arrays with the same number of samples along axis 0; got "
                f"{shapes or 'no array'}"
            )
        if lengths[0] == 0:
            raise DataError(
                f"an ArrayDataset of no samples (shapes {', '.join(str(a.shape) for a in arrays)}) "
                "cannot be trained on: check what was read or selected"
            )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> Arrays:
        return tuple(array[index] for array in self.arrays)

    def __getitems__(self, indices: NDArray[np.integer[Any]]) -> Arrays:
        """Return copies of the rows ``indices`` of every array."""
        return tuple(array[indices] for array in self.arrays)

    def fingerprint(self) -> str:
        """Return a digest of shapes, dtypes and some rows."""
        return _digest(*self.arrays)


class TextDataset:
    """Every window of a token stream: x = tokens[i : i + context], y = the same, one token later.

    ``tokens`` is 1-d and integer; x and y are int64 of shape (context,), batched (n, context).
    There are ``len(tokens) - context`` windows. Raises DataError if that is none.
    """

    def __init__(self, tokens: ArrayLike, context: int) -> None:
        stream = np.asarray(tokens)
        if stream.ndim != 1 or stream.dtype.kind not in "iu":
            raise DataError(f"tokens must be 1-d integers; got {stream.dtype} of {stream.shape}")
        if context < 1:
            raise DataError(f"context is {context}; it must be 1 or more tokens")
        if len(stream) <= context:
            raise DataError(
                f"{len(stream)} tokens hold no window of context {context} and the token after it: "
                "use a longer text or a shorter context"
            )
        self.tokens, self.context = stream, context
        # Row i is tokens[i : i + context + 1], without a copy.
        self._windows = np.lib.stride_tricks.sliding_window_view(stream, context + 1)

    def __len__(self) -> int:
        return len(self._windows)

    def __getitem__(self, index: int) -> Arrays:
        return _shifted(self._windows[index])

    def __getitems__(self, indices: NDArray[np.integer[Any]]) -> Arrays:
        """Return x and y of the windows ``indices``, each (n, context)."""
        return _shifted(self._windows[indices])

    def fingerprint(self) -> str:
        """Return a digest of the length and some tokens."""
        return _digest(self.tokens)


class Subset:
    """The samples ``indices`` of another data set, in that order.

    Raises DataError if there are none, or one that the data set has not.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int] | NDArray[np.integer[Any]]) -> None:
        self.dataset, self.indices = dataset, _as_indices(indices)
        low, high = int(self.indices.min()), int(self.indices.max())
        if low < 0 or high >= len(dataset):
            raise DataError(
                f"a Subset of {len(dataset)} samples cannot have sample {low if low < 0 else high}"
            )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.indices[index])]

    def __getitems__(self, indices: NDArray[np.integer[Any]]) -> Arrays:
        """Return the samples ``self.indices[indices]``, stacked."""
        return fetch(self.dataset, self.indices[indices])

    def fingerprint(self) -> str:
        """Return a digest of the indices, and that of the whole data set."""
        return f"{_digest(self.indices)} {fingerprint(self.dataset)}".strip()


def _as_indices(indices: ArrayLike) -> NDArray[np.integer[Any]]:
    numbers = np.asarray(indices)
    if numbers.size == 0:
        raise DataError("a batch or Subset of no samples was asked for: give one index or more")
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise DataError(f"indices must be 1-d integers; got {numbers.dtype} of {numbers.shape}")
    return numbers


def _digest(*arrays: NDArray[Any]) -> str:
    """Digest shapes, dtypes and up to 64 evenly spread rows of each array."""
    found = hashlib.blake2b(digest_size=8)
    for array in arrays:
        found.update(f"{array.shape} {array.dtype.str}".encode())
        rows = np.linspace(0, len(array) - 1, min(len(array), 64)).astype(np.int64)
        if not array.dtype.hasobject:  # those would be addresses
            found.update(np.ascontiguousarray(array[rows]).tobytes())
    return found.hexdigest()


def _shifted(windows: NDArray[Any]) -> Arrays:
    # Copies: both are fresh and contiguous, whatever dtype the stream is kept in.
    return windows[..., :-1].astype(np.int64), windows[..., 1:].astype(np.int64)
