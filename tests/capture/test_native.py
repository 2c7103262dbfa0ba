"""The second stage of captured steps: lines as machine-level calls, with the bits of the lines."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from captured import Step, classifying_step, lines_of_python, native_lines
from jobs import ROOT

import distgrad as dg
from distgrad import kernels, nn, ops, optim
from distgrad.capture import native
from distgrad.capture.lower import Stretch
from distgrad.nn import functional as F

sys.path.insert(0, str(ROOT / "examples"))
import pinn

pytestmark = pytest.mark.skipif(
    kernels.part("machine", "works") is None, reason="needs numba, whose kernels are called"
)


def mlp(width: int = 33) -> Step:
    dg.manual_seed(1)
    model = nn.Sequential(
        *(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.3)),
        *(nn.Linear(width, 8), nn.GELU(approximate="tanh"), nn.LayerNorm(8), nn.Linear(8, 3)),
    )
    return classifying_step(model)


def batch(i: int, n: int = 7) -> tuple[Any, Any]:
    rng = np.random.default_rng(i)
    return rng.normal(size=(n, 5)).astype(np.float32), rng.integers(0, 3, n)


def losses(step: Step, batches: list[Any]) -> list[bytes]:
    dg.manual_seed(7)
    with np.errstate(all="ignore"):
        return [step(*b).array.tobytes() for b in batches]


def test_the_bits_are_those_of_the_eager_step_and_few_lines_stay() -> None:
    batches, captured = [batch(i) for i in range(12)], dg.capture(mlp())
    assert losses(mlp(), batches) == losses(captured, batches)
    assert captured.program is not None
    found = native_lines(captured.program)
    assert found >= {"linear", "tanh", "relu", "gelu_tanh", "cross_entropy"}
    assert f"; {captured.program.native.lines} of them as machine-level calls" in str(
        captured.program
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sine_and_cosine_are_machine_level_calls(dtype: Any) -> None:
    def made() -> Step:
        w = nn.Parameter(np.linspace(-4, 4, 15, dtype=dtype).reshape(3, 5))
        optimizer = optim.SGD([w], lr=0.1)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            loss = (np.sin(w * x) * np.cos(w)).sum()
            loss.backward()
            optimizer.step()
            return loss

        return step

    captured, eager = dg.capture(made()), made()
    batches = [np.arange(1, 6, dtype=dtype) * i for i in range(4)]
    assert [captured(x).array.tobytes() for x in batches] == [
        eager(x).array.tobytes() for x in batches
    ]
    assert native_lines(captured.program) >= {"sin", "cos"}


def test_without_it_the_lines_are_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_usable", lambda: False)
    batches, captured = [batch(i) for i in range(6)], dg.capture(mlp())
    assert losses(mlp(), batches) == losses(captured, batches)
    assert captured.program is not None
    assert captured.program.native is None


@pytest.mark.parametrize("points", [3, 1030])
def test_gradients_of_gradients_in_strips(points: int) -> None:
    def made() -> Step:
        dg.manual_seed(4)
        model = pinn.Burgers(3, 17)
        optimizer = optim.Adam(model.parameters(), lr=0.01)

        def step(t: Any, x: Any) -> dg.Tensor:
            optimizer.zero_grad()
            loss: dg.Tensor = (model(t, x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    eager, captured = made(), dg.capture(made())
    for i in range(7):
        t, x = np.random.default_rng(i).uniform(-1, 1, (2, points)).astype(np.float32)
        assert eager(t, x).array.tobytes() == captured(t, x).array.tobytes()
    assert native_lines(captured.program) >= {"tanh", "tanh_backward", "scaled_product", "matmul"}


def test_what_is_returned_stays_as_it_is() -> None:
    captured = dg.capture(lambda x: (dg.tensor(x) * 2, dg.tensor(x) + 1))
    first = [captured(np.full((3, 4), i, np.float32)) for i in range(8)]
    for i, (twice, more) in enumerate(first):
        assert (twice.array == 2 * i).all()
        assert (more.array == i + 1).all()


def test_a_view_that_python_takes_of_planned_memory_stays_as_it_is() -> None:
    weight = nn.Parameter(np.ones((4, 4), np.float32))
    views: list[Callable[[Any], Any]] = [
        np.flip,
        np.diagonal,
        np.rot90,
        lambda y: np.split(y, 2)[1],
    ]
    for view in views:

        def step(x: Any, view: Any = view) -> Any:
            return view(weight * x)

        captured = dg.capture(step)
        found = [captured(np.full((4, 4), i, np.float32)) for i in range(8)]
        assert native_lines(captured.program) >= {"multiply"}
        assert all((y.array == i).all() for i, y in enumerate(found))


def test_shapes_that_depend_on_values_are_followed() -> None:
    model = nn.Linear(4, 3)

    def made() -> Step:
        def step(x: Any, keep: Any) -> dg.Tensor:
            loss: dg.Tensor = (model(x)[keep] ** 2).sum()
            (g,) = dg.autograd.grad(loss, [model.weight])
            return g * 2

        return step

    eager, captured = made(), dg.capture(made())
    x = np.arange(20, dtype=np.float32).reshape(5, 4)
    for i in range(9):
        keep = np.arange(5) % 4 <= i % 4
        assert eager(x, keep).array.tobytes() == captured(x, keep).array.tobytes()


def test_a_label_out_of_range_is_named_as_ever() -> None:
    captured = dg.capture(mlp())
    for i in range(4):
        captured(*batch(i))
    x, y = batch(9)
    y[2] = 5
    with pytest.raises(dg.ShapeError, match="5"):
        captured(x, y)
    captured(*batch(10))


@pytest.mark.parametrize("width", [3, 8, 64])
def test_what_a_check_reads_lies_where_nothing_else_is_written(width: int) -> None:
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = optim.SGD(model.parameters(), lr=0.01)

    @dg.capture
    def step(x: Any, y: Any) -> dg.Tensor:
        optimizer.zero_grad()
        loss: dg.Tensor = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    x = np.random.default_rng(width).normal(size=(32, 64)).astype(np.float32)
    y = np.arange(32) % 10
    for _ in range(4):
        step(x, y)
    y[3] = 17
    with pytest.raises(dg.ShapeError, match="17"):
        step(x, y)


def test_infinity_and_nan_travel() -> None:
    batches = [batch(i) for i in range(6)]
    batches[4][0][1, 2], batches[4][0][3, 1] = np.inf, np.nan
    assert losses(mlp(), batches) == losses(dg.capture(mlp()), batches)


def test_threads_at_the_same_time() -> None:
    captured = dg.capture(lambda x: dg.tanh(dg.tensor(x) * 2) + 1)
    xs = [np.full(5000, i / 10, np.float32) for i in range(4)]
    wanted = [(np.tanh(x * 2) + 1).tobytes() for x in xs]
    for x in xs:
        captured(x)
    wrong: list[int] = []

    def run(i: int) -> None:
        for _ in range(200):
            if captured(xs[i]).array.tobytes() != wanted[i]:
                wrong.append(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    # Threads that record the same step at the same time leave one program.
    assert len(captured.programs) == 1


@pytest.mark.parametrize("dtype", ["f4", "i8", "?"])
def test_a_copy_of_no_elements_is_no_call_that_writes(dtype: str) -> None:
    captured = dg.capture(lambda x: (x[:, :0].clone(), x + x))
    x = dg.tensor(np.ones((10, 10), dtype))
    for _ in range(4):
        assert captured(x)[0].shape == (10, 0)
    # As one it wrote the ten rows' first elements, which are not there.
    assert native_lines(captured.program) - {"getitem"} == {"add"}


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_softmax_is_native_along_every_axis(function: Any, axis: int) -> None:
    weight = nn.Parameter(np.random.default_rng(0).normal(size=(3, 7, 8)).astype(np.float32))

    def step(x: Any) -> Any:
        y = function(weight * x, axis)
        return y, *dg.autograd.grad((y * y).sum(), [weight])

    captured = dg.capture(step)
    for i in range(6):
        x = np.random.default_rng(i).normal(size=(3, 7, 8)).astype(np.float32)
        assert [a.array.tobytes() for a in step(x)] == [a.array.tobytes() for a in captured(x)]
    assert lines_of_python(captured.program) == []


def test_every_recipe_is_lowered_both_ways() -> None:
    # Both sides of the arithmetic are compared in test_registry.py; here: that it is native.
    for op in (ops.relu, ops.elu, ops.gelu, ops.silu, ops.softplus, ops.sigmoid, ops.maximum):
        weights = [nn.Parameter(np.linspace(-3, 3, 50, dtype=np.float32)) for _ in op.inputs]

        def step(g: Any, op: Any = op, weights: Any = weights) -> Any:
            return dg.autograd.grad((op(*[w * 2.0 for w in weights]) * g).sum(), weights)

        captured = dg.capture(step)
        for i in range(4):
            captured(np.full(50, i, np.float32))
        program = captured.program
        assert program is not None
        assert native_lines(program) >= {op.name}
        kinds = {
            program.lines[n].kind
            for p in program.native.found.parts
            if isinstance(p, Stretch)
            for n in p.lines
            if program.lines[n].name == op.name
        }
        assert kinds == {"op", "back"}, op.name
