"""Numbers that are drawn without making a generator for them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from distgrad import manual_seed, random
from distgrad.autograd import stream


@pytest.mark.parametrize("seed", [0, 7, 2**53 + 1, 2**63 - 1, 2**63 + 5])
def test_uniform_numbers_are_those_of_a_generator_of_the_same_call(seed):
    manual_seed(seed)
    start = stream.position()
    shapes = [(3,), (), (5, 7), (0, 2), (1001,), (3,)]  # odd ones leave half a draw behind
    with stream.at_position(start):
        wanted = [stream.generator().random(s, dtype=np.float32) for s in shapes]
        after = stream.position()
    found = [stream.uniform(s) for s in shapes]
    assert stream.position() == after
    for f, w in zip(found, wanted, strict=True):
        assert np.asarray(f).dtype == np.float32
        np.testing.assert_array_equal(f, w)


def test_no_two_seeds_of_64_bits_draw_the_same_numbers():
    seeds = [-2, -1, 0, 1, 2**53, 2**53 + 1, 2**63, 2**63 + 1, 2**64 - 3]
    drawn = []
    for seed in seeds:
        manual_seed(seed)
        drawn.append((*stream.uniform((3,)), *stream.generator().random(3)))
    assert len(set(drawn)) == len(seeds)


def test_a_generator_that_is_kept_is_not_moved_by_later_draws():
    manual_seed(3)
    kept = random.generator()
    first = kept.random(3)
    for draw in (random.uniform, random.normal, lambda n: random.integers(5, shape=n)):
        draw(7)
    manual_seed(3)
    wanted = random.generator().random(6)
    np.testing.assert_array_equal([*first, *kept.random(3)], wanted)


def test_threads_do_not_disturb_each_other():
    manual_seed(3)
    start = stream.position()
    both, found = threading.Barrier(2), {}

    def draw(number: int) -> None:
        with stream.at_position(stream.Position(seed=start.seed, step=number)):
            both.wait()
            found[number] = [stream.uniform((50,)) for _ in range(200)]

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for number, drawn in found.items():
        with stream.at_position(stream.Position(seed=start.seed, step=number)):
            for numbers in drawn:
                wanted = stream.generator().random(50, dtype=np.float32)
                np.testing.assert_array_equal(numbers, wanted)
