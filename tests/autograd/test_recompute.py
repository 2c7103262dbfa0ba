"""checkpoint: the same bits with less memory."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor, nn
from distgrad.autograd import checkpoint, checkpoint_sequential, grad
from distgrad.nn import functional as F


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.again = nn.Linear(8, 8)
        self.again.weight = self.linear.weight  # shared, so that the order of sums matters

    def forward(self, x):
        return F.dropout(F.gelu(self.norm(self.again(self.linear(x)))), 0.3)


def run(checkpointed, dtype=np.float32):
    dg.manual_seed(5)
    block = Block().to(dtype)
    x = Tensor(np.random.default_rng(3).normal(size=(7, 8)).astype(dtype), requires_grad=True)
    call = checkpoint if checkpointed else lambda f, *a: f(*a)
    h = x * 2
    outside = np.sin(x)

    def stretch(a, b):
        return block(a) * outside + a * b, a - b

    for _ in range(3):
        h, other = call(stretch, h, x)
        h = h + F.dropout(other, 0.5) + np.sum(block.linear.weight, axis=0)
    (h * h).sum().backward()
    state = {**block.state_dict(), **{n: p.grad.array for n, p in block.named_parameters()}}
    return {"x": x.grad.array, **{n: a.copy() for n, a in state.items()}}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_have_the_same_bits_with_dropout_shared_weights_and_statistics(dtype):
    plain, checkpointed = run(False, dtype), run(True, dtype)
    assert plain.keys() == checkpointed.keys()
    for name, value in plain.items():
        np.testing.assert_array_equal(checkpointed[name], value, err_msg=name)


def test_the_reference_kernels_of_the_forward_pass_run_again():
    def bits(checkpointed):
        x = Tensor(np.linspace(-3, 3, 9, dtype=np.float32), requires_grad=True)
        with dg.reference_kernels():
            y = checkpoint(F.gelu, x) if checkpointed else F.gelu(x)
        y.sum().backward()
        return x.grad.array

    np.testing.assert_array_equal(bits(True), bits(False))


def test_the_function_runs_twice_and_random_numbers_go_on_as_without():
    calls = []

    def f(x):
        calls.append(1)
        return F.dropout(x, 0.5)

    def after(checkpointed):
        dg.manual_seed(1)
        x = Tensor(np.ones(50), requires_grad=True)
        y = checkpoint(f, x) if checkpointed else f(x)
        later = F.dropout(x, 0.5)
        y.sum().backward()
        return later.array, F.dropout(x, 0.5).array, x.grad.array

    for a, b in zip(after(True), after(False), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(calls) == 3


def test_nested_checkpoints():
    def inner(x):
        return np.exp(F.dropout(x, 0.4))

    def outer(x, run):
        return run(inner, x * 2) * x

    def gradient(run):
        dg.manual_seed(2)
        x = Tensor(np.linspace(-1, 1, 12), requires_grad=True)
        run(outer, x, run).sum().backward()
        return x.grad.array

    np.testing.assert_array_equal(gradient(checkpoint), gradient(lambda f, *a: f(*a)))


def test_activations_are_not_kept():
    seen = []

    @dg.op("... -> ...")
    def traced(a):
        """Twice a, counting the arrays that live."""
        kept = a * 2

        class Kept:
            array = kept

            def __init__(self):
                seen.append(1)

            def __del__(self):
                seen.pop()

        token = Kept()
        return kept, lambda g: g * (2 if token else 0)

    try:
        x = Tensor(np.ones(3), requires_grad=True)
        y = checkpoint(lambda a: traced(traced(traced(a))), x)
        assert not seen
        y.sum().backward()
        assert not seen
    finally:
        del dg.autograd.REGISTRY["traced"]
    np.testing.assert_array_equal(x.grad.array, [8, 8, 8])


def test_gradients_of_gradients_go_through():
    w = Tensor(np.array([0.5, -1.0, 2.0]), requires_grad=True)

    def second(run):
        x = Tensor(np.array([0.3, 1.0, -2.0]), requires_grad=True)
        h = x * x
        y = run(lambda a: np.exp(a * w) * np.sin(h), h)
        (first,) = grad((y * x).sum(), [x], create_graph=True)
        return [g.array for g in grad((first * first).sum(), [x, w])]

    for a, b in zip(second(checkpoint), second(lambda f, *x: f(*x)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_a_second_pass_with_retain_graph_and_without():
    x = Tensor(np.ones(3), requires_grad=True)
    y = checkpoint(np.exp, x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.array, np.full(3, 2 * np.e))
    with pytest.raises(dg.GradError, match="freed by an earlier"):
        y.backward()


def test_sequential_in_segments():
    functions = [np.sin, np.exp, np.tanh, np.sin, np.exp]
    for segments in (1, 2, 5):
        x = Tensor(np.array([0.1, 0.2, 0.3]), requires_grad=True)
        checkpoint_sequential(functions, segments, x).sum().backward()
        z = Tensor(x.array, requires_grad=True)
        np.exp(np.sin(np.tanh(np.exp(np.sin(z))))).sum().backward()
        np.testing.assert_array_equal(x.grad.array, z.grad.array)
    with pytest.raises(dg.GradError, match=r"segments=6 must be from 1 to 5"):
        checkpoint_sequential(functions, 6, x)


def test_without_recording_it_is_a_call():
    with dg.no_grad():
        assert not checkpoint(np.exp, Tensor(np.ones(3), requires_grad=True)).requires_grad
    assert not checkpoint(np.exp, Tensor(np.ones(3))).requires_grad


def test_what_it_cannot_do_is_said():
    x = Tensor(np.ones(3), requires_grad=True)
    with pytest.raises(dg.GradError, match=r"the function returned dict; it must return a Tensor"):
        checkpoint(lambda a: {"y": a}, x)
    lengths = iter([3, 2])
    y = checkpoint(lambda a: a[: next(lengths)] * 2, x)
    with pytest.raises(dg.GradError, match=r"computed shapes \[\(2,\)\], at first \[\(3,\)\]"):
        y.sum().backward()


def test_a_tensor_from_outside_that_is_returned_as_it_is_has_its_gradient():
    x, b = (Tensor(np.ones(3), requires_grad=True) for _ in range(2))
    y, z = checkpoint(lambda x, b: (x * 2, b), x, b=b * 2)
    (y.sum() + z.sum()).backward()
    np.testing.assert_array_equal(b.grad.array, [2, 2, 2])


def test_an_output_that_is_not_used_gives_no_gradient():
    x, w = (Tensor(np.ones(3), requires_grad=True) for _ in range(2))
    a, _ = checkpoint(lambda a, b: (a * a, b * 3), x, w)
    a.sum().backward(create_graph=True)
    np.testing.assert_array_equal(x.grad.array, [2, 2, 2])
    assert w.grad is None
    h = dg.hessian(lambda x: checkpoint(lambda z, w: (np.sum(z * z * z), w * 2), x, x * 2)[0])
    np.testing.assert_allclose(h(np.ones(2)).array, 6 * np.eye(2))


def test_parameters_replaced_before_the_second_run_are_noticed():
    w, x = (Tensor(np.full(3, 2.0), requires_grad=True) for _ in range(2))
    y = checkpoint(lambda x: np.sin(x * w), x).sum()
    w.array = w.array * 5
    with pytest.raises(dg.GradError, match="that checkpoint read in the forward pass was replaced"):
        y.backward()
    z = (w * w * w).sum()
    w.array = w.array * 5
    with pytest.raises(dg.GradError, match="was replaced before it is read again"):
        grad(z, [w], create_graph=True)
