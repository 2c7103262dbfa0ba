"""Ops as machine-level calls, forward and backward, with the bits of the eager step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from captured import lines_of_python

import distgrad as dg
from distgrad import kernels, ops
from distgrad.autograd import grad
from distgrad.nn import functional as F

pytestmark = pytest.mark.skipif(
    kernels.part("machine", "works") is None, reason="needs numba, whose kernels are called"
)

Function = Callable[..., Any]
CALLS = 6


def numbers(*shape: int, dtype: Any = "f4", turn: int = 0) -> Any:
    """Return numbers of both signs, zeros of both among them, that differ from turn to turn."""
    rng = np.random.default_rng([*shape, turn])
    a = rng.normal(size=shape).astype(dtype)
    a[rng.random(shape) < 0.1] = 0.0
    a[rng.random(shape) < 0.1] = -0.0
    return a


def wholes(most: int, *shape: int) -> Function:
    """Return what draws whole numbers below ``most``, some of them several times."""
    return lambda turn: np.random.default_rng([*shape, turn]).integers(0, most, shape)


def bits(results: Any) -> Any:
    return [(r.array.strides, r.array.dtype, r.array.tobytes()) for r in results]


def check(function: Function, *shapes: Any) -> None:
    """Let a function of arrays be captured with gradients to all that are of floats."""

    def step(*given: Any) -> Any:
        inputs = [dg.tensor(x, requires_grad=True) if x.dtype.kind == "f" else x for x in given]
        y = function(*inputs)
        if y.dtype.kind != "f":
            return (y,)
        # Both ways a gradient comes: as it lies in memory, and spread out of one number.
        sum_ = (y * y * 0.5).sum() + y.mean() * 2
        return y, *grad(sum_, [x for x in inputs if getattr(x, "requires_grad", False)])

    captured = dg.capture(step)
    for turn in range(CALLS):
        given = [s(turn) if callable(s) else numbers(*s, turn=turn) for s in shapes]
        wanted, found = step(*given), captured(*given)
        assert bits(found) == bits(wanted), turn
    assert {*lines_of_python(captured.program)} <= {"tensor"}


LAYOUTS: dict[str, Function] = {
    "in order": lambda x: x,
    "turned": lambda x: np.swapaxes(x, 0, -1),
    "with gaps": lambda x: x[..., 1:],
    "spread": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "of one": lambda x: x[:1, :1],
}
# Rows that are not one in memory some versions of NumPy copy to a buffer before they sum them all.
SUMS = [
    (layout, axis)
    for layout in LAYOUTS
    for axis in (None, 0, 1, -1, (0, 1), (1, 2))
    if layout not in {"with gaps", "spread"} or axis not in (None, (1, 2))
]


@pytest.mark.parametrize(("layout", "axis"), SUMS, ids=str)
@pytest.mark.parametrize("name", ["sum", "mean", "std", "var"])
def test_sums_over_every_axis(name: str, axis: Any, layout: str) -> None:
    lie = LAYOUTS[layout]
    for shape in ((3, 5, 4), (3, 37, 67)):
        check(lambda x: getattr(np, name)(lie(x), axis=axis), shape)


@pytest.mark.parametrize("layout", ["in order", "turned", "with gaps", "of one"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["amax", "min", "logsumexp", "prod", "cumsum"])
def test_extremes_products_and_running_sums(name: str, axis: int, layout: str) -> None:
    lie = LAYOUTS[layout]
    check(lambda x: getattr(ops, name)(lie(x), axis=axis), (3, 7, 4))
    if name != "cumsum" and layout in {"in order", "turned"}:
        check(lambda x: getattr(ops, name)(lie(x)), (3, 7, 4))


PAIRS: dict[str, Function] = {
    "mse": F.mse_loss,
    "huber": F.huber_loss,
    "smooth_l1": F.smooth_l1_loss,
    "logits": F.binary_cross_entropy_with_logits,
}


@pytest.mark.parametrize("layout", ["in order", "turned", "with gaps"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", PAIRS)
def test_losses_of_pairs(name: str, reduction: str, layout: str) -> None:
    lie = LAYOUTS[layout]
    for shape in ((3, 5), (33, 47)):
        check(lambda a, b: PAIRS[name](lie(a), lie(b), reduction=reduction), shape, shape)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_negative_log_likelihood(reduction: str) -> None:
    check(lambda x, y: F.nll_loss(x, y, reduction=reduction), (9, 5), wholes(5, 9))


OPERANDS: dict[str, Function] = {
    "maximum": np.maximum,
    "minimum": np.minimum,
    "hypot": np.hypot,
    "multiply": np.multiply,
    "subtract": np.subtract,
    "where": lambda a, b: dg.where(dg.ones(5, dtype=bool), a, b),
    "lerp": lambda a, b: ops.lerp(a, b, a * 0.3),
}


@pytest.mark.parametrize("name", OPERANDS)
def test_operands_of_several_shapes_and_layouts(name: str) -> None:
    f = OPERANDS[name]
    check(f, (3, 5), (3, 5))
    check(f, (3, 5), (5,))
    check(f, (3, 1), (3, 5))
    check(lambda a, b: f(a.T, b[:, 1:]), (5, 3), (3, 6))
    check(lambda a, b: f(a.T, b.T), (5, 3), (5, 3))
    if name in {"maximum", "minimum", "multiply"}:
        check(lambda a: f(a, 0.3), (3, 5))


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh", "gelu", "silu", "elu"])
@pytest.mark.parametrize("layout", ["in order", "turned", "with gaps"])
def test_activations_keep_the_layout(name: str, layout: str) -> None:
    check(lambda x: getattr(F, name)(LAYOUTS[layout](x)), (3, 4, 5))


def test_angles_and_dropout_keep_the_layout() -> None:
    check(lambda x: np.sin(x.T) * np.cos(x.T), (3, 4, 5))


JOINS: dict[str, Function] = {
    "turned": lambda a, b: np.concatenate([a.T, b.T], 1),
    "one of them turned": lambda a, b: np.concatenate([a.T, b.reshape(b.shape[::-1])], 0),
    "with gaps": lambda a, b: np.concatenate([a[:, 1:], b[:, :-1]], -1),
    "stacked": lambda a, b: np.stack([a.T, b.T], 1),
    "cut and joined": lambda a, b: np.concatenate([*np.split(a.T, 2, 1)[::-1], b.T], 1),
    "rolled": lambda a, b: np.roll(a.T, 1, 1) * dg.roll(b, 2, -1).T,
    "reshaped": lambda a, b: (a.T.reshape(-1) * b.reshape(-1)).reshape(3, 8),
    "squeezed": lambda a, b: np.squeeze(a[:, :1] * b[:, :1], 1),
}


COMPARED: dict[str, Function] = {
    "greater": lambda a, b: np.where(a > 0.1, a, b),
    "turned": lambda a, b: np.where(a.T <= b.T, a.T, b.T * 2),
    "a mask": lambda a, b: (a > b).astype("f4") * a + (b != 0) * b,
    "PyTorch's": lambda a, b: dg.where(dg.gt(a, 0) & dg.lt(b, 0.5), a, b),
    "a row of settings": lambda a, b: a * dg.linspace(0, 1, 6) + b * dg.ones(4, 1),
    "a triangle": lambda a, b: dg.where(dg.eye(4, 6) > 0, a, b),
}


@pytest.mark.parametrize("name", COMPARED)
def test_comparisons_and_what_is_made_of_settings(name: str) -> None:
    check(COMPARED[name], (4, 6), (4, 6))


def test_what_is_made_of_settings_is_new_each_time() -> None:
    def step(x: Any) -> Any:
        with dg.no_grad():
            total = dg.zeros(5)
            total.add_(x)
        return total

    captured = dg.capture(step)
    assert [captured(dg.full((5,), float(i))).array[0] for i in range(7)] == [*range(7)]


@pytest.mark.parametrize("name", JOINS)
def test_what_is_joined_and_cut(name: str) -> None:
    check(JOINS[name], (4, 6), (4, 6))


@pytest.mark.parametrize("to", ["f4", "f8"])
@pytest.mark.parametrize("of", ["f4", "f8", "i8", "i4", "?"])
def test_another_dtype(of: str, to: str) -> None:
    def given(turn: int) -> Any:
        return (numbers(5, 7, dtype="f8", turn=turn) * 3e7).astype(of)

    if of in "f4f8":
        for lie in (lambda x: x, lambda x: x.T):
            check(lambda x, lie=lie: lie(x).astype(to), given)
    else:
        check(lambda x, w: x[1:].astype(to) * w.astype(to), lambda t: dg.tensor(given(t)), (1, 1))


PRODUCTS: dict[str, tuple[Any, Any]] = {
    "matrix and vector": ((5, 4), (4,)),
    "vector and matrix": ((4,), (4, 5)),
    "two vectors": ((7,), (7,)),
    "a stack and a vector": ((3, 5, 4), (4,)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_with_vectors(name: str) -> None:
    check(np.matmul, *PRODUCTS[name])


def test_a_layer_of_one_row() -> None:
    check(F.linear, (1, 6), (5, 6), (5,))


NORMS: dict[str, tuple[Function, tuple[Any, ...]]] = {
    "rms_norm": (lambda x, w: F.rms_norm(x, (5,), w), ((4, 5), (5,))),
    "rms_norm without weights": (lambda x: F.rms_norm(x, (5,)), ((4, 5),)),
    "group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), ((3, 4, 5), (4,), (4,))),
    "glu": (lambda x: F.glu(x, -1), ((3, 8),)),
    "glu of channels": (lambda x: F.glu(x, 1), ((3, 4, 5),)),
    "cumprod": (lambda x: np.cumprod(x, 1), ((3, 4, 5),)),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_and_gates(name: str) -> None:
    function, shapes = NORMS[name]
    check(function, *shapes)


LOOKUPS: dict[str, tuple[Function, Any, Any]] = {
    "rows": (lambda x, i: x[i], (4, 3), wholes(4, 7)),
    "rows of a table": (lambda x, i: x[i], (4, 3), wholes(4, 2, 5)),
    "elements": (lambda x, i: x[i], (9,), wholes(9, 12)),
    "one of each row": (lambda x, i: x[dg.arange(6), i], (6, 4), wholes(4, 6)),
    "columns": (lambda x, i: x[:, i], (6, 4), wholes(4, 5)),
    "pairs of columns": (lambda x, i: x[:, i, i], (5, 4, 4), wholes(4, 3)),
    "gather": (lambda x, i: dg.gather(x, 1, i), (6, 4), wholes(4, 6, 3)),
    "gather in the middle": (lambda x, i: dg.gather(x, 1, i), (3, 4, 2), wholes(4, 3, 5, 2)),
}


@pytest.mark.parametrize("name", LOOKUPS)
def test_lookups_at_indices_of_the_step(name: str) -> None:
    function, shape, index = LOOKUPS[name]
    check(function, shape, index)
    if "gather" not in name:
        check(function, shape, lambda turn: index(turn) - 2)  # from the end, some of them


def test_rows_by_the_reference_have_its_bits() -> None:
    def step(x: Any, i: Any) -> Any:
        leaf = dg.tensor(x, requires_grad=True)
        return grad((leaf[i] * 1.7).exp().sum(), [leaf])[0]

    index = wholes(3, 40)
    with dg.reference_kernels():
        captured = dg.capture(step)
        for turn in range(CALLS):
            given = numbers(3, 5, turn=turn), index(turn)
            assert bits([captured(*given)]) == bits([step(*given)]), turn


@pytest.mark.parametrize("name", [n for n in LOOKUPS if n != "rows of a table"])
def test_an_index_out_of_range_is_named_as_ever(name: str) -> None:
    function, shape, index = LOOKUPS[name]

    def step(x: Any, i: Any) -> Any:
        return function(dg.tensor(x), i)

    captured = dg.capture(step)
    for turn in range(4):
        captured(numbers(*shape, turn=turn), index(turn))
    wrong = index(5)
    wrong.reshape(-1)[2] = 11
    messages = []
    for run in (step, captured):
        with pytest.raises((dg.ShapeError, IndexError)) as error:
            run(numbers(*shape), wrong)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "11" in messages[0]
