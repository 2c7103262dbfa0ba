"""The order of the samples: a function of seed and epoch alone, the same on every rank."""

import numpy as np
from numpy.typing import NDArray

from distgrad.errors import DataError

_STREAM = 0x6F72646572  # "order": apart from every other use of the same seed


def permutation(n: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the numbers 0 to n - 1 in the order of ``epoch``, keyed by (seed, epoch).

    Sorts n random 64-bit words of Philox (Salmon et al., 2011). NumPy promises the words of a bit
    generator for ever, but not what ``Generator.permutation`` makes of them. Raises DataError for
    n < 1 and for negative seeds and epochs.
    """
    if n < 1:
        raise DataError(f"a data set of {n} samples has no order: check what was read or selected")
    if seed < 0 or epoch < 0:
        raise DataError(f"seed and epoch must be 0 or more; got seed={seed}, epoch={epoch}")
    key = np.random.SeedSequence(seed, spawn_key=(_STREAM, epoch))
    words = np.random.Philox(key).random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)
