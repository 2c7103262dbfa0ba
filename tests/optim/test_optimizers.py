"""What all optimizers have in common: groups, settings, closures, states, cuts of memory."""

import json

import numpy as np
import pytest
from moving import move_
from optimizer_cases import ALL, ELEMENTWISE

from distgrad import Tensor, nn, optim
from distgrad.autograd.mode import is_grad_enabled, no_grad
from distgrad.errors import ShapeError

SHAPES = [(2, 3), (4,), (), (3, 1, 2), (5, 3)]


def public_optimizers():
    kinds = {n: k for n in optim.__all__ if isinstance(k := getattr(optim, n), type)}
    # Lookahead wraps another, and is tested with the averages; LBFGS needs a closure.
    return {n for n, k in kinds.items() if issubclass(k, optim.Optimizer)} - {
        "Optimizer",
        "Lookahead",
        "LBFGS",
    }


def test_every_public_optimizer_is_here():
    assert set(ALL) == public_optimizers()
    assert {n for n in ALL if getattr(optim, n).elementwise} == set(ELEMENTWISE)


def make_params(name="SGD", dtype=np.float32):
    rng = np.random.default_rng(0)
    shapes = [s for s in SHAPES if name != "Muon" or len(s) == 2]
    return [nn.Parameter(np.asarray(rng.normal(size=s), dtype)) for s in shapes]


def make(name, params, **settings):
    return getattr(optim, name)(params, **{"lr": 0.1, **ALL[name], **settings})


def give(params, step):
    rng = np.random.default_rng(10 + step)
    for p in params:
        p.grad = Tensor(np.asarray(rng.normal(size=p.shape), p.dtype))


def steps(optimizer, params, numbers):
    for t in numbers:
        give(params, t)
        optimizer.step()


def assert_equal(first, second):
    for p, q in zip(first, second, strict=True):
        np.testing.assert_array_equal(p.array, q.array)


# -- settings ---------------------------------------------------------------------------------

BAD = [
    (name, {"lr": -0.1}, rf"{name}: lr is a number, 0 or more.*; got -0.1")
    for name in ["SGD", "Adam", "RAdam", "RMSprop", "Lion", "LAMB", "Muon"]
]
BAD += [
    ("SGD", {"momentum": -1.0}, r"SGD: momentum is a number, 0 or more; got -1.0"),
    ("SGD", {"lr": float("nan")}, r"SGD: lr is a number, 0 or more .or a Tensor of one.; got nan"),
    ("Adam", {"betas": (0.9, 1.0)}, r"Adam: betas is .a number in \[0, 1\) .*; got \(0.9, 1.0\)"),
    ("AdamW", {"betas": (-0.1, 0.9)}, r"AdamW: betas is .*; got \(-0.1, 0.9\)"),
    ("NAdam", {"eps": -1e-8}, r"NAdam: eps is a number, 0 or more; got -1e-08"),
    ("NAdam", {"momentum_decay": -1.0}, "NAdam: momentum_decay is a number, 0 or more; got -1.0"),
    ("Adamax", {"weight_decay": -1.0}, "Adamax: weight_decay is a number, 0 or more; got -1.0"),
    ("Adagrad", {"lr_decay": -1.0}, "Adagrad: lr_decay is a number, 0 or more; got -1.0"),
    ("Adagrad", {"initial_accumulator_value": -1.0}, "initial_accumulator_value is .*; got -1.0"),
    ("Adadelta", {"rho": 1.5}, "Adadelta: rho is a number, from 0 to 1; got 1.5"),
    ("RMSprop", {"alpha": -0.5}, "RMSprop: alpha is a number, 0 or more; got -0.5"),
    ("Rprop", {"etas": (1.1, 1.2)}, r"Rprop: etas=\(1.1, 1.2\) must be 0 < shrink < 1 < grow"),
    ("LARS", {"trust_coefficient": -1.0}, "LARS: trust_coefficient is a number, .*; got -1.0"),
    ("Adafactor", {"d": 0.5}, "Adafactor: d is a number, 1 or more; got 0.5"),
    ("Adafactor", {"beta2_decay": 0.1}, "Adafactor: beta2_decay is a number, 0 or less; got 0.1"),
    ("Adafactor", {"eps": (None, -1.0)}, r"Adafactor: eps is .a number.*; got \(None, -1.0\)"),
    ("Muon", {"ns_steps": 100}, "Muon: ns_steps is a whole number, from 0 to 99; got 100"),
    ("Muon", {"adjust_lr_fn": "none"}, "Muon: adjust_lr_fn is .*; got 'none'"),
    ("Muon", {"ns_coefficients": (1.0, 2.0)}, r"a number, a number\); got \(1.0, 2.0\)"),
]


@pytest.mark.parametrize(("name", "settings", "message"), BAD)
def test_settings_out_of_their_range_are_refused(name, settings, message):
    with pytest.raises(ShapeError, match=message):
        make(name, make_params(name), **settings)


def test_the_settings_of_a_group_are_checked_too():
    with pytest.raises(ShapeError, match=r"AdamW: lr is a number, 0 or more .*; got -1.0"):
        optim.AdamW([{"params": make_params(), "lr": -1.0}])


def test_muon_refuses_what_is_no_matrix():
    with pytest.raises(ShapeError, match=r"Muon trains matrices; got a parameter of shape \(4,\)"):
        optim.Muon([nn.Parameter(np.zeros(4))])


# -- parameters and groups --------------------------------------------------------------------


def test_named_parameters_are_taken_and_their_names_kept():
    model = nn.Linear(3, 2)
    optimizer = optim.Adam(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["params"] == [model.weight, model.bias]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    other = optim.Adam(nn.Linear(3, 2).parameters())
    other.load_state_dict(optimizer.state_dict())
    groups = [{"params": model.named_parameters(), "lr": 0.5}]
    assert optim.SGD(groups).param_groups[0]["param_names"] == ["weight", "bias"]


def test_names_for_some_parameters_only_are_refused():
    p, q = nn.Parameter(np.zeros(1)), nn.Parameter(np.zeros(1))
    with pytest.raises(ShapeError, match="SGD: give names to all parameters of a group or to none"):
        optim.SGD([("p", p), q])


def test_what_is_no_tensor_is_refused():
    with pytest.raises(TypeError, match="SGD trains Tensors; got a ndarray"):
        optim.SGD([np.zeros(3)])


def test_a_group_added_later_is_trained_by_its_settings():
    p, q = nn.Parameter(np.zeros(2)), nn.Parameter(np.zeros(3))
    optimizer = optim.SGD([p], lr=1.0)
    steps(optimizer, [p], [0])
    optimizer.add_param_group({"params": q, "lr": 0.5})
    p.grad, q.grad = None, Tensor(np.ones(3))
    optimizer.step()
    assert q.array.tolist() == [-0.5] * 3
    assert [g["params"] for g in optimizer.state_dict()["param_groups"]] == [[0], [1]]
    with pytest.raises(ShapeError, match="a parameter is in two groups"):
        optimizer.add_param_group({"params": [p]})
    assert len(optimizer.param_groups) == 2


def test_a_parameter_twice_in_a_group_is_refused():
    p = nn.Parameter(np.zeros(2))
    with pytest.raises(ShapeError, match="a parameter is in two groups"):
        optim.SGD([p, p])


def test_a_closure_is_run_with_gradients_and_its_loss_returned():
    p = nn.Parameter(np.ones(2))
    optimizer = optim.SGD([p], lr=1.0)

    def closure():
        assert is_grad_enabled()
        optimizer.zero_grad()
        loss = np.sum(p * p)
        loss.backward()
        return loss

    with no_grad():
        assert float(optimizer.step(closure)) == 2.0
    assert p.array.tolist() == [-1.0, -1.0]
    assert optimizer.step() is None


def test_gradients_can_be_zeroed_in_place():
    p, q = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
    p.grad = Tensor(np.ones(2))
    array = p.grad.array
    optim.SGD([p, q]).zero_grad(set_to_none=False)
    assert p.grad.array is array
    assert array.tolist() == [0.0, 0.0]
    assert q.grad is None


# -- every optimizer --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_the_flag_says_whether_elements_are_independent(name):
    assert getattr(optim, name).elementwise == (name in ELEMENTWISE)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_the_update_has_the_same_bits_however_long_the_arrays_are(name):
    apart, alone = make_params(), make_params()
    whole = nn.Parameter(np.concatenate([p.array.reshape(-1) for p in alone]))
    first, second = make(name, apart), make(name, [whole])
    for t in range(8):
        give(apart, t)
        whole.grad = Tensor(np.concatenate([p.grad.array.reshape(-1) for p in apart]))
        first.step()
        second.step()
    np.testing.assert_array_equal(whole.array, np.concatenate([p.array.reshape(-1) for p in apart]))


@pytest.mark.parametrize("name", ALL)
def test_neither_moved_memory_nor_the_gradients_layout_changes_bits(name):
    still, moved = make_params(name), make_params(name)
    first, second = make(name, still), make(name, moved)
    for t in range(6):
        if t == 3:
            move_(moved[::-1])  # what the bridge does: one bucket, in the opposite order
        give(still, t)
        give(moved, t)
        for p in moved:
            p.grad = Tensor(np.array(p.grad.array, order="F"))
        first.step()
        second.step()
    assert_equal(still, moved)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_gradients_that_lie_partly_elsewhere_do_not_change_bits(name):
    rng = np.random.default_rng(2)
    values = [rng.normal(size=n).astype(np.float32) for n in (5, 3, 20_000, 7, 17_000, 2, 4, 6)]
    apart, mixed = ([nn.Parameter(v) for v in values] for _ in range(2))
    first, second = make(name, apart), make(name, mixed)
    for t in range(4):
        give(apart, t)
        for i, (p, q) in enumerate(zip(mixed, apart, strict=True)):
            p.grad = q.grad
            if i in (0, 2, 5):  # where backward leaves them
                p.grad = None
                p.accumulate_(q.grad)
        first.step()
        second.step()
    assert_equal(apart, mixed)
    for state in zip(first.state_dict()["state"].values(), second.state.values(), strict=True):
        for key in state[0]:
            np.testing.assert_array_equal(state[0][key], state[1][key])


@pytest.mark.parametrize("name", ALL)
def test_a_loaded_optimizer_continues_to_the_bit(name):
    straight, params = make_params(name), make_params(name)
    steps(make(name, straight), straight, range(8))
    first = make(name, params)
    steps(first, params, range(4))
    text = json.dumps(first.state_dict(), default=np.ndarray.tolist)
    second = make(name, params, lr=7.0)
    second.load_state_dict(json.loads(text))
    steps(second, params, range(4, 8))
    assert_equal(straight, params)


@pytest.mark.parametrize("name", ALL)
def test_parameters_without_gradient_stay_and_count_no_step(name):
    params, alone = make_params(name), make_params(name)
    first, second = make(name, params), make(name, alone)
    for t in range(6):
        give(params, t)
        if t % 2:
            params[0].grad = None
        first.step()
    steps(second, alone, [0, 2, 4])
    np.testing.assert_array_equal(params[0].array, alone[0].array)
    assert first.state_dict()["state"][0]["step"] == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ALL)
def test_dtypes_stay_and_empty_parameters_are_harmless(name, dtype):
    params = [*make_params(name, dtype), nn.Parameter(np.zeros((0, 3), dtype))]
    optimizer = make(name, params)
    before = [p.array.copy() for p in params]
    steps(optimizer, params, range(3))
    for p, old in zip(params, before, strict=True):
        assert p.dtype == dtype
        assert p.size == 0 or (p.array != old).any()
    for entry in optimizer.state_dict()["state"].values():
        arrays = [a for a in entry.values() if isinstance(a, np.ndarray)]
        assert all(a.dtype == dtype for a in arrays)


@pytest.mark.parametrize("name", [n for n in ALL if n != "Muon"])
def test_maximize_follows_the_opposite_gradient(name):
    up, down = make_params(name), make_params(name)
    first, second = make(name, up, maximize=True), make(name, down)
    for t in range(3):
        give(up, t)
        give(down, t)
        for p in down:
            p.grad = Tensor(-p.grad.array)
        first.step()
        second.step()
    assert_equal(up, down)


@pytest.mark.parametrize("name", ALL)
def test_a_quadratic_is_brought_down(name):
    p = nn.Parameter(np.linspace(1.0, 2.0, 6).reshape(2, 3))
    settings = {"Adadelta": {"lr": 50.0}, "LARS": {"lr": 5.0, "trust_coefficient": 0.01}}
    optimizer = getattr(optim, name)([p], **settings.get(name, {"lr": 0.05}))
    for _ in range(60):
        optimizer.zero_grad()
        loss = np.sum(p * p)
        loss.backward()
        optimizer.step()
    assert float(np.sum(p.array**2)) < 0.6 * float(np.sum(np.linspace(1.0, 2.0, 6) ** 2))


def test_a_state_of_another_shape_is_refused_where_states_have_their_own():
    params = make_params()
    optimizer = make("Adafactor", params)
    steps(optimizer, params, [0])
    state = optimizer.state_dict()
    assert state["state"][3]["row_var"].shape == (3, 1, 1)
    assert state["state"][3]["col_var"].shape == (3, 1, 2)
    assert set(state["state"][1]) == {"step", "variance"}
    state["state"][3]["col_var"] = np.zeros((3, 1, 1))
    with pytest.raises(ShapeError, match=r"'col_var' of parameter 3 has shape \(3, 1, 1\) in the "):
        optimizer.load_state_dict(state)


def test_a_missing_number_of_the_state_is_refused():
    params = make_params()
    optimizer = make("NAdam", params)
    steps(optimizer, params, [0])
    state = optimizer.state_dict()
    del state["state"][1]["mu_product"]
    with pytest.raises(ShapeError, match="the state has no 'mu_product' of parameter 1"):
        optimizer.load_state_dict(state)


# -- single ones ------------------------------------------------------------------------------


def test_nadams_momenta_are_each_parameters_own():
    # Betas may be cycled: the product of momenta is not a function of the step alone.
    params, alone = make_params(), make_params()
    first, second = make("NAdam", params), make("NAdam", alone[1:2])
    for t, beta in enumerate([0.9, 0.5, 0.8, 0.7]):
        first.param_groups[0]["betas"] = second.param_groups[0]["betas"] = (beta, 0.99)
        give(params, t)
        give(alone, t)
        if t == 1:
            params[1].grad = None
        else:
            second.step()
        first.step()
    np.testing.assert_array_equal(params[1].array, alone[1].array)
    products = [e["mu_product"] for e in first.state_dict()["state"].values()]
    assert products[0] == products[2] != products[1]


def test_centered_rmsprop_survives_gradients_that_do_not_change():
    p = nn.Parameter(np.ones(50, np.float32))
    optimizer = optim.RMSprop([p], lr=1e-6, alpha=0.5, centered=True)
    gradient = np.random.default_rng(1).normal(size=50).astype(np.float32)
    for _ in range(80):
        p.grad = Tensor(gradient)
        optimizer.step()
    assert np.isfinite(p.array).all()


@pytest.mark.parametrize("name", ["LARS", "LAMB"])
@pytest.mark.parametrize("which", ["weights", "gradient"])
def test_a_norm_of_zero_is_not_adapted_to(name, which):
    p = nn.Parameter(np.zeros(3) if which == "weights" else np.ones(3))
    p.grad = Tensor(np.ones(3) if which == "weights" else np.zeros(3))
    getattr(optim, name)([p], lr=0.1, weight_decay=0.0).step()
    expected = -0.1 if which == "weights" else 1.0
    np.testing.assert_allclose(p.array, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "plain", "settings"),
    [
        ("LARS", "SGD", {"momentum": 0.9, "weight_decay": 0.1}),
        ("LAMB", "AdamW", {"betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.1}),
    ],
)
def test_without_adaption_the_layers_rates_are_one(name, plain, settings):
    ours, theirs = make_params(dtype=np.float64), make_params(dtype=np.float64)
    first = getattr(optim, name)(ours, lr=0.1, adapt=False, **settings)
    second = getattr(optim, plain)(theirs, lr=0.1, **settings)
    steps(first, ours, range(6))
    steps(second, theirs, range(6))
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.array, q.array, rtol=1e-10)


def test_larss_step_is_the_same_part_of_every_layer_whatever_the_gradient():
    params = make_params()
    before = [p.array.copy() for p in params]
    optimizer = optim.LARS(params, lr=1.0, momentum=0.0, trust_coefficient=0.02)
    give(params, 0)
    for i, p in enumerate(params):
        p.grad = Tensor(p.grad.array * np.float32(10.0**i))
    optimizer.step()
    for p, old in zip(params, before, strict=True):
        part = np.linalg.norm(p.array - old) / np.linalg.norm(old)
        assert part == pytest.approx(0.02, rel=1e-4)


def test_muons_step_has_singular_values_near_1():
    p = nn.Parameter(np.zeros((12, 5)))
    p.grad = Tensor(np.random.default_rng(1).normal(size=(12, 5)) * np.logspace(0, -1, 5))
    optim.Muon([p], lr=1.0, weight_decay=0.0).step()
    found = np.linalg.svd(p.array / np.sqrt(12 / 5), compute_uv=False)
    assert ((found > 0.6) & (found < 1.3)).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 1, 7)])
def test_sparse_adam_moves_the_rows_whose_gradient_is_not_zero_throughout(shape, dtype):
    p = nn.Parameter(np.ones(shape, dtype))
    optimizer = optim.SparseAdam([p], lr=0.5)
    p.grad = Tensor(np.ones(shape, dtype))
    optimizer.step()
    before, g = p.array.copy(), np.zeros(shape, dtype)
    rows = g.reshape(5, -1)
    rows[1], rows[2, -1], rows[3, 0], rows[4] = -0.0, np.nan, 0.25, -2
    p.grad = Tensor(g)
    optimizer.step()
    moved = np.any(p.array.reshape(5, -1) != before.reshape(5, -1), axis=1)
    assert moved.tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("shape", [(), (5, 0), (0, 3)])
def test_sparse_adam_takes_a_number_and_empty_rows(shape):
    p = nn.Parameter(np.ones(shape, np.float32))
    p.grad = Tensor(np.full(shape, -0.5, np.float32))
    optim.SparseAdam([p], lr=0.25).step()
    np.testing.assert_allclose(p.array, np.full(shape, 1.25))
