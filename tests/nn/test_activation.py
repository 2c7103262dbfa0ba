"""Activations without PyTorch: settings, refusals, extreme numbers, random slopes."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, nn, ops
from distgrad.autograd import grad
from distgrad.nn import functional as F

SMOOTH = ["sigmoid", "logsigmoid", "tanhshrink", "softsign", "softplus", "silu", "mish", "elu"]
PIECES = ["relu", "relu6", "leaky_relu", "hardtanh", "hardsigmoid", "hardswish", "hardshrink"]


@pytest.mark.parametrize("name", [*SMOOTH, *PIECES, "softshrink", "selu", "celu", "gelu", "tanh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_extreme_numbers_give_finite_values_and_gradients_of_both_orders(name, dtype):
    x = Tensor(np.array([-1e4, -200, -1e-30, 0, 1e-30, 200, 1e4], dtype), requires_grad=True)
    y = getattr(F, name)(x)
    (first,) = grad(np.sum(y), [x], create_graph=True)
    found = [y.array, first.array]
    if first.requires_grad:
        found.append(grad(np.sum(first), [x])[0].array)
    for a in found:
        assert a.dtype == dtype
        assert np.isfinite(a).all()


def test_softplus_and_logsigmoid_keep_their_tails():
    x = np.array([-100.0, -40, 40])
    np.testing.assert_allclose(F.softplus(x).array, [np.exp(-100), np.exp(-40), 40], rtol=1e-12)
    np.testing.assert_allclose(
        F.logsigmoid(-x).array, [-np.exp(-100), -np.exp(-40), -40], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.SiLU(), "SiLU()"),
        (nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)"),
        (nn.Hardtanh(-2, 2), "Hardtanh(min_val=-2, max_val=2)"),
        (nn.GELU("tanh"), "GELU(approximate='tanh')"),
        (nn.Softmax(1), "Softmax(dim=1)"),
        (nn.RReLU(0.1, 0.2), "RReLU(lower=0.1, upper=0.2)"),
        (nn.PReLU(3), "PReLU(num_parameters=3)"),
    ],
)
def test_a_module_shows_its_settings(module, text):
    assert text in repr(nn.Sequential(module))


def test_a_setting_can_be_changed_afterwards():
    module = nn.ELU()
    module.alpha = 2.0
    np.testing.assert_allclose(module(np.array([-1.0])).array, 2 * np.expm1(-1))


def test_the_slopes_of_prelu_are_trained():
    module = nn.PReLU(2, init=0.5)
    x = np.array([[-1.0, 3.0], [-4.0, -5.0]], np.float32)
    module(x).sum().backward()
    assert module.weight.grad.array.tolist() == [-5, -5]
    assert module.weight.grad.dtype == np.float32


def test_random_slopes_depend_on_seed_and_call_and_stay_in_their_range():
    x = Tensor(-np.ones((50, 20), np.float32), requires_grad=True)
    dg.manual_seed(4)
    y = F.rrelu(x, 0.25, 0.5, training=True)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.array, -y.array)
    assert y.dtype == np.float32
    assert 0.25 <= x.grad.array.min() < 0.27
    assert 0.48 < x.grad.array.max() <= 0.5
    again = F.rrelu(x, 0.25, 0.5, training=True).array
    assert (again != y.array).any()
    dg.manual_seed(4)
    np.testing.assert_array_equal(F.rrelu(x, 0.25, 0.5, training=True).array, y.array)


def test_rrelu_draws_in_training_only():
    x = -np.ones(4)
    module = nn.RReLU(0.2, 0.4)
    assert len(np.unique(module(x).array)) == 4
    np.testing.assert_allclose(module.eval()(x).array, -0.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: F.prelu(np.ones((2, 3)), np.ones(2)),
            r"one per channel \(3 in \(2, 3\)\); .*\(2,\)",
        ),
        (lambda: F.prelu(np.ones(3), np.ones(3)), r"one per channel \(1 in \(3,\)\)"),
        (
            lambda: F.glu(np.ones((2, 3))),
            r"glu needs an axis -1 of even length; got shape \(2, 3\)",
        ),
        (lambda: F.glu(np.ones(4), dim=1), r"glu needs an axis 1 of even length"),
        (lambda: F.softshrink(np.ones(2), -1.0), r"lambd is at least 0; got -1"),
        (lambda: F.hardtanh(np.ones(2), 1, 0), r"min_val is at most max_val; got 1 and 0"),
        (lambda: F.celu(np.ones(2), 0), r"celu divides by alpha"),
        (lambda: F.rrelu(np.ones(2), 0.5, 0.2), r"lower is at most upper; got 0\.5 and 0\.2"),
        (
            lambda: nn.Softmax2d()(np.ones((2, 2))),
            r"Softmax2d expects \(n, c, h, w\).*got \(2, 2\)",
        ),
    ],
)
def test_a_setting_that_cannot_work_is_named(call, message):
    with pytest.raises(dg.ShapeError, match=message):
        call()


def test_softplus_of_ops_is_exact_and_that_of_nn_stops_at_its_threshold():
    x = np.array([2.0, 4.0])
    assert F.softplus(x, threshold=3).array[1] == 4
    assert F.softplus(x, threshold=3).array[0] > 2
    assert ops.softplus(x).array[1] > 4


def test_a_subclass_with_a_constructor_of_its_own_keeps_its_settings():
    class Leaky(nn.LeakyReLU):
        def __init__(self, *slopes):
            super().__init__(sum(slopes))

    module = Leaky(0.1, 0.2, 0.3)
    np.testing.assert_allclose(module(np.array([-1.0, 2.0])).array, [-0.6, 2.0])
    assert repr(module) == f"Leaky(negative_slope={0.1 + 0.2 + 0.3})"


def test_a_module_without_settings_takes_none():
    with pytest.raises(TypeError, match="unexpected keyword argument 'settings'"):
        nn.Tanhshrink(settings=1)
