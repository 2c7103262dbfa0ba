"""Communication hooks: what a hook gets, what it may return, and what it cannot change."""

from __future__ import annotations

import numpy as np
import pytest
from hooked import Parameters, gradient, summed, sums
from training import alone, build, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import CommError, MismatchError, NonFiniteError
from distgrad.nn import functional as F
from distgrad.parallel import hooks

SHAPES = [(7, 5), (5,), (3, 2, 4)]

HOOKS = {
    "allreduce": (hooks.allreduce_hook, lambda: None),
    "fp16": (hooks.fp16_compress_hook, lambda: None),
    "bf16": (hooks.bf16_compress_hook, lambda: None),
    "int8": (hooks.int8_compress_hook, hooks.Int8State),
    "topk": (hooks.topk_hook, lambda: hooks.TopKState(0.2)),
    "powerSGD": (hooks.powerSGD_hook, lambda: hooks.PowerSGDState(None, 2, 0)),
    "batched": (hooks.batched_powerSGD_hook, lambda: hooks.PowerSGDState(None, 8, 0)),
    "fp16 powerSGD": (
        hooks.fp16_compress_wrapper(hooks.powerSGD_hook),
        lambda: hooks.PowerSGDState(None, 2, 0),
    ),
    "bf16 topk": (hooks.bf16_compress_wrapper(hooks.topk_hook), lambda: hooks.TopKState(0.2)),
}


def exact(size, shape, step=0):
    return sum(gradient(rank, shape, step).astype(np.float64) for rank in range(size))


# -- a user's own ---------------------------------------------------------------------------------


def doubled(state, bucket):
    buffer = bucket.buffer()
    buffer *= 2
    yield from bucket.all_reduce(buffer)


def returned(state, bucket):
    work = dg.current_world().comm.start_all_reduce(bucket.buffer(), name="mine")
    return hooks.Future(work, bucket.buffer()).then(lambda future: future.value() * 2)


def gathered(state, bucket):
    everyone = yield from bucket.all_gather(bucket.buffer())
    return 2 * sum(everyone)


@pytest.mark.parametrize("hook", [doubled, returned, gathered])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_hook_of_ones_own_says_what_the_sum_is(hook, size):
    for schedule in (None, 3, 4):
        for result in sums(size, SHAPES, hook, steps=2, schedule=schedule, bucket_mb=1e-5):
            for step, found in enumerate(result.found):
                for shape, g in zip(SHAPES, found, strict=True):
                    np.testing.assert_allclose(g, 2 * exact(size, shape, step), rtol=1e-4)


def test_a_bucket_tells_its_parameters_in_backwards_order():
    seen = []

    def hook(state, bucket):
        seen.append((bucket.index(), bucket.is_last(), bucket.names))
        assert [g.shape for g in bucket.gradients()] == [p.shape for p in bucket.parameters()]
        assert bucket.buffer().size == sum(g.size for g in bucket.gradients())
        assert np.shares_memory(bucket.gradients()[0], bucket.buffer())
        return bucket.buffer()

    sums(1, SHAPES, hook, bucket_mb=2e-4)
    assert seen == [(0, False, ["p2", "p1"]), (1, True, ["p0"])]


def test_set_buffer_lets_a_hook_sum_another_array():
    def hook(state, bucket):
        bucket.set_buffer(bucket.buffer().astype(np.float64))
        yield from bucket.all_reduce(bucket.buffer())

    for result in sums(3, SHAPES, hook):
        for shape, g in zip(SHAPES, result.found[0], strict=True):
            np.testing.assert_array_equal(g, exact(3, shape).astype(np.float32))


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        (lambda state, bucket: None, "returned NoneType for bucket 0"),
        (lambda state, bucket: np.zeros(3, np.float32), "left float32 x 3 for bucket 0"),
        (lambda state, bucket: bucket.buffer() * 1j, "left complex64 x 64 for bucket 0"),
        (lambda state, bucket: next(bucket.all_reduce(bucket.buffer())), "yield from bucket"),
        (
            lambda state, bucket: (bucket.buffer(), bucket.start_sum()),
            r"start_sum\(\) after bucket.buffer",
        ),
        (
            lambda state, bucket: (bucket.start_sum(), bucket.buffer()),
            r"buffer\(\) after bucket.start_sum",
        ),
        (lambda state, bucket: hooks.Future(), "a Future without a result"),
    ],
)
def test_a_hook_that_does_not_sum_is_named(hook, message):
    with pytest.raises(CommError, match=message):
        sums(1, SHAPES, hook)


def test_an_error_in_a_hooks_rounds_says_where():
    def faulty(state, bucket):
        yield from bucket.all_reduce(bucket.buffer())
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as caught:
        sums(1, SHAPES, faulty)
    if hasattr(caught.value, "add_note"):  # from Python 3.11 on
        assert "faulty 'bucket 0" in str(caught.value.__notes__)


def test_there_is_one_hook_a_model():
    def body():
        dg.init()
        ddp = dg.DistributedDataParallel(Parameters(SHAPES))
        ddp.register_comm_hook(None, hooks.fp16_compress_hook)
        with pytest.raises(CommError, match="fp16_compress_hook is registered already"):
            ddp.register_comm_hook(None, hooks.noop_hook)

    alone(body)


def test_a_hook_is_a_function():
    def body():
        ddp = dg.DistributedDataParallel(Parameters(SHAPES))
        with pytest.raises(CommError, match="the hook is a int, not a function"):
            ddp.register_comm_hook(None, 3)

    alone(body)


def test_with_zero_a_hook_is_refused():
    def body():
        ddp = dg.DistributedDataParallel(Parameters(SHAPES))
        ddp.zero = 2
        with pytest.raises(CommError, match="supported with zero=0 alone"):
            ddp.register_comm_hook(None, hooks.noop_hook)

    alone(body)


def test_ranks_with_other_hooks_or_settings_are_told():
    def body(states, kinds):
        world = dg.init()
        ddp = dg.DistributedDataParallel(Parameters(SHAPES))
        ddp.register_comm_hook(states[world.rank], kinds[world.rank])

    fp16, top = hooks.fp16_compress_hook, hooks.topk_hook
    with pytest.raises(MismatchError, match="differ in register_comm_hook"):
        simulated(2, lambda: body([None, None], [fp16, hooks.bf16_compress_hook]))
    with pytest.raises(MismatchError, match=r"register_comm_hook.*0\.02"):
        simulated(2, lambda: body([hooks.TopKState(0.01), hooks.TopKState(0.02)], [top, top]))


# -- every hook -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_all_ranks_have_the_same_bits_under_every_interleaving(name, size):
    hook, state = HOOKS[name]
    runs = [
        sums(size, SHAPES, hook, state, steps=4, schedule=s, bucket_mb=1e-4) for s in (None, 1, 2)
    ]
    first = runs[0][0].found
    for result in (r for run in runs for r in run):
        for a, b in zip(result.found, first, strict=True):
            for x, y in zip(a, b, strict=True):
                np.testing.assert_array_equal(x, y)


@pytest.mark.mpi
@pytest.mark.parametrize("name", HOOKS)
def test_mpi_ranks_have_the_bits_of_simulated_ones(name):
    hook, state = HOOKS[name]
    size = alone(lambda: dg.init().size)
    expected = sums(size, SHAPES, hook, state, steps=4, nodes=[size], bucket_mb=1e-4)[0].found
    found = alone(
        lambda: summed(SHAPES, hook, state, 4, gradient, np.float32, {"bucket_mb": 1e-4}).found
    )
    for a, b in zip(found, expected, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("shards", [None, 8])
@pytest.mark.parametrize("size", [1, 3])
def test_allreduce_hook_has_the_bits_of_no_hook(size, shards):
    def body(hook):
        world = dg.init(shards=shards)
        model = Parameters(SHAPES)
        ddp = dg.DistributedDataParallel(model)
        if hook:
            ddp.register_comm_hook(None, hook)
        for rows in dg.own_shards(world, 0, 29):
            gs = [sum(gradient(r, s) for r in rows) / len(rows) for s in SHAPES]
            ddp.backward(sum((p * g).sum() for p, g in zip(model.parameters(), gs, strict=True)))
        return [p.grad.array.copy() for p in model.parameters()]

    for a, b in zip(
        simulated(size, lambda: body(None)),
        simulated(size, lambda: body(hooks.allreduce_hook)),
        strict=True,
    ):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", HOOKS)
def test_a_parameter_nobody_used_has_no_gradient(name):
    hook, make = HOOKS[name]

    def body():
        world = dg.init()
        model = Parameters([(8, 8)] * 3)
        ddp = dg.DistributedDataParallel(model)
        ddp.register_comm_hook(make(), hook)
        for _ in range(3):
            model.zero_grad()
            loss = (model.p0 * gradient(world.rank, (8, 8))).sum()
            if world.rank == 1:
                loss = loss + model.p2.sum()
            loss.backward()
        return [p.grad is not None for p in model.parameters()]

    assert simulated(3, body) == [[True, False, True]] * 3


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_a_batch_left_out_leaves_no_trace(name, where):
    hook, make = HOOKS[name]

    @np.errstate(all="ignore")
    def body(poisoned):
        world = dg.init()
        model = Parameters(SHAPES)
        ddp = dg.DistributedDataParallel(model, nonfinite="skip", reduction="sum")
        ddp.register_comm_hook(state := make(), hook)
        left_out, found = [], []
        for step in (0, 1, 2, *([9] if poisoned else []), 3, 4):
            model.zero_grad()
            gs = [gradient(world.rank, s, step) for s in SHAPES]
            bad = step == 9 and world.rank == 1
            if bad and where == "gradient":
                gs[0][2, 3] = np.inf
                gs[2][0, 1, 1] = np.nan
            loss = sum((p * g).sum() for p, g in zip(model.parameters(), gs, strict=True))
            if bad and where == "gradient":
                loss.backward()  # plain: nobody looks at the loss
            else:
                ddp.backward(loss * np.nan if bad else loss)
            left_out.append(ddp.left_out)
            found.append([p.grad.array.copy() for p in model.parameters() if p.grad is not None])
            if step == 9 and state is not None:
                state.iter -= 1  # it counts, and draws other random numbers without a warm start
        return left_out, found[-1]

    plain, poisoned = simulated(3, lambda: body(False)), simulated(3, lambda: body(True))
    for (_, expected), (left_out, found) in zip(plain, poisoned, strict=True):
        assert left_out == [False, False, False, True, False, False]
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", HOOKS)
def test_a_gradient_that_is_not_finite_raises_on_all_ranks(name):
    hook, make = HOOKS[name]

    def infinite(rank, shape, step):
        g = gradient(rank, shape)
        g[..., 0] = np.inf if rank == 1 else 0
        return g

    @np.errstate(all="ignore")
    def body():
        with pytest.raises(NonFiniteError, match="of 'p0' are NaN or infinite"):
            summed([(8, 8)], hook, make, 3, infinite)
        return True

    assert all(simulated(3, body))


@pytest.mark.parametrize("name", HOOKS)
def test_a_resumed_run_has_the_bits_of_an_unbroken_one(name):
    hook, make = HOOKS[name]

    def body(broken, each):
        world = dg.init()
        model = Parameters(SHAPES)
        state = make()

        def distributed():
            ddp = dg.DistributedDataParallel(model, bucket_mb=1e-4)
            ddp.register_comm_hook(state, hook)

        distributed()
        for step in range(6):
            if broken and step == 3:
                saved = None
                if state is not None:
                    saved = state.state_dict() if each else state.gather(world)
                model, state = Parameters(SHAPES), make()
                if state is not None:
                    state.load_state_dict(saved)
                distributed()
            model.zero_grad()
            model.backward([gradient(world.rank, s, step) for s in SHAPES])
        return [p.grad.array.copy() for p in model.parameters()]

    unbroken = simulated(3, lambda: body(False, False))
    for each in (False, True):
        for a, b in zip(unbroken, simulated(3, lambda each=each: body(True, each)), strict=True):
            for x, y in zip(a, b, strict=True):
                np.testing.assert_array_equal(x, y)


def test_error_memory_of_another_number_of_ranks_or_buckets_is_refused():
    def save():
        world = dg.init()
        model = Parameters(SHAPES)
        ddp = dg.DistributedDataParallel(model)
        ddp.register_comm_hook(state := hooks.TopKState(0.1), hooks.topk_hook)
        model.backward([gradient(world.rank, s) for s in SHAPES])
        return state.gather(world), state.state_dict()

    (every, own), _ = simulated(2, save)

    def load(saved):
        dg.init()
        state = hooks.TopKState(0.1)
        state.load_state_dict(saved)
        model = Parameters([(3, 3)])
        ddp = dg.DistributedDataParallel(model)
        ddp.register_comm_hook(state, hooks.topk_hook)
        model.backward([np.ones((3, 3), np.float32)])

    with pytest.raises(dg.CheckpointError, match="saved by 2 ranks and this run has 3"):
        simulated(3, lambda: load(every))
    with pytest.raises(dg.CheckpointError, match="that of rank 0 and this is rank 1"):
        simulated(2, lambda: load(own))
    with pytest.raises(CommError, match="error memory that was loaded"):
        simulated(2, lambda: load(every))


@pytest.mark.parametrize("name", HOOKS)
def test_accumulation_and_shards_are_summed_before_the_hook(name):
    """8 shards on 3 ranks in two batches of which the first is not sent: one sum a rank."""
    hook, make = HOOKS[name]
    calls = []

    def counting(state, bucket):
        calls.append((bucket.rank, bucket.buffer().copy()))
        return hook(state, bucket)

    counting.__name__ = "counting"

    def body():
        world = dg.init(shards=8)
        model = Parameters([(6, 6)])
        ddp = dg.DistributedDataParallel(model, reduction="sum")
        ddp.register_comm_hook(make(), counting if name != "allreduce" else hook)
        for step in range(2):
            for rows in dg.own_shards(world, step, 16):
                g = sum(gradient(r, (6, 6), step) for r in rows)
                if step:
                    ddp.backward((model.p0 * g).sum())
                else:
                    with ddp.no_sync():
                        ddp.backward((model.p0 * g).sum())
        return model.p0.grad.array.copy()

    found = simulated(3, body)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    if name != "allreduce":
        assert sorted(rank for rank, _ in calls) == [0, 1, 2]
        total = sum(buffer.astype(np.float64) for _, buffer in calls)
        expected = sum(gradient(r, (6, 6), s).astype(np.float64) for r in range(16) for s in (0, 1))
        np.testing.assert_allclose(total, expected.reshape(-1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@pytest.mark.parametrize("name", HOOKS)
def test_float64_is_compressed_and_other_dtypes_are_refused(name, dtype):
    hook, make = HOOKS[name]
    if dtype == np.float64 or name == "allreduce":
        [one, *_] = sums(3, [(16, 16)], hook, make, steps=3, dtype=dtype)
        assert one.found[0][0].dtype == dtype
    else:
        with pytest.raises(CommError, match=r"compresses float32 and float64.*is float16"):
            sums(2, [(16, 16)], hook, make, dtype=dtype)


def test_noop_sends_only_who_used_what():
    [one, two] = sums(2, [(50, 50)], hooks.noop_hook)
    assert max(one.sent[0], two.sent[0]) <= 16
    np.testing.assert_array_equal(two.found[0][0], gradient(1, (50, 50)))


@pytest.mark.parametrize("name", HOOKS)
def test_a_training_reaches_nearly_the_loss_without_a_hook(name):
    def body(hook, make):
        dg.init()
        dg.manual_seed(3)
        model, data, loss_fn = build("mlp")
        optimizer = optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
        ddp = dg.DistributedDataParallel(model)
        if hook:
            ddp.register_comm_hook(make(), hook)
        for _ in range(30):
            for batch in dg.data.DataLoader(data, 40, shuffle=True, seed=5):
                optimizer.zero_grad()
                for x, y in batch.shards:
                    ddp.backward(loss_fn(model(x), y))
                optimizer.step()
        x, y = (np.stack(a) for a in zip(*(data[i] for i in range(200)), strict=True))
        return nn.state_sha256(model.state_dict()), float(F.cross_entropy(model(x), y))

    plain = simulated(3, lambda: body(None, None))[0][1]
    found = simulated(3, lambda: body(*HOOKS[name]))
    assert len({digest for digest, _ in found}) == 1
    assert found[0][1] < plain + 0.08, (found[0][1], plain)
