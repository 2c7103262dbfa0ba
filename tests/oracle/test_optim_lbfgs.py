"""LBFGS beside PyTorch's: many steps, both line searches, the same number of evaluations."""

import numpy as np
import pytest
from oracle import torch

from distgrad import nn, optim

SETTINGS = [
    {"lr": 0.01},
    {"lr": 0.001, "max_iter": 5},
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 7},
    {"line_search_fn": "strong_wolfe", "max_eval": 9},
    {"line_search_fn": "strong_wolfe", "lr": 0.2, "tolerance_change": 1e-5},
    {"line_search_fn": "strong_wolfe", "tolerance_grad": 0.5, "max_iter": 3},
]


@pytest.fixture(autouse=True)
def float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def closure_of(optimizer, loss, count):
    def closure():
        optimizer.zero_grad()
        count.append(1)
        found = loss()
        found.backward()
        return found

    return closure


def both(ours, theirs, losses, settings):
    """Return two functions that take a step, and the calls each closure had."""
    mine, other = optim.LBFGS(ours, **settings), torch.optim.LBFGS(theirs, **settings)
    calls = [], []
    steps = [
        lambda: mine.step(closure_of(mine, losses[0], calls[0])),
        lambda: other.step(closure_of(other, losses[1], calls[1])),
    ]
    return mine, other, steps, calls


def compare(ours, theirs, steps, calls, count, tolerance=1e-9):
    for step in range(count):
        found, expected = (float(s().detach()) for s in steps)
        assert found == pytest.approx(expected, rel=tolerance, abs=tolerance), step
        assert len(calls[0]) == len(calls[1]), step
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(
                p.data, q.detach().numpy(), rtol=tolerance, atol=tolerance, err_msg=str(step)
            )


def rounding(settings, count):
    """How far PyTorch's own path goes astray if it starts one bit beside: what rounding can do."""
    paths = []
    for start in (-1.2, np.nextafter(-1.2, 0)):
        q = torch.nn.Parameter(torch.tensor([start, 1.0]))
        other = torch.optim.LBFGS([q], **settings)
        path = []
        for _ in range(count):
            other.step(closure_of(other, lambda q=q: rosenbrock(q), []))
            path.append(q.detach().numpy().copy())
        paths.append(np.array(path))
    return float(np.abs(paths[0] - paths[1]).max())


@pytest.mark.parametrize("settings", SETTINGS)
def test_rosenbrocks_valley_is_walked_as_by_pytorchs(settings):
    p, q = nn.Parameter(np.array([-1.2, 1.0])), torch.nn.Parameter(torch.tensor([-1.2, 1.0]))
    losses = (lambda: rosenbrock(p)), (lambda: rosenbrock(q))
    _, _, steps, calls = both([p], [q], losses, settings)
    compare([p], [q], steps, calls, 30, max(1e-9, 3 * rounding(settings, 30)))


def network(seed=0):
    ours = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    rng = np.random.default_rng(seed)
    state = {n: 0.5 * rng.normal(size=a.shape) for n, a in ours.state_arrays().items()}
    ours.load_state_dict(state)
    theirs.load_state_dict({n: torch.from_numpy(a) for n, a in state.items()})
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 2))
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    # The penalty keeps the Hessian's eigenvalues apart from 0, so that rounding does not grow.
    losses = (
        lambda: nn.MSELoss()(ours(x), y) + 0.05 * sum(np.sum(p**2) for p in ours.parameters()),
        lambda: (
            torch.nn.MSELoss()(theirs(tx), ty)
            + 0.05 * sum((p**2).sum() for p in theirs.parameters())
        ),
    )
    return [*ours.parameters()], [*theirs.parameters()], losses


@pytest.mark.parametrize("settings", [{"lr": 0.1}, *SETTINGS[2:]])
def test_a_networks_steps_are_pytorchs(settings):
    ours, theirs, losses = network()
    _, _, steps, calls = both(ours, theirs, losses, settings)
    compare(ours, theirs, steps, calls, 6, 1e-9)


def test_a_parameter_without_gradient_stays():
    ours, theirs, losses = network()
    idle, other = nn.Parameter(np.ones(2)), torch.nn.Parameter(torch.ones(2))
    _, _, steps, calls = both([idle, *ours], [other, *theirs], losses, {"lr": 0.1})
    compare(ours, theirs, steps, calls, 3)
    assert idle.data.tolist() == [1.0, 1.0]


def test_the_largest_steps_end_where_pytorchs_do():
    # A loss without a minimum: the bracket is searched until the evaluations are used up.
    p, q = nn.Parameter(np.array([0.3, 2.0])), torch.nn.Parameter(torch.tensor([0.3, 2.0]))
    losses = (lambda: -(p**3).sum()), (lambda: -(q**3).sum())
    settings = {"line_search_fn": "strong_wolfe", "max_iter": 4, "max_eval": 6}
    _, _, steps, calls = both([p], [q], losses, settings)
    compare([p], [q], steps, calls, 1)


def test_complex_parameters_are_twice_as_many_real_ones():
    start = np.array([[1 + 2j, -0.5j], [0.3, 1j]])
    p, q = nn.Parameter(start), torch.nn.Parameter(torch.from_numpy(start))
    losses = (
        lambda: np.sum(np.real(p * np.conj(p)) ** 2) + np.sum(np.real(p)),
        lambda: torch.sum((q * q.conj()).real ** 2) + q.real.sum(),
    )
    _, _, steps, calls = both([p], [q], losses, {"line_search_fn": "strong_wolfe"})
    compare([p], [q], steps, calls, 3)


def arrays_as_tensors(value):
    if isinstance(value, dict):
        return {k: arrays_as_tensors(v) for k, v in value.items()}
    if isinstance(value, list):
        return [arrays_as_tensors(v) for v in value]
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("direction", ["from PyTorch", "to PyTorch"])
def test_the_state_travels(direction, search):
    settings = {"lr": 0.1, "line_search_fn": search, "history_size": 4, "max_iter": 3}
    ours, theirs, losses = network()
    mine, other, steps, calls = both(ours, theirs, losses, settings)
    compare(ours, theirs, steps, calls, 2)
    # The one whose state travels goes on by itself; the other starts anew with the other's state.
    if direction == "from PyTorch":
        mine = optim.LBFGS(ours)
        mine.load_state_dict(other.state_dict())
        assert mine.param_groups[0]["history_size"] == 4
    else:
        state = mine.state_dict()
        assert set(state["state"]) == {0}
        other = torch.optim.LBFGS(theirs)
        other.load_state_dict(arrays_as_tensors(state))
    steps = [
        lambda: mine.step(closure_of(mine, losses[0], calls[0])),
        lambda: other.step(closure_of(other, losses[1], calls[1])),
    ]
    compare(ours, theirs, steps, calls, 3)
    found, expected = mine.state_dict()["state"][0], other.state_dict()["state"][0]
    assert set(expected) - set(found) <= {"al"}  # PyTorch's scratch memory
    for name in ("func_evals", "n_iter"):
        assert found[name] == expected[name]
