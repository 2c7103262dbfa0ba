"""Averages of weights under sharded training: those of zero=0, to the bit."""

import copy

import numpy as np
import pytest
from training import simulated
from zero_training import STAGES, WORLDS, everywhere, prepared, sha256

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import ShapeError
from distgrad.optim import swa_utils


def adamw(model):
    return optim.AdamW(model.parameters(), lr=0.03)


def weights(t):
    return nn.state_sha256(t.model.state_dict())


# -- ExponentialMovingAverage ---------------------------------------------------------------------


def averaged(zero, when="before ddp", **settings):
    """Return a training with an average of its weights, updated after each step."""
    made = []

    def make(model):
        if when == "before ddp":
            made.append(optim.ExponentialMovingAverage(model, decay=0.6, **settings))
        return adamw(model)

    t = prepared(zero, make)
    if when == "after ddp":
        made.append(optim.ExponentialMovingAverage(t.ddp, decay=0.6, **settings))
    for n, batch in enumerate(t.batches(2)):
        if n == 2 and when == "in training":
            made.append(optim.ExponentialMovingAverage(t.model, decay=0.6, **settings))
        t.backward(batch)
        t.step()
        for ema in made:
            ema.update()
    return t, made[0]


@pytest.mark.parametrize("when", ["before ddp", "after ddp", "in training"])
@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_of_the_weights_whenever_it_was_made(when, warmup):
    def body(zero):
        t, ema = averaged(zero, when, warmup=warmup)
        return sha256(ema.state_dict()), t.hashes()

    everywhere(body)


def test_an_average_that_begins_before_the_first_training_pass():
    def body(zero):
        t = prepared(zero, adamw)
        ema = optim.ExponentialMovingAverage(t.model, decay=0.6)
        ema.update()
        first = sha256(ema.state_dict())
        t.train()
        ema.update()
        return first, sha256(ema.state_dict()), t.hashes()

    everywhere(body)


def test_the_model_has_the_averages_inside_with_and_its_weights_after_it():
    def body(zero):
        t, ema = averaged(zero)
        x = np.ones((2, 7), np.float32)
        before = weights(t)
        with ema.average_parameters():
            inside = weights(t), t.model(x).array.tobytes()
        assert weights(t) == before != inside[0]
        return inside, before, t.train().hashes()

    everywhere(body)


def test_the_weights_come_back_after_an_error_on_all_ranks():
    def body(zero):
        t, ema = averaged(zero)
        before = weights(t)
        with pytest.raises(ZeroDivisionError), ema.average_parameters():
            _ = 1 / (weights(t) == before)
        assert weights(t) == before
        return before, t.train().hashes()

    everywhere(body)


def test_before_the_first_update_the_weights_stay():
    def body(zero):
        t = prepared(zero, adamw)
        ema = optim.ExponentialMovingAverage(t.model)
        before = weights(t)
        with ema.average_parameters():
            assert weights(t) == before
        ema.copy_to()
        assert weights(t) == before
        return t.train().hashes()

    everywhere(body)


def test_weights_that_were_assigned_come_back_too():
    def body(zero):
        t, ema = averaged(zero)
        t.model.wide.data = t.model.wide.array * np.float32(2)
        before = weights(t)
        with ema.average_parameters():
            inside = weights(t)
        assert weights(t) == before != inside
        return before, inside, t.train().hashes()

    everywhere(body)


def test_the_model_keeps_the_averages_of_copy_to_and_trains_on_from_them():
    def body(zero):
        t, ema = averaged(zero)
        ema.copy_to()
        found = weights(t)
        return found, t.train().hashes()

    everywhere(body)


def test_training_inside_the_averages_is_forgotten():
    def body(zero):
        t, ema = averaged(zero)
        before = weights(t)
        with ema.average_parameters():
            t.train()
        assert weights(t) == before
        return t.hashes()

    everywhere(body)


def test_averages_go_from_any_stage_and_number_of_ranks_to_any_other():
    def begun(zero):
        t, ema = averaged(zero)
        return t.model.state_dict(), t.optimizers[0].state_dict(), ema.state_dict()

    def gone_on(zero, saved):
        weights, state, averages = saved
        t = prepared(zero, adamw)
        ema = optim.ExponentialMovingAverage(t.model, decay=0.6)
        t.model.load_state_dict(weights)
        t.optimizers[0].load_state_dict(state)
        ema.load_state_dict(averages)
        for batch in t.batches():
            t.backward(batch)
            t.step()
            ema.update()
        return t.hashes(), sha256(ema.state_dict())

    (saved,) = simulated(1, lambda: begun(0))
    (expected,) = simulated(1, lambda: gone_on(0, saved))
    for size, nodes in WORLDS:
        for zero in STAGES:
            saved = simulated(size, lambda z=zero: begun(z), nodes=nodes)[size - 1]
            assert simulated(1, lambda s=saved: gone_on(0, s)) == [expected]
            found = simulated(2, lambda z=zero, s=saved: gone_on(z, s), nodes=[1, 1])
            assert found == [expected] * 2


def test_averages_of_another_model_are_refused():
    def body():
        _, ema = averaged(1)
        state = ema.state_dict()
        state["averages"][0] = state["averages"][0][:5]
        with pytest.raises(ShapeError, match=r"averages have the shapes \[\(5, 2351\)"):
            ema.load_state_dict(state)

    simulated(2, body)


def test_an_average_of_some_parameters():
    def body(zero):
        t = prepared(zero, adamw)
        ema = optim.ExponentialMovingAverage([t.model.narrow, t.model.still, t.model.scale], 0.5)
        for batch in t.batches():
            t.backward(batch)
            t.step()
            ema.update()
        ema.copy_to()
        return sha256(ema.state_dict()), t.train().hashes()

    everywhere(body)


# -- AveragedModel --------------------------------------------------------------------------------

AVERAGES = {
    "equal weights": {},
    "ema": {"avg_fn": swa_utils.get_ema_avg_fn(0.6)},
    "multi ema": {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.6)},
    "multi swa": {"multi_avg_fn": swa_utils.get_swa_multi_avg_fn(), "use_buffers": True},
}


@pytest.mark.parametrize("name", AVERAGES)
@pytest.mark.parametrize("of", ["model", "ddp"])
def test_an_averaged_model_has_the_averages_of_zero_0(name, of):
    def body(zero):
        t = prepared(zero, adamw)
        source = t.model if of == "model" else t.ddp
        swa = swa_utils.AveragedModel(source, **AVERAGES[name])
        for batch in t.batches(2):
            t.backward(batch)
            t.step()
            swa.update_parameters(source)
        output = swa(np.ones((2, 7), np.float32)).array.tobytes()
        return sha256(swa.state_dict()), output, t.hashes()

    everywhere(body)


def test_an_averaged_model_runs_on_one_rank_alone_and_is_loaded_into_the_model():
    def body(zero):
        t = prepared(zero, adamw)
        swa = swa_utils.AveragedModel(t.model)
        for batch in t.batches():
            t.backward(batch)
            t.step()
            swa.update_parameters(t.model)
        t.train()
        if t.world.rank == 0:
            swa(np.ones((2, 7), np.float32)).sum().backward()
        t.model.load_state_dict(swa.module.state_dict())
        return weights(t), t.train().hashes()

    everywhere(body)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(7, 1201), nn.BatchNorm1d(1201)
        self.last = nn.Linear(1201, 3)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


@pytest.mark.parametrize("of", ["the averaged model", "the averages in the model"])
def test_batch_norms_statistics_are_renewed(of):
    def body(zero):
        world = dg.init(shards=4)
        dg.manual_seed(3)
        model = Normed()
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        ddp = dg.DistributedDataParallel(model, zero=zero)
        swa, ema = swa_utils.AveragedModel(model), optim.ExponentialMovingAverage(model, 0.6)
        rng = np.random.default_rng(7)
        x = rng.normal(1, 3, (23, 7)).astype(np.float32)
        y = rng.normal(size=(23, 3)).astype(np.float32)
        loader = dg.data.DataLoader(dg.data.TensorDataset(x, y), 10)
        for _ in range(2):
            for batch in loader:
                optimizer.zero_grad()
                for a, b in batch.shards:
                    ddp.backward(nn.functional.mse_loss(model(a), b))
                optimizer.step()
                swa.update_parameters(model)
                ema.update()
        assert world.size
        if of == "the averaged model":
            swa_utils.update_bn(loader, swa)
            return sha256(swa.state_dict())
        with ema.average_parameters():
            swa_utils.update_bn(loader, model)
            found = sha256(model.state_dict())
        return found, sha256(model.state_dict())

    everywhere(body)


# -- Lookahead ------------------------------------------------------------------------------------


def test_lookahead_begins_from_what_was_loaded_or_broadcast():
    def body(zero):
        t = prepared(zero, lambda m: optim.Lookahead(adamw(m), k=2, alpha=0.3))
        if t.world.rank:
            before = copy.deepcopy(t.model.state_dict())
            assert set(before) == set(t.model.state_dict())
        with t.ddp.writing():
            t.model.wide.array *= 0.5
        return t.train(2).hashes()

    everywhere(body)


def test_lookahead_takes_more_parameters():
    def body(zero):
        t = prepared(zero, lambda m: optim.Lookahead(optim.AdamW([m.wide, m.bias], lr=0.03), k=3))
        t.train()
        t.optimizers[0].add_param_group({"params": [t.model.narrow, t.model.scale]})
        return t.train(2).hashes()

    everywhere(body)
