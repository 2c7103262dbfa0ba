"""odeint against solutions in closed form, and its adjoint against backward through the steps."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, nn
from distgrad.autograd import grad
from distgrad.integrate import METHODS, odeint, odeint_adjoint

T = np.array([0.0, 0.4, 1.1, 1.5])
Y0 = np.array([1.0, -2.0, 0.5])


@pytest.mark.parametrize("method", METHODS)
def test_exponential_decay(method):
    settings = {} if method in {"dopri5", "bosh3"} else {"options": {"step_size": 1e-3}}
    if method == "adaptive_heun":
        settings = {"rtol": 1e-6, "atol": 1e-8}
    y = odeint(lambda t, y: -1.5 * y, Tensor(Y0), T, method=method, **settings)
    tolerance = {"euler": 2e-3, "adaptive_heun": 1e-5}.get(method, 2e-6)
    np.testing.assert_allclose(y.array, Y0 * np.exp(-1.5 * T)[:, None], atol=tolerance)


@pytest.mark.parametrize("method", [m for m in METHODS if METHODS[m].error is None])
def test_fixed_methods_have_their_order(method):
    def error(h):
        y = odeint(
            lambda t, y: y * np.cos(t), Tensor(Y0), T, method=method, options={"step_size": h}
        )
        return np.abs(y.array - Y0 * np.exp(np.sin(T))[:, None]).max()

    order = np.log2(error(0.05) / error(0.025))
    assert abs(order - METHODS[method].order) < 0.3


@pytest.mark.parametrize("method", ["dopri5", "bosh3", "adaptive_heun"])
def test_tolerances_bound_the_error_at_all_times_between_steps(method):
    t = np.linspace(0, 3, 301)
    for rtol in (1e-4, 1e-7) if method != "adaptive_heun" else (1e-4,):
        y = odeint(lambda t, y: y * np.cos(t), Tensor(Y0), t, method=method, rtol=rtol, atol=rtol)
        assert np.abs(y.array - Y0 * np.exp(np.sin(t))[:, None]).max() < 60 * rtol


def test_backwards_in_time_and_states_in_tuples():
    def rotate(t, state):
        x, v = state
        return v, -x

    x, v = odeint(rotate, (Tensor(np.zeros(2)), Tensor(np.ones(2))), -T)
    np.testing.assert_allclose(x.array[:, 0], np.sin(-T), atol=1e-6)
    np.testing.assert_allclose(v.array[:, 1], np.cos(-T), atol=1e-6)


def test_gradients_reach_the_start_the_times_and_what_the_field_reads():
    for method in ("dopri5", "rk4"):
        y0, t, k = (Tensor(np.array(v), requires_grad=True) for v in (Y0, T, 1.5))
        options = {"step_size": 0.01} if method == "rk4" else None
        y = odeint(lambda t, y, k=k: -k * y, y0, t, method=method, options=options)
        g0, gt, gk = grad(np.sum(y[-1]), [y0, t, k])
        decay = np.exp(-1.5 * T[-1])
        np.testing.assert_allclose(g0.array, decay, rtol=1e-6)
        np.testing.assert_allclose(gk.array, -T[-1] * decay * Y0.sum(), rtol=1e-5)
        slope = -1.5 * decay * Y0.sum()
        np.testing.assert_allclose(gt.array, [-slope, 0, 0, slope], rtol=1e-5, atol=1e-6)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 5), nn.Linear(5, 3)
        for p in self.parameters():
            p.array = p.array.astype(np.float64)

    def forward(self, t, y):
        return self.b(np.tanh(self.a(y))) * np.cos(t)


def test_the_adjoints_gradients_are_those_through_the_steps():
    dg.manual_seed(0)
    net = Net()
    weight = np.cos(np.arange(12.0)).reshape(4, 3)
    found = []
    for solve in (odeint, odeint_adjoint):
        y0, t = (Tensor(np.array(v), requires_grad=True) for v in (Y0, T))
        y = solve(net, y0, t, rtol=1e-9, atol=1e-11)
        found.append([y, *grad(np.sum(y * weight), [y0, t, *net.parameters()])])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(b.array, a.array, atol=1e-7)


def test_the_adjoint_of_a_tuple_with_parameters_that_are_named():
    k = Tensor(np.array(2.0), requires_grad=True)

    def spring(t, state):
        x, v = state
        return v, -k * x

    found = []
    for solve, more in ((odeint, {}), (odeint_adjoint, {"adjoint_params": (k,)})):
        x, v = (Tensor(np.array(s), requires_grad=True) for s in ([0.5], [1.0]))
        a, b = solve(spring, (x, v), T, rtol=1e-9, atol=1e-11, **more)
        found.append(grad(np.sum(a * a) + np.sum(b[1]), [x, v, k]))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(two.array, one.array, atol=1e-7)


def test_the_adjoint_records_one_node_however_many_steps_it_takes():
    dg.manual_seed(0)
    net = Net()
    y = odeint_adjoint(net, Tensor(Y0), T, method="rk4", options={"step_size": 0.01})
    assert y._node.op.name == "_Adjoint"
    inputs = [source for vjp, source, *_ in y._node.edges if vjp is not None]
    assert len(inputs) == 4
    assert all(isinstance(source, Tensor) for source in inputs)
    y.sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_single_precision_stays_so():
    y = odeint(lambda t, y: -y, Tensor(Y0.astype(np.float32)), T, rtol=1e-4, atol=1e-5)
    assert y.dtype == np.float32
    y = odeint(lambda t, y: -y, Tensor(Y0.astype(np.float32)), T, method="rk4")
    assert y.dtype == np.float32


REFUSED = {
    "order": ({"t": [0.0, 1.0, 0.5]}, "strictly increasing or decreasing"),
    "method": ({"method": "rk5"}, "'rk5' is none of dopri5"),
    "options": ({"options": {"perturb": True}}, r"\['perturb'\] are not supported"),
    "an adaptive method's": (
        {"options": {"first_step": 0.1}, "method": "rk4"},
        r"\['first_step'\] are not supported by method 'rk4'; it takes step_size",
    ),
    "a fixed method's": (
        {"options": {"step_size": 0.1}},
        "by method 'dopri5'; it takes first_step",
    ),
    "no step": ({"options": {"step_size": 0}, "method": "rk4"}, "step_size=0 must be above 0"),
    "tolerances": ({"rtol": 0, "atol": 0}, r"rtol=0\.0 and atol=0\.0 must be"),
    "negative": ({"rtol": Tensor(-1e-3)}, r"rtol=-0\.00"),
    "event": ({"event_fn": lambda t, y: y}, "event_fn is not supported"),
    "whole": ({"y0": Tensor(np.arange(3))}, "real numbers; got int64"),
    "shape": ({"func": lambda t, y: y[:2]}, r"returned shapes \[\(2,\)\] for a state of"),
    "steps": ({"options": {"max_num_steps": 2}}, "max_num_steps reached"),
    "explosion": ({"func": lambda t, y: y * y * 1e3, "y0": Tensor(np.ones(1))}, "underflow in dt"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_solved_is_refused(name):
    given, message = REFUSED[name]
    given = {"func": lambda t, y: -y, "y0": Tensor(Y0), "t": T, **given}
    with pytest.raises(dg.DistgradError, match=message):
        odeint(given.pop("func"), given.pop("y0"), given.pop("t"), **given)


def test_an_adjoint_without_parameters_has_to_be_told_which():
    with pytest.raises(dg.GradError, match="func must be an nn"):
        odeint_adjoint(lambda t, y: -y, Tensor(Y0), T)


def test_options_of_one_method_are_not_handed_to_another_in_the_adjoint():
    def solve(**more):
        return odeint_adjoint(
            lambda t, y: -y,
            Tensor(Y0),
            T,
            adjoint_params=(),
            options={"first_step": 0.01},
            adjoint_method="rk4",
            **more,
        )

    with pytest.raises(dg.ShapeError, match="say which adjoint_method='rk4' has"):
        solve()
    assert solve(adjoint_options={"step_size": 0.1}).shape == (len(T), *Y0.shape)
    odeint(lambda t, y: -y, Tensor(Y0), T, options={"first_step": None})
