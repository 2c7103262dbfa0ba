"""Every optimizer under sharded training: the bits of zero=0, of weights and of its state."""

import numpy as np
import pytest
from optimizer_cases import ALL
from training import alone, simulated
from zero_training import Odd, everywhere, prepared, sha256

from distgrad import optim
from distgrad.errors import GradError
from distgrad.perrank import isolated


def make(name, params, **settings):
    return getattr(optim, name)(params, **{"lr": 0.03, **ALL[name], **settings})


def takes_complex(name):
    return getattr(optim, name).trains_complex


def made_for(name, wrap=lambda optimizer: optimizer):
    """Return what makes the optimizer; where it trains matrices only, AdamW has the rest."""

    def of(model):
        params = list(model.parameters())
        if name != "Muon":
            return wrap(make(name, params))
        matrices = [p for p in params if p.ndim == 2]
        rest = [p for p in params if p.ndim != 2]
        return [wrap(make(name, matrices)), optim.AdamW(rest, lr=0.03)]

    return of


def trained(name, zero, wrap=lambda optimizer: optimizer, **settings):
    complex_too = takes_complex(name)
    return prepared(zero, made_for(name, wrap), complex_too=complex_too, **settings).train(2)


@pytest.mark.parametrize("name", ALL)
def test_the_training_moves_what_is_used_and_nothing_else(name):
    before = dict(Odd(takes_complex(name)).named_parameters())
    model = isolated(lambda: trained(name, 0).model)
    for key, p in model.named_parameters():
        assert np.isfinite(p.array).all()
        moved = (p.array != before[key].array).mean()
        assert (moved == 0) if key in ("never", "still") else (moved > 0.9), key


@pytest.mark.parametrize("bucket_mb", [0.04, 4.0])
@pytest.mark.parametrize("name", ALL)
def test_weights_and_state_have_the_bits_of_zero_0(name, bucket_mb):
    worlds = [(2, None), (3, [2, 1])] if bucket_mb < 1 else [(3, None), (3, [1, 1, 1])]
    everywhere(lambda zero: trained(name, zero, bucket_mb=bucket_mb).hashes(), worlds)


@pytest.mark.parametrize("name", ["AdamW", "Rprop", "ASGD", "LAMB", "Adafactor", "Muon"])
def test_ranks_that_move_nothing_do_not_differ(name):
    def body(zero):
        return trained(name, zero, shards=8, bucket_mb=4.0).hashes()

    everywhere(body, [(8, None), (5, [1, 3, 1])])


@pytest.mark.parametrize("name", ALL)
def test_lookahead_has_them_around_every_optimizer(name):
    def body(zero):
        return trained(name, zero, lambda o: optim.Lookahead(o, k=2)).hashes()

    everywhere(body, worlds=[(3, None), (3, [2, 1])])


@pytest.mark.parametrize("name", ["AdamW", "Rprop", "LAMB"])
@pytest.mark.parametrize("algorithm", ["tree", "shared", "hierarchical"])
def test_no_algorithm_of_the_canonical_order_changes_anything(name, algorithm):
    def body(zero):
        chosen = algorithm if zero else None
        return prepared(zero, made_for(name), complex_too=False, algorithm=chosen).train().hashes()

    everywhere(body, [(3, None)] if algorithm == "shared" else [(3, None), (3, [2, 1])])


# -- who cannot -----------------------------------------------------------------------------------


class Averaged(optim.Optimizer):
    """Steps by itself, as PyTorch's do."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1})

    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            if p.grad is not None:
                p.data -= 0.1 * p.grad.data


OWN = {
    "LBFGS": optim.LBFGS,
    "Averaged": Averaged,
    "Lookahead around LBFGS": lambda params: optim.Lookahead(optim.LBFGS(params)),
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("zero", [1, 2, 3])
@pytest.mark.parametrize("first", ["optimizer", "ddp"])
def test_an_optimizer_with_a_step_of_its_own_is_refused_by_name(name, zero, first):
    kind = "LBFGS" if "LBFGS" in name else name
    message = rf"{kind} has a step of its own, which needs all gradients on every rank: train with"

    def body():
        if first == "optimizer":
            with pytest.raises(GradError, match=message):
                prepared(zero, lambda m: OWN[name](list(m.parameters()))).train()
        else:
            t = prepared(zero, lambda m: [])
            with pytest.raises(GradError, match=message):
                OWN[name](list(t.model.parameters()))

    simulated(3, body, nodes=[2, 1])


@pytest.mark.parametrize("name", [n for n in ALL if not getattr(optim, n).elementwise])
def test_one_that_needs_whole_parameters_comes_too_late_where_they_are_cut(name):
    def body():
        t = prepared(1, lambda m: optim.SGD(m.parameters(), lr=0.1), complex_too=False).train()
        with pytest.raises(
            GradError,
            match=rf"{name} looks at whole parameters, and one of shape \(7, 2351\) is shared out "
            rf"in parts already: make it before the first training pass",
        ):
            make(name, [t.model.wide])
        t.optimizers.append(make(name, [t.model.fine]))  # of this one there are no parts
        t.train()

    simulated(2, body)


# -- in MPI's world -------------------------------------------------------------------------------


@pytest.mark.mpi
@pytest.mark.parametrize("name", ALL)
def test_under_mpirun_every_stage_has_the_bits_of_zero_0(name):
    def body(zero):
        t = trained(name, zero, lambda o: optim.Lookahead(o, k=2))
        ema = optim.ExponentialMovingAverage(t.model, 0.6)
        ema.update()
        norm = optim.clip_grad_norm_(t.train().model.parameters(), 0.1, 1.0)
        ema.update()
        return norm, sha256(ema.state_dict()), t.hashes()

    expected = simulated(1, lambda: body(0))
    assert [alone(lambda z=zero: body(z)) for zero in range(4)] == expected * 4
