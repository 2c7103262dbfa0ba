"""Functions of functions: values, structures, nesting, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor

X = np.array([0.3, -1.2, 2.0])


def cubic(x):
    return np.sum(x * x * x)


def test_grad_of_a_plain_array_is_a_tensor_of_its_shape():
    g = dg.grad(cubic)(X)
    assert isinstance(g, Tensor)
    np.testing.assert_allclose(g.array, 3 * X**2)
    assert not g.requires_grad


def test_a_python_number_is_differentiated_in_double_precision():
    g = dg.grad(np.sin)(0.3)
    assert g.dtype == np.float64
    assert g.item() == np.cos(0.3)


def test_argnums_picks_arguments_and_keeps_their_structure():
    def f(a, b, scale=1.0):
        return np.sum(a["w"] * b) * scale

    a, b = {"w": X, "v": X * 2}, X * 5
    g = dg.grad(f)(a, b, scale=2.0)
    np.testing.assert_allclose(g["w"].array, 2 * b)
    np.testing.assert_array_equal(g["v"].array, np.zeros(3))  # not used: zeros
    to_a, to_b = dg.grad(f, argnums=(0, 1))(a, b)
    np.testing.assert_allclose(to_a["w"].array, b)
    np.testing.assert_allclose(to_b.array, X)
    np.testing.assert_allclose(dg.grad(f, argnums=-1)(a, b).array, X)


def test_value_and_grad_with_something_besides():
    def f(x):
        return cubic(x), {"seen": x.shape}

    (value, aux), g = dg.value_and_grad(f, has_aux=True)(X)
    assert value.item() == pytest.approx(np.sum(X**3))
    assert aux == {"seen": (3,)}
    np.testing.assert_allclose(g.array, 3 * X**2)
    assert dg.grad(f, has_aux=True)(X)[1] == {"seen": (3,)}


def test_dicts_with_the_same_keys_in_another_order_are_one_structure():
    _, pull = dg.vjp(lambda x: {"a": x, "b": 2 * x}, X)
    (g,) = pull({"b": np.ones(3), "a": np.zeros(3)})
    np.testing.assert_array_equal(g.array, [2, 2, 2])


def test_nested_to_the_fourth_order():
    f = np.sin
    for order in range(1, 5):
        f = dg.grad(f)
        expected = [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x), np.sin][order - 1](0.7)
        assert f(0.7).item() == pytest.approx(expected, rel=1e-13)


def test_an_inner_derivative_does_not_confuse_its_variable_with_the_outer_one():
    # d/dx [x d/dy (x + y)] = 1: with confused variables it would be 2 (Siskind & Pearlmutter 2005).
    assert dg.grad(lambda x: x * dg.grad(lambda y: x + y)(2.0))(3.0).item() == 1
    assert dg.grad(lambda x: x * dg.jvp(lambda y: x * y, (x,), (1.0,))[1])(3.0).item() == 6


def test_vjp_can_be_pulled_any_number_of_times():
    value, pull = dg.vjp(lambda a, b: (a * b, np.sum(a)), X, X * 3)
    np.testing.assert_allclose(value[0].array, 3 * X**2)
    for seed in (1.0, 2.0):
        to_a, to_b = pull((np.full(3, seed), np.asarray(0.5)))
        np.testing.assert_allclose(to_a.array, seed * 3 * X + 0.5)
        np.testing.assert_allclose(to_b.array, seed * X)


def test_jvp_is_the_derivative_along_the_tangents():
    value, slope = dg.jvp(lambda a, b: a * np.exp(b), (X, X), (np.ones(3), np.zeros(3)))
    np.testing.assert_allclose(value.array, X * np.exp(X))
    np.testing.assert_allclose(slope.array, np.exp(X))


def test_jvp_of_a_constant_is_zero():
    value, slope = dg.jvp(lambda a: np.ones(2), (X,), (X,))
    np.testing.assert_array_equal(value.array, [1, 1])
    np.testing.assert_array_equal(slope.array, [0, 0])


def test_jacobian_has_the_shape_of_the_value_then_of_the_argument():
    a = np.arange(6.0).reshape(2, 3)
    found = dg.jacobian(lambda x: np.sum(x * x, axis=0))(a)
    expected = np.zeros((3, 2, 3))
    for j in range(3):
        expected[j, :, j] = 2 * a[:, j]
    np.testing.assert_allclose(found.array, expected)
    both = dg.jacobian(lambda x, y: {"p": x * y}, argnums=(0, 1))(X, X)
    np.testing.assert_allclose(both["p"][1].array, np.diag(X))
    assert dg.jacobian(lambda x: x[:0])(X).shape == (0, 3)


def test_hessian_is_symmetric_and_hvp_is_its_product():
    def f(x):
        return np.sum(np.exp(x) * x) * np.sum(x)

    h = dg.hessian(f)(X).array
    np.testing.assert_allclose(h, h.T)
    value, (product,) = dg.hvp(f, (X,), (X * 2,))
    assert value.item() == pytest.approx(f(X))
    np.testing.assert_allclose(product.array, h @ (2 * X))


def test_a_derivative_inside_a_loss_reaches_parameters():
    w = Tensor(np.array([2.0, 3.0, 5.0]), requires_grad=True)
    slope = dg.grad(lambda x: np.sum(w * x * x))(X)  # 2 w x
    np.sum(slope).backward()
    np.testing.assert_allclose(w.grad.array, 2 * X)


def test_without_recording_the_result_is_outside_the_tape():
    w = Tensor(X, requires_grad=True)
    with dg.no_grad():
        value, g = dg.value_and_grad(lambda x: np.sum(w * x * x))(X)
    assert not g.requires_grad
    assert not value.requires_grad
    np.testing.assert_allclose(g.array, 2 * X * X)


def test_what_cannot_be_differentiated_is_named():
    with pytest.raises(dg.GradError, match=r"grad needs a function that returns one real number.*"):
        dg.grad(lambda x: x * 2)(X)
    with pytest.raises(dg.GradError, match=r"several results.*jacobian or vjp"):
        dg.grad(lambda x: (cubic(x), 1.0))(X)
    with pytest.raises(dg.GradError, match=r"argument to differentiate is int64.*argnums"):
        dg.grad(cubic)(np.arange(3))
    with pytest.raises(dg.GradError, match=r"argnums=1: the function was called with 1 positional"):
        dg.grad(cubic, argnums=1)(X)
    with pytest.raises(dg.ShapeError, match=r"tangents \(\(2,\)\) must have the structure"):
        dg.jvp(cubic, (X,), (np.ones(2),))
    _, pull = dg.vjp(lambda x: (x, x), X)
    with pytest.raises(dg.ShapeError, match=r"cotangents are \*, the function's result is"):
        pull(X)


def test_named_tuples_and_arguments_that_are_left_out_keep_their_places():
    value, pull = dg.vjp(np.linalg.eigh, np.diag([1.0, 2.0]))
    assert type(value).__name__ == "EighResult"
    (g,) = pull(type(value)(np.ones(2), np.zeros((2, 2))))
    np.testing.assert_allclose(g.array, np.eye(2))
    g = dg.grad(lambda p: np.sum(p["w"] * p["w"]))({"w": X, "b": None})
    assert g["b"] is None


def test_tangents_and_argnums_that_do_not_fit_are_named():
    with pytest.raises(dg.ShapeError, match=r"hvp: the tangents \(\(2, 3\)\) must have"):
        dg.hvp(cubic, (X,), (np.ones((2, 3)),))
    with pytest.raises(dg.GradError, match=r"argnums=\(0, 0\) names an argument twice"):
        dg.grad(lambda a, b: np.sum(a * b), argnums=(0, 0))(X, X)
    assert dg.grad(cubic, argnums=np.int64(0))(X).shape == (3,)
