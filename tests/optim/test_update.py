"""SGD and AdamW against their formulas, written out element by element."""

import math

import numpy as np
import pytest

from distgrad import Tensor, nn, optim
from distgrad.errors import ShapeError

STEPS = 20
SHAPES = [(3, 4), (5,), (), (2, 1, 3)]


def start(dtype):
    rng = np.random.default_rng(1)
    return [rng.normal(size=s).astype(dtype) for s in SHAPES]


def gradients(step, dtype):
    rng = np.random.default_rng(100 + step)
    return [(rng.normal(size=s) * (i + 1)).astype(dtype) for i, s in enumerate(SHAPES)]


def train(make, dtype):
    params = [nn.Parameter(a) for a in start(dtype)]
    optimizer = make(params)
    for step in range(STEPS):
        optimizer.zero_grad()
        for p, g in zip(params, gradients(step, dtype), strict=True):
            p.accumulate_(Tensor(g))
        optimizer.step()
    return params


def sgd_by_hand(lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    def follow(x, grads):
        b = None
        for gradient in grads:
            d = g = gradient + weight_decay * x
            if momentum:
                b = g if b is None else momentum * b + (1 - dampening) * g
                d = g + momentum * b if nesterov else b
            x = x - lr * d
        return x

    return follow


def adamw_by_hand(lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    def follow(x, grads):
        m = v = 0.0
        for t, g in enumerate(grads, 1):
            x = x - lr * weight_decay * x
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g * g
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            x = x - lr * m_hat / (math.sqrt(v_hat) + eps)
        return x

    return follow


SETTINGS = {
    "sgd": (optim.SGD, sgd_by_hand, {"lr": 0.1}),
    "sgd, decay": (optim.SGD, sgd_by_hand, {"lr": 0.1, "weight_decay": 0.2}),
    "sgd, momentum": (optim.SGD, sgd_by_hand, {"lr": 0.1, "momentum": 0.9}),
    "sgd, dampening": (optim.SGD, sgd_by_hand, {"lr": 0.1, "momentum": 0.8, "dampening": 0.5}),
    "sgd, nesterov": (
        optim.SGD,
        sgd_by_hand,
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
    "sgd, all": (
        optim.SGD,
        sgd_by_hand,
        {"lr": 0.05, "momentum": 0.7, "dampening": 0.2, "weight_decay": 0.1},
    ),
    "adamw": (optim.AdamW, adamw_by_hand, {"lr": 0.01}),
    "adamw, no decay": (optim.AdamW, adamw_by_hand, {"lr": 0.01, "weight_decay": 0.0}),
    "adamw, all": (
        optim.AdamW,
        adamw_by_hand,
        {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
    ),
}


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 2e-5)])
@pytest.mark.parametrize("name", SETTINGS)
def test_twenty_steps_follow_the_formula(name, dtype, rtol):
    make, by_hand, settings = SETTINGS[name]
    params = train(lambda p: make(p, **settings), dtype)
    follow = by_hand(**settings)
    for i, (p, a) in enumerate(zip(params, start(dtype), strict=True)):
        grads = [gradients(t, dtype)[i] for t in range(STEPS)]
        for place in np.ndindex(a.shape):
            expected = follow(float(a[place]), [float(g[place]) for g in grads])
            assert p.array[place] == pytest.approx(expected, rel=rtol, abs=rtol), (i, place)
        assert p.dtype == dtype


def test_the_defaults_are_pytorchs():
    p = nn.Parameter(np.ones(1))
    settings = {k: v for k, v in optim.SGD([p]).param_groups[0].items() if k != "params"}
    assert settings == {
        "lr": 1e-3,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
    }
    settings = {k: v for k, v in optim.AdamW([p]).param_groups[0].items() if k != "params"}
    assert settings == {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 1e-2,
        "amsgrad": False,
        "maximize": False,
    }


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9, "dampening": 0.1}])
def test_nesterov_without_momentum_or_with_dampening_is_refused(settings):
    with pytest.raises(ShapeError, match="nesterov needs momentum > 0 and dampening = 0"):
        optim.SGD([nn.Parameter(np.ones(1))], nesterov=True, **settings)


def test_the_update_is_the_same_to_the_bit_however_long_the_arrays_are():
    # Parameters are updated as one long array or one by one, depending on their memory.
    whole = nn.Parameter(np.concatenate([a.reshape(-1) for a in start(np.float32)]))
    optimizer = optim.AdamW([whole], lr=0.01)
    for step in range(STEPS):
        flat = np.concatenate([g.reshape(-1) for g in gradients(step, np.float32)])
        whole.grad = Tensor(flat)
        optimizer.step()
    apart = train(lambda p: optim.AdamW(p, lr=0.01), np.float32)
    together = np.concatenate([p.array.reshape(-1) for p in apart])
    np.testing.assert_array_equal(whole.array, together)
