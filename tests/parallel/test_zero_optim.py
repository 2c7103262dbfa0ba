"""Every optimizer under sharded training: the bits of zero=0, of weights and of its state."""

import numpy as np
import pytest
from zero_training import Odd, everywhere, prepared

from distgrad import optim

SETTINGS = {
    "SGD": {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1},
    "ASGD": {"t0": 2.0, "weight_decay": 0.1},
    "Adam": {"weight_decay": 0.1, "amsgrad": True},
    "AdamW": {"amsgrad": True},
    "NAdam": {"weight_decay": 0.1},
    "RAdam": {"weight_decay": 0.1},
    "Adamax": {"weight_decay": 0.1},
    "Adagrad": {"weight_decay": 0.1, "initial_accumulator_value": 0.2, "lr_decay": 0.1},
    "Adadelta": {"weight_decay": 0.1},
    "RMSprop": {"momentum": 0.9, "centered": True},
    "Rprop": {},
    "Lion": {"weight_decay": 0.1},
    "LARS": {"weight_decay": 0.1},
    "LAMB": {"weight_decay": 0.1},
    "Adafactor": {"weight_decay": 0.1},
    "Muon": {},
    "SparseAdam": {},
}
OWN_STEP = {"LBFGS"}
AROUND_ANOTHER = {"Lookahead"}


def public_optimizers():
    kinds = {n: k for n in optim.__all__ if isinstance(k := getattr(optim, n), type)}
    return {n for n, k in kinds.items() if issubclass(k, optim.Optimizer)} - {"Optimizer"}


def test_every_public_optimizer_is_here():
    assert {*SETTINGS} | OWN_STEP | AROUND_ANOTHER == public_optimizers()


def make(name, params, **settings):
    return getattr(optim, name)(params, **{"lr": 0.03, **SETTINGS[name], **settings})


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


def trained(name, zero, wrap=lambda optimizer: optimizer):
    return prepared(zero, made_for(name, wrap), complex_too=takes_complex(name)).train(2)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_training_moves_what_is_used_and_nothing_else(name):
    before = dict(Odd(takes_complex(name)).named_parameters())
    for key, p in trained(name, 0).model.named_parameters():
        assert np.isfinite(p.array).all()
        moved = (p.array != before[key].array).mean()
        assert (moved == 0) if key in ("never", "still") else (moved > 0.9), key


@pytest.mark.parametrize("name", SETTINGS)
def test_weights_and_state_have_the_bits_of_zero_0(name):
    everywhere(lambda zero: trained(name, zero).hashes())


@pytest.mark.parametrize("name", SETTINGS)
def test_lookahead_has_them_around_every_optimizer(name):
    def body(zero):
        return trained(name, zero, lambda o: optim.Lookahead(o, k=2)).hashes()

    everywhere(body, worlds=[(3, None), (3, [2, 1])])
