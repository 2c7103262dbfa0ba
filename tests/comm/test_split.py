"""Parts of the ranks as communicators of their own."""

import numpy as np
import pytest

from distgrad.errors import CommError


def test_ranks_of_a_color_are_a_world_of_their_own(ranks):
    def body(comm):
        part = comm.split("odd" if comm.rank % 2 else "even", -comm.rank)
        mine = [r for r in range(comm.size) if r % 2 == comm.rank % 2][::-1]
        assert (part.size, part.rank) == (len(mine), mine.index(comm.rank))
        for op, reduce in (("sum", np.sum), ("max", np.max)):
            array = np.array([comm.rank, 5.0])
            part.all_reduce(array, op=op)
            np.testing.assert_array_equal(array, reduce([[r, 5.0] for r in mine], axis=0))
        found = part.all_to_all([np.array([comm.rank, r]) for r in range(part.size)])
        np.testing.assert_array_equal(found, [[r, part.rank] for r in mine])

    ranks.run(body)


def test_a_rank_without_a_color_is_in_no_part(ranks):
    def body(comm):
        part = comm.split(None if comm.rank == 0 else 0)
        if comm.rank == 0:
            assert part is None
        else:
            assert (part.rank, part.size) == (comm.rank - 1, comm.size - 1)
            part.barrier()
        comm.barrier()

    ranks.run(body)


def test_a_part_can_be_split_and_the_whole_goes_on(simulated):
    def body(comm):
        half = comm.split(comm.rank // 2)
        one = half.split(half.rank)
        works = (
            [c.start_all_reduce(a) for c, a in ((comm, a), (half, b), (one, c))]
            if ((a := np.ones(3), b := np.ones(3), c := np.ones(3)))
            else []
        )
        for work in works[:: 1 if comm.rank % 2 else -1]:
            work.wait()
        assert (a[0], b[0], c[0]) == (4, 2, 1)

    for schedule in range(10):
        simulated(4).run(body, schedule=schedule)


def test_an_error_in_a_part_names_the_ranks_of_the_job(simulated):
    def body(comm):
        part = comm.split(comm.rank // 2)
        part.all_reduce(np.zeros(2 + comm.rank // 3))

    with pytest.raises(CommError, match=r"\[rank [23]/4\] .*float64 x \d, rank [23] is in"):
        simulated(4).run(body)
