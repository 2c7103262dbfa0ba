"""dist.nn.functional: new values on every rank, and the gradients of the sum of all losses."""

from __future__ import annotations

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import distributed as dist
from distgrad.distributed import ReduceOp
from distgrad.distributed.nn import functional as DF
from distgrad.errors import CommError, GradError, MismatchError, PeerFailedError


def rows(rank, count):
    return np.random.default_rng(17 + rank).standard_normal((count, 2))


def several(rank, count):
    """One array for each rank, of the lengths 1, 2, 3, …"""
    return [rows(10 * rank + r, 1 + r) for r in range(count)]


SUMS = [ReduceOp.SUM, ReduceOp.AVG, ReduceOp.PRODUCT, ReduceOp.MAX, ReduceOp.MIN]


def _reductions(function):
    return [lambda ts, n, op=op: [function(ts[0], op)] for op in SUMS]


# By function: the inputs of a rank, and calls of them that return a list of tensors.
SAMPLES = {
    "all_reduce": (lambda rank, n: [rows(rank, 3)], _reductions(DF.all_reduce)),
    "reduce": (
        lambda rank, n: [rows(rank, 3)],
        _reductions(lambda t, op: DF.reduce(t, dist.get_world_size() - 1, op)),
    ),
    "broadcast": (
        lambda rank, n: [rows(rank, 3)],
        [lambda ts, n: [DF.broadcast(ts[0], n - 1)]],
    ),
    "all_gather": (
        lambda rank, n: [rows(rank, rank + 1), np.array(rank + 0.5)],
        [lambda ts, n: DF.all_gather(ts[0]) + DF.all_gather(ts[1])],
    ),
    "gather": (
        lambda rank, n: [rows(rank, rank + 1)],
        [lambda ts, n: DF.gather(ts[0], n - 1)],
    ),
    "scatter": (
        several,
        [
            lambda ts, n: [DF.scatter(ts, n - 1)],
            lambda ts, n: [DF.scatter(ts if dist.get_rank() == 0 else None)],
        ],
    ),
    "reduce_scatter": (
        several,
        [lambda ts, n, op=op: [DF.reduce_scatter(None, ts, op)] for op in SUMS],
    ),
    "all_to_all": (several, [lambda ts, n: DF.all_to_all(None, ts)]),
    "all_to_all_single": (
        lambda rank, n: [rows(rank, 2 * n), rows(rank + 50, n * (n + 1) // 2)],
        [
            lambda ts, n: [
                DF.all_to_all_single(None, ts[0]),
                DF.all_to_all_single(None, ts[1], None, [*range(1, n + 1)]),
            ]
        ],
    ),
}


def total(value):
    array = np.array([value], "float64")
    dist.all_reduce(array)
    return float(array[0])


def loss_of(outputs):
    """A different weight for each rank, output and element."""
    rng = np.random.default_rng(100 + dist.get_rank())
    return sum((t * rng.standard_normal(t.shape)).sum() for t in outputs)


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("name", DF.__all__)
def test_the_gradient_is_that_of_the_sum_of_all_ranks_losses(name, ranks):
    inputs, calls = SAMPLES[name]

    def body():
        dg.init(shards=4 if name == "reduce_scatter" else None)
        rank = dist.get_rank()
        here = inputs(rank, ranks)
        for call in calls:
            tensors = [dg.Tensor(x, requires_grad=True) for x in here]
            loss_of(call(tensors, ranks)).backward()
            for moved in range(ranks):
                rng = np.random.default_rng(moved)
                step = [rng.standard_normal(x.shape) * (rank == moved) for x in here]

                def at(h, step=step, call=call):
                    moved = [dg.Tensor(x + h * d) for x, d in zip(here, step, strict=True)]
                    return total(float(loss_of(call(moved, ranks)).array))

                numeric = (at(1e-5) - at(-1e-5)) / 2e-5
                found = sum(
                    np.vdot(t.grad.array, d)
                    for t, d in zip(tensors, step, strict=True)
                    if t.grad is not None
                )
                assert total(found) == pytest.approx(numeric, rel=1e-6, abs=1e-8)

    simulated(ranks, body)


def test_every_function_has_a_sample():
    assert sorted(SAMPLES) == sorted(DF.__all__)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("kind", [np.array, dg.Tensor])
def test_values_are_what_the_names_say(ranks, kind):
    def same(found, expected):
        assert type(found) is (np.ndarray if kind is np.array else dg.Tensor)
        np.testing.assert_allclose(found, expected, rtol=1e-12)

    def body():
        rank, n = dist.get_rank(), ranks
        own = kind(rows(rank, 3))
        every = np.stack([rows(r, 3) for r in range(n)])
        same(DF.all_reduce(own), every.sum(0))
        same(DF.all_reduce(own, ReduceOp.MAX), every.max(0))
        same(DF.all_reduce(kind([1 << rank]), ReduceOp.BOR), [(1 << n) - 1])
        same(DF.reduce(own, n - 1), every.sum(0) * (rank == n - 1))
        same(DF.reduce(own, 0, ReduceOp.MIN), every.min(0) * (rank == 0))
        same(DF.broadcast(own, n - 1), every[n - 1])
        for r, one in enumerate(DF.all_gather(kind(rows(rank, rank)))):
            same(one, rows(r, r))
        for r, one in enumerate(DF.gather(own, n - 1)):
            same(one, every[r] * (rank == n - 1))
        given = [*map(kind, several(rank, n))]
        same(DF.scatter(given, n - 1), several(n - 1, n)[rank])
        sums = np.sum([several(r, n)[rank] for r in range(n)], 0)
        same(DF.reduce_scatter(kind(sums), given), sums)
        places = [kind(several(r, n)[rank]) for r in range(n)]
        for one, expected in zip(DF.all_to_all(places, given), places, strict=True):
            same(one, expected)
        np.testing.assert_array_equal(own, rows(rank, 3))

    simulated(ranks, body)


def test_structures_of_tensors_come_back_as_they_went():
    def body():
        rank = dist.get_rank()
        tree = {"a": dg.Tensor([rank, 1.0]), "b": [np.array([rank]), (np.array(2.0 * rank),)]}
        summed = DF.all_reduce(tree)
        assert summed["a"].tolist() == [3, 3]
        assert (summed["b"][0].tolist(), float(summed["b"][1][0])) == ([3], 6)
        everyones = DF.all_gather(tree)
        assert [e["a"].tolist() for e in everyones] == [[r, 1] for r in range(3)]
        assert [float(e["b"][1][0]) for e in everyones] == [0, 2, 4]
        part = DF.scatter([{"x": np.array([r, rank])} for r in range(3)], 1)
        assert part["x"].tolist() == [rank, 1]
        swapped = DF.all_to_all(None, [(np.array([rank, r]),) for r in range(3)])
        assert [pair.tolist() for (pair,) in swapped] == [[r, rank] for r in range(3)]
        own = DF.reduce_scatter(None, [{"x": np.array([rank + r])} for r in range(3)])
        assert own["x"].tolist() == [3 + 3 * rank]

    simulated(3, body)


def test_a_rank_that_needs_no_gradient_has_its_part_in_anothers():
    def body():
        rank = dist.get_rank()
        x = dg.Tensor([1.0 + rank, 2.0], requires_grad=rank == 0)
        y = DF.all_reduce(x)
        assert y.requires_grad
        ((rank + 1) * y).sum().backward()
        assert x.grad is None if rank else x.grad.tolist() == [6, 6]
        assert not DF.all_reduce(x.detach()).requires_grad
        with dg.no_grad():
            assert not DF.all_reduce(x).requires_grad

    simulated(3, body)


def test_in_a_group_only_its_ranks_take_part():
    def body():
        rank = dist.get_rank()
        part = dist.new_group([2, 0])
        if rank == 1:
            with pytest.raises(CommError, match=r"rank 1/3\] this rank is no member .*\[0, 2\]"):
                DF.all_reduce(dg.Tensor([1.0]), group=part)
            return
        x = dg.Tensor([float(rank)], requires_grad=True)
        y = DF.broadcast(x, 2, part)
        assert y.tolist() == [2]
        (y * (rank + 1)).sum().backward()
        assert x.grad.tolist() == ([4] if rank == 2 else [0])

    simulated(3, body)


def test_a_rank_that_skips_backward_is_named():
    def body():
        x = dg.Tensor([1.0], requires_grad=True)
        y = DF.all_reduce(x).sum()
        if dist.get_rank() != 1:
            y.backward()

    with pytest.raises(PeerFailedError, match=r"gradient of dist.nn all_reduce.*rank 1 has left"):
        simulated(3, body)


def test_a_rank_that_goes_on_without_backward_is_named():
    def body():
        x = dg.Tensor([1.0], requires_grad=True)
        y = DF.all_gather(x)[0].sum()
        if dist.get_rank() != 1:
            y.backward()
        dist.barrier()

    with pytest.raises(MismatchError, match="gradient of dist.nn all_gather") as caught:
        simulated(3, body)
    assert "barrier" in str(caught.value)


def test_gradients_of_gradients_are_refused():
    def body():
        x = dg.Tensor([1.0], requires_grad=True)
        DF.all_reduce(x * x).sum().backward(create_graph=True)

    with pytest.raises(GradError, match="all_reduce"):
        simulated(2, body)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: DF.all_reduce(3.0), "takes Tensors and arrays.*got a float"),
        (lambda: DF.all_reduce({"a": [1]}), "takes Tensors and arrays.*got a int"),
        (lambda: DF.all_reduce(np.ones(2, int), ReduceOp.AVG), "mean of int64 would be cut"),
        (lambda: DF.all_reduce(np.ones(2), "max"), "op='max': one of ReduceOp.SUM"),
        (lambda: DF.scatter([np.ones(1)] * 3), "tensors needs one place for each of the 2 ranks"),
        (lambda: DF.broadcast(np.ones(1), 2), "src=2: there are ranks 0 to 1"),
        (lambda: DF.reduce_scatter(np.ones(3), [np.ones(2)] * 2), r"output has shape \(3,\), but"),
        (lambda: DF.all_to_all_single(None, np.ones(3)), "cannot be cut along axis 0 into 2 parts"),
        (
            lambda: DF.all_to_all_single(None, np.ones(2), [2, 0], [1, 1]),
            r"output_split_sizes=\[2, 0\], but the ranks have sent \[1, 1\] rows",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(CommError, match=message):
        simulated(2, call)
