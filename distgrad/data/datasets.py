"""Data sets of arrays, of text, and parts of others. They know no order and no rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distgrad.data.dataset import Dataset
from distgrad.data.reading import Arrays, Samples, as_indices, digest, fetch, fingerprint, gather
from distgrad.errors import DataError


class ArrayDataset(Dataset[Arrays]):
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
        return digest(*self.arrays)


class TextDataset(Dataset[Arrays]):
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
        return digest(self.tokens)


class Subset(Dataset[Any]):
    """The samples ``indices`` of another data set, in that order.

    Raises DataError if there are none, or one that the data set has not.
    """

    def __init__(self, dataset: Samples, indices: Sequence[int] | NDArray[np.integer[Any]]) -> None:
        self.dataset, self.indices = dataset, as_indices(indices)
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

    def _gather(self, indices: NDArray[np.integer[Any]]) -> Arrays | list[Any]:
        """Return the samples ``self.indices[indices]``, stacked if the whole data set does that."""
        return gather(self.dataset, self.indices[indices])

    def fingerprint(self) -> str:
        """Return a digest of the indices, and that of the whole data set."""
        return f"{digest(self.indices)} {fingerprint(self.dataset)}".strip()


def _shifted(windows: NDArray[Any]) -> Arrays:
    # Copies: both are fresh and contiguous, whatever dtype the stream is kept in.
    return windows[..., :-1].astype(np.int64), windows[..., 1:].astype(np.int64)
