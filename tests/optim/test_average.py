"""Averages of weights: moving, equal-weights, Lookahead; and what they leave untouched."""

import json

import numpy as np
import pytest
from moving import move_

import distgrad as dg
from distgrad import Tensor, nn, optim
from distgrad.errors import ShapeError


def make_model():
    rng = np.random.default_rng(3)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 4))
    for p in model.parameters():
        p.array[...] = rng.normal(size=p.shape)
    return model


def change(model, step):
    rng = np.random.default_rng(step)
    for p in model.parameters():
        p.array += rng.normal(size=p.shape).astype(np.float32)


def weights(model):
    return [p.array.copy() for p in model.parameters()]


def assert_close(found, expected, rtol=1e-5):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


# -- ExponentialMovingAverage -----------------------------------------------------------------


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_follows_its_formula_wherever_the_weights_lie(warmup):
    model = make_model()
    ema = optim.ExponentialMovingAverage(model, decay=0.6, warmup=warmup)
    expected = None
    for n in range(12):
        if n == 4:  # the bridge makes buckets
            move_(list(model.parameters())[::-1])
        change(model, n)
        ema.update()
        decay = min(0.6, (1 + n) / (10 + n)) if warmup else 0.6
        now = weights(model)
        if expected is None:
            expected = now
        expected = [decay * m + (1 - decay) * w for m, w in zip(expected, now, strict=True)]
    with ema.average_parameters():
        assert_close(weights(model), expected)


def test_the_models_own_weights_come_back_even_after_an_error():
    model = make_model()
    ema = optim.ExponentialMovingAverage(model.parameters())
    ema.update()
    change(model, 1)
    before = weights(model)
    arrays = [p.array for p in model.parameters()]

    def fail():
        with ema.average_parameters():
            assert any((a != b).any() for a, b in zip(weights(model), before, strict=True))
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert_close(weights(model), before, rtol=0)
    assert all(p.array is a for p, a in zip(model.parameters(), arrays, strict=True))


def test_before_the_first_update_the_weights_stay():
    model = make_model()
    ema = optim.ExponentialMovingAverage(model)
    before = weights(model)
    with ema.average_parameters():
        assert_close(weights(model), before, rtol=0)


def test_an_average_continues_from_its_state_to_the_bit():
    model = make_model()
    first = optim.ExponentialMovingAverage(model, 0.9)
    for n in range(3):
        change(model, n)
        first.update()
    second = optim.ExponentialMovingAverage(model, 0.9)
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), default=np.ndarray.tolist)))
    change(model, 4)
    for ema in (first, second):
        ema.update()
    for a, b in zip(first.state_dict()["averages"], second.state_dict()["averages"], strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ShapeError, match=r"the averages have the shapes .*, the parameters "):
        second.load_state_dict({"num_updates": 1, "averages": [np.zeros(3)]})


def test_the_average_can_be_kept():
    model = make_model()
    ema = optim.ExponentialMovingAverage(model)
    ema.update()
    before = weights(model)
    change(model, 1)
    ema.copy_to()
    assert_close(weights(model), before, rtol=0)


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_outside_0_to_1_is_refused(decay):
    with pytest.raises(ShapeError, match=rf": decay is a number, from 0 to 1; got {decay}"):
        optim.ExponentialMovingAverage(make_model(), decay)
    with pytest.raises(ShapeError, match=rf": decay is a number, from 0 to 1; got {decay}"):
        optim.get_ema_avg_fn(decay)


def test_an_average_of_nothing_is_refused():
    with pytest.raises(ShapeError, match="got no parameters; pass the model"):
        optim.ExponentialMovingAverage(nn.ReLU())


# -- AveragedModel ----------------------------------------------------------------------------


def test_the_averaged_model_is_the_mean_and_a_copy():
    model = make_model()
    averaged = optim.AveragedModel(model)
    seen = []
    for n in range(5):
        change(model, n)
        averaged.update_parameters(model)
        seen.append(weights(model))
    mean = [np.mean(np.stack(w), axis=0) for w in zip(*seen, strict=True)]
    assert_close(weights(averaged), mean)
    assert_close(weights(model), seen[-1], rtol=0)


def test_the_copy_is_tied_to_no_bucket_and_no_communication():
    model = make_model()
    ddp = dg.DistributedDataParallel(model)
    averaged = optim.AveragedModel(model)
    x = Tensor(np.ones((4, 3), np.float32))
    ddp.backward(np.sum(model(x)))
    for p in averaged.parameters():
        assert p.requires_grad
        assert p.grad is None
        assert p._listener is None
        assert p._place is None
    before = {n: a.copy() for n, a in model.state_dict().items()}
    averaged.train()(x)  # feeds its own statistics, not the model's
    assert (averaged.state_dict()["module.1.running_mean"] != 0).any()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_an_averaged_model_continues_from_its_state():
    model = make_model()
    first, second = optim.AveragedModel(model), optim.AveragedModel(model)
    for n in range(3):
        change(model, n)
        first.update_parameters(model)
    second.load_state_dict(first.state_dict())
    for averaged in (first, second):
        averaged.update_parameters(model)
    assert_close(weights(first), weights(second), rtol=0)
    assert second.n_averaged == 4
    with pytest.raises(ShapeError, match="the state has no 'n_averaged'"):
        second.load_state_dict(model.state_dict())


# -- Lookahead --------------------------------------------------------------------------------


def make_lookahead(k=3, alpha=0.4):
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4))
    for i, p in enumerate(model.parameters()):
        p.array[...] = np.random.default_rng(i).normal(size=p.shape)
    groups = [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[1].parameters()}]
    inner = optim.SGD(groups, lr=0.1, momentum=0.9)
    return model, optim.Lookahead(inner, k=k, alpha=alpha)


def train(model, optimizer, numbers):
    for t in numbers:
        rng = np.random.default_rng(t)
        for p in model.parameters():
            p.grad = Tensor(rng.normal(size=p.shape).astype(np.float32))
        optimizer.step()


def test_every_kth_step_meets_the_slow_weights():
    model, lookahead = make_lookahead()
    plain, _ = make_lookahead()
    inner = optim.SGD(
        [{"params": plain[0].parameters(), "lr": 0.5}, {"params": plain[1].parameters()}],
        lr=0.1,
        momentum=0.9,
    )
    slow = weights(plain)
    for t in range(8):
        train(model, lookahead, [t])
        train(plain, inner, [t])
        if t % 3 == 2:
            now = weights(plain)
            slow = [s + 0.4 * (w - s) for s, w in zip(slow, now, strict=True)]
            for p, s in zip(plain.parameters(), slow, strict=True):
                p.array[...] = s
        assert_close(weights(model), weights(plain))


@pytest.mark.parametrize("at", [3, 4])
def test_lookahead_continues_from_its_state_to_the_bit(at):
    straight, optimizer = make_lookahead()
    train(straight, optimizer, range(8))
    model, first = make_lookahead()
    train(model, first, range(at))
    text = json.dumps(first.state_dict(), default=np.ndarray.tolist)
    other, second = make_lookahead()
    other.load_state_dict(model.state_dict())
    second.load_state_dict(json.loads(text))
    train(other, second, range(at, 8))
    assert_close(weights(other), weights(straight), rtol=0)


def test_a_state_without_slow_weights_is_refused_and_changes_nothing():
    model, lookahead = make_lookahead()
    train(model, lookahead, range(2))
    state = lookahead.optimizer.state_dict()
    state["param_groups"][0]["lr"] = 9.0
    with pytest.raises(ShapeError, match="the state has no slow weights"):
        lookahead.load_state_dict(state)
    assert lookahead.param_groups[0]["lr"] == 0.5


def test_a_schedule_drives_the_optimizer_inside():
    _, lookahead = make_lookahead()
    schedule = optim.ExponentialLR(lookahead, 0.5)
    schedule.step()
    assert [g["lr"] for g in lookahead.optimizer.param_groups] == [0.25, 0.05]


def test_parameters_are_added_between_rounds_only():
    model, lookahead = make_lookahead()
    p = nn.Parameter(np.ones(2, np.float32))
    train(model, lookahead, [0])
    with pytest.raises(ShapeError, match="add parameters after a multiple of k=3 steps; 1 have"):
        lookahead.add_param_group({"params": p})
    train(model, lookahead, [1, 2])
    lookahead.add_param_group({"params": p, "lr": 1.0})
    p.grad = Tensor(np.ones(2, np.float32))
    lookahead.step()
    assert p.array.tolist() == [0.0, 0.0]


def test_lookahead_says_that_it_takes_an_optimizer():
    with pytest.raises(TypeError, match=r"Lookahead\(optim.AdamW\(params\)\); got a list"):
        optim.Lookahead([nn.Parameter(np.ones(3))])


@pytest.mark.parametrize(("k", "alpha"), [(0, 0.5), (3, 1.5)])
def test_lookahead_refuses_what_cannot_be(k, alpha):
    with pytest.raises(ShapeError, match=r"Lookahead: (k|alpha) is a .*; got (0|1.5)$"):
        make_lookahead(k, alpha)
