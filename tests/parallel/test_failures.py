"""What makes other frameworks hang or drift apart, under every strategy: an error, or right anyway.

Known from gloo's and Horovod's users: another order of parameters, a gradient that one rank lacks,
another number of batches, an evaluation on rank 0 alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import run_job
from training import simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F

JOB = Path(__file__).with_name("jobs") / "failing_job.py"
SIZE = 3
Nodes = Sequence[int] | None

WHOLE: list[tuple[int, str, Nodes]] = [
    (0, "ring", None),
    (0, "tree", None),
    (0, "shared", None),
    (0, "hierarchical", [2, 1]),
    (0, "auto", None),
    (0, "ring", [1, 1, 1]),
    (0, "tree", [1, 1, 1]),
    (0, "hierarchical", [1, 1, 1]),
    (0, "auto", [1, 1, 1]),
]
HERE = [*WHOLE, *((zero, "auto", nodes) for zero in (1, 2) for nodes in (None, [2, 1], [1, 1, 1]))]
"""Strategies under which all parameters are on every rank."""
HERE = [*HERE, (3, "auto", None)]
FETCHED: list[tuple[int, str, Nodes]] = [(3, "auto", [2, 1]), (3, "auto", [1, 1, 1])]
"""Strategies under which they are fetched by all ranks together."""
ALL = [*HERE, *FETCHED]

CURE = r"which zero=3 fetches on all ranks .* `with ddp\.summon_full_parameters\(\):` on every rank"

strategies = pytest.mark.parametrize(("zero", "algorithm", "nodes"), ALL)
where_all_are_here = pytest.mark.parametrize(("zero", "algorithm", "nodes"), HERE)
where_they_are_fetched = pytest.mark.parametrize(("zero", "algorithm", "nodes"), FETCHED)


class Branches(nn.Module):
    """Two layers side by side, run in the order, and as far as, it is told."""

    def __init__(self, order: Sequence[str] = ("a", "b")) -> None:
        super().__init__()
        for name in order:
            setattr(self, name, nn.Linear(4, 4))
        self.last = nn.Linear(4, 3)
        self.runs: Sequence[str] = ("a", "b")

    def forward(self, x: Any) -> Any:
        outs = {name: getattr(self, name)(x) for name in self.runs}
        return self.last(np.tanh(sum(outs[name] for name in sorted(outs))))


def samples() -> dg.data.ArrayDataset:
    i = np.arange(24)
    return dg.data.ArrayDataset(
        np.sin(np.outer(i + 1, np.arange(1, 5))).astype(np.float32), (i * i) % 3
    )


def train(
    zero: int,
    algorithm: str,
    *,
    order: Callable[[int], Sequence[str]] = lambda _: ("a", "b"),
    runs: Callable[[int], Sequence[str]] = lambda _: ("a", "b"),
    after: Callable[[Any, Any, int], Any] = lambda *_: None,
    before: Callable[[Any, Any, int], Any] = lambda *_: None,
    steps: int = 3,
    shards: int | None = 4,
) -> str:
    """Train and return the SHA-256 of the model; ``after(ddp, model, rank)`` follows each step."""
    world = dg.init(shards=shards)
    dg.manual_seed(1)
    model = Branches(order(world.rank))
    ddp = dg.DistributedDataParallel(model, zero=zero, algorithm=algorithm, bucket_mb=1e-5)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = samples().__getitems__(np.arange(24))
    before(ddp, model, world.rank)
    for step in range(steps):
        for rows in dg.own_shards(world, step, 8):
            at = slice(8 * step + rows.start, 8 * step + rows.stop)
            model.runs = runs(step * 8 + rows.start)
            ddp.backward(F.cross_entropy(model(x[at]), y[at]))
        optimizer.step()
        optimizer.zero_grad()
        after(ddp, model, world.rank)
    with ddp.summon_full_parameters():
        return nn.state_sha256(model.state_dict())


def ranks(zero: int, algorithm: str, nodes: Nodes, **settings: Any) -> list[Any]:
    return simulated(SIZE, lambda: train(zero, algorithm, **settings), nodes=nodes, schedule=zero)


def one(**settings: Any) -> Any:
    return simulated(1, lambda: train(0, "auto", **settings))[0]


def is_canonical(algorithm: str) -> bool:
    return algorithm != "ring"


def assert_right(zero: int, algorithm: str, nodes: Nodes, **settings: Any) -> None:
    """Assert that all ranks end equal, and with the bits of one rank where these are promised."""
    found = ranks(zero, algorithm, nodes, **settings)
    assert len(set(found)) == 1
    if is_canonical(algorithm):
        assert found[0] == one(**settings)


# -- the order of the parameters -----------------------------------------------------------------


@strategies
def test_another_order_of_the_parameters_on_one_rank_is_named(
    zero: int, algorithm: str, nodes: Nodes
) -> None:
    def order(rank: int) -> Sequence[str]:
        return ("b", "a") if rank == 1 else ("a", "b")

    with pytest.raises(dg.MismatchError, match=r"models differ: rank 0 has 'a\.weight' .*rank 1 h"):
        ranks(zero, algorithm, nodes, order=order)


# -- layers in another order, or not run (a gradient that is lacking) on one rank ----------------


def by_shard(first: int) -> Sequence[str]:
    return ("b", "a") if first % 8 == 2 else ("a", "b")


def without_b(first: int) -> Sequence[str]:
    return ("a",) if first % 8 == 2 else ("a", "b")


otherwise = pytest.mark.parametrize("runs", [by_shard, without_b])


@where_all_are_here
@otherwise
def test_layers_run_otherwise_on_one_rank_are_right(
    runs: Any, zero: int, algorithm: str, nodes: Nodes
) -> None:
    assert_right(zero, algorithm, nodes, runs=runs)


@where_they_are_fetched
@otherwise
def test_layers_run_otherwise_on_one_rank_are_named_where_they_are_fetched(
    runs: Any, zero: int, algorithm: str, nodes: Nodes
) -> None:
    with pytest.raises(dg.MismatchError, match=rf"values of bucket .*{CURE}"):
        ranks(zero, algorithm, nodes, runs=runs)


@where_they_are_fetched
@otherwise
def test_both_are_right_with_the_cure_that_is_named(
    runs: Callable[[int], Sequence[str]], zero: int, algorithm: str, nodes: Nodes
) -> None:
    def body(zero: int) -> str:
        world = dg.init(shards=4)
        dg.manual_seed(1)
        model = Branches()
        ddp = dg.DistributedDataParallel(model, zero=zero, algorithm=algorithm, bucket_mb=1e-5)
        optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        x, y = samples().__getitems__(np.arange(24))
        for step in range(3):
            with ddp.summon_full_parameters():
                for rows in dg.own_shards(world, step, 8):
                    at = slice(8 * step + rows.start, 8 * step + rows.stop)
                    model.runs = runs(step * 8 + rows.start)
                    ddp.backward(F.cross_entropy(model(x[at]), y[at]))
            optimizer.step()
            optimizer.zero_grad()
        return nn.state_sha256(model.state_dict())

    assert set(simulated(SIZE, lambda: body(zero), nodes=nodes)) == {one(runs=runs)}


# -- another number of batches -------------------------------------------------------------------


def batches(zero: int, algorithm: str, count: Callable[[int], int]) -> None:
    world = dg.init()
    model = Branches()
    ddp = dg.DistributedDataParallel(model, zero=zero, algorithm=algorithm)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    x, y = samples().__getitems__(np.arange(24))
    for step in range(count(world.rank)):
        ddp.backward(F.cross_entropy(model(x[step : step + 4]), y[step : step + 4]))
        optimizer.step()
        optimizer.zero_grad()


@strategies
@pytest.mark.parametrize("odd", [0, 1, 2])
@pytest.mark.parametrize("more", [True, False])
def test_another_number_of_batches_on_one_rank_is_named(
    more: bool, odd: int, zero: int, algorithm: str, nodes: Nodes
) -> None:
    def count(rank: int) -> int:
        return (4 if more else 2) if rank == odd else 3

    with pytest.raises(dg.CommError, match=r"rank \d has left the job without taking"):
        simulated(SIZE, lambda: batches(zero, algorithm, count), nodes=nodes, schedule=odd)


@strategies
def test_a_loader_of_another_length_on_one_rank_is_named(
    zero: int, algorithm: str, nodes: Nodes
) -> None:
    def body() -> None:
        world = dg.init(shards=4)
        x, y = samples().__getitems__(np.arange(20 if world.rank == 1 else 24))
        model = Branches()
        ddp = dg.DistributedDataParallel(model, zero=zero, algorithm=algorithm)
        for batch in dg.data.DataLoader(dg.data.ArrayDataset(x, y), 8):
            for a, b in batch.shards:
                ddp.backward(F.cross_entropy(model(a), b))
            ddp.zero_grad()

    message = r"differ in DataLoader samples: ranks 0, 2 have 24, rank 1 has 20"
    with pytest.raises(dg.MismatchError, match=message):
        simulated(SIZE, body, nodes=nodes)


# -- rank 0 alone --------------------------------------------------------------------------------


def evaluation(ddp: Any, model: Any, rank: int) -> None:
    if rank == 0:
        with dg.no_grad():
            model(np.ones((2, 4), np.float32))


def norm(ddp: Any, model: Any, rank: int) -> None:
    if rank == 0:
        dg.sqrt(sum((p * p).sum() for p in model.parameters()))


def histogram(ddp: Any, model: Any, rank: int) -> None:
    if rank == 0:
        [np.histogram(p.array) for p in model.parameters()]


def saved(ddp: Any, model: Any, rank: int) -> None:
    if rank == 0:
        {name: np.array(value) for name, value in model.state_dict().items()}


ALONE = [evaluation, norm, histogram, saved]


@where_all_are_here
@pytest.mark.parametrize("after", ALONE)
def test_rank_0_alone_may_read_the_weights(
    after: Any, zero: int, algorithm: str, nodes: Nodes
) -> None:
    assert_right(zero, algorithm, nodes, after=after)


@where_they_are_fetched
@pytest.mark.parametrize("after", ALONE)
def test_rank_0_alone_is_named_with_the_cure_where_weights_are_fetched(
    after: Any, zero: int, algorithm: str, nodes: Nodes
) -> None:
    # In the order in which the layers run next, what rank 0 fetches the others would fetch too.
    turned: Any = lambda _: ("b", "a")  # noqa: E731
    with pytest.raises(dg.CommError, match=rf"\[rank \d/3\] .*values of bucket .*{CURE}"):
        ranks(zero, algorithm, nodes, after=after, runs=turned)


@where_they_are_fetched
def test_weights_fetched_in_the_order_in_which_layers_run_next_are_right_on_rank_0_alone(
    zero: int, algorithm: str, nodes: Nodes
) -> None:
    assert_right(zero, algorithm, nodes, after=saved)


@where_they_are_fetched
@pytest.mark.parametrize("after", ALONE)
def test_before_the_first_batch_rank_0_alone_may_read_weights(
    after: Any, zero: int, algorithm: str, nodes: Nodes
) -> None:
    assert_right(zero, algorithm, nodes, before=after)


@where_they_are_fetched
def test_rank_0_alone_is_named_where_the_others_have_ended(
    zero: int, algorithm: str, nodes: Nodes
) -> None:
    def body() -> None:
        world = dg.init()
        model = Branches()
        ddp = dg.DistributedDataParallel(model, zero=zero, algorithm=algorithm)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        ddp.backward(model(np.ones((2, 4), np.float32)).sum())
        optimizer.step()
        if world.rank == 0:
            model.state_dict()

    with pytest.raises(dg.CommError, match=rf"\[rank 0/3\] .*values of bucket .*{CURE}"):
        simulated(SIZE, body, nodes=nodes)


@where_they_are_fetched
@pytest.mark.parametrize("after", ALONE)
def test_rank_0_alone_is_right_with_the_cure_that_is_named(
    after: Any, zero: int, algorithm: str, nodes: Nodes
) -> None:
    def summoned(ddp: Any, model: Any, rank: int) -> None:
        with ddp.summon_full_parameters():
            after(ddp, model, rank)

    assert_right(zero, algorithm, nodes, after=summoned)


@strategies
def test_an_evaluation_by_the_trainer_on_rank_0_alone_is_named(
    zero: int, algorithm: str, nodes: Nodes
) -> None:
    def body() -> None:
        world = dg.init(shards=4)
        model = Branches()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        trainer = dg.Trainer(
            model, optimizer, F.cross_entropy, zero=zero, algorithm=algorithm, progress=False
        )
        trainer.fit(dg.data.DataLoader(samples(), 8), max_steps=2)
        if world.rank == 0:
            trainer.evaluate(dg.data.DataLoader(samples(), 8))

    found = CURE if (zero, algorithm, nodes) in FETCHED else "'shard sum of loss, samples'"
    with pytest.raises(dg.CommError, match=rf"\[rank 0/3\] .*{found}.* rank \d has left"):
        simulated(SIZE, body, nodes=nodes)


# -- under mpirun --------------------------------------------------------------------------------


NAMED = {
    "order": r"models differ: rank 0 has 'a\.weight' .*, rank {last} has 'b\.weight'",
    "batches": r"\(all_gather_bytes|bucket 0 .*\) cannot complete: rank {last} has left the job",
    "rank 0": r"all_reduce .shard sum of loss of rank 0's evaluation",
}


@pytest.mark.parametrize(("size", "zero"), [(2, 3), (3, 1)])
@pytest.mark.parametrize("what", NAMED)
def test_under_mpirun_it_is_named_within_seconds(what: str, size: int, zero: int) -> None:
    job = run_job(size, JOB, "--what", what, "--zero", str(zero))
    assert job.status != 0
    assert re.search(NAMED[what].format(last=size - 1), job.err), job.err
    assert job.seconds_after_fall < 10


def test_under_mpirun_a_gradient_that_one_rank_lacks_is_right() -> None:
    jobs = [run_job(3, JOB, "--what", "gradient", "--zero", zero) for zero in ("3", "0")]
    assert [job.status for job in jobs] == [0, 0], jobs[0].err
    assert jobs[0].out == jobs[1].out
    assert "RESULT" in jobs[0].out
