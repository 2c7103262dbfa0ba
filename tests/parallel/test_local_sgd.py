"""Local SGD, post-local SGD and DiLoCo: what a rank does alone, and what all do together."""

from __future__ import annotations

import numpy as np
import pytest
from training import alone, build, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import CheckpointError, CommError, DistgradError
from distgrad.nn import functional as F
from distgrad.parallel import hooks
from distgrad.parallel.local_sgd import DiLoCo, PeriodicModelAverager, PostLocalSGDOptimizer

SIZES = [1, 2, 3, 4]
LR = 0.1


def slope(rank, step):
    return np.sin(np.arange(6) * (rank + 2) + step).astype(np.float32)


class Line(nn.Module):
    """A loss whose gradient is given: weight @ slope."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.arange(6, dtype=np.float32))


def train(wrap, steps, *, shards_of_rank=1):
    """Train in the bare loop; return the weights after each step, and bytes sent in each."""
    world = dg.init()
    model = Line()
    ddp = dg.DistributedDataParallel(model, check_every=0)
    optimizer = wrap(ddp, optim.SGD(model.parameters(), lr=LR))
    found, sent = [], []
    for step in range(steps):
        before = world.comm.bytes_sent
        optimizer.zero_grad()
        (model.weight * slope(world.rank, step)).sum().backward()
        optimizer.step()
        found.append(model.weight.array.copy())
        sent.append(world.comm.bytes_sent - before)
    return found, sent


def local(period, warmup=0):
    def wrap(ddp, optimizer):
        ddp.register_comm_hook(
            hooks.PostLocalSGDState(start_localSGD_iter=warmup), hooks.post_localSGD_hook
        )
        return PostLocalSGDOptimizer(optimizer, PeriodicModelAverager(period, warmup))

    return wrap


@pytest.mark.parametrize("size", SIZES)
def test_post_local_sgd_is_sgd_and_then_averages_each_period(size):
    weights = [np.arange(6.0) for _ in range(size)]
    expected = []
    for step in range(8):
        slopes = [slope(rank, step).astype(float) for rank in range(size)]
        if step < 3:
            slopes = [sum(slopes) / size] * size
        weights = [w - LR * g for w, g in zip(weights, slopes, strict=True)]
        if step >= 3 and (step - 3) % 2 == 0:
            weights = [sum(weights) / size] * size
        expected.append(weights)
    for rank, (found, sent) in enumerate(
        simulated(size, lambda: train(local(2, 3), 8), nodes=[1] * size)
    ):
        for step in range(8):
            np.testing.assert_allclose(found[step], expected[step][rank], rtol=1e-5, atol=1e-6)
        if size > 1:
            assert [n > 0 for n in sent] == [True] * 4 + [False, True, False, True]


@pytest.mark.parametrize("size", SIZES)
def test_diloco_moves_by_nesterovs_formula(size):
    eta, mu, every = 0.7, 0.9, 3
    theta, u = np.arange(6.0), np.zeros(6)
    weights = [theta] * size
    results = simulated(
        size, lambda: train(lambda d, o: DiLoCo(d, o, eta, mu, every), 9), nodes=[1] * size
    )
    for step in range(9):
        weights = [w - LR * slope(rank, step) for rank, w in enumerate(weights)]
        if step % every == every - 1:
            delta = theta - sum(weights) / size
            u = mu * u + delta
            theta = theta - eta * (delta + mu * u)
            weights = [theta] * size
        for rank, (found, sent) in enumerate(results):
            np.testing.assert_allclose(found[step], weights[rank], rtol=1e-5, atol=1e-5)
            assert (sent[step] > 0) == (size > 1 and step % every == every - 1)


def test_outer_rate_1_without_momentum_is_local_sgd():
    a = simulated(3, lambda: train(lambda d, o: DiLoCo(d, o, 1.0, 0.0, 2), 6)[0][-1])
    b = simulated(3, lambda: train(local(2, 1), 6)[0][-1])
    np.testing.assert_allclose(a[0], b[0], rtol=1e-6)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_all_ranks_leave_an_average_with_the_same_bits(size):
    for schedule in (None, 1):
        found = simulated(
            size, lambda: train(lambda d, o: DiLoCo(d, o, every=3), 6)[0], schedule=schedule
        )
        for weights in found:
            np.testing.assert_array_equal(weights[-1], found[0][-1])
        assert not np.array_equal(found[0][-2], found[1][-2])


@pytest.mark.mpi
def test_mpi_ranks_have_the_bits_of_simulated_ones():
    def body():
        return train(lambda d, o: DiLoCo(d, o, every=3), 6)[0]

    size = alone(lambda: dg.init().size)
    rank = alone(lambda: dg.init().rank)
    for a, b in zip(alone(body), simulated(size, body)[rank], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_rank_alone_takes_the_mean_over_its_own_samples():
    """8 shards on 3 ranks, 12 samples: a rank's gradient is the mean of its samples' slopes."""

    def body():
        world = dg.init(shards=8)
        model = Line()
        ddp = dg.DistributedDataParallel(model)
        ddp.register_comm_hook(hooks.PostLocalSGDState(), hooks.post_localSGD_hook)
        mine = []
        for rows in dg.own_shards(world, 0, 12):
            mine += rows
            g = sum(slope(r, 0) for r in rows) / len(rows)
            ddp.backward((model.weight * g).sum())
        expected = sum(slope(r, 0) for r in mine) / len(mine)
        np.testing.assert_allclose(model.weight.grad.array, expected, rtol=1e-5, atol=1e-6)
        return len(mine)

    assert sum(simulated(3, body)) == 12


def test_a_rank_without_a_sample_stays_where_it_is():
    def body():
        world = dg.init()
        model = Line()
        ddp = dg.DistributedDataParallel(model)
        optimizer = DiLoCo(ddp, optim.SGD(model.parameters(), lr=LR), every=5)
        for rows in dg.own_shards(world, 0, 2):
            ddp.backward((model.weight * (slope(1, 0) * len(rows))).sum())
        optimizer.step()
        return model.weight.grad is None, np.array_equal(model.weight.array, np.arange(6))

    assert simulated(3, body) == [(False, False), (False, False), (True, True)]


def trained(wrap, epochs=6):
    dg.init()
    dg.manual_seed(3)
    model, data, loss_fn = build("cnn")  # batch-norm
    ddp = dg.DistributedDataParallel(model)
    optimizer = wrap(ddp, optim.AdamW(model.parameters(), lr=3e-3))
    for _ in range(epochs):
        for batch in dg.data.DataLoader(data, 40, shuffle=True, seed=5):
            optimizer.zero_grad()
            for x, y in batch.shards:
                ddp.backward(loss_fn(model(x), y))
            dg.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    model.eval()
    x, y = (np.stack(a) for a in zip(*(data[i] for i in range(200)), strict=True))
    return nn.state_sha256(model.state_dict()), float(F.cross_entropy(model(x), y))


def test_diloco_trains_a_network_with_batch_norm_to_one_model_on_all_ranks():
    found = simulated(3, lambda: trained(lambda d, o: DiLoCo(d, o, every=5)))
    assert len({digest for digest, _ in found}) == 1
    assert found[0][1] < 0.4


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("stop", [3, 4])  # at an outer step, and between two
def test_diloco_resumes_with_the_same_bits(stop, each):
    def body(broken):
        world = dg.init()

        def made():
            model = Line()
            ddp = dg.DistributedDataParallel(model)
            return model, DiLoCo(ddp, optim.AdamW(model.parameters(), lr=LR), every=3)

        model, optimizer = made()
        for step in range(8):
            if broken and step == stop:
                state = optimizer.state_dict() if each else optimizer.gather(world)
                model, optimizer = made()
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            (model.weight * slope(world.rank, step)).sum().backward()
            optimizer.step()
        return model.weight.array.copy()

    for a, b in zip(
        simulated(3, lambda: body(False)), simulated(3, lambda: body(True)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_post_local_sgd_keeps_its_step():
    def body():
        dg.init()
        model = Line()
        made = PostLocalSGDOptimizer(
            optim.SGD(model.parameters(), lr=LR, momentum=0.9), PeriodicModelAverager(2)
        )
        model.weight.sum().backward()
        for _ in range(3):
            made.step()
        other = PostLocalSGDOptimizer(
            optim.SGD(model.parameters(), lr=LR, momentum=0.9), PeriodicModelAverager(2)
        )
        other.load_state_dict(made.state_dict())
        assert other.averager.step == 3
        assert other.param_groups[0]["lr"] == LR
        with pytest.raises(DistgradError, match="no 'step' of the averager"):
            other.load_state_dict(made.optim.state_dict())

    alone(body)


def test_a_state_of_other_ranks_is_refused():
    def made():
        dg.init()
        model = Line()
        ddp = dg.DistributedDataParallel(model)
        return DiLoCo(ddp, optim.SGD(model.parameters(), lr=LR))

    state = simulated(2, lambda: made().state_dict())[0]
    with pytest.raises(CheckpointError, match="DiLoCo was saved by 2 ranks and this run has 3"):
        simulated(3, lambda: made().load_state_dict(state))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(
        DistgradError, match="PeriodicModelAverager: period is a whole number above 0; got 0"
    ):
        PeriodicModelAverager(0)
    with pytest.raises(CommError, match="each rank is a group of its own"):
        hooks.PostLocalSGDState(post_local_gradient_allreduce=True)

    def body():
        dg.init()
        model = Line()
        ddp = dg.DistributedDataParallel(model)
        inner = optim.SGD(model.parameters(), lr=LR)
        with pytest.raises(DistgradError, match="DiLoCo: every is a whole number above 0; got 0"):
            DiLoCo(ddp, inner, every=0)
        ddp.register_comm_hook(None, hooks.fp16_compress_hook)
        with pytest.raises(CommError, match="fp16_compress_hook is registered already"):
            DiLoCo(ddp, inner)

    alone(body)


def test_frozen_parameters_are_not_averaged_and_buffers_are_if_given():
    def body():
        world = dg.init()
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        model[0].bias.requires_grad_(False)
        for t in (*model.parameters(), *model.buffers()):
            t.array[...] = world.rank
        averager = PeriodicModelAverager(1)
        averager.average_parameters([*model.parameters(), *model.buffers()])
        assert model[0].weight.array.min() == 1
        assert model[1].running_var.array.max() == 1
        assert model[1].num_batches_tracked.array == world.rank
        assert model[0].bias.array.max() == world.rank
        optimizer = optim.SGD(model.parameters(), lr=LR)
        model[0].weight.array[...] = 2 * world.rank
        averager.average_parameters(optimizer.param_groups)
        assert model[0].weight.array.max() == 2

    simulated(3, body)
