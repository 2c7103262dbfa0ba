"""Ranks that share cores, or have more threads than cores, are told of."""

import os

import pytest

from distgrad.comm import cores
from distgrad.comm.cores import Place, at_start, count, crowds, in_training, parse, room, spell


def places(*told):
    """Where ranks are: "HOST CORES [THREADS]" each."""
    parts = [text.split() for text in told]
    return tuple(Place(host, cores, *map(int, more)) for host, cores, *more in parts)


@pytest.mark.parametrize(
    ("numbers", "spelled"),
    [({3}, "3"), ({0, 1, 2, 3, 8}, "0-3,8"), ({10, 2, 9, 4}, "2,4,9-10"), (set(), "")],
)
def test_cores_are_spelled_as_the_kernel_does(numbers, spelled):
    assert spell(numbers) == spelled
    assert parse(spelled) == numbers
    assert count(spelled) == len(numbers)


def test_a_core_is_its_first_hardware_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(cores, "SIBLINGS", str(tmp_path / "{}"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 2, 5, 67})
    cores._cores_of.cache_clear()
    assert cores.mine() == "1-2,5,67"  # the system does not say
    for thread, siblings in {1: "1,5", 2: "2-3", 5: "1,5", 67: "3,67"}.items():
        (tmp_path / str(thread)).write_text(f"{siblings}\n")
    cores._cores_of.cache_clear()
    assert cores.mine() == "1-3"
    cores._cores_of.cache_clear()


@pytest.mark.parametrize(
    "ranks",
    [
        ("a 0",),
        ("a 0", "a 1", "b 0"),
        ("a 0-1", "a 0-1"),
        ("a 0-1", "a 1", "b 0"),
        ("a 0-1 2", "a 2 1"),
    ],
)
def test_ranks_with_a_core_each_are_not_told_of(ranks):
    assert at_start(places(*ranks)) == []


@pytest.mark.parametrize(
    ("ranks", "told"),
    [
        (("a 0", "b 1", "b 1"), "ranks 1-2 share core 1 of b,"),
        (("a 0-1",) * 3, "ranks 0-2 share cores 0-1 of a,"),
        (("a 0,2",) * 3, "ranks 0-2 share cores 0, 2 of a,"),
        (("a 0-1", "a 1", "a 1"), "ranks 1-2 share core 1 of a,"),
        (("a 0-1", "a 0", "a 1"), "ranks 0-2 share cores 0-1 of a,"),
        (("a 0", "a 1", "a 0", "a 1"), "ranks 0, 2 share core 0 of a, ranks 1, 3 share core 1 of"),
        (("a 0", "a 0", "b 0", "b 0"), "ranks 0-1 share core 0 of a, ranks 2-3 share core 0 of b"),
        (tuple(f"{host} 5" for host in "ababcdcdefef"), "share core 5 of d and 2 more such groups"),
    ],
)
def test_ranks_that_share_are_named_with_their_cores_and_the_cure(ranks, told):
    (said,) = at_start(places(*ranks))
    assert told in said
    assert "bind them apart (mpirun --bind-to none" in said


def test_a_rank_that_has_a_core_to_go_to_shares_none():
    (crowd,) = crowds(places("a 0", "a 0", "a 0-1"))
    assert crowd.ranks == (0, 1)


def test_ranks_with_more_threads_than_cores_are_named_with_the_cure():
    assert at_start(places("a 0-1 2", "a 2 2", "b 0-3 4", "b 4-5 4")) == [
        "rank 1 has 2 threads on 1 core, rank 3 has 4 threads on 2 cores: "
        "OMP_NUM_THREADS=1, or a core for each thread"
    ]


def test_ranks_that_are_alike_are_told_of_together():
    (said,) = at_start(places("a 0 2", "a 1 2", "a 2-3 2", "a 4 2"))
    assert said.startswith("ranks 0-1, 3 have 2 threads each on 1 core: OMP_NUM_THREADS=1,")


@pytest.mark.parametrize(
    ("ranks", "rooms"),
    [
        (("a 0", "a 1", "a 1"), (1, 0.5, 0.5)),
        (("a 0-1", "a 2", "a 3-6 1"), (2, 1, 1)),
        (("a 0-1", "a 0-1", "a 0-1", "b 0"), (2 / 3, 2 / 3, 2 / 3, 1)),
        (("a 0 2", "a 1-2 2"), (1, 2)),
    ],
)
def test_a_rank_keeps_as_many_cores_busy_as_it_has_threads_or_a_part_of_one(ranks, rooms):
    assert room(places(*ranks)) == rooms


@pytest.mark.parametrize(
    ("slow", "said"),
    [
        ({1, 2}, "ranks 1-2 share core 1: bind them apart"),
        ({2}, "ranks 1-2 share core 1: bind them apart"),  # the other had the core first
        ({2, 3}, "ranks 1-2 share core 1: bind them apart"),
        ({3}, ""),  # slow for another reason
        ({0}, ""),
    ],
)
def test_of_slow_ranks_those_are_told_of_that_share_a_core_which_others_do_not(slow, said):
    assert in_training(places("a 0", "a 1", "a 1", "a 2"), slow) == said


def test_where_all_share_that_is_not_why_one_is_slow():
    assert in_training(places("a 0-1", "a 0-1", "a 0-1"), {1}) == ""


def test_a_slow_rank_with_more_threads_than_cores_is_told_so():
    assert in_training(places("a 0-1 2", "a 2 2", "b 0-1 2"), {1}) == (
        "rank 1 has 2 threads on 1 core: OMP_NUM_THREADS=1, or a core for each thread"
    )
