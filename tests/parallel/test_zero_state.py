"""Optimizers' states, groups and hooks under sharded training: what zero=0 has, or an error."""

import copy
import math
import pickle

import numpy as np
import pytest
from training import simulated
from zero_training import STAGES, WORLDS, everywhere, prepared, sha256

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import GradError, ShapeError
from distgrad.nn import functional as F
from distgrad.optim import lr_scheduler


def adamw(model):
    return optim.AdamW(model.parameters(), lr=0.03)


def sgd(model):
    return optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


# -- from one stage and number of ranks to another ------------------------------------------------

KINDS = {
    "AdamW": adamw,
    "NAdam": lambda m: optim.NAdam(m.parameters(), lr=0.03),
    "Rprop": lambda m: optim.Rprop(m.parameters(), lr=0.03),
    "LAMB": lambda m: optim.LAMB(m.parameters(), lr=0.03),
    "Adafactor": lambda m: optim.Adafactor(m.parameters(), lr=0.03),
    "Lookahead": lambda m: optim.Lookahead(adamw(m), k=2),
}


@pytest.mark.parametrize("name", KINDS)
def test_states_go_from_any_stage_and_number_of_ranks_to_any_other(name):
    def begun(zero):
        t = prepared(zero, KINDS[name], complex_too=False).train()
        return t.model.state_dict(), t.optimizers[0].state_dict()

    def gone_on(zero, weights, state):
        t = prepared(zero, KINDS[name], complex_too=False)
        t.model.load_state_dict(weights)
        t.optimizers[0].load_state_dict(state)
        t.train()
        return (t.model.state_dict(), t.optimizers[0].state_dict()), t.hashes()

    (whole,) = simulated(1, lambda: prepared(0, KINDS[name], complex_too=False).train(4).hashes())
    for way in (
        [(1, 3, None), (0, 1, None), (3, 2, [1, 1]), (2, 3, [2, 1])],
        [(0, 2, None), (2, 3, [1, 1, 1]), (1, 2, None), (0, 1, None)],
        [(3, 3, [1, 2]), (3, 2, None), (1, 1, None), (3, 1, None)],
    ):
        zero, size, nodes = way[0]
        saved = simulated(size, lambda z=zero: begun(z), nodes=nodes)[-1]
        for zero, size, nodes in way[1:]:
            found = simulated(size, lambda z=zero, s=saved: gone_on(z, *s), nodes=nodes)
            saved, hashes = found[-1]
        assert hashes == whole, way


def test_a_state_is_loaded_over_another_in_training():
    def body(zero):
        t = prepared(zero, adamw).train()
        weights, state = t.model.state_dict(), t.optimizers[0].state_dict()
        weights, state = copy.deepcopy((weights, state))
        t.train()
        t.model.load_state_dict(weights)
        t.optimizers[0].load_state_dict(state)
        return t.hashes(), t.train().hashes()

    everywhere(body)


def test_a_state_without_entries_forgets_what_was_there():
    def body(zero):
        t = prepared(zero, adamw)
        fresh = t.optimizers[0].state_dict()
        t.train()
        t.optimizers[0].load_state_dict(fresh)
        return t.hashes(), t.train().hashes()

    everywhere(body)


@pytest.mark.parametrize("name", ["AdamW", "LAMB"])
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_changed(name):
    def body(zero):
        t = prepared(zero, KINDS[name], complex_too=False).train()
        state = t.optimizers[0].state_dict()
        before = t.hashes()
        state["state"][0] = {**state["state"][0], "exp_avg": np.zeros((7, 2350), np.float32)}
        with pytest.raises(ShapeError, match=r"'exp_avg' of parameter 0 has shape \(7, 2350\)"):
            t.optimizers[0].load_state_dict(state)
        assert t.hashes() == before
        return before

    everywhere(body)


@pytest.mark.parametrize("name", ["AdamW", "LAMB", "Lookahead"])
@pytest.mark.parametrize("zero", STAGES)
def test_the_live_state_cannot_be_seen_whole_and_the_error_says_what_can(name, zero):
    def body():
        t = prepared(zero, KINDS[name], complex_too=False).train()
        state = t.optimizers[0].state
        for read in (
            lambda: state[t.model.wide],
            lambda: len(state),
            lambda: dict(state),
            lambda: t.model.wide in state,
            lambda: state.get(t.model.bias),
        ):
            with pytest.raises(GradError, match=r"zero=1 or more\): state_dict\(\), called on"):
                read()

    simulated(2, body)


@pytest.mark.parametrize("copied_by", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("zero", STAGES)
def test_a_copy_of_the_model_runs_on_one_rank_alone(zero, copied_by):
    def body():
        t = prepared(zero, adamw).train()
        t.optimizers[0].zero_grad()
        model = copied_by(t.model)
        x = np.ones((2, 7), np.float32)
        expected = t.model(x).array
        t.train()
        if t.world.rank == 1:
            copied = model(x)
            np.testing.assert_array_equal(copied.array, expected)
            copied.sum().backward()
            assert model.wide.grad.array.any()
        return t.train().hashes()

    (expected,) = simulated(1, lambda: prepared(0, adamw).train(3).hashes())
    for size, nodes in WORLDS:
        assert simulated(size, body, nodes=nodes) == [expected] * size


@pytest.mark.parametrize("zero", [0, *STAGES])
def test_a_copy_of_a_ddp_is_of_the_model_alone(zero):
    def body():
        t = prepared(zero, adamw).train()
        t.optimizers[0].zero_grad()
        model = copy.deepcopy(t.ddp)
        assert type(model) is type(t.model)
        assert nn.state_sha256(model.state_dict()) == nn.state_sha256(t.model.state_dict())
        assert all(p._listener is None and p._place is None for p in model.parameters())

    simulated(3, body, nodes=[2, 1])


# -- groups ---------------------------------------------------------------------------------------


def test_groups_with_settings_of_their_own():
    def make(m):
        return optim.AdamW(
            [
                {"params": [m.wide, m.bias, m.still], "weight_decay": 0.0},
                {"params": [m.narrow, m.never], "lr": 0.1},
                {"params": [m.scale, m.fine, m.turn], "maximize": True},
            ],
            lr=0.01,
        )

    everywhere(lambda zero: prepared(zero, make, bucket_mb=4.0).train(2).hashes())


@pytest.mark.parametrize("late", ["optimizer", "parameters"])
def test_a_group_may_be_added_between_steps(late):
    def body(zero):
        t = prepared(zero, lambda m: optim.AdamW([m.narrow, m.bias], lr=0.03), bucket_mb=4.0)
        t.train()
        rest = [t.model.wide, t.model.scale, t.model.turn, t.model.never]
        if late == "parameters":
            t.optimizers[0].add_param_group({"params": rest, "lr": 0.01})
        else:
            t.optimizers.append(optim.Rprop(rest, lr=0.01))
        return t.train(2).hashes()

    everywhere(body)


def test_parameters_that_are_not_in_the_model_are_trained_beside_it():
    def body(zero):
        extra = nn.Parameter(np.ones(9, np.float32))
        t = prepared(zero, adamw)
        t.optimizers[0].add_param_group({"params": [extra]})
        for batch in t.batches():
            t.backward(batch)
            extra.grad = dg.Tensor(np.full(9, 0.1, np.float32))
            norm = dg.clip_grad_norm_([extra, *t.model.parameters()], 0.05)
            t.step()
        return norm, extra.array.tobytes(), t.hashes()

    everywhere(body)


def test_two_optimizers_share_the_buckets():
    def make(m):
        return [
            optim.AdamW([m.wide, m.scale, m.turn], lr=0.03),
            optim.SGD([m.narrow, m.never], lr=0.1, momentum=0.5),
            optim.LAMB([m.bias, m.fine, m.still], lr=0.03),
        ]

    everywhere(lambda zero: prepared(zero, make, bucket_mb=4.0).train(2).hashes())


def test_two_optimizers_take_turns_on_the_same_parameters():
    def body(zero):
        t = prepared(zero, lambda m: [sgd(m), adamw(m)])
        for n, batch in enumerate(t.batches(2)):
            t.backward(batch)
            t.optimizers[n % 2].step()
        return t.hashes()

    everywhere(body)


def test_parameters_are_frozen_and_thawed_in_between():
    def body(zero):
        t = prepared(zero, adamw)
        found = []
        for frozen in (False, True, False):
            for p in (t.model.wide, t.model.fine):
                p.requires_grad = not frozen
            found.append(t.train().hashes())
        return found

    everywhere(body)


# -- gradients that stay --------------------------------------------------------------------------


@pytest.mark.parametrize("of", ["optimizer", "model", "ddp"])
def test_gradients_may_be_zeroed_in_place(of):
    def body(zero):
        t = prepared(zero, sgd)
        owner = {"optimizer": t.optimizers[0], "model": t.model, "ddp": t.ddp}[of]
        found = []
        for batch in t.batches(2):
            owner.zero_grad(set_to_none=False)
            norm = dg.clip_grad_norm_(t.model.parameters(), math.inf)
            assert norm == 0
            assert (t.model.wide.grad is None) == (not found)
            for x, y in batch.shards:
                t.ddp.backward(F.mse_loss(t.model(x), y))
            t.step()
            found.append(t.model.never.grad is None)
        return found, t.hashes()

    everywhere(body)


@pytest.mark.parametrize("no_sync", [False, True])
def test_gradients_of_two_batches_add_up(no_sync):
    def body(zero):
        t = prepared(zero, sgd)
        for n, batch in enumerate(t.batches(2)):
            first = n % 2 == 0
            if first:
                t.optimizers[0].zero_grad()
            t.ddp.reducer.synchronize = not (no_sync and first)
            for x, y in batch.shards:
                t.ddp.backward(F.mse_loss(t.model(x), y))
            if not first:
                t.step()
        return t.hashes()

    everywhere(body)


def test_a_step_without_gradients_moves_nothing():
    def body(zero):
        t = prepared(zero, adamw)
        t.step()
        before = t.train().hashes()
        t.optimizers[0].zero_grad()
        t.step()
        assert t.hashes() == before
        return before

    everywhere(body)


# -- schedules and hooks --------------------------------------------------------------------------

SCHEDULES = {
    "OneCycleLR": lambda o: optim.OneCycleLR(o, 0.2, total_steps=8),
    "WarmupCosineLR": lambda o: optim.WarmupCosineLR(o, 2, 8),
    "SequentialLR": lambda o: optim.SequentialLR(
        o, [optim.ConstantLR(o), optim.ExponentialLR(o, 0.5)], [3]
    ),
    "SWALR": lambda o: optim.SWALR(o, 0.01, anneal_epochs=3),
    "CyclicLR": lambda o: optim.CyclicLR(o, 0.01, 0.1, 2),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_set_the_rates_of_zero_0(name):
    def body(zero):
        t = prepared(zero, sgd)
        schedule = SCHEDULES[name](t.optimizers[0])
        assert isinstance(schedule, lr_scheduler.LRScheduler)
        for batch in t.batches(2):
            t.backward(batch)
            t.step()
            schedule.step()
        return schedule.get_last_lr(), t.hashes()

    everywhere(body)


def test_hooks_around_a_step_see_the_values_of_zero_0():
    def body(zero):
        t = prepared(zero, adamw)
        seen = []

        def look(*_):
            seen.append(sha256([p.array for p in t.model.parameters()]))

        def clip(optimizer, *_):
            params = [p for g in optimizer.param_groups for p in g["params"]]
            seen.append(dg.clip_grad_norm_(params, 0.05))

        o = t.optimizers[0]
        handles = [o.register_step_pre_hook(clip), o.register_step_post_hook(look)]
        handles += [
            optim.register_optimizer_step_pre_hook(lambda o, *_: look() if o is mine else None)
        ]
        mine = o
        o.register_state_dict_post_hook(lambda o, state: {**state, "seen": len(seen)})
        try:
            t.train()
        finally:
            for handle in handles:
                handle.remove()
        return seen, t.hashes()

    everywhere(body)


def test_a_closure_computes_the_gradients():
    def body(zero):
        t = prepared(zero, adamw)
        losses = []
        for batch in t.batches():

            def closure(batch=batch):
                t.backward(batch)
                return 7.0

            losses.append(t.optimizers[0].step(closure))
        return losses, t.hashes()

    everywhere(body)


# -- memory ---------------------------------------------------------------------------------------
