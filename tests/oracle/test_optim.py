"""Twenty steps beside PyTorch's optimizers, and states both ways.

PyTorch has no Lion, LARS and LAMB: their papers' algorithms are written out here with its ops.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import DTYPES, RTOL, assert_close, drawn, torch

import distgrad as dg
from distgrad import Tensor, nn, optim

SHAPES = [(3, 4), (5,), (), (2, 1, 3), (7, 2)]
MATRICES = [(3, 4), (5, 5), (7, 2)]


def real(low, high):
    return st.floats(low, high).map(lambda x: float(f"{x:.3g}"))


flag = st.booleans()
lr = real(1e-3, 0.3)
decay = st.one_of(st.just(0.0), real(1e-3, 0.5))
betas = st.tuples(real(0.0, 0.95), real(0.5, 0.999))
eps = st.sampled_from([1e-8, 1e-3])

# A draw of settings for each optimizer.
DRAWS = {
    "SGD": {
        "lr": lr,
        "momentum": st.sampled_from([0.0, 0.5, 0.9]),
        "dampening": st.sampled_from([0.0, 0.4]),
        "weight_decay": decay,
        "nesterov": flag,
        "maximize": flag,
    },
    "ASGD": {
        "lr": lr,
        "lambd": real(1e-4, 0.1),
        "alpha": real(0.5, 1.0),
        "t0": st.sampled_from([0.0, 5.0, 1e6]),
        "weight_decay": decay,
        "maximize": flag,
    },
    "Adam": {
        "lr": lr,
        "betas": betas,
        "eps": eps,
        "weight_decay": decay,
        "amsgrad": flag,
        "maximize": flag,
        "decoupled_weight_decay": flag,
    },
    "AdamW": {
        "lr": lr,
        "betas": betas,
        "eps": eps,
        "weight_decay": decay,
        "amsgrad": flag,
        "maximize": flag,
    },
    "NAdam": {
        "lr": lr,
        "betas": betas,
        "eps": eps,
        "weight_decay": decay,
        "momentum_decay": real(1e-3, 0.1),
        "decoupled_weight_decay": flag,
        "maximize": flag,
    },
    "RAdam": {
        "lr": lr,
        "betas": betas,
        "eps": eps,
        "weight_decay": decay,
        "decoupled_weight_decay": flag,
        "maximize": flag,
    },
    "Adamax": {"lr": lr, "betas": betas, "eps": eps, "weight_decay": decay, "maximize": flag},
    "Adagrad": {
        "lr": lr,
        "lr_decay": decay,
        "weight_decay": decay,
        "initial_accumulator_value": decay,
        "eps": eps,
        "maximize": flag,
    },
    "Adadelta": {
        "lr": real(0.1, 2.0),
        "rho": real(0.5, 0.99),
        "eps": st.sampled_from([1e-6, 1e-3]),
        "weight_decay": decay,
        "maximize": flag,
    },
    "RMSprop": {
        "lr": real(1e-3, 0.1),
        "alpha": real(0.5, 0.99),
        "eps": eps,
        "weight_decay": decay,
        "momentum": st.sampled_from([0.0, 0.9]),
        "centered": flag,
        "maximize": flag,
    },
    "Rprop": {
        "lr": lr,
        "etas": st.tuples(real(0.2, 0.9), real(1.1, 2.0)),
        "step_sizes": st.sampled_from([(1e-6, 50.0), (0.01, 0.2)]),
        "maximize": flag,
    },
    "Adafactor": {
        "lr": lr,
        "beta2_decay": real(-1.0, -0.3),
        "eps": st.sampled_from([(None, 1e-3), (1e-4, 0.1)]),
        "d": real(1.0, 3.0),
        "weight_decay": decay,
        "maximize": flag,
    },
    "Muon": {
        "lr": lr,
        "weight_decay": decay,
        "momentum": real(0.0, 0.95),
        "nesterov": flag,
        "ns_steps": st.integers(1, 6),
        "adjust_lr_fn": st.sampled_from([None, "original", "match_rms_adamw"]),
    },
}


@pytest.fixture(autouse=True)
def exact_pytorch(monkeypatch):
    """PyTorch's scalar state in float64 (by default it is float32), and Muon not in bfloat16."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self.clone())
    yield
    torch.set_default_dtype(before)


def settings_of(name):
    fixed = st.fixed_dictionaries(DRAWS[name])
    if name == "SGD":  # Nesterov's form has conditions
        return fixed.map(
            lambda s: {**s, "nesterov": s["nesterov"] and s["momentum"] > 0 == s["dampening"]}
        )
    return fixed


def make_both(name, dtype):
    """The same parameters twice; PyTorch's in float64, so that the error measured is ours."""
    rng = np.random.default_rng(5)
    shapes = MATRICES if name == "Muon" else SHAPES
    values = [np.asarray(rng.normal(size=s), dtype) for s in shapes]
    theirs = [torch.nn.Parameter(torch.from_numpy(np.array(v, np.float64))) for v in values]
    return [nn.Parameter(v) for v in values], theirs


def groups(params, lr):
    return [{"params": params[:2], "lr": lr / 2}, {"params": params[2:]}]


def give(ours, theirs, step):
    rng = np.random.default_rng(50 + step)
    for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
        g = np.asarray(rng.normal(size=p.shape), p.dtype)
        # One parameter has no gradient every third step.
        absent = i == 1 and step % 3 == 1
        p.grad = None if absent else Tensor(g)
        q.grad = None if absent else torch.from_numpy(np.array(g, np.float64))


def together(mine, other, ours, theirs, steps, rtol=None):
    for step in steps:
        give(ours, theirs, step)
        mine.step()
        other.step()
        for i, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            assert_close(p.data, q.detach().numpy(), f"parameter {i}, step {step}", rtol)


@pytest.mark.parametrize("name", DRAWS)
@drawn
@given(data=st.data())
def test_twenty_steps_are_pytorchs(name, data):
    settings = data.draw(settings_of(name))
    ours, theirs = make_both(name, data.draw(st.sampled_from(DTYPES)))
    mine = getattr(optim, name)(groups(ours, settings["lr"]), **settings)
    other = getattr(torch.optim, name)(groups(theirs, settings["lr"]), **settings)
    together(mine, other, ours, theirs, range(20))


@pytest.mark.parametrize("name", DRAWS)
def test_the_defaults_are_pytorchs(name):
    (ours, theirs) = make_both(name, "float64")
    mine, other = getattr(optim, name)(ours), getattr(torch.optim, name)(theirs)
    for key, value in mine.defaults.items():
        assert value == other.defaults[key], key
    left_out = set(other.defaults) - set(mine.defaults)
    how = {"foreach", "fused", "capturable", "differentiable"}
    assert left_out <= how | ({"decoupled_weight_decay"} if name == "AdamW" else set())


def some_settings(name):
    """Settings other than the defaults, with as much state as there is."""
    extra = {
        "SGD": {"momentum": 0.9, "dampening": 0.4},
        "Adam": {"amsgrad": True},
        "AdamW": {"amsgrad": True},
        "ASGD": {"t0": 3.0, "lambd": 0.01},
        "Adagrad": {"initial_accumulator_value": 0.3},
        "RMSprop": {"momentum": 0.9, "centered": True},
    }
    decaying = {} if name == "Rprop" else {"weight_decay": 0.1}
    return {"lr": 0.05, **decaying, **extra.get(name, {})}


@pytest.mark.parametrize("name", DRAWS)
def test_pytorchs_state_can_be_continued(name):
    settings = some_settings(name)
    ours, theirs = make_both(name, "float64")
    other = getattr(torch.optim, name)(groups(theirs, 0.05), **settings)
    for step in range(5):
        give(ours, theirs, step)
        theirs[-1].grad = None  # it has had no gradient so far
        other.step()
    for p, q in zip(ours, theirs, strict=True):
        p.data[...] = q.detach().numpy()
    mine = getattr(optim, name)(groups(ours, 0.05))
    mine.load_state_dict(other.state_dict())
    together(mine, other, ours, theirs, range(5, 20))


@pytest.mark.parametrize("name", DRAWS)
def test_pytorch_can_continue_our_state(name):
    settings = some_settings(name)
    ours, theirs = make_both(name, "float64")
    mine = getattr(optim, name)(groups(ours, 0.05), **settings)
    for step in range(5):
        give(ours, theirs, step)
        ours[-1].grad = None
        mine.step()
    with torch.no_grad():
        for p, q in zip(ours, theirs, strict=True):
            q.copy_(torch.from_numpy(np.array(p.detach())))
    state = mine.state_dict()
    for entry in state["state"].values():
        for key, value in entry.items():
            entry[key] = torch.tensor(np.array(value), dtype=torch.float64)
    other = getattr(torch.optim, name)(groups(theirs, 0.05))
    other.load_state_dict(state)
    together(mine, other, ours, theirs, range(5, 20))


@pytest.mark.parametrize("name", DRAWS)
def test_the_state_has_pytorchs_names_and_shapes(name):
    ours, theirs = make_both(name, "float64")
    mine = getattr(optim, name)(ours, **some_settings(name))
    other = getattr(torch.optim, name)(theirs, **some_settings(name))
    together(mine, other, ours, theirs, range(1))
    found, expected = mine.state_dict()["state"], other.state_dict()["state"]
    assert set(found) == set(expected)
    for n, entry in expected.items():
        assert {**found[n], "step": 1}.keys() == {**entry, "step": 1}.keys()
        for key, value in entry.items():
            assert np.shape(found[n][key]) == tuple(value.shape), key


def test_muon_is_near_pytorchs_own_in_bfloat16(monkeypatch):
    monkeypatch.undo()
    ours, theirs = make_both("Muon", "float32")
    mine = optim.Muon(ours, lr=0.01)
    other = torch.optim.Muon(theirs, lr=0.01)
    together(mine, other, ours, theirs, range(20), rtol=5e-3)


@pytest.mark.parametrize("name", [n for n in DRAWS if n not in ("Adafactor", "Muon")])
def test_complex_parameters_move_as_pytorchs(name):
    rng = np.random.default_rng(1)

    def drawn_complex(shape):
        return rng.normal(size=shape) + 1j * rng.normal(size=shape)

    starts = [np.asarray(drawn_complex(s)) for s in SHAPES]
    ours = [nn.Parameter(v) for v in starts]
    theirs = [torch.nn.Parameter(torch.from_numpy(v.copy())) for v in starts]
    settings = some_settings(name)
    mine, other = (
        getattr(optim, name)(ours, **settings),
        getattr(torch.optim, name)(theirs, **settings),
    )
    for step in range(5):
        for p, q in zip(ours, theirs, strict=True):
            g = np.asarray(drawn_complex(p.shape))
            p.grad, q.grad = Tensor(g), torch.from_numpy(g)
        mine.step()
        other.step()
        for p, q in zip(ours, theirs, strict=True):
            assert_close(p.data, q.detach().numpy(), f"step {step}")


# -- what PyTorch does not have ---------------------------------------------------------------


class Reference:
    """An optimizer of one line per formula: ``move(value, grad, state, step)`` returns the new."""

    def __init__(self, params, move):
        self.params, self.move = params, move
        self.state = [{} for _ in params]

    def step(self):
        for p, state in zip(self.params, self.state, strict=True):
            if p.grad is not None:
                state["t"] = state.get("t", 0) + 1
                with torch.no_grad():
                    p.copy_(self.move(p.detach().clone(), p.grad, state, state["t"]))


def lion(lr, betas, weight_decay):
    def move(x, g, state, t):
        m = state.get("m", torch.zeros_like(x))
        c = betas[0] * m + (1 - betas[0]) * g
        state["m"] = betas[1] * m + (1 - betas[1]) * g
        return x - lr * (torch.sign(c) + weight_decay * x)

    return move


def lars(lr, momentum, weight_decay, trust_coefficient):
    def move(x, g, state, t):
        local = trust_coefficient * x.norm() / (g.norm() + weight_decay * x.norm())
        v = momentum * state.get("v", torch.zeros_like(x))
        state["v"] = v + lr * local * (g + weight_decay * x)
        return x - state["v"]

    return move


def lamb(lr, betas, eps, weight_decay):
    def move(x, g, state, t):
        m = betas[0] * state.get("m", torch.zeros_like(x)) + (1 - betas[0]) * g
        v = betas[1] * state.get("v", torch.zeros_like(x)) + (1 - betas[1]) * g**2
        state["m"], state["v"] = m, v
        r = (m / (1 - betas[0] ** t)) / (torch.sqrt(v / (1 - betas[1] ** t)) + eps)
        u = r + weight_decay * x
        return x - lr * x.norm() / u.norm() * u

    return move


PAPERS = {
    "Lion": (lion, {"lr": lr, "betas": betas, "weight_decay": decay}),
    "LARS": (
        lars,
        {
            "lr": real(0.1, 10.0),
            "momentum": st.sampled_from([0.0, 0.9]),
            "weight_decay": decay,
            "trust_coefficient": real(1e-3, 0.1),
        },
    ),
    "LAMB": (
        lamb,
        {"lr": real(1e-3, 0.1), "betas": betas, "eps": eps, "weight_decay": decay},
    ),
}


def test_every_public_optimizer_is_compared():
    kinds = {n: k for n in optim.__all__ if isinstance(k := getattr(optim, n), type)}
    own = {n for n, k in kinds.items() if issubclass(k, optim.Optimizer)}
    apart = {"LBFGS", "SparseAdam"}  # test_optim_lbfgs.py, test_optim_sparse.py
    assert own - {"Optimizer", "Lookahead"} == {*DRAWS, *PAPERS, *apart}  # Lookahead wraps another


@pytest.mark.parametrize("name", PAPERS)
@drawn
@given(data=st.data())
def test_twenty_steps_are_the_papers(name, data):
    algorithm, draws = PAPERS[name]
    settings = data.draw(st.fixed_dictionaries(draws))
    ours, theirs = make_both(name, data.draw(st.sampled_from(DTYPES)))
    mine = getattr(optim, name)(ours, **settings)
    together(mine, Reference(theirs, algorithm(**settings)), ours, theirs, range(20))


# -- averages ---------------------------------------------------------------------------------


def averaging(kind):
    swa = torch.optim.swa_utils
    return {
        "swa": ({}, {}),
        "ema": (
            {"avg_fn": optim.get_ema_avg_fn(0.8)},
            {"avg_fn": swa.get_ema_avg_fn(0.8)},
        ),
        "with buffers": ({"use_buffers": True}, {"use_buffers": True}),
    }[kind]


@pytest.mark.parametrize("kind", ["swa", "ema", "with buffers"])
def test_averaged_models_and_their_statistics_are_pytorchs(kind):
    ours = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    )
    ours.to(np.float64)
    mine, other = averaging(kind)
    averaged = optim.AveragedModel(ours, **mine)
    reference = torch.optim.swa_utils.AveragedModel(theirs, **other)
    rng = np.random.default_rng(3)
    for _ in range(4):
        state = {n: rng.uniform(0.5, 1.5, a.shape) for n, a in ours.state_arrays().items()}
        state["1.num_batches_tracked"] = np.array(3)
        ours.load_state_dict(state)
        theirs.load_state_dict({n: torch.tensor(a) for n, a in state.items()})
        averaged.update_parameters(ours)
        reference.update_parameters(theirs)
    same_state(averaged, reference)
    batches = [rng.normal(size=(6, 3)) for _ in range(3)]
    dg.update_bn(batches, averaged)
    torch.optim.swa_utils.update_bn([torch.from_numpy(b) for b in batches], reference)
    same_state(averaged, reference)
    x = rng.normal(size=(5, 3))
    found = averaged.eval()(Tensor(x)).data
    assert_close(found, reference.eval()(torch.from_numpy(x)).detach().numpy())


def same_state(averaged, reference):
    found = averaged.state_dict()
    expected = reference.state_dict()
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert_close(np.asarray(found[name]), value.numpy(), name)


def test_the_moving_average_is_that_of_pytorchs_averaged_model():
    ours, theirs = make_both("SGD", "float64")
    holder = torch.nn.ParameterList(theirs)
    ema = optim.ExponentialMovingAverage(ours, decay=0.7)
    swa = torch.optim.swa_utils
    reference = swa.AveragedModel(holder, avg_fn=swa.get_ema_avg_fn(0.7))
    mine, other = optim.SGD(ours, lr=0.1), torch.optim.SGD(theirs, lr=0.1)
    for step in range(20):
        together(mine, other, ours, theirs, [step])
        ema.update()
        reference.update_parameters(holder)
    with ema.average_parameters():
        for p, q in zip(ours, reference.parameters(), strict=True):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=RTOL["float64"])
