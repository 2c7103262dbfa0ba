"""Ranks that share a core are told of at start."""

import pytest

from distgrad.parallel.world import shared_cores


@pytest.mark.parametrize(
    "ranks",
    [
        [("a", [0])],
        [("a", [0]), ("a", [1]), ("b", [0])],
        [("a", [0, 1]), ("a", [0, 1])],
        [("a", [0, 1]), ("a", [1]), ("b", [0])],
    ],
)
def test_ranks_with_a_core_each_are_not_told_of(ranks):
    assert shared_cores(ranks) == ""


@pytest.mark.parametrize(
    ("ranks", "told"),
    [
        ([("a", [0]), ("b", [1]), ("b", [1])], "ranks 1, 2 share core 1 of b"),
        ([("a", [0, 1])] * 3, "ranks 0, 1, 2 share 2 cores of a"),
        ([("a", [0, 1]), ("a", [1]), ("a", [1])], "ranks 1, 2 share core 1 of a"),
        ([("a", [0, 1]), ("a", [0]), ("a", [1])], "ranks 0, 1, 2 share 2 cores of a"),
        ([("a", [3])] * 20, "ranks 0, 1, 2, 3, 4, 5, 6, 7, … share core 3 of a"),
    ],
)
def test_ranks_that_share_are_named_with_their_cores(ranks, told):
    assert shared_cores(ranks).startswith(told)
    assert "--bind-to none" in shared_cores(ranks)
