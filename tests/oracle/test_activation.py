"""Activations against PyTorch: ops, functionals, modules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import array, check, drawn, dtypes, shapes, torch
from torch_names import FUNCTIONALS

import distgrad as dg
from distgrad import Tensor, nn
from distgrad.nn import functional as F

TF = torch.nn.functional

OPS = {*FUNCTIONALS, "glu", "prelu", "gelu_tanh"} - {"relu6", "rrelu", "selu", "celu", "tanh"}
CALLS = [
    (name, settings) for name, all_settings in FUNCTIONALS.items() for settings in all_settings
]
every_call = pytest.mark.parametrize(
    ("name", "settings"), CALLS, ids=[f"{n} {s}" for n, s in CALLS]
)


# PyTorch's own have 1 / alpha and 1 / 6 in float32 on the way back.
PRECISE = {
    "celu": lambda x, alpha=1.0: torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0) / alpha)),
    "hardsigmoid": lambda x: TF.relu6(x + 3) / 6,
}


def both(name, settings):
    ours, theirs = getattr(F, name), PRECISE.get(name) or getattr(TF, name)
    return lambda x: ours(x, **settings), lambda x: theirs(x, **settings)


@every_call
@drawn
@given(data=st.data())
def test_functionals(name, settings, data):
    # Second gradients in the tails of tanh: float32 has no digits left beyond 3.
    end = 3 if name == "gelu" else 5
    x = data.draw(array(shapes(), dtypes, -end, end))
    check(*both(name, settings), [x])


@every_call
def test_kinks(name, settings):
    x = np.array([-6, -3, -2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 6])
    # At a kink there is no second gradient to agree on.
    check(*both(name, settings), [x], second=False)


@every_call
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_and_tiny_numbers_do_not_overflow(name, settings, dtype):
    x = np.array([-1e4, -700, -88, -30, -19, -1e-30, 1e-30, 19, 30, 88, 700, 1e4], dtype)
    # PyTorch's second gradient of mish is NaN at 1e4.
    check(*both(name, settings), [x], second=name != "mish")


@drawn
@given(data=st.data())
def test_prelu(data):
    dtype = data.draw(dtypes)
    x = data.draw(array(shapes(), dtype, -3, 3))
    channels = data.draw(st.sampled_from([1, x.shape[1] if x.ndim > 1 else 1]))
    weight = data.draw(array((channels,), dtype, -1, 1))
    if channels:
        check(F.prelu, TF.prelu, [x, weight])


def test_prelu_at_zero():
    check(F.prelu, TF.prelu, [np.array([[-1.0, 0], [0, 2]]), np.array([0.3, -0.4])], second=False)


@drawn
@given(data=st.data())
def test_glu(data):
    shape = data.draw(shapes(least=1, most=3))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = data.draw(array(tuple(2 * n if i == axis % len(shape) else n for i, n in enumerate(shape))))
    check(lambda x: F.glu(x, axis), lambda x: TF.glu(x, axis), [x])


@drawn
@given(data=st.data())
def test_softmin(data):
    shape = data.draw(shapes(least=1, most=3, min_side=1))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = data.draw(array(shape, dtypes, -5, 5))
    check(lambda x: F.softmin(x, axis), lambda x: TF.softmin(x, axis), [x])


NAMES = """
    ReLU ReLU6 LeakyReLU Hardtanh Hardsigmoid Hardswish Hardshrink Softshrink Sigmoid LogSigmoid
    Tanh Tanhshrink Softsign Softplus GELU SiLU Mish ELU SELU CELU GLU PReLU Softmax2d
"""
MODULES = dict.fromkeys(NAMES.split(), ()) | {
    "Threshold": (0.5, -1.0),
    "Softmax": (1,),
    "Softmin": (-2,),
    "LogSoftmax": (0,),
}
SET = {
    "LeakyReLU": {"negative_slope": 0.2},
    "Hardtanh": {"min_val": -0.5, "max_val": 2.0},
    "Hardshrink": {"lambd": 0.2},
    "Softshrink": {"lambd": 0.2},
    "Softplus": {"beta": 2.0, "threshold": 1.0},
    "GELU": {"approximate": "tanh"},
    "ELU": {"alpha": 0.4},
    "CELU": {"alpha": 0.4},
    "GLU": {"dim": 1},
    "PReLU": {"num_parameters": 4, "init": 0.1},
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_pytorchs_by_default_and_with_settings(name):
    x = np.random.default_rng(3).normal(size=(2, 4, 6, 8)).astype(np.float32) * 2
    for settings in ({}, SET.get(name, {})):
        ours = getattr(nn, name)(*MODULES[name], **settings)
        theirs = getattr(torch.nn, name)(*MODULES[name], **settings)
        wanted = theirs(torch.from_numpy(x)).detach().numpy()
        np.testing.assert_allclose(ours(Tensor(x)).data, wanted, rtol=1e-5, atol=1e-6)


def test_rrelu_in_evaluation_has_the_middle_slope():
    x = np.linspace(-2, 2, 9)
    wanted = torch.nn.RReLU(0.1, 0.4).eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(nn.RReLU(0.1, 0.4).eval()(x).data, wanted)


def test_weights_of_prelu_move_both_ways():
    ours, theirs = nn.PReLU(3), torch.nn.PReLU(3)
    x = np.random.default_rng(3).normal(size=(2, 3, 4)).astype(np.float32)
    ours.weight.data[...] = [0.1, -0.2, 0.3]
    theirs.load_state_dict({n: torch.from_numpy(a) for n, a in arrays(ours).items()})
    there = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(x).data, there, rtol=1e-6)
    back = nn.PReLU(3)
    back.load_state_dict({n: t.numpy() for n, t in theirs.state_dict().items()})
    np.testing.assert_array_equal(back(x).data, ours(x).data)


def arrays(module):
    return {n: np.asarray(getattr(t, "data", t)) for n, t in module.state_dict().items()}


LAYERS = [
    name
    for name in nn.__all__
    if getattr(getattr(nn, name), "__module__", "") == "distgrad.nn.activation"
    and name != "Softmax2d"
]
POSITIONAL = {
    "Threshold": (0.0, -7.0),
    "GLU": (0,),
    "Softmax": (0,),
    "Softmin": (0,),
    "LogSoftmax": (0,),
}
POINTWISE = [n for n in LAYERS if n not in {"GLU", "Softmax", "Softmin", "LogSoftmax", "RReLU"}]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("mode", [dg.enable_grad, dg.reference_kernels])
def test_a_nan_is_not_hidden(name, mode):
    with mode():
        y = getattr(nn, name)(*POSITIONAL.get(name, ()))(np.array([np.nan, 1, -1, 2], "f4"))
    assert np.isnan(y.data[0])


# Where PyTorch's own closed form is ∞ · 0 or ∞ / ∞ ours has the limit.
LIMITS = {("Mish", "gradient"), ("GELU", "value"), ("Softsign", "gradient")}


@pytest.mark.parametrize("name", POINTWISE)
@pytest.mark.parametrize("mode", [dg.enable_grad, dg.reference_kernels])
@pytest.mark.filterwarnings("ignore:invalid value encountered", "ignore:overflow encountered")
def test_nan_infinities_and_signed_zeros_give_pytorchs_values_and_gradients(name, mode):
    data = np.array([np.nan, np.inf, -np.inf, 0, -0.0, 1e30, -1e30, 100, -100], "f4")
    settings = POSITIONAL.get(name, ())
    x, t = Tensor(data.copy(), requires_grad=True), torch.tensor(data, requires_grad=True)
    with mode():
        y = getattr(nn, name)(*settings)(x)
        y.backward(np.ones_like(data))
    wanted = getattr(torch.nn, name)(*settings)(t)
    wanted.backward(torch.ones(len(data)))
    pairs = {"value": (y, wanted.detach()), "gradient": (x.grad, t.grad)}
    for what, (found, expected) in pairs.items():
        f, e = found.data, expected.numpy()
        if (name, what) in LIMITS:
            f, e = f[~np.isnan(e)], e[~np.isnan(e)]
        elif what == "gradient":
            # NaN in the place of PyTorch's finite slope at NaN hides nothing.
            f, e = f[1:] if np.isnan(f[0]) else f, e[1:] if np.isnan(f[0]) else e
        np.testing.assert_allclose(f, e, rtol=1e-5, atol=1e-6, err_msg=what)
