"""Optimizers over flat memory: who is updated together, and what survives a move."""

import numpy as np
import pytest

from distgrad import Tensor, nn, optim
from distgrad.autograd.flat import bind_
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
    return [p.data.copy() for p in params]


def assert_equal(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def move_to_fresh_buffers(params, step):
    if step == 2:  # what the bridge does: one bucket, in the opposite order
        total = sum(p.size for p in params)
        bind_(params[::-1], np.empty(total, np.float32), np.empty(total, np.float32))
    if step == 3:  # two buckets with holes
        bind_(params[:2], np.empty(20, np.float32), np.empty(20, np.float32))
        bind_(params[2:], np.empty(20, np.float32)[5:], None)
    if step == 5:  # an array of its own, assigned by the user
        params[1].data = params[1].data.copy()


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
    np.testing.assert_array_equal(params[1].data, alone[1].data)


def test_a_parameter_that_never_had_a_gradient_has_no_state():
    params, optimizer = run(MAKERS["adamw"], skip=lambda step: (0, 2))
    assert list(optimizer.state_dict()["state"]) == [1]
    assert_equal([params[0].data, params[2].data], [make_params()[i].data for i in (0, 2)])


def test_adjacent_parameters_are_updated_as_one_array():
    lengths = []

    class Probe(optim.SGD):
        def update(self, value, grad, state, step, group):
            assert value.base is not None
            lengths.append(value.size)

    run(Probe, steps=1)
    assert lengths == [13]
    lengths.clear()
    run(Probe, steps=1, skip=lambda step: (1,))
    assert lengths == [6, 3]


def test_gradients_that_lie_apart_give_the_same_bits():
    together, _ = run(MAKERS["adamw"])
    apart = make_params()
    optimizer = MAKERS["adamw"](apart)
    for step in range(6):
        optimizer.zero_grad()
        give(apart, step)
        for p in apart:  # of the user's making: another buffer, transposed in memory
            p.grad = Tensor(np.asfortranarray(p.grad.data))
        optimizer.step()
    assert_equal(data(apart), data(together))


def test_frozen_parameters_stay_and_can_be_thawed_later():
    params = make_params()
    params[1].requires_grad_(False)
    optimizer = MAKERS["adamw"](params)
    before = params[1].data.copy()
    for step in range(4):
        if step == 2:
            np.testing.assert_array_equal(params[1].data, before)
            params[1].requires_grad_()
        optimizer.zero_grad()
        give(params, step)
        optimizer.step()
    assert (params[1].data != before).any()
    assert [optimizer.state_dict()["state"][i]["step"] for i in range(3)] == [4, 2, 4]


def test_dtypes_may_differ_within_a_group():
    params = [nn.Parameter(np.ones(3, t)) for t in (np.float32, np.float64, np.float32)]
    optimizer = optim.SGD(params, lr=0.5)
    for i, p in enumerate(params):
        p.accumulate_(Tensor(np.full(3, i + 1, p.dtype)))
    optimizer.step()
    assert [p.data.tolist() for p in params] == [[0.5] * 3, [0.0] * 3, [-0.5] * 3]
    assert [p.dtype for p in params] == [np.float32, np.float64, np.float32]


def test_empty_parameters_are_harmless():
    params = [nn.Parameter(np.ones(s, np.float32)) for s in ((2,), (0, 3), (2,))]
    optimizer = optim.SGD(params, lr=0.5, momentum=0.5)
    for p in params:
        p.accumulate_(Tensor(np.ones(p.shape, np.float32)))
    optimizer.step()
    assert [p.data.tolist() for p in params] == [[0.5, 0.5], [], [0.5, 0.5]]


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
    assert (p.data == 1).all()
