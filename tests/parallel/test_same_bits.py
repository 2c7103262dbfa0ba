"""The contract: one SHA-256 per model, whatever ran it."""

from __future__ import annotations

from functools import cache

import pytest
from training import alone, simulated, trained_sha256

from distgrad.comm import run_ranks
from distgrad.comm.algorithms import tree

MODELS = ["mlp", "cnn", "gpt"]


@cache
def reference(name: str) -> str:
    """The value of a world of one, simulated so that it is one under mpirun too."""
    return run_ranks(1, lambda: trained_sha256(name))[0]


@pytest.mark.parametrize("name", MODELS)
def test_the_local_world_gives_the_value(name: str) -> None:
    assert alone(lambda: trained_sha256(name)) == reference(name)


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("name", MODELS)
def test_simulated_ranks_give_the_value_of_one(name: str, size: int) -> None:
    assert simulated(size, lambda: trained_sha256(name)) == [reference(name)] * size


@pytest.mark.parametrize("bucket_mb", [0.001, 0.02, 100.0])
@pytest.mark.parametrize("name", MODELS)
def test_any_bucket_size_gives_the_value(name: str, bucket_mb: float) -> None:
    found = simulated(3, lambda: trained_sha256(name, bucket_mb=bucket_mb), schedule=5)
    assert set(found) == {reference(name)}


@pytest.mark.parametrize("schedule", [1, 2, 3])
def test_any_interleaving_of_the_ranks_gives_the_value(schedule: int) -> None:
    found = simulated(4, lambda: trained_sha256("cnn", bucket_mb=0.05), schedule=schedule)
    assert set(found) == {reference("cnn")}


WORLDS: list[tuple[str, int, list[int] | None]] = [
    *(("mlp", size, None) for size in (1, 2, 3, 4, 5, 8)),
    *(("mlp", sum(nodes), nodes) for nodes in ([1, 1], [2, 1], [3, 1], [1] * 5, [1] * 8)),
    *((name, 3, [2, 1]) for name in ("cnn", "gpt")),
    *((name, 8, [3, 1, 4]) for name in MODELS),
]


@pytest.mark.parametrize(("name", "size", "nodes"), WORLDS)
@pytest.mark.parametrize("how", ["tree", "halving", "hierarchical", "shared", "auto"])
def test_every_canonical_algorithm_gives_the_value_of_one(
    name: str, how: str, size: int, nodes: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "shared" and (nodes is not None or size == 1):
        return  # it is for ranks of one node
    if how == "halving":
        monkeypatch.setattr(tree, "HALVING_RANKS", 2)
        monkeypatch.setattr(tree, "HALVING_BYTES", 1 << 40)
    algorithm = "tree" if how == "halving" else how

    def body() -> str:
        return trained_sha256(name, steps=6, shards=8, bucket_mb=0.02, algorithm=algorithm)

    assert set(simulated(size, body, nodes=nodes)) == {_short_reference(name)}


@cache
def _short_reference(name: str) -> str:
    return run_ranks(1, lambda: trained_sha256(name, steps=6, shards=8, algorithm="tree"))[0]


@pytest.mark.mpi
@pytest.mark.parametrize("how", ["tree", "hierarchical", "auto"])
@pytest.mark.parametrize("name", MODELS)
def test_every_canonical_algorithm_gives_it_under_mpi(name: str, how: str) -> None:
    found = alone(lambda: trained_sha256(name, steps=6, shards=8, bucket_mb=0.02, algorithm=how))
    assert found == _short_reference(name)


@pytest.mark.mpi
@pytest.mark.parametrize("bucket_mb", [0.02, 4.0])
@pytest.mark.parametrize("name", MODELS)
def test_mpi_ranks_give_the_value_of_one(name: str, bucket_mb: float) -> None:
    assert alone(lambda: trained_sha256(name, bucket_mb=bucket_mb)) == reference(name)


def test_another_number_of_shards_is_another_value() -> None:
    other = run_ranks(1, lambda: trained_sha256("mlp", shards=8, steps=10))[0]
    assert other != run_ranks(1, lambda: trained_sha256("mlp", shards=4, steps=10))[0]


def test_the_ring_gives_equal_bits_on_all_ranks_and_from_run_to_run() -> None:
    runs = [
        simulated(3, lambda: trained_sha256("cnn", shards=None, steps=10), schedule=s)
        for s in (None, 4)
    ]
    assert len({sha for run in runs for sha in run}) == 1


def test_a_last_batch_smaller_than_the_shards_gives_the_value() -> None:
    # 200 samples in batches of 66: the last batch has 2 samples for 4 shards.
    one = run_ranks(1, lambda: trained_sha256("mlp", batch=66, steps=12))[0]
    for size in (2, 3, 4):
        found = simulated(size, lambda: trained_sha256("mlp", batch=66, steps=12))
        assert set(found) == {one}
