"""What users do with optimizers between the steps, under sharded training: the bits of zero=0."""

import copy
from typing import ClassVar

import numpy as np
import pytest
from training import simulated
from zero_training import STAGES, WORLDS, everywhere, prepared

import distgrad as dg
from distgrad import optim
from distgrad.errors import GradError, ShapeError


def adamw(model):
    return optim.AdamW(model.parameters(), lr=0.03)


def lamb(model):
    return optim.LAMB(model.parameters(), lr=0.03)


# -- optimizers of the user's ---------------------------------------------------------------------


class Counting(optim.Optimizer):
    """Whole parameters, with numbers and arrays of every form for their state."""

    elementwise = False
    trains_complex = False
    scalars: ClassVar = {"seen": 0.0, "scale": 1.0}

    def __init__(self, params):
        super().__init__(params, {"lr": 0.03})

    def state_names(self, group):
        return ["rows", "all", "sizes"]

    def state_shape(self, name, shape):
        if name == "rows":
            return shape[:1] if len(shape) == 2 else None
        return shape if name == "all" else (3,)

    def update(self, value, grad, state, step, group):
        state["seen"] += float(grad.sum())
        state["scale"] *= 0.9
        state["all"] += grad
        state["sizes"] += (step, value.size, 1)
        if "rows" in state:
            state["rows"] += grad.sum(axis=1)
        value -= group["lr"] * state["scale"] * np.sign(state["all"])


class CountingElements(optim.Optimizer):
    """Single elements, with numbers for their state."""

    scalars: ClassVar = {"rate": 1.0}

    def __init__(self, params):
        super().__init__(params, {"lr": 0.03})

    def update(self, value, grad, state, step, group):
        state["rate"] /= 1 + step
        value -= group["lr"] * state["rate"] * np.sign(grad)


class Twice(optim.AdamW):
    """Steps by itself, by twice the step of another."""

    def step(self, closure=None):
        super().step()
        return super().step()


@pytest.mark.parametrize("kind", [Counting, CountingElements, Twice])
def test_optimizers_of_the_users_own_with_state_of_every_form(kind):
    def body(zero):
        t = prepared(zero, lambda m: kind(m.parameters()), complex_too=False).train()
        saved = copy.deepcopy(t.optimizers[0].state_dict())
        found = t.train().hashes()
        t.optimizers[0].load_state_dict(saved)
        return found, t.hashes(), t.train().hashes()

    everywhere(body)


# -- steps in which not everything moves ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["AdamW", "LAMB"])
def test_lookahead_meets_the_slow_weights_also_of_what_has_no_gradient_then(kind):
    def body(zero):
        inner = {"AdamW": adamw, "LAMB": lamb}[kind]
        t = prepared(zero, lambda m: optim.Lookahead(inner(m), k=2), complex_too=False)
        for n, batch in enumerate(t.batches(2)):
            t.backward(batch)
            if n % 2:
                t.model.wide.grad = t.model.bias.grad = None
            t.step()
        found = t.hashes()
        t.optimizers[0].zero_grad()
        t.step()
        t.step()
        return found, t.hashes()

    everywhere(body)


def test_some_gradients_are_dropped_before_a_step():
    def body(zero):
        t = prepared(zero, adamw, bucket_mb=4.0)
        for n, batch in enumerate(t.batches(2)):
            t.backward(batch)
            if n % 2:
                t.model.narrow.grad = t.model.scale.grad = None
            t.step()
        return t.hashes()

    everywhere(body)


@pytest.mark.parametrize("make", [adamw, lamb])
def test_a_batch_that_is_left_out_moves_nothing(make):
    def body(zero):
        t = prepared(zero, make, nonfinite="skip", complex_too=False)
        for n, batch in enumerate(t.batches(2)):
            t.optimizers[0].zero_grad()
            factor = np.inf if n == 1 else 1.0
            for x, y in batch.shards:
                loss = ((t.model(x) - y) ** 2).mean() * factor
                with np.errstate(invalid="ignore"):
                    t.ddp.backward(loss)
            dg.clip_grad_norm_(t.model.parameters(), 0.1)
            t.step()
            assert t.ddp.left_out == (n == 1)
        return t.hashes()

    everywhere(body)


# -- settings and values that change --------------------------------------------------------------


def test_momentum_may_be_turned_on_in_training():
    def body(zero):
        t = prepared(zero, lambda m: optim.SGD(m.parameters(), lr=0.03)).train()
        t.optimizers[0].param_groups[0]["momentum"] = 0.9
        return t.train().hashes(), t.train().hashes()

    everywhere(body)


@pytest.mark.parametrize("make", [adamw, lamb])
def test_data_that_are_assigned_on_all_ranks_are_trained_on(make):
    def body(zero):
        t = prepared(zero, make, complex_too=False).train()
        ema = optim.ExponentialMovingAverage(t.model, 0.6)
        for name in ("wide", "bias"):
            p = getattr(t.model, name)
            p.data = p.array * np.float32(0.5)
        ema.update()
        first = t.hashes(), t.train().hashes()
        t.model.narrow.data = t.model.narrow.array * np.float32(2)
        return first, t.train().hashes()

    everywhere(body)


def test_parameters_are_written_to_between_steps():
    def body(zero):
        t = prepared(zero, adamw).train()
        with t.ddp.writing():
            for p in t.model.parameters():
                p.array *= p.dtype.type(0.5)
            t.model.bias.array[...] = 3
        return t.hashes(), t.train().hashes()

    everywhere(body)


@pytest.mark.parametrize("make", [adamw, lamb])
def test_data_of_another_form_are_refused(make):
    def body():
        t = prepared(1, make, complex_too=False).train()
        t.model.bias.data = np.zeros(4, np.float32)
        t.model.bias.grad = dg.Tensor(np.zeros(4, np.float32))
        with pytest.raises(ShapeError, match=r"float32 \(5,\) was given data of float32 \(4,\)"):
            t.step()

    simulated(2, body)


# -- a state that was there before the ranks shared it out ----------------------------------------


@pytest.mark.parametrize("make", [adamw, lamb, lambda m: optim.Lookahead(adamw(m), k=2)])
def test_a_state_that_was_loaded_before_ddp_is_shared_out(make):
    def saved():
        t = prepared(0, make, complex_too=False).train()
        return t.model.state_dict(), t.optimizers[0].state_dict()

    (state,) = simulated(1, saved)

    def body(zero):
        def loaded(model):
            model.load_state_dict(state[0])
            optimizer = make(model)
            optimizer.load_state_dict(state[1])
            return optimizer

        return prepared(zero, loaded, complex_too=False).train().hashes()

    everywhere(body)


@pytest.mark.parametrize("zero", STAGES)
def test_of_such_a_state_each_rank_keeps_its_share_alone(zero):
    def body():
        made = []

        def trained(model):
            optimizer = lamb(model)
            for p in model.parameters():
                p.grad = dg.Tensor(np.ones(p.shape, p.dtype))
            optimizer.step()
            made.append(optimizer)
            return optimizer

        prepared(zero, trained, complex_too=False).train()
        return sum(a.size for s in made[0]._stores for state in s._state for a in state.values())

    sizes = [7 * 2351, 2351 * 5, 1, 5, 33, 5, 15, 5]
    for size, nodes in WORLDS[1:3]:
        found = simulated(size, body, nodes=nodes)
        # Two arrays each; on all ranks those of what has no gradients, as it never moves there.
        assert sum(found) <= 2 * (sum(sizes) + (size - 1) * (33 + 5))


@pytest.mark.parametrize("make", [adamw, lamb])
@pytest.mark.parametrize("zero", STAGES)
@pytest.mark.parametrize("then", ["trained", "loaded"])
def test_a_copy_of_an_optimizer_is_told_how_to_go_on(zero, make, then):
    (t,) = simulated(1, lambda: prepared(0, make, complex_too=False).train())
    saved = t.optimizers[0].state_dict()

    def body():
        t = prepared(zero, make, complex_too=False)
        if then == "trained":
            t.train()
        else:
            t.optimizers[0].load_state_dict(saved)
        t.optimizers[0].zero_grad()
        model, optimizer = copy.deepcopy((t.model, t.optimizers[0]))
        model(np.ones((2, 7), np.float32)).sum().backward()
        with pytest.raises(GradError, match=r"load a state_dict\(\) made before into a new"):
            optimizer.step()

    for size, nodes in WORLDS[1:3]:
        simulated(size, body, nodes=nodes)
