"""Parameter groups and state_dict: PyTorch's layout, round trips, and what is refused."""

import copy
import json
import pickle

import numpy as np
import pytest

from distgrad import Tensor, nn, optim
from distgrad.errors import ShapeError


def make_model():
    rng = np.random.default_rng(3)
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4))
    for p in model.parameters():
        p.array[...] = rng.normal(size=p.shape)
    return model


def groups(model):
    return [
        {"params": model[0].parameters(), "lr": 0.5, "weight_decay": 0.0},
        {"params": [model[1].weight, model[1].bias]},
    ]


def steps(model, optimizer, numbers):
    for t in numbers:
        optimizer.zero_grad()
        rng = np.random.default_rng(t)
        for p in model.parameters():
            p.accumulate_(Tensor(rng.normal(size=p.shape).astype(np.float32)))
        optimizer.step()


MAKERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3),
    "sgd, no momentum": lambda p: optim.SGD(p, lr=0.1),
    "adamw": lambda p: optim.AdamW(p, lr=0.1),
}


def test_each_group_moves_by_its_own_settings():
    model = make_model()
    before = {n: a.copy() for n, a in model.state_dict().items()}
    optimizer = optim.SGD(groups(model), lr=0.1, weight_decay=1.0)
    for p in model.parameters():
        p.accumulate_(Tensor(np.ones(p.shape, np.float32)))
    optimizer.step()
    state = model.state_dict()
    np.testing.assert_allclose(state["0.weight"], before["0.weight"] - 0.5, rtol=1e-6)
    np.testing.assert_allclose(
        state["1.bias"], before["1.bias"] - 0.1 * (1 + before["1.bias"]), rtol=1e-6
    )


def test_a_learning_rate_changed_between_steps_counts():
    p = nn.Parameter(np.zeros(2))
    optimizer = optim.SGD([p], lr=1.0)
    for lr in (1.0, 0.5):
        optimizer.param_groups[0]["lr"] = lr
        p.grad = Tensor(np.ones(2))
        optimizer.step()
    assert p.array.tolist() == [-1.5, -1.5]


def test_momentum_turned_on_later_counts():
    p = nn.Parameter(np.zeros(1))
    optimizer = optim.SGD([p], lr=1.0)
    found = []
    for momentum in (0.0, 0.5, 0.5):
        optimizer.param_groups[0]["momentum"] = momentum
        p.grad = Tensor(np.ones(1))
        optimizer.step()
        found.append(float(p.array[0]))
    assert found == [-1.0, -2.0, -3.5]


def test_state_dict_has_pytorchs_layout():
    model = make_model()
    optimizer = optim.AdamW(groups(model), lr=0.1)
    steps(model, optimizer, range(2))
    found = optimizer.state_dict()
    assert set(found) == {"state", "param_groups"}
    assert [g["params"] for g in found["param_groups"]] == [[0, 1], [2, 3]]
    assert [g["lr"] for g in found["param_groups"]] == [0.5, 0.1]
    settings = {"params", "lr", "betas", "eps", "weight_decay", "amsgrad", "maximize"}
    assert set(found["param_groups"][0]) == settings
    assert list(found["state"]) == [0, 1, 2, 3]
    for n, p in enumerate(model.parameters()):
        assert set(found["state"][n]) == {"step", "exp_avg", "exp_avg_sq"}
        assert found["state"][n]["exp_avg"].shape == p.shape
        assert found["state"][n]["step"] == 2


def test_a_fresh_optimizer_has_no_state():
    assert MAKERS["adamw"](make_model().parameters()).state_dict()["state"] == {}


@pytest.mark.parametrize("name", MAKERS)
def test_a_loaded_optimizer_continues_to_the_bit(name):
    straight = make_model()
    optimizer = MAKERS[name](groups(straight))
    steps(straight, optimizer, range(6))

    model = make_model()
    first = MAKERS[name](groups(model))
    steps(model, first, range(3))
    saved = first.state_dict()
    other = make_model()
    other.load_state_dict(model.state_dict())
    # Made with settings that loading has to replace.
    second = type(first)(groups(other), lr=9.0)
    second.load_state_dict(saved)
    steps(other, second, range(3, 6))
    assert nn.state_sha256(other.state_dict()) == nn.state_sha256(straight.state_dict())
    assert [g["lr"] for g in second.param_groups] == [0.5, 0.1]


def test_a_state_that_went_through_json_loads():
    model = make_model()
    optimizer = MAKERS["adamw"](groups(model))
    steps(model, optimizer, range(2))
    text = json.dumps(optimizer.state_dict(), default=np.ndarray.tolist)
    other = MAKERS["adamw"](groups(make_model()))
    other.load_state_dict(json.loads(text))
    for n, entry in other.state_dict()["state"].items():
        expected = optimizer.state_dict()["state"][n]
        assert entry["step"] == 2
        np.testing.assert_array_equal(entry["exp_avg_sq"], expected["exp_avg_sq"])


def test_loading_a_fresh_state_forgets_the_old_one():
    model = make_model()
    optimizer = MAKERS["adamw"](groups(model))
    fresh = optimizer.state_dict()
    steps(model, optimizer, range(2))
    optimizer.load_state_dict(fresh)
    assert optimizer.state_dict()["state"] == {}
    steps(model, optimizer, [9])
    entry = optimizer.state_dict()["state"][2]
    assert entry["step"] == 1
    g = model[1].weight.grad.array
    np.testing.assert_allclose(entry["exp_avg"], 0.1 * g, rtol=1e-5)


def other_groups(state):
    state["param_groups"][0]["params"].append(9)
    return r"groups of \[2, 2\] parameters, the state \[3, 2\]"


def another_shape(state):
    state["state"][2]["exp_avg"] = np.zeros((2, 4))
    return r"'exp_avg' of parameter 2 has shape \(2, 4\) in the state and \(4, 2\) here"


def missing_array(state):
    del state["state"][3]["exp_avg_sq"]
    return r"the state has no 'exp_avg_sq' of parameter 3"


def foreign_setting(state):
    state["param_groups"][1]["centered"] = True
    return r"AdamW has no setting \['centered'\], which the state was saved with"


@pytest.mark.parametrize("damage", [other_groups, another_shape, missing_array, foreign_setting])
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(damage):
    model = make_model()
    optimizer = MAKERS["adamw"](groups(model))
    steps(model, optimizer, range(2))
    state = optimizer.state_dict()
    state["state"] = {
        n: {k: np.zeros_like(v) if k != "step" else 7 for k, v in entry.items()}
        for n, entry in state["state"].items()
    }
    state["param_groups"][0]["lr"] = 123.0
    message = damage(state)
    with pytest.raises(ShapeError, match=message):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after["param_groups"][0]["lr"] == 0.5
    for entry in after["state"].values():
        assert entry["step"] == 2
        assert entry["exp_avg"].any()


def test_no_parameters_are_refused():
    with pytest.raises(ShapeError, match=r"SGD got no parameters; pass model.parameters\(\)"):
        optim.SGD(nn.ReLU().parameters())


def test_unknown_settings_of_a_group_are_refused():
    p = nn.Parameter(np.ones(1))
    with pytest.raises(ShapeError, match=r"AdamW has no setting \['momentum'\]"):
        optim.AdamW([{"params": [p], "momentum": 0.9}])


def test_a_parameter_in_two_groups_is_refused():
    p, q = nn.Parameter(np.ones(1)), nn.Parameter(np.ones(1))
    with pytest.raises(ShapeError, match="a parameter is in two groups"):
        optim.SGD([{"params": [p, q]}, {"params": [p]}])


def test_a_groups_lone_tensor_is_one_parameter():
    p = nn.Parameter(np.zeros((2, 3)))
    optimizer = optim.SGD([{"params": p}], lr=1.0)
    assert optimizer.param_groups[0]["params"] == [p]
    p.grad = Tensor(np.ones((2, 3)))
    optimizer.step()
    assert (p.array == -1).all()


def test_a_lone_tensor_for_all_parameters_is_refused():
    with pytest.raises(TypeError, match=r"SGD takes an iterable of Tensors .*: write \[tensor\]"):
        optim.SGD(nn.Parameter(np.zeros((2, 3))), lr=1.0)


def test_zero_grad_forgets_the_gradients_of_every_group():
    model = make_model()
    optimizer = MAKERS["sgd"](groups(model))
    steps(model, optimizer, [0])
    assert all(p.grad is not None for p in model.parameters())
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.Adafactor])
def test_a_copied_optimizer_goes_on_with_the_copied_model(kind, copied):
    def step(model, optimizer):
        x = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
        optimizer.zero_grad()
        np.sum(model(x) ** 2).backward()
        optimizer.step()

    model = nn.Linear(3, 2)
    optimizer = kind(model.parameters(), lr=0.01)
    average = optim.ExponentialMovingAverage(model, 0.5)
    step(model, optimizer)
    average.update()
    model2, optimizer2, average2 = copied((model, optimizer, average))
    held = model.weight.array.copy()
    step(model2, optimizer2)
    average2.update()
    np.testing.assert_array_equal(model.weight.array, held)
    step(model, optimizer)
    average.update()
    np.testing.assert_array_equal(model2.weight.array, model.weight.array)
    average.copy_to()
    average2.copy_to()
    np.testing.assert_array_equal(model2.weight.array, model.weight.array)
    assert not np.array_equal(model.weight.array, held)


class Around(optim.Optimizer):
    """As the SAM that is copied from project to project: groups with settings of both."""

    def __init__(self, params, base, rho=0.05, **settings):
        super().__init__(params, dict(rho=rho, **settings))
        self.base = base(self.param_groups, **settings)
        self.param_groups = self.base.param_groups
        self.defaults.update(self.base.defaults)

    def step(self, closure=None):
        return self.base.step(closure)


@pytest.mark.parametrize("base", [optim.SGD, optim.AdamW, optim.RMSprop])
def test_an_optimizer_takes_the_groups_of_one_around_it(base):
    p, q = nn.Parameter(np.ones(3)), nn.Parameter(np.ones(2))
    around = Around([{"params": [p]}, {"params": [q], "rho": 0.5}], base, lr=0.25)
    assert [g["rho"] for g in around.param_groups] == [0.05, 0.5]
    around.param_groups[1]["lr"] = 0.0
    (p.sum() + q.sum()).backward()
    around.step()
    assert (p.array < 1).all()
    np.testing.assert_array_equal(q.array, 1)


def test_groups_that_look_like_those_of_another_are_refused():
    p = nn.Parameter(np.ones(3))
    Around([p], optim.SGD, lr=0.1)
    with pytest.raises(ShapeError, match=r"SGD has no setting \['rho'\]"):
        optim.SGD([{"params": [p], "rho": 0.1}], lr=0.1)
