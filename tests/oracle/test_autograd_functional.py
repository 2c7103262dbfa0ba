"""torch.func, torch.autograd and torch.autograd.functional, name by name: the same code twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import torch

import distgrad as dg
from distgrad import Tensor, autograd
from distgrad.autograd import func

rng = np.random.default_rng(1)
X, Y, V = rng.normal(size=(3, 3))
A = rng.normal(size=(4, 3))


def equal(mine: Any, theirs: Any) -> None:
    if isinstance(theirs, tuple | list):
        assert isinstance(mine, tuple)
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            equal(a, b)
    elif theirs is None:
        assert mine is None
    else:
        assert mine.shape == tuple(theirs.shape)
        np.testing.assert_allclose(mine.data, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)


def f(x: Any, y: Any) -> Any:
    return (x * x * y).exp().sum()


def g(x: Any) -> Any:
    return x * x.sum()


def two(x: Any, y: Any) -> Any:
    return x * y, (x + y).sum()


FUNCTIONAL = {
    "jacobian": lambda F, t: F.jacobian(g, t(X)),
    "jacobian of two": lambda F, t: F.jacobian(two, (t(X), t(Y))),
    "hessian": lambda F, t: F.hessian(lambda x: f(x, x), t(X)),
    "hessian of two": lambda F, t: F.hessian(f, (t(X), t(Y))),
    "vjp": lambda F, t: F.vjp(g, t(X), t(V)),
    "vjp of two": lambda F, t: F.vjp(two, (t(X), t(Y)), (t(V), t(np.array(2.0)))),
    "vjp of a number": lambda F, t: F.vjp(f, (t(X), t(Y))),
    "jvp": lambda F, t: F.jvp(g, t(X), t(V)),
    "jvp of two": lambda F, t: F.jvp(two, (t(X), t(Y)), (t(V), t(X))),
    "hvp": lambda F, t: F.hvp(lambda x: f(x, x), t(X), t(V)),
    "vhp of two": lambda F, t: F.vhp(f, (t(X), t(Y)), (t(V), t(X))),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_autograd_functional(name):
    call = FUNCTIONAL[name]
    mine, theirs = call(autograd.functional, Tensor), call(torch.autograd.functional, torch.tensor)
    equal(mine, theirs)


def test_autograd_functional_records_where_it_is_told_to():
    x = Tensor(X, requires_grad=True)
    assert not autograd.functional.jacobian(g, x).requires_grad
    assert autograd.functional.jacobian(g, x, create_graph=True).requires_grad


FUNC = {
    "grad": lambda F, t: F.grad(f, argnums=(0, 1))(t(X), t(Y)),
    "grad_and_value": lambda F, t: F.grad_and_value(f)(t(X), t(Y)),
    "vjp": lambda F, t: F.vjp(g, t(X))[1](t(V)),
    "jvp": lambda F, t: F.jvp(g, (t(X),), (t(V),)),
    "jacrev": lambda F, t: F.jacrev(g)(t(X)),
    "jacfwd": lambda F, t: F.jacfwd(g)(t(X)),
    "jacfwd of two": lambda F, t: F.jacfwd(two, argnums=(0, 1))(t(X), t(Y)),
    "hessian": lambda F, t: F.hessian(f)(t(X), t(Y)),
    "vmap": lambda F, t: F.vmap(g)(t(A)),
    "vmap over dims": lambda F, t: F.vmap(two, in_dims=(1, None), out_dims=(1, 0))(t(A.T), t(X)),
    "vmap of grad": lambda F, t: F.vmap(F.grad(f), in_dims=(0, None))(t(A), t(Y)),
    "vmap of jacrev": lambda F, t: F.vmap(F.jacrev(g))(t(A)),
    "linearize": lambda F, t: F.linearize(g, t(X))[1](t(V)),
}


# PyTorch's own, on the first use of its forward mode.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")
@pytest.mark.parametrize("name", FUNC)
def test_func(name):
    call = FUNC[name]
    equal(call(func, Tensor), call(torch.func, torch.tensor))


def leaves(t: Any) -> Any:
    return [t(x, requires_grad=True) for x in (X.copy(), Y.copy(), V.copy())]


GRAD = {
    "a tuple": lambda A, x, y, z: A.grad(f(x, y), (x, y)),
    "one input": lambda A, x, y, z: A.grad(f(x, y), x),
    "grad_outputs": lambda A, x, y, z: A.grad(x * y, [x], grad_outputs=z),
    "positional": lambda A, x, y, z: A.grad([x * y, f(x, y)], [x, y], [z, None], True),
    "in lists of one": lambda A, x, y, z: A.grad([x * y], [x], [z]),
    "unused": lambda A, x, y, z: A.grad(f(x, y), [x, z], allow_unused=True),
    "materialized": lambda A, x, y, z: A.grad(f(x, y), [x, z], materialize_grads=True),
}


@pytest.mark.parametrize("name", GRAD)
def test_grad_takes_and_returns_what_pytorchs_does(name):
    call = GRAD[name]
    equal(call(autograd, *leaves(Tensor)), call(torch.autograd, *leaves(torch.tensor)))


def test_backward_of_several_and_to_some_inputs():
    for module, make in ((autograd, Tensor), (torch.autograd, torch.tensor)):
        x, y, z = leaves(make)
        module.backward([x * y, f(x, z)], [z, None])
        a, b, c = leaves(make)
        (a * b).backward(c, None, False, [b])
        if module is autograd:
            mine = [x.grad, y.grad, z.grad, a.grad, b.grad]
        else:
            equal(tuple(mine), (x.grad, y.grad, z.grad, a.grad, b.grad))


def test_a_batch_of_gradients_is_refused():
    x, y, z = leaves(Tensor)
    with pytest.raises(dg.GradError, match="is_grads_batched is not supported"):
        autograd.grad(x * y, x, z, is_grads_batched=True)


def functions(module: Any) -> Any:
    class Exp(module.Function):
        @staticmethod
        def forward(ctx, i):
            result = i.exp()
            ctx.save_for_backward(result)
            return result

        @staticmethod
        def backward(ctx, grad_output):
            (result,) = ctx.saved_tensors
            return grad_output * result

    class Polynomial(module.Function):
        @staticmethod
        def forward(x, y, power):
            return x * y**power, x + y

        @staticmethod
        def setup_context(ctx, inputs, output):
            x, y, ctx.power = inputs
            ctx.save_for_backward(x, y)

        @staticmethod
        def backward(ctx, g, h):
            x, y = ctx.saved_tensors
            gx = gy = None
            if ctx.needs_input_grad[0]:
                gx = g * y**ctx.power + h
            if ctx.needs_input_grad[1]:
                gy = (g * x * ctx.power * y ** (ctx.power - 1) + h).sum(0, keepdim=True)
            return gx, gy, None

    return Exp, Polynomial


def test_a_function_written_for_pytorch_runs_as_it_is():
    found = []
    for module, make in ((autograd, Tensor), (torch.autograd, torch.tensor)):
        exp, polynomial = functions(module)
        x = make(A.copy(), requires_grad=True)
        y = make(np.abs(X.copy())[None] + 0.5, requires_grad=True)
        p, q = polynomial.apply(x * x, y, 3)
        loss = (exp.apply(p * 0.1) * q).sum() + exp.apply(exp.apply(x)).sum()
        first = module.grad(loss, (x, y), create_graph=True)
        second = module.grad((first[0] ** 2).sum() + (first[1] ** 2).sum(), (x, y))
        found.append((loss, *first, *second))
    equal(*found)
