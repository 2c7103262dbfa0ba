"""The verbs beside the sum, in every world: what each rank gets, and what was sent for it."""

import numpy as np
import pytest

from distgrad.comm import TreeSum
from distgrad.comm.group import CHUNK
from distgrad.errors import CommError, MismatchError

OPS = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "band": np.bitwise_and,
    "bor": np.bitwise_or,
    "bxor": np.bitwise_xor,
}
ORDERED = ["sum", "mean", "prod", "max", "min"]
COUNTS = [0, 1, 3, 64, 1001]
LONG = 3 * CHUNK // 4 + 5  # float32: several pieces, the last of them short
PLAIN = ["bool", "int8", "uint16", "float16", "complex64", "U3", "datetime64[s]"]


def data(rank, count, dtype="float64"):
    """Differs by rank and index; not sorted."""
    return ((np.arange(count) * 7 + rank * rank * 31 + 3) % 13 - 4).astype(dtype)


def noise(rank, count=1001, dtype="float32"):
    return np.random.default_rng(rank).standard_normal(count).astype(dtype)


def in_tree_order(op, arrays):
    """Level by level, an absent neighbour skipped: the definition, not the algorithm."""
    while len(arrays) > 1:
        arrays = [
            OPS[op](*arrays[i : i + 2]) if i + 1 < len(arrays) else arrays[i]
            for i in range(0, len(arrays), 2)
        ]
    return arrays[0]


def expected(op, arrays):
    if op == "mean":
        return in_tree_order("sum", arrays) / len(arrays)
    return in_tree_order(op, arrays)


def test_the_order_of_the_tests_is_the_canonical_one():
    for size in range(1, 9):
        tree = TreeSum(range(8))
        for r in range(size):
            tree.add(r, noise(r))
        np.testing.assert_array_equal(
            tree.parts[0][2], in_tree_order("sum", [noise(r) for r in range(size)])
        )


@pytest.mark.parametrize("op", [*OPS, "mean"])
def test_all_reduce_of_an_op(ranks, op):
    def body(comm):
        dtypes = ["int64", "bool"] if op[0] == "b" else ["float32", "float64", "complex128"]
        for dtype in dtypes:
            for count in COUNTS:
                array = data(comm.rank, count, dtype)
                comm.all_reduce(array, op=op, name="x")
                everyones = [data(r, count, dtype) for r in range(comm.size)]
                np.testing.assert_allclose(array, expected(op, everyones), rtol=1e-6)
                assert array.dtype == dtype

    ranks.run(body)


@pytest.mark.parametrize("op", ["prod", "max", "min"])
def test_all_reduce_of_an_op_has_the_bits_of_the_tree_on_all_ranks(ranks, op):
    def body(comm):
        for count in (1001, LONG):
            array = noise(comm.rank, count).reshape(1, -1)
            comm.all_reduce(array, op=op)
            want = expected(op, [noise(r, count) for r in range(comm.size)])
            assert array.tobytes() == want.tobytes()

    ranks.run(body)


def test_a_nan_of_any_rank_is_the_maximum_and_the_minimum(ranks):
    def body(comm):
        for op in ("max", "min"):
            for culprit in range(comm.size):
                array = data(comm.rank, 5)
                if comm.rank == culprit:
                    array[2] = np.nan
                comm.all_reduce(array, op=op)
                assert np.isnan(array).tolist() == [False, False, True, False, False]

    ranks.run(body)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "datetime64[s]"])
def test_max_and_min_are_those_of_every_ordered_dtype(ranks, dtype):
    def body(comm):
        everyones = [(data(r, 9, "int64") + 4).astype(dtype) for r in range(comm.size)]
        for op in ("max", "min"):
            array = everyones[comm.rank].copy()
            comm.all_reduce(array, op=op)
            np.testing.assert_array_equal(array, in_tree_order(op, everyones))

    ranks.run(body)


@pytest.mark.parametrize("op", ORDERED)
def test_reduce_has_the_bits_of_the_tree_whichever_is_the_root(ranks, op):
    def body(comm):
        for count in (0, 1001, LONG):
            everyones = [noise(r, count) for r in range(comm.size)]
            want = expected(op, everyones)
            for root in range(comm.size):
                array = noise(comm.rank, count)
                comm.reduce(array, root, op=op)
                kept = want if comm.rank == root else everyones[comm.rank]
                assert array.tobytes() == kept.tobytes()

    ranks.run(body)


@pytest.mark.parametrize("size", [5, 6, 7, 8])
def test_reduce_over_more_ranks(simulated, size):
    def body(comm):
        for root in range(size):
            array = noise(comm.rank)
            comm.reduce(array, root)
            if comm.rank == root:
                want = expected("sum", [noise(r) for r in range(size)])
                assert array.tobytes() == want.tobytes()
        before = comm.bytes_sent
        comm.reduce(np.zeros(10), 2)
        sent = [int(b) for b in comm.all_gather_bytes(b"%d" % (comm.bytes_sent - before))]
        assert sum(sent) == (size - 1) * 80
        assert max(sent) == 80

    simulated(size).run(body)


@pytest.mark.parametrize("op", ORDERED)
@pytest.mark.parametrize("canonical", [False, True])
def test_reduce_scatter_of_an_op(ranks, op, canonical):
    def body(comm):
        for count in COUNTS:
            everyones = [data(r, count, "float64") for r in range(comm.size)]
            own = comm.reduce_scatter(everyones[comm.rank].copy(), op=op, canonical=canonical)
            want = np.array_split(expected(op, everyones), comm.size)[comm.rank]
            np.testing.assert_allclose(own, want, rtol=1e-12)
        if canonical:
            everyones = [noise(r) for r in range(comm.size)]
            own = comm.reduce_scatter(everyones[comm.rank].copy(), op=op, canonical=True)
            want = np.array_split(expected(op, everyones), comm.size)[comm.rank]
            assert own.tobytes() == want.tobytes()

    ranks.run(body)


def rows(rank, count, dtype="float64"):
    return data(rank, 6 * count, "int64").astype(dtype).reshape(count, 2, 3)


def unequal(rank, shift=0):
    """0, 3, 6, … rows; some rank has none."""
    return 3 * ((rank + shift) % 4)


def test_all_gather_arrays_of_unequal_lengths(ranks):
    def body(comm):
        for count in (unequal, lambda r: 2, lambda r: 0):
            found = comm.all_gather_arrays(rows(comm.rank, count(comm.rank)))
            for r, array in enumerate(found):
                np.testing.assert_array_equal(array, rows(r, count(r)))
            assert len(found) == comm.size

    ranks.run(body)


def test_gather_of_unequal_lengths_to_any_root(ranks):
    def body(comm):
        for root in range(comm.size):
            found = comm.gather(rows(comm.rank, unequal(comm.rank, root)), root)
            if comm.rank != root:
                assert found is None
                continue
            for r, array in enumerate(found):
                np.testing.assert_array_equal(array, rows(r, unequal(r, root)))

    ranks.run(body)


def test_scatter_of_any_shapes_and_dtypes_from_any_root(ranks):
    def body(comm):
        for root in range(comm.size):
            given = [np.zeros((r, 2), "int8") + r if r % 2 else noise(r) for r in range(comm.size)]
            given[0] = np.array(2.5)
            own = comm.scatter(given if comm.rank == root else None, root)
            np.testing.assert_array_equal(own, given[comm.rank], strict=True)
            assert not np.shares_memory(own, given[comm.rank])

    ranks.run(body)


def test_all_to_all_of_unequal_lengths(ranks):
    def body(comm):
        for count in (lambda a, b: unequal(a + b), lambda a, b: 2, lambda a, b: 0):
            found = comm.all_to_all(
                [rows(comm.rank * 10 + r, count(comm.rank, r)) for r in range(comm.size)]
            )
            for r, array in enumerate(found):
                np.testing.assert_array_equal(
                    array, rows(r * 10 + comm.rank, count(r, comm.rank)), strict=True
                )

    ranks.run(body)


@pytest.mark.parametrize("dtype", PLAIN)
def test_what_is_moved_keeps_every_plain_dtype(ranks, dtype):
    def body(comm):
        size, rank = comm.size, comm.rank
        own = [data(r, 3, "int64").astype(dtype) for r in range(size)]
        np.testing.assert_array_equal(comm.all_gather_arrays(own[rank]), own)
        np.testing.assert_array_equal(comm.all_to_all(own), [own[rank]] * size, strict=True)
        np.testing.assert_array_equal(comm.scatter(own, 0), own[rank], strict=True)
        if (found := comm.gather(own[rank], size - 1)) is not None:
            np.testing.assert_array_equal(found, own)

    ranks.run(body)


def test_long_arrays_go_in_pieces(ranks):
    def body(comm):
        arrays = [noise(comm.rank + r, LONG) for r in range(comm.size)]
        for r, array in enumerate(comm.all_to_all(arrays)):
            np.testing.assert_array_equal(array, noise(comm.rank + r, LONG))
        np.testing.assert_array_equal(comm.scatter(arrays, 0), noise(comm.rank, LONG))

    ranks.run(body)


def test_arrays_that_are_only_read_may_be_views(ranks):
    def body(comm):
        view = rows(comm.rank, 4)[::2]
        view.flags.writeable = False
        np.testing.assert_array_equal(comm.all_gather_arrays(view)[0], rows(0, 4)[::2])
        np.testing.assert_array_equal(comm.all_to_all([view] * comm.size)[0], rows(0, 4)[::2])

    ranks.run(body)


def every_start(comm):
    """Start each verb; return its works and checks of what came of them."""
    size, rank = comm.size, comm.rank
    a, b, c, d = (data(rank + i, 40) for i in range(4))
    e = np.concatenate([data(r, 5) * (r == rank) for r in range(size)])
    given = [rows(rank * 10 + r, unequal(rank + r)) for r in range(size)]
    yield (
        comm.start_all_reduce(a, op="max"),
        lambda _: (a, np.max([data(r, 40) for r in range(size)], 0)),
    )
    mean = np.mean([data(r + 1, 40) for r in range(size)], 0)
    yield comm.start_all_reduce(b, op="mean"), lambda _: (b, mean)
    low = np.min([data(r + 2, 40) for r in range(size)], 0)
    yield (
        comm.start_reduce(c, size - 1, op="min"),
        lambda _: (c, low if rank == size - 1 else data(rank + 2, 40)),
    )
    yield comm.start_broadcast(d, 0), lambda _: (d, data(3, 40))
    yield comm.start_all_gather(e), lambda _: (e, np.concatenate([data(r, 5) for r in range(size)]))
    yield comm.start_barrier(), lambda _: (0, 0)
    work, own = comm.start_reduce_scatter(data(rank, 4 * size), op="prod")
    product = np.prod([data(r, 4 * size) for r in range(size)], 0)
    yield work, lambda _: (own, product[4 * rank : 4 * rank + 4])
    every = [rows(r, unequal(r)) for r in range(size)]
    yield (
        comm.start_all_gather_arrays(every[rank]),
        lambda w: (np.concatenate(w.result), np.concatenate(every)),
    )
    yield (
        comm.start_gather(every[rank], 0),
        lambda w: (
            (np.concatenate(w.result), np.concatenate(every))
            if rank == 0
            else (w.result is None, True)
        ),
    )
    yield (
        comm.start_scatter(every if rank == size - 1 else None, size - 1),
        lambda w: (w.result, every[rank]),
    )
    mine = np.concatenate([rows(r * 10 + rank, unequal(r + rank)) for r in range(size)])
    yield comm.start_all_to_all(given), lambda w: (np.concatenate(w.result), mine)


def wait_for_all(comm, seed):
    started = [*every_start(comm)]
    for i in np.random.default_rng(seed + comm.rank).permutation(len(started)):
        started[i][0].wait()  # every rank in another order
    for work, check in started:
        assert work.done
        np.testing.assert_array_equal(*check(work))
    assert comm.transport.state.works == []
    assert not comm.transport.state.progress(comm.transport.context).unfinished


def test_all_verbs_may_be_in_flight_together(ranks):
    ranks.run(lambda comm: wait_for_all(comm, 0))


@pytest.mark.parametrize("schedule", range(20))
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_every_interleaving_of_the_verbs_gives_the_same(simulated, size, schedule):
    simulated(size).run(lambda comm: wait_for_all(comm, schedule), schedule=schedule)


def test_a_result_is_there_when_the_work_is_done(simulated):
    def body(comm):
        work = comm.start_gather(data(comm.rank, 3))
        if not work.done:
            with pytest.raises(CommError, match=r"gather to rank 0 .* is not complete: wait"):
                work.result  # noqa: B018 - asking is the test
        work.wait()

    simulated(2).run(body)


def total_sent(comm, call):
    before = comm.bytes_sent
    call()
    sent = comm.bytes_sent - before
    return [int(b) for b in comm.all_gather_bytes(b"%d" % sent)]


def test_nothing_is_sent_that_is_not_needed(ranks):
    def body(comm):
        n, rank = comm.size, comm.rank
        own = np.zeros((rank + 1, 4))  # 32 bytes a row
        others = sum(range(1, n + 1)) - 1
        assert total_sent(comm, lambda: comm.gather(own, 0)) == [
            0 if r == 0 else 32 * (r + 1) for r in range(n)
        ]
        given = [np.zeros((r + 1, 4)) for r in range(n)]
        assert total_sent(comm, lambda: comm.scatter(given, 0)) == [32 * others] + [0] * (n - 1)
        assert total_sent(comm, lambda: comm.all_to_all(given)) == [
            32 * (others - r) for r in range(n)
        ]
        assert sum(total_sent(comm, lambda: comm.all_gather_arrays(own))) == (
            (n - 1) * 32 * (others + 1)
        )
        assert sum(total_sent(comm, lambda: comm.reduce(np.zeros(100), n - 1))) == 800 * (n - 1)
        array = np.zeros(12 * n)
        assert total_sent(comm, lambda: comm.all_reduce(array, op="max")) == [192 * (n - 1)] * n
        assert total_sent(comm, lambda: comm.reduce_scatter(array, op="max")) == [96 * (n - 1)] * n

    ranks.run(body)


BAD = {
    "op": (
        lambda comm: comm.all_reduce(np.zeros(2), op="sub", name="w"),
        r"all_reduce 'w': op='sub' is none of 'sum', 'mean', 'prod'",
    ),
    "mean": (lambda comm: comm.reduce(np.zeros(2, int), op="mean"), "mean of int64 would be cut"),
    "kind": (lambda comm: comm.reduce(np.zeros(2, "U3"), op="max"), "there is no max of <U3 in N"),
    "bits": (lambda comm: comm.all_reduce(np.zeros(2), op="band"), "no band of float64 in NumPy"),
    "ring": (
        lambda comm: comm.all_reduce(np.zeros(2), op="max", algorithm="ring"),
        r"of sums and means; leave algorithm='ring' out with op='max'",
    ),
    "root": (lambda comm: comm.gather(np.zeros(2), 3), "no rank 3 to gather to; size is 3"),
    "negative": (lambda comm: comm.reduce(np.zeros(2), -1), "no rank -1 to reduce to; size is 3"),
    "scatter": (lambda comm: comm.scatter([np.zeros(2)] * 2, comm.rank), "each of the 3 ranks; g"),
    "alike": (
        lambda comm: comm.all_to_all([np.zeros((2, 3)), np.zeros((2, 4)), np.zeros((1, 3))]),
        r"axis 0 alone; got float64 \(\*, 3\) and float64 \(\*, 4\)",
    ),
    "number": (lambda comm: comm.all_gather_arrays(np.array(1.0)), r"pass array.reshape\(1\)"),
    "object": (lambda comm: comm.gather(np.array([{}])), "Python objects do not cross the wire"),
    "list": (lambda comm: comm.all_to_all(np.zeros((3, 2))), "list of one array .* got ndarray"),
    "array": (lambda comm: comm.gather([1, 2]), "needs a NumPy array, got list"),
    "fields": (
        lambda comm: comm.scatter([np.zeros(2, "f4,i4")] * 3, comm.rank),
        r"cannot say on the wire what it is; send array.view\(np.uint8\)",
    ),
    "view": (lambda comm: comm.reduce(np.zeros(6)[::2], comm.rank), "needs a C-contiguous, writ"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_argument_is_named_before_anything_is_sent(simulated, case):
    call, message = BAD[case]

    def body(comm):
        with pytest.raises(CommError, match=message):
            call(comm)
        assert comm.transport.state.works == []
        comm.barrier()

    simulated(3).run(body)


MISMATCHED = {
    "op": (
        lambda comm: comm.all_reduce(np.zeros(2), op="max"),
        lambda comm: comm.all_reduce(np.zeros(2), op="min"),
        r"all_reduce \(m..\) '' float64 x 2, rank \d is in all_reduce \(m..\) '' float64 x 2",
    ),
    "root": (
        lambda comm: comm.reduce(np.zeros(2), 0),
        lambda comm: comm.reduce(np.zeros(2), 1),
        r"reduce \(sum\) to rank \d '' float64 x 2, rank \d is in reduce \(sum\) to rank \d",
    ),
    "row": (
        lambda comm: comm.gather(np.zeros((2, 3))),
        lambda comm: comm.gather(np.zeros((2, 4))),
        r"float64 x \(\*, \d\), rank \d is in gather to rank 0 '' float64 x \(\*, \d\)",
    ),
    "dtype": (
        lambda comm: comm.all_to_all([np.zeros(1)] * comm.size),
        lambda comm: comm.all_to_all([np.zeros(1, int)] * comm.size),
        r"all_to_all '' (float|int)64 x \(\*\), rank \d is in all_to_all '' (float|int)64 x",
    ),
}


@pytest.mark.parametrize("case", MISMATCHED)
def test_ranks_that_differ_in_a_verb_learn_it(several_ranks, case):
    plain, other, message = MISMATCHED[case]

    def body(comm):
        comm.barrier()
        with pytest.raises(MismatchError, match=message):
            (other if comm.rank == 1 else plain)(comm)

    several_ranks.run(body)
