"""Scratch memory of collectives: what is kept for the next one, and how much of it."""

import numpy as np

from distgrad.comm.rank_state import _KEPT, RankState


def pieces(*sizes):
    return [np.empty(size, np.uint8) for size in sizes]


def kept(*sizes):
    """Return the sizes of what a rank keeps of such pieces."""
    state = RankState(0, 1)
    state.keep_scratch(pieces(*sizes))
    return [piece.nbytes for piece in state.spare]


def test_so_much_is_kept_and_the_largest_first():
    half = _KEPT // 2
    assert kept(10, half, 3, half - 20) == [half, half - 20, 10, 3]
    assert kept(3, half, half, half) == [half, half]


def test_a_piece_is_kept_whatever_its_size():
    assert kept(_KEPT + 1) == [_KEPT + 1]
    assert kept(5, 2 * _KEPT, 3 * _KEPT) == [3 * _KEPT]


def test_what_was_kept_before_counts():
    state = RankState(0, 1)
    for _ in range(5):
        state.keep_scratch(pieces(_KEPT // 3))
    assert len(state.spare) == 3


def test_what_fits_best_is_taken_again():
    state = RankState(0, 1)
    state.keep_scratch(pieces(300, 200, 100))
    assert state.take_scratch(150).nbytes == 200
    assert [piece.nbytes for piece in state.spare] == [300, 100]


def test_where_none_fits_the_smallest_gives_way():
    state = RankState(0, 1)
    state.keep_scratch(pieces(300, 100, 200))
    assert state.take_scratch(400).nbytes == 400
    assert [piece.nbytes for piece in state.spare] == [300, 200]
