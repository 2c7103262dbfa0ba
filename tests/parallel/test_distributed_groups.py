"""dg.distributed: parts of the ranks, messages, exchanges, and works that are waited for."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import distributed as dist
from distgrad.distributed import ReduceOp
from distgrad.errors import CommError, LaunchError, MismatchError


def own(rank, count=6):
    return (np.arange(count) * (rank + 2) + rank + 1.0).reshape(-1, 2)


def in_groups():
    rank, size = dist.get_rank(), dist.get_world_size()
    members = [*range(1, size)] or [0]
    part = dist.new_group(members[::-1])
    everyone = dist.new_group()
    assert dist.get_process_group_ranks(part) == members
    assert dist.get_process_group_ranks() == dist.get_process_group_ranks(everyone)
    assert dist.get_group_rank(part, members[-1]) == len(members) - 1
    assert dist.get_global_rank(part, 0) == members[0]
    inside = rank in members
    assert dist.get_rank(part) == (members.index(rank) if inside else -1)
    assert dist.get_world_size(part) == (len(members) if inside else -1)
    if inside:
        assert dist.get_backend(part) == dist.get_backend()
        for op, function in ((ReduceOp.SUM, np.sum), (ReduceOp.MAX, np.max)):
            t = dg.Tensor(own(rank))
            dist.all_reduce(t, op, part)
            np.testing.assert_allclose(t.array, function([own(r) for r in members], axis=0))
        last = members[-1]
        dist.broadcast(t := dg.Tensor(own(rank)), last, part)
        np.testing.assert_array_equal(t.array, own(last))
        dist.broadcast(t := dg.Tensor(own(rank)), group=part, group_src=0)
        np.testing.assert_array_equal(t.array, own(members[0]))
        found = [None] * len(members)
        dist.all_gather_object(found, {"rank": rank}, part)
        assert found == [{"rank": r} for r in members]
        dist.barrier(part)
    dist.destroy_process_group(everyone)


def exchanges():
    rank, size = dist.get_rank(), dist.get_world_size()
    last = size - 1
    # Unequal lengths: r + 1 rows from rank r.
    places = [dg.Tensor(np.zeros((r + 1, 2))) for r in range(size)]
    dist.all_gather(places, dg.Tensor(own(rank, 2 * rank + 2)))
    for r, place in enumerate(places):
        np.testing.assert_array_equal(place.array, own(r, 2 * r + 2))
    places = [np.zeros((r + 1, 2)) for r in range(size)] if rank == last else None
    dist.gather(own(rank, 2 * rank + 2), places, dst=last)
    for r, place in enumerate(places or ()):
        np.testing.assert_array_equal(place, own(r, 2 * r + 2))
    numbers = [np.array(0.0) for _ in range(size)]
    dist.all_gather(numbers, np.array(rank + 0.5))
    assert [float(n) for n in numbers] == [r + 0.5 for r in range(size)]
    given = [own(10 * rank + r, 2 * r + 2) for r in range(size)]
    places = [np.zeros((rank + 1, 2)) for _ in range(size)]
    dist.all_to_all(places, given)
    for r, place in enumerate(places):
        np.testing.assert_array_equal(place, own(10 * r + rank, 2 * rank + 2))
    out = np.zeros((size, 2))
    dist.all_to_all_single(out, own(rank, 2 * size))
    np.testing.assert_array_equal(out, [own(r, 2 * size)[rank] for r in range(size)])
    out = np.zeros((size * (rank + 1), 2))
    lengths = [r + 1 for r in range(size)]
    dist.all_to_all_single(out, np.concatenate(given), [rank + 1] * size, lengths)
    np.testing.assert_array_equal(out, np.concatenate(places))
    everyones = np.stack([own(r, 4 * size) for r in range(size)])
    for op, function in ((ReduceOp.SUM, np.sum), (ReduceOp.MIN, np.min), (ReduceOp.AVG, np.mean)):
        out = dg.Tensor(np.zeros((2, 2)))
        dist.reduce_scatter_tensor(out, own(rank, 4 * size), op)
        want = function(everyones, axis=0)[2 * rank : 2 * rank + 2]
        np.testing.assert_allclose(out.array, want, rtol=1e-14)
    objects = [None]
    dist.scatter_object_list(
        objects, [f"for {r}" for r in range(size)] if rank == last else None, src=last
    )
    assert objects == [f"for {rank}"]


def messages():
    rank, size = dist.get_rank(), dist.get_world_size()
    left, right = (rank - 1) % size, (rank + 1) % size
    view = np.zeros((2, 6))[:, ::2]
    work = dist.irecv(view, left, tag=3)
    sending = dist.isend(dg.Tensor(own(rank).T.copy()), right, tag=3)
    assert work.wait()
    assert sending.wait()
    np.testing.assert_array_equal(view, own(left).T)
    into = [dg.Tensor(np.zeros((3, 2))) for _ in range(2)]
    works = dist.batch_isend_irecv(
        [
            dist.P2POp(dist.isend, own(rank), right),
            dist.P2POp(dist.irecv, into[0], left),
            dist.P2POp(dist.irecv, into[1], right, tag=1),
            dist.P2POp(dist.isend, own(rank + 9), left, tag=1),
        ]
    )
    for work in works:
        work.wait()
    np.testing.assert_array_equal(into[0].array, own(left))
    np.testing.assert_array_equal(into[1].array, own(right + 9))
    if rank == 0 and size > 1:
        dist.send(own(0), 1)
        dist.send_object_list(["a", {"b": 1}], 1)
    if rank == 1:
        t, objects = np.zeros((3, 2)), [None]
        assert dist.recv(t, 0) == 0
        np.testing.assert_array_equal(t, own(0))
        assert dist.recv_object_list(objects, 0) == 0
        assert objects == ["a", {"b": 1}]


def asynchronous():
    rank, size = dist.get_rank(), dist.get_world_size()
    everyones = np.stack([own(r) for r in range(size)])
    tensors = [dg.Tensor(own(rank)) for _ in range(3)]
    stacked, part = np.zeros((size, 3, 2)), np.zeros((3, 2))
    places = [np.zeros((3, 2)) for _ in range(size)]
    gathered = [np.zeros((3, 2)) for _ in range(size)] if rank == 0 else None
    swapped = [np.zeros((3, 2)) for _ in range(size)]
    works = [
        dist.all_reduce(tensors[0], ReduceOp.MAX, async_op=True),
        dist.reduce(tensors[1], 0, ReduceOp.PRODUCT, async_op=True),
        dist.broadcast(tensors[2], size - 1, async_op=True),
        dist.all_gather(places, own(rank), async_op=True),
        dist.all_gather_into_tensor(stacked, own(rank), async_op=True),
        dist.gather(own(rank), gathered, async_op=True),
        dist.scatter(part, [*everyones] if rank == 0 else None, async_op=True),
        dist.all_to_all(swapped, [own(rank)] * size, async_op=True),
        dist.barrier(async_op=True),
    ]
    for work in works[::-1]:
        assert work.wait() is True
        assert work.is_completed()
    np.testing.assert_array_equal(tensors[0].array, everyones.max(0))
    np.testing.assert_array_equal(tensors[1].array, everyones.prod(0) if rank == 0 else own(rank))
    np.testing.assert_array_equal(tensors[2].array, own(size - 1))
    for found in (places, stacked, gathered, swapped):
        if found is not None:
            np.testing.assert_array_equal(found, everyones)
    np.testing.assert_array_equal(part, own(rank))


BODIES = [in_groups, exchanges, messages, asynchronous]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("body", BODIES)
def test_names_do_what_they_say(body, ranks):
    for schedule in (None, 1, 2):
        simulated(ranks, body, schedule)


@pytest.mark.mpi
@pytest.mark.parametrize("body", BODIES)
def test_names_do_what_they_say_under_mpi(body):
    body()


def test_is_completed_goes_on_without_waiting():
    def body():
        t = np.ones(3)
        work = dist.all_reduce(t, ReduceOp.MAX, async_op=True)
        while not work.is_completed():
            dg.init().comm.transport.back_off(0.0)
        assert t.tolist() == [1, 1, 1]
        dist.barrier()

    simulated(3, body)


def test_a_group_has_a_timeout_of_its_own():
    def body():
        dg.init(timeout=50)
        part = dist.new_group([0, 1], timeout=timedelta(seconds=7))
        assert dg.init().comm.timeout == 50
        assert dist.get_rank() == 2 or part.comm.timeout == 7
        dist.monitored_barrier(timeout=timedelta(seconds=9))

    simulated(3, body)


def on(rank, call):
    def body():
        dist.new_group([0])
        if dist.get_rank() == rank:
            call()

    return body


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: dist.recv(np.ones(2)), CommError, "no receiving from any rank; name the one"),
        (lambda: dist.recv_object_list([None]), CommError, "no receiving from any rank"),
        (lambda: dist.isend(np.ones(2), 2), CommError, "dst=2: there are ranks 0 to 1"),
        (lambda: dist.isend(np.ones(2), 0, tag=-4), CommError, "tag=-4: tags are integers from 0"),
        (lambda: dist.barrier(group=object()), CommError, r"what dist.new_group\(ranks\) returns"),
        (
            lambda: dist.new_group([0, 0]),
            CommError,
            r"new_group\(\[0, 0\]\): each rank from 0 to 1",
        ),
        (lambda: dist.new_group([2]), CommError, r"new_group\(\[2\]\): each rank from 0 to 1"),
        (lambda: dist.new_group([]), CommError, "one at least"),
        (lambda: dist.new_group([0], backend="nccl"), LaunchError, "that of GPUs"),
        (lambda: dist.get_group_rank(None, 5), CommError, "global_rank=5: there are ranks 0 to 1"),
        (
            lambda: dist.get_global_rank(None, 5),
            CommError,
            "group_rank=5: the group has ranks 0 to",
        ),
        (
            lambda: dist.P2POp(dist.send, np.ones(1), 0),
            CommError,
            "dist.isend or dist.irecv, the f",
        ),
        (lambda: dist.batch_isend_irecv([]), CommError, "a list of dist.P2POp, one at least"),
        (lambda: dist.scatter_object_list([]), CommError, r"a place for the object: \[None\]"),
        (
            lambda: dist.reduce_scatter_tensor(np.ones(2), np.ones(3)),
            CommError,
            r"input is float64 \(3,\), but for 2 ranks with float64 \(2,\) each it must be \(4,\)",
        ),
        (
            lambda: dist.all_to_all_single(np.ones(3), np.ones(2)),
            CommError,
            r"output of shape \(3,\) cannot be cut .* into 2 parts; give output_split_sizes",
        ),
        (
            lambda: dist.all_to_all_single(np.ones(2), np.ones(4), None, [1, 2]),
            CommError,
            r"into 2 parts of \[1, 2\] rows; give input_split_sizes",
        ),
    ],
)
def test_bad_arguments_name_the_cure(call, error, message):
    with pytest.raises(error, match=message):
        simulated(2, on(0, call))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: dist.all_gather([np.zeros(2)] * 2, np.ones(3)),
            r"tensor_list\[0\] is float64 \(2,\), but what came for it is float64 \(3,\)",
        ),
        (lambda: dist.scatter(np.zeros(2), [np.ones(3)] * 2), r"tensor is float64 \(2,\), but"),
        (
            lambda: dist.all_to_all_single(np.ones(2), np.ones(2), [2, 0]),
            r"part of output\[0\] is float64 \(2,\), but what came for it is float64 \(1,\)",
        ),
    ],
)
def test_places_that_do_not_fit_are_named(call, message):
    with pytest.raises(CommError, match=message):
        simulated(2, call)


def test_what_a_rank_outside_the_group_calls_is_named():
    def body():
        part = dist.new_group([0, 1])
        dist.all_reduce(np.ones(1), group=part)

    with pytest.raises(
        CommError, match=r"\[rank 2/3\] this rank is no member of .* ranks \[0, 1\]"
    ):
        simulated(3, body)


def test_a_source_outside_the_group_is_named():
    def body():
        part = dist.new_group([0, 1])
        if dist.get_rank(part) >= 0:
            dist.broadcast(np.ones(1), 2, part)

    with pytest.raises(CommError, match=r"src=2 is not in the group, whose ranks are \[0, 1\]"):
        simulated(3, body)


def test_ranks_that_make_different_groups_learn_it():
    def body():
        dist.new_group([0, 1] if dist.get_rank() else [0])

    with pytest.raises(MismatchError, match=r"new_group\(\[.*\]\) here, new_group\(\[.*\]\) on r"):
        simulated(2, body)


def test_a_message_of_another_shape_is_named():
    def body():
        if dist.get_rank() == 0:
            dist.send(np.ones((2, 3)), 1)
        else:
            dist.recv(np.ones(6), 0)

    with pytest.raises(MismatchError, match=r"expects float64 \(6,\), but float64 \(2, 3\) was s"):
        simulated(2, body)
