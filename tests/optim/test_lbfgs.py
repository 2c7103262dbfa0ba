"""LBFGS: what it refuses, its state, and several ranks."""

import json

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import MismatchError, ShapeError
from distgrad.nn import functional as F


def closure_of(optimizer, loss):
    def closure():
        optimizer.zero_grad()
        found = loss()
        found.backward()
        return found

    return closure


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rosenbrocks_minimum_is_found_with_the_line_search(dtype):
    p = nn.Parameter(np.array([-1.2, 1.0], dtype))
    optimizer = optim.LBFGS([p], line_search_fn="strong_wolfe", max_iter=50)
    closure = closure_of(optimizer, lambda: rosenbrock(p))
    first = optimizer.step(closure)
    assert float(first.detach()) == pytest.approx(24.2, rel=1e-4)
    optimizer.step(closure)
    np.testing.assert_allclose(p.array, [1, 1], atol=1e-3)
    assert p.dtype == dtype


def test_a_quadratic_is_solved_in_few_iterations():
    p = nn.Parameter(np.ones(3))
    curvature = np.array([1.0, 4.0, 9.0])
    optimizer = optim.LBFGS([p], max_iter=12, line_search_fn="strong_wolfe", max_eval=100)
    optimizer.step(closure_of(optimizer, lambda: np.sum(curvature * p**2)))
    assert np.abs(p.array).max() < 1e-5


def test_a_closure_is_needed():
    optimizer = optim.LBFGS([nn.Parameter(np.ones(2))])
    with pytest.raises(TypeError, match=r"write optimizer.step\(closure\), where"):
        optimizer.step()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"line_search_fn": "armijo"}, "line_search_fn is 'strong_wolfe' or None; got 'armijo'"),
        ({"lr": -1.0}, "LBFGS: lr is .*; got -1.0"),
        ({"history_size": 0}, "LBFGS: history_size is a whole number above 0; got 0"),
        ({"max_iter": -1}, "LBFGS: max_iter is a whole number, 0 or more; got -1"),
    ],
)
def test_settings_out_of_their_range_are_refused(settings, message):
    with pytest.raises(ShapeError, match=message):
        optim.LBFGS([nn.Parameter(np.ones(2))], **settings)


def test_a_second_group_is_refused():
    p, q = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
    with pytest.raises(ShapeError, match="LBFGS takes one group"):
        optim.LBFGS([{"params": [p]}, {"params": [q]}])
    optimizer = optim.LBFGS([p])
    with pytest.raises(ShapeError, match="LBFGS takes one group"):
        optimizer.add_param_group({"params": [q]})


def test_a_loaded_optimizer_continues_to_the_bit():
    def run(steps, optimizer, p):
        for _ in range(steps):
            optimizer.step(closure_of(optimizer, lambda: rosenbrock(p)))

    def start():
        p = nn.Parameter(np.array([-1.2, 1.0]))
        return optim.LBFGS([p], lr=0.01, max_iter=4, history_size=3), p

    straight, p = start()
    run(6, straight, p)
    first, q = start()
    run(3, first, q)
    state = json.loads(json.dumps(first.state_dict(), default=np.ndarray.tolist))
    second = optim.LBFGS([q])
    second.load_state_dict(as_arrays(state))
    run(3, second, q)
    np.testing.assert_array_equal(p.array, q.array)


def as_arrays(state):
    entry = state["state"]["0"]
    for name in ("d", "prev_flat_grad"):
        entry[name] = np.array(entry[name])
    for name in ("old_dirs", "old_stps"):
        entry[name] = [np.array(a) for a in entry[name]]
    return state


def fitted(shards, search):
    """Train a small network on this rank's shards; return its weights."""
    dg.init(shards=shards)
    dg.manual_seed(3)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(22, 3)), rng.normal(size=(22, 2))
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    optimizer = optim.LBFGS(model.parameters(), lr=0.5, max_iter=6, line_search_fn=search)
    ddp = dg.DistributedDataParallel(model)
    loader = dg.data.DataLoader(dg.data.ArrayDataset(x, y), global_batch_size=11)
    for batch in loader:

        def closure(batch=batch):
            optimizer.zero_grad()
            sums = dg.ShardSum(dg.current_world(), "loss", "samples")
            for a, b in batch.shards:
                loss = F.mse_loss(model(a), b)
                sums.add(loss=loss.detach() * len(a), samples=len(a))
                ddp.backward(loss)
            total = sums.result()
            return total["loss"] / total["samples"]

        optimizer.step(closure)
    return nn.state_sha256(model.state_dict())


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_any_number_of_ranks_gives_the_same_bits(search):
    one = simulated(1, lambda: fitted(4, search))[0]
    for size in (2, 3):
        assert simulated(size, lambda: fitted(4, search)) == [one] * size


@pytest.mark.mpi
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_mpi_ranks_give_the_same_bits(search):
    assert alone(lambda: fitted(4, search)) == simulated(1, lambda: fitted(4, search))[0]


def diverging():
    dg.init()
    model = nn.Linear(2, 1).double()
    optimizer = optim.LBFGS(model.parameters(), line_search_fn="strong_wolfe")
    ddp = dg.DistributedDataParallel(model)
    rank = dg.current_world().rank
    x = np.random.default_rng(rank).normal(size=(5, 2))

    def closure():
        optimizer.zero_grad()
        loss = np.mean((model(x) - 10.0 * rank) ** 2)
        ddp.backward(loss)
        return loss

    for _ in range(3):
        optimizer.step(closure)


def test_a_loss_that_is_each_ranks_own_is_an_error_that_names_it():
    with pytest.raises(MismatchError, match=r"the loss that the closure of LBFGS .*ShardSum"):
        simulated(3, diverging)
