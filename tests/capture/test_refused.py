"""What a replay could not do again is refused, naming the user's line; nothing goes stale."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

import distgrad as dg
from distgrad import CaptureError, nn, optim
from distgrad.autograd import grad
from distgrad.autograd.apart import apart
from distgrad.nn import functional as F

X = np.arange(12, dtype="f4").reshape(3, 4) / 7
OUTSIDE = np.arange(4, dtype="f4")


def refused(step, *args, match, calls=1):
    captured = dg.capture(step)
    for _ in range(calls - 1):
        captured(*args)
    with pytest.raises(CaptureError, match=match) as found:
        captured(*args)
    return str(found.value)


def reads_float(x):
    return x * float(x.sum())


def decides(x):
    return x if x.sum() > 0 else -x


def reads_item(x):
    return x * x.max().item()


def prints(x):
    return f"{x}"


def reads_list(x):
    return x.tolist()


def loops(x):
    return list(x.numpy())


def counts(x):
    return x[: int(dg.count_nonzero(x[0]))]


def compares(x):
    return dg.equal(x, x)


@pytest.mark.parametrize(
    "step",
    [reads_float, decides, reads_item, prints, reads_list, loops, counts, compares],
    ids=lambda f: f.__name__,
)
def test_a_value_read_into_python_names_the_line(step):
    text = refused(step, dg.tensor(X), match="inside a captured step")
    assert f"test_refused.py:{step.__code__.co_firstlineno + 1} in {step.__name__}" in text


def test_an_array_from_outside_is_refused():
    refused(lambda x: x * OUTSIDE, dg.tensor(X), match="enters the captured step from outside")


def test_a_tensor_from_outside_is_refused():
    mask = dg.tensor(OUTSIDE)
    refused(lambda x: x * mask, dg.tensor(X), match="enters the captured step from outside")


def test_an_array_computed_with_numpy_alone_is_refused():
    refused(lambda x: dg.tensor(x / 255), X, match="outside")


def test_an_array_given_to_a_function_of_the_library_is_refused():
    refused(lambda x: F.linear(x, OUTSIDE[None]), dg.tensor(X), match="from outside")


ARRAYS = {
    "of a result": lambda x: (x * 2).detach().numpy(),
    "in a dictionary": lambda x: {"a": [(x * 2).array]},
    "of a gradient": lambda x: (grads(x), LAYER.weight.grad.numpy())[1],
}
LAYER = nn.Linear(X.shape[-1], 2)


def grads(x):
    LAYER(x).sum().backward()


@pytest.mark.parametrize("step", ARRAYS.values(), ids=ARRAYS)
def test_a_plain_array_of_a_tensor_is_not_returned(step):
    said = r"<lambda> returns the plain array of a Tensor, float\d\d \(.*: return the Tensor, and"
    refused(step, dg.tensor(X), match=said)


def test_a_collective_of_dg_distributed_names_its_line():
    def step(x):
        y = x * 2
        dg.distributed.all_reduce(y)  # it is this one
        return y

    refused(step, dg.tensor(X), match=r"test_refused.py:\d+ in step: dg.distributed.all_reduce\(y")


def test_a_number_by_chance_is_found_when_the_step_is_recorded_again():
    random.seed(0)
    text = refused(lambda x: x * random.random(), dg.tensor(X), match="something else", calls=2)
    assert re.search(r"line \d+, op multiply, had .*0\.844.* and has .*0\.757", text), text


def test_a_counter_is_found_when_the_step_is_recorded_again():
    count = [0]

    def step(x):
        count[0] += 1
        return x[: 1 + count[0] % 2]

    refused(step, dg.tensor(X), match="1 calls ago: line 0, op getitem, had", calls=2)


def test_another_path_is_found_when_the_step_is_recorded_again():
    warm = [True]
    captured = dg.capture(lambda x: x * 2 if warm[0] else x + 1)
    for _ in range(3):
        captured(dg.tensor(X))
    warm[0] = False
    with pytest.raises(CaptureError, match="3 calls ago: line 0 was op multiply and is op add"):
        captured(dg.tensor(X))


@pytest.mark.parametrize("name", ["data", "array"])
def test_what_is_assigned_to_a_parameter_is_refused(name):
    model = nn.Linear(4, 4)

    def step(x):
        setattr(model.weight, name, getattr(x.T @ x, name))

    refused(step, dg.tensor(X), match=r"write x.copy_\(y\) inside dg.no_grad")


class Following(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", dg.zeros(4))
        self.scale = nn.Parameter(dg.ones(4))

    def forward(self, x):
        return self.change(self, x)


def assigns_a_buffer(model, x):
    model.mean = 0.9 * model.mean + 0.1 * x.mean(0)


def registers_a_buffer(model, x):
    model.register_buffer("mean", 0.9 * model.mean + 0.1 * x.mean(0))


def makes_a_parameter(model, x):
    model.scale = nn.Parameter(model.scale * 0.9)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (assigns_a_buffer, r"the buffer 'mean' of Following .* write self.mean.copy_"),
        (registers_a_buffer, r"the buffer 'mean' of Following .* write self.mean.copy_"),
        (makes_a_parameter, r"a Parameter is made inside a captured step, .* write p.copy_"),
    ],
)
def test_what_is_assigned_to_a_module_is_refused_by_its_line(change, match):
    model = Following()
    model.change = change
    text = refused(model, dg.tensor(X), match=match)
    assert f"test_refused.py:{change.__code__.co_firstlineno + 1} in {change.__name__}" in text


def test_a_buffer_is_written_and_a_module_made_inside_a_step():
    def counting(model, x):
        model.mean += 1
        return nn.Sequential(nn.ReLU(), nn.Flatten())(x * model.mean)

    model = Following()
    model.change = counting
    step = dg.capture(model)
    found = [step(dg.tensor(X)) for _ in range(6)]
    np.testing.assert_array_equal(found[-1].array, 6 * X)


def test_the_arguments_of_a_module_do_not_hide_what_is_refused():
    class Reading(nn.Module):
        def forward(self, x, parts):
            return x * float(parts[0].sum())

    model = Reading()
    text = refused(lambda x: model(x, [x, x]), dg.tensor(X), match="reads the values of a Tensor")
    assert "in forward" in text


def test_a_forward_hook_is_refused():
    model = nn.Linear(4, 2)
    model.register_forward_hook(lambda module, args, output: None)
    refused(model, dg.tensor(X), match="forward hook of Linear, would not be called")


@pytest.mark.parametrize(
    ("put_on", "match"),
    [
        (nn.utils.weight_norm, "of nn.utils.weight_norm: nn.utils.parametrizations has it"),
        (nn.utils.spectral_norm, "of nn.utils.spectral_norm: nn.utils.parametrizations has it"),
        (lambda m: nn.utils.prune.l1_unstructured(m, "weight", 2), "prune.remove makes it"),
    ],
)
def test_a_hook_of_the_librarys_own_says_what_to_write(put_on, match):
    model = nn.Linear(4, 2)
    put_on(model)
    refused(model, dg.tensor(X), match=match)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("prod", lambda x: dg.prod(x, 1)),
        ("logit", lambda x: dg.logit(dg.sigmoid(x))),
    ],
)
def test_a_gradient_of_a_gradient_that_needs_values_names_the_op(name, function):
    def step(x):
        x = (2 * x).requires_grad_()
        (slope,) = grad((function(x) ** 2).sum(), [x], create_graph=True)
        return grad((slope**2).sum(), x)

    text = refused(step, dg.tensor(X), match=f"gradients of gradients of {name} cannot be captured")
    assert "test_refused.py" in text


def test_a_hook_on_a_gradient_is_refused():
    def step(x):
        y = model(x)
        y.register_hook(lambda g: None)
        y.sum().backward()

    model = nn.Linear(4, 2)
    refused(step, dg.tensor(X), match="a hook on the gradient of")


def test_a_hook_on_a_parameter_is_refused():
    model = nn.Linear(4, 2)
    model.weight.register_hook(lambda g: None)
    refused(lambda x: model(x).sum().backward(), dg.tensor(X), match="a hook on 'weight' of Linear")


def test_changing_the_mode_inside_is_refused():
    model = nn.Dropout(0.5)
    model.eval()

    def step(x):
        y = model(x)
        model.train()
        return y

    refused(step, dg.tensor(X), match=r"train\(\) or eval\(\) of Dropout is called inside")


def test_a_number_from_clipping_cannot_be_used_but_returned():
    model = nn.Linear(4, 2)

    def step(x):
        model(x).sum().backward()
        return dg.clip_grad_norm_(model.parameters(), 1.0) * 2

    refused(step, dg.tensor(X), match="uses a number that each step computes anew")


def test_a_graph_from_outside_is_refused():
    model = nn.Linear(4, 2)
    loss = model(X).sum()
    refused(loss.backward, match="computed outside of it|from outside")


def test_a_checkpoint_is_refused():
    model = nn.Linear(4, 2)
    refused(
        lambda x: dg.utils.checkpoint.checkpoint(model, x).sum().backward(),
        dg.tensor(X),
        match="checkpoint",
    )


def test_an_argument_of_another_kind_is_refused():
    with pytest.raises(CaptureError, match="type set cannot be told from another"):
        dg.capture(lambda x: x)({1})


def test_what_is_no_function_is_refused():
    with pytest.raises(TypeError, match="takes the function of a step; got Tensor"):
        dg.capture(dg.tensor(X))


def test_nobody_has_no_program():
    with pytest.raises(CaptureError, match="one program at least"):
        dg.capture(lambda x: x, most=0)


def test_a_step_that_was_refused_leaves_tensors_as_they_were():
    refused(reads_item, dg.tensor(X), match="captured")
    assert dg.tensor(X).max().item() == X.max()
    optimizer = optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    optimizer.step()


def test_a_closure_for_the_optimizer_is_refused():
    model = nn.Linear(4, 2)
    optimizer = optim.LBFGS(model.parameters())

    def step(x):
        def loss():
            optimizer.zero_grad()
            total = model(x).square().sum()
            total.backward()
            return total

        return optimizer.step(loss)

    refused(step, dg.tensor(X), match=r"loss\(\), which is given to LBFGS.step")


def test_a_number_of_numpy_is_no_constant():
    captured = dg.capture(apart(lambda x: np.float64(x.array.max())))
    assert [captured(dg.tensor(X * n)) for n in range(5)] == [(X * n).max() for n in range(5)]
