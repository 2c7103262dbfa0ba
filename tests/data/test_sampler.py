"""The order of an epoch depends on seed and epoch, and on nothing else."""

import numpy as np
import pytest

from distgrad.data import permutation
from distgrad.errors import DataError


@pytest.mark.parametrize("n", [1, 2, 3, 1000])
def test_every_number_is_there_once(n):
    np.testing.assert_array_equal(np.sort(permutation(n, seed=3, epoch=5)), np.arange(n))


def test_the_same_key_gives_the_same_order_whatever_else_is_drawn():
    first = permutation(100, seed=1, epoch=2)
    np.random.default_rng(0).random(10)
    np.testing.assert_array_equal(first, permutation(100, seed=1, epoch=2))


def test_each_seed_and_epoch_has_its_own_order():
    keys = [(s, e) for s in (0, 1, 2, 2**32, 2**64 + 1) for e in (0, 1, 2, 2**32)]
    orders = {tuple(permutation(50, seed=s, epoch=e)) for s, e in keys}
    assert len(orders) == len(keys)


def test_the_order_never_changes():
    # Published results depend on it: if this fails, the order is wrong, not the test.
    assert permutation(12, seed=7, epoch=3).tolist() == [4, 5, 8, 7, 3, 11, 10, 6, 9, 2, 0, 1]
    assert permutation(12, seed=7, epoch=3).dtype == np.int64


def test_all_places_are_equally_likely():
    n, rounds = 5, 2000
    counts = np.zeros((n, n))
    for epoch in range(rounds):
        counts[np.arange(n), permutation(n, seed=11, epoch=epoch)] += 1
    chi2 = ((counts - rounds / n) ** 2 / (rounds / n)).sum()
    assert chi2 < 45  # 16 degrees of freedom: 0.9999 of all seeds are below


@pytest.mark.parametrize("key", [(0, 0, 0), (3, -1, 0), (3, 0, -1)])
def test_impossible_keys_are_refused(key):
    n, seed, epoch = key
    with pytest.raises(DataError, match=r"0 samples|0 or more; got seed=.*epoch="):
        permutation(n, seed=seed, epoch=epoch)
