"""Optimizers over flat memory: who is updated together, and what survives a move."""

import numpy as np
import pytest
from moving import move_

from distgrad import Tensor, nn, optim
from distgrad.errors import ShapeError

SHAPES = [(2, 3), (4,), (3, 1)]
MAKERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.1),
}


def make_params(dtype=np.float32):
    rng = np.random.default_rng(0)
    return [nn.Parameter(rng.normal(size=s).astype(dtype)) for s in SHAPES]


def give(params, step, skip=()):
    rng = np.random.default_rng(10 + step)
    for i, p in enumerate(params):
        g = rng.normal(size=p.shape).astype(p.dtype)
        if i not in skip and p.requires_grad:
            p.accumulate_(Tensor(g))


def run(make, steps=6, between=lambda params, step: None, skip=lambda step: ()):
    params = make_params()
    optimizer = make(params)
    for step in range(steps):
        between(params, step)
        optimizer.zero_grad()
        give(params, step, skip(step))
        optimizer.step()
    return params, optimizer


def data(params):
    return [p.array.copy() for p in params]


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def move_to_fresh_buffers(params, step):
    if step == 2:  # what the bridge does: one bucket, in the opposite order
        move_(params[::-1])
    if step == 3:  # two buckets
        move_(params[:2])
        move_(params[2:])
    if step == 5:  # an array of its own, assigned by the user
        params[1].array = params[1].array.copy()


@pytest.mark.parametrize("name", MAKERS)
def test_parameters_moved_between_steps_keep_their_state(name):
    still, _ = run(MAKERS[name])
    moved, _ = run(MAKERS[name], between=move_to_fresh_buffers)
    assert_equal(data(moved), data(still))


@pytest.mark.parametrize("name", MAKERS)
def test_parameters_without_gradient_stay_and_count_no_step(name):
    params, optimizer = run(MAKERS[name], skip=lambda step: (1,) if step % 2 else ())
    assert [optimizer.state_dict()["state"][i]["step"] for i in range(3)] == [6, 3, 6]

    # As if the skipped steps had never been.
    alone = make_params()
    other = MAKERS[name](alone)
    for step in (0, 2, 4):
        other.zero_grad()
        give(alone, step)
        other.step()
    np.testing.assert_array_equal(params[1].array, alone[1].array)


def test_a_parameter_that_never_had_a_gradient_has_no_state():
    params, optimizer = run(MAKERS["adamw"], skip=lambda step: (0, 2))
    assert list(optimizer.state_dict()["state"]) == [1]
    assert_equal([params[0].array, params[2].array], [make_params()[i].array for i in (0, 2)])


class Probe(optim.SGD):
    """Notes the lengths of the arrays it is given."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.lengths = []

    def update(self, value, grad, state, step, group):
        self.lengths.append(value.size)
        super().update(value, grad, state, step, group)


def lengths(optimizer, *groups):
    """Return the lengths of the arrays in which a step moves the parameters of ``groups``."""
    params = [p for group in groups for p in group]
    optimizer.lengths.clear()
    optimizer.zero_grad()
    give(params, 0)
    optimizer.step()
    return optimizer.lengths


def test_neighbours_are_updated_as_one_array():
    assert run(Probe, steps=1)[1].lengths == [13]
    assert run(Probe, steps=1, skip=lambda step: (1,))[1].lengths == [6, 3]


def test_a_group_that_takes_part_of_a_bucket_is_updated_in_its_pieces():
    params = make_params()
    move_([params[2], params[0], params[1]])  # 3, 6, 4
    assert lengths(Probe([params[1], params[2]]), params) == [3, 4]
    assert lengths(Probe([params[1], params[0]]), params) == [10]  # the order is the memory's
    groups = [{"params": params[:1]}, {"params": params[1:]}]
    assert lengths(Probe(groups), params) == [6, 3, 4]


def test_empty_parameters_do_not_part_their_neighbours():
    params = [nn.Parameter(np.ones(s, np.float32)) for s in ((2,), (0, 3), (3,))]
    assert lengths(Probe(params), params) == [5]


def test_a_parameter_with_an_array_of_its_own_parts_its_neighbours_and_only_these():
    params = [nn.Parameter(np.full(n, n, np.float32)) for n in (2, 3, 4, 5, 6)]
    optimizer = Probe(params)
    params[2].array = params[2].array * 2
    assert sorted(lengths(optimizer, params)) == [4, 5, 11]
    assert (params[2].array != 8).all()


def test_parameters_without_a_place_are_moved_together_whoever_has_one_already():
    old, new = make_params(), make_params()
    optimizer = Probe(old)
    places = [p._place for p in old]
    assert lengths(Probe(old[1:] + new), old, new) == [7, 13]
    optimizer.add_param_group({"params": new})
    assert lengths(optimizer, old, new) == [13, 13]
    assert [p._place for p in old] == places  # the first optimizer's runs are still whole


def test_exchanged_gradients_move_the_parameter_they_were_given_to():
    params = [nn.Parameter(np.zeros(3, np.float32)) for _ in range(2)]
    optimizer = optim.SGD(params, lr=1.0)
    for i, p in enumerate(params):
        p.accumulate_(Tensor(np.full(3, i + 1, np.float32)))
    params[0].grad, params[1].grad = params[1].grad, params[0].grad
    optimizer.step()
    assert [p.array.tolist() for p in params] == [[-2.0] * 3, [-1.0] * 3]


def test_state_survives_an_array_that_cannot_be_laid_out():
    params, straight = make_params(), make_params()
    optimizer, other = MAKERS["sgd"](params), MAKERS["sgd"](straight)
    for step in range(4):
        own = [p.array for p in params]
        if step == 2:
            params[0].array = own[0].copy()
            params[1].array = np.repeat(own[1], 2)[::2]
        for o, ps in ((optimizer, params), (other, straight)):
            o.zero_grad()
            give(ps, step)
        if step == 2:
            with pytest.raises(ShapeError, match=r"shape \(4,\) is not contiguous in memory"):
                optimizer.step()
            params[0].array, params[1].array = own[:2]
        optimizer.step()
        other.step()
    assert_equal(data(params), data(straight))
    for i, state in optimizer.state_dict()["state"].items():
        wanted = other.state_dict()["state"][i]["momentum_buffer"]
        np.testing.assert_array_equal(state["momentum_buffer"], wanted)


def test_gradients_that_lie_apart_give_the_same_bits():
    together, _ = run(MAKERS["adamw"])
    apart = make_params()
    optimizer = MAKERS["adamw"](apart)
    for step in range(6):
        optimizer.zero_grad()
        give(apart, step)
        for p in apart:  # of the user's making: another buffer, transposed in memory
            p.grad = Tensor(np.asfortranarray(p.grad.array))
        optimizer.step()
    assert_equal(data(apart), data(together))


def test_frozen_parameters_stay_and_can_be_thawed_later():
    params = make_params()
    params[1].requires_grad_(False)
    optimizer = MAKERS["adamw"](params)
    before = params[1].array.copy()
    for step in range(4):
        if step == 2:
            np.testing.assert_array_equal(params[1].array, before)
            params[1].requires_grad_()
        optimizer.zero_grad()
        give(params, step)
        optimizer.step()
    assert (params[1].array != before).any()
    assert [optimizer.state_dict()["state"][i]["step"] for i in range(3)] == [4, 2, 4]


def test_dtypes_may_differ_within_a_group():
    params = [nn.Parameter(np.ones(3, t)) for t in (np.float32, np.float64, np.float32)]
    optimizer = optim.SGD(params, lr=0.5)
    for i, p in enumerate(params):
        p.accumulate_(Tensor(np.full(3, i + 1, p.dtype)))
    optimizer.step()
    assert [p.array.tolist() for p in params] == [[0.5] * 3, [0.0] * 3, [-0.5] * 3]
    assert [p.dtype for p in params] == [np.float32, np.float64, np.float32]


def test_empty_parameters_are_harmless():
    params = [nn.Parameter(np.ones(s, np.float32)) for s in ((2,), (0, 3), (2,))]
    optimizer = optim.SGD(params, lr=0.5, momentum=0.5)
    for p in params:
        p.accumulate_(Tensor(np.ones(p.shape, np.float32)))
    optimizer.step()
    assert [p.array.tolist() for p in params] == [[0.5, 0.5], [], [0.5, 0.5]]


def test_making_an_optimizer_changes_no_value_and_keeps_the_model_whole():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    before = {n: a.copy() for n, a in model.state_dict().items()}
    optim.SGD(model.parameters())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("gradient", [np.ones((1,), np.float32), np.ones((2, 3), np.float64)])
def test_a_gradient_of_another_shape_or_dtype_is_refused(gradient):
    p = nn.Parameter(np.ones((2, 3), np.float32))
    optimizer = optim.SGD([p])
    p.grad = Tensor(gradient)
    with pytest.raises(ShapeError, match=r"a gradient is float\d\d of .*, its parameter float32"):
        optimizer.step()
    assert (p.array == 1).all()
