"""Hooks around step, state_dict and load_state_dict; PyTorch's order, arguments and handles."""

import copy

import numpy as np
import pytest

from distgrad import GradError, ShapeError, Tensor, nn, optim
from distgrad.optim.optimizer import required


def make(kind=optim.SGD, **settings):
    p = nn.Parameter(np.ones(3))
    p.grad = Tensor(np.ones(3))
    return kind([p], lr=0.5, **settings), p


def test_step_hooks_run_around_the_step_those_of_all_optimizers_outside():
    optimizer, p = make()
    seen = []

    def note(name):
        return lambda *given: seen.append((name, float(p.array[0]), given))

    handles = [
        optim.register_optimizer_step_pre_hook(note("every pre")),
        optim.register_optimizer_step_post_hook(note("every post")),
        optimizer.register_step_pre_hook(note("pre")),
        optimizer.register_step_post_hook(note("post")),
    ]
    try:
        optimizer.step()
    finally:
        for handle in handles:
            handle.remove()
    expected = [("every pre", 1.0), ("pre", 1.0), ("post", 0.5), ("every post", 0.5)]
    assert [x[:2] for x in seen] == expected
    assert all(x[2] == (optimizer, (optimizer,), {}) for x in seen)
    optimizer.step()
    assert len(seen) == 4


def test_a_pre_hook_may_replace_the_arguments():
    optimizer, p = make()
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: 7.0), kwargs))
    assert optimizer.step() == 7.0
    assert p.array.tolist() == [0.5] * 3


def test_a_pre_hook_that_returns_something_else_is_an_error():
    optimizer, _ = make()

    def three(optimizer, args, kwargs):
        return 3

    optimizer.register_step_pre_hook(three)
    with pytest.raises(TypeError, match=r"returns None or \(args, kwargs\).* three returned int"):
        optimizer.step()


def test_a_step_inside_a_step_runs_no_hook():
    class Twice(optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            return super().step()

    optimizer, p = make(Twice)
    count = []
    optimizer.register_step_post_hook(lambda *given: count.append(1))
    optimizer.step()
    assert (len(count), p.array.tolist()) == (1, [0.0] * 3)


def test_the_hooks_of_the_state_see_and_replace_it():
    optimizer, _ = make(momentum=0.9)
    optimizer.step()
    seen = []
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("second"))
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("first"), prepend=True)
    handle = optimizer.register_state_dict_post_hook(lambda o, s: {**s, "note": 1})
    state = optimizer.state_dict()
    assert seen == ["first", "second"]
    assert state["note"] == 1
    handle.remove()
    assert "note" not in optimizer.state_dict()
    optimizer.register_load_state_dict_pre_hook(lambda o, s: halved(s))
    optimizer.register_load_state_dict_post_hook(lambda o: seen.append("loaded"))
    optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert state["param_groups"][0]["lr"] == 0.5
    assert seen[-1] == "loaded"


def halved(state):
    groups = [{**g, "lr": g["lr"] / 2} for g in state["param_groups"]]
    return {**state, "param_groups": groups}


def test_an_overridden_state_dict_runs_its_hooks_once():
    optimizer, _ = make(optim.Adagrad)
    count = []
    optimizer.register_state_dict_post_hook(lambda o, s: count.append(len(s["state"])))
    optimizer.state_dict()
    assert count == [1]


def test_a_copy_has_no_hooks():
    optimizer, _ = make()
    count = []
    optimizer.register_step_post_hook(lambda *given: count.append(1))
    copy.deepcopy(optimizer).step()
    assert count == []


def test_an_optimizer_around_another_runs_the_hooks_of_both():
    optimizer, _ = make()
    outer = optim.Lookahead(optimizer)
    seen = []
    optimizer.register_step_post_hook(lambda *given: seen.append("inner"))
    outer.register_step_post_hook(lambda *given: seen.append("outer"))
    outer.step()
    assert seen == ["inner", "outer"]


# -- PyTorch's way to write an optimizer ------------------------------------------------------


class Momentum(optim.Optimizer):
    def __init__(self, params, lr=0.1, mu=0.5):
        super().__init__(params, {"lr": lr, "mu": mu})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if len(state) == 0:
                    state["step"] = 0
                    state["v"] = Tensor(np.zeros_like(p.array))
                state["step"] += 1
                state["v"].array[...] = group["mu"] * state["v"].array + p.grad.array
                p.array -= group["lr"] * state["v"].array


def test_an_optimizer_may_write_its_own_step_and_keep_its_own_state():
    optimizer, p = make(Momentum)
    seen = []
    optimizer.register_step_post_hook(lambda *given: seen.append(1))
    optimizer.step()
    optimizer.step()
    assert p.array.tolist() == [1 - 0.5 - 0.75] * 3
    assert seen == [1, 1]
    state = optimizer.state_dict()
    assert state["state"][0]["step"] == 2
    assert isinstance(state["state"][0]["v"], np.ndarray)
    other, q = make(Momentum)
    q.array[...] = p.array
    other.load_state_dict(copy.deepcopy(state))
    optimizer.step()
    other.step()
    np.testing.assert_array_equal(p.array, q.array)


def test_an_optimizer_with_neither_update_nor_step_says_so():
    class Nothing(optim.Optimizer):
        pass

    optimizer = Nothing([nn.Parameter(np.ones(1))], {})
    with pytest.raises(TypeError, match=r"Nothing defines neither update\(.*\) nor step\("):
        optimizer.step()


# -- state, repr, settings --------------------------------------------------------------------


def test_the_state_shows_each_parameters_live_arrays():
    p, q = nn.Parameter(np.ones((2, 3))), nn.Parameter(np.ones(2))
    optimizer = optim.Adam([p, q])
    assert len(optimizer.state) == 0
    assert dict(optimizer.state[p]) == {}
    p.grad = Tensor(np.ones((2, 3)))
    optimizer.step()
    assert list(optimizer.state) == [p]
    assert q not in optimizer.state
    assert optimizer.state[p]["step"] == 1
    assert optimizer.state[p]["exp_avg"].shape == (2, 3)
    optimizer.state[p]["exp_avg"].array[...] = 0
    assert not optimizer.state_dict()["state"][0]["exp_avg"].any()
    with pytest.raises(TypeError):
        optimizer.state[p]["step"] = 0


def test_the_repr_lists_the_groups():
    p, q = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
    optimizer = optim.Lion([{"params": [p]}, {"params": [q], "lr": 0.5}])
    assert repr(optimizer) == (
        "Lion (\nParameter Group 0\n    betas: (0.9, 0.99)\n    lr: 0.0001\n    maximize: False\n"
        "    weight_decay: 0.0\n\nParameter Group 1\n    betas: (0.9, 0.99)\n    lr: 0.5\n"
        "    maximize: False\n    weight_decay: 0.0\n)"
    )


@pytest.mark.parametrize(
    "kind", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.NAdam, optim.Adagrad]
)
def test_a_step_that_is_itself_differentiated_is_refused(kind):
    p = nn.Parameter(np.ones(2))
    with pytest.raises(GradError, match=rf"{kind.__name__}: steps here are not recorded"):
        kind([p], differentiable=True)
    with pytest.raises(GradError, match="steps here are not recorded"):
        kind([{"params": [p], "differentiable": True}])
    kind([p], foreach=True)


def test_a_learning_rate_may_be_a_tensor_of_one_element():
    rates = Tensor(np.array(0.5)), 0.5
    found = []
    for lr in rates:
        p = nn.Parameter(np.ones(3))
        optimizer = optim.Adam([p], lr=lr)
        for _ in range(3):
            p.grad = Tensor(np.arange(3.0))
            optimizer.step()
        found.append(p.array)
        assert optimizer.state_dict()["param_groups"][0]["lr"] == 0.5
    np.testing.assert_array_equal(*found)


def test_a_name_in_a_group_is_kept():
    p = nn.Parameter(np.ones(3))
    assert optim.SGD([{"params": [p], "name": "body"}]).param_groups[0]["name"] == "body"


def test_what_one_has_added_to_a_group_is_saved_and_loaded():
    p = nn.Parameter(np.ones(3))
    optimizer = optim.SGD([{"params": [p], "name": "body"}])
    optimizer.param_groups[0]["scale"] = 3.0
    state = optimizer.state_dict()
    other = optim.SGD([nn.Parameter(np.ones(3))])
    with pytest.raises(ShapeError, match=r"SGD has no setting \['scale'\]"):
        other.load_state_dict(state)
    other.param_groups[0]["scale"] = 1.0
    other.load_state_dict(state)
    assert other.param_groups[0]["scale"] == 3.0


def test_a_required_setting_must_be_given():
    class Strict(Momentum):
        def __init__(self, params):
            optim.Optimizer.__init__(self, params, {"lr": required, "mu": 0.5})

    p = nn.Parameter(np.ones(3))
    with pytest.raises(ShapeError, match="Strict: a group must say its lr"):
        Strict([p])
    assert Strict([{"params": [p], "lr": 0.1}]).param_groups[0]["lr"] == 0.1
