"""Planned memory of captured steps: what is kept, for how long, and what is computed again."""

from __future__ import annotations

import sys
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from captured import Step, classifying_step
from jobs import ROOT

import distgrad as dg
from distgrad import kernels
from distgrad.capture import again, arena, native, schedule
from distgrad.capture.calls import Buffer, Call, Operand

sys.path.insert(0, str(ROOT / "examples"))
import models

pytestmark = pytest.mark.skipif(
    kernels.part("machine", "works") is None, reason="needs numba, whose kernels are called"
)
CONTEXT = 128


def gpt() -> Step:
    dg.manual_seed(3)
    model = models.GPT(33, CONTEXT, layers=4, heads=2, width=64)
    return classifying_step(model)


def text(i: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(i)
    return rng.integers(0, 33, (8, CONTEXT)), rng.integers(0, 33, 8 * CONTEXT)


def peak_of(step: Callable[..., Any], data: Callable[[int], Any] = text) -> int:
    for i in range(2):
        step(*data(i))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    step(*data(2))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most - before


def planned(step: Any) -> int:
    size: int = step.program.native.size
    return size


def test_a_captured_gpt_needs_four_fifths_of_the_eager_steps_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    eager, without = gpt(), dg.capture(gpt())
    wanted = [eager(*text(i)).array.tobytes() for i in range(7)]
    assert [without(*text(i)).array.tobytes() for i in range(7)] == wanted
    monkeypatch.setattr(native, "_ENOUGH", 0)
    step = dg.capture(gpt())
    assert [step(*text(i)).array.tobytes() for i in range(7)] == wanted
    most = peak_of(eager)
    assert planned(without) < most
    assert planned(step) < 0.8 * most
    assert peak_of(step) < 0.1 * most


@pytest.mark.parametrize("lean", [False, True])
def test_the_plan_takes_no_more_than_is_in_use_at_a_time(
    monkeypatch: pytest.MonkeyPatch, lean: bool
) -> None:
    monkeypatch.setattr(native, "_ENOUGH", 0 if lean else 1 << 60)
    step = dg.capture(gpt())
    for i in range(3):
        step(*text(i))
    least = schedule.needed(step.program.native.groups)
    assert least <= planned(step) <= 1.02 * least


def test_what_is_needed_is_what_is_in_use_at_a_time() -> None:
    x, y, z = (Buffer(n << 10) for n in (1, 2, 5))
    chain = [call("exp", y, x), call("exp", z, y), call("exp", x, z)]
    groups = [[schedule.Group([c]) for c in chain]]
    assert schedule.needed(groups) == (1 + 2 + 5) << 10  # x is used before and behind
    assert schedule.needed([groups[0][:2]]) == (2 + 5) << 10
    assert schedule.needed([]) == 0


class Scaled(dg.nn.Module):
    def forward(self, x: Any) -> Any:
        return x * 1.5


def convolving(*, depth: int) -> Step:
    """Convolutions, which stay lines of Python, and between them what comes to calls."""
    dg.manual_seed(3)
    layers = [dg.nn.Sequential(Scaled(), dg.nn.Conv2d(3, 3, 1)) for _ in range(depth)]
    flat = dg.nn.Sequential(dg.nn.Conv2d(3, 3, 1), *layers, dg.nn.Flatten())
    return classifying_step(flat)


def images(i: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(i)
    return rng.normal(size=(4, 3, 96, 96)).astype("f4"), rng.integers(0, 9, 4)


def test_what_passes_between_calls_and_lines_of_python_lives_no_longer_than_in_the_eager_step() -> (
    None
):
    eager, step = convolving(depth=12), dg.capture(convolving(depth=12))
    for i in range(7):
        assert step(*images(i)).array.tobytes() == eager(*images(i)).array.tobytes()
    assert step.program.native.lines > 12
    assert peak_of(step, images) < 1.05 * peak_of(eager, images)


def test_a_later_view_of_what_a_line_of_python_has_read_sees_it() -> None:
    dg.manual_seed(3)
    first, second = dg.nn.Conv2d(3, 3, 1), dg.nn.Conv2d(3, 3, 1)

    @dg.capture
    def step(x: Any) -> Any:
        y = first(x) * 2.0
        return second(y).sum(), second(y.reshape(3, 3, 2, 8))

    x = dg.randn(3, 3, 4, 4)
    wanted = [t.array.tobytes() for t in step.function(x)]
    assert [[t.array.tobytes() for t in step(x)] for _ in range(6)] == [wanted] * 6


def call(name: str, writes: Buffer, *reads: Buffer) -> Call:
    operands = [Operand(b, 0, 4, b.size) for b in reads]
    operands.append(Operand(writes, 0, 4, writes.size, written=True))
    return Call(name, 0, True, [], operands, units=writes.size // 4, elements=1)


def test_zeros_are_written_just_before_they_are_added_to() -> None:
    x, total, y = (Buffer(4 << 20) for _ in range(3))
    calls = [call("clear", total), *[call("exp", y, x) for _ in range(30)], call("add", total, y)]
    calls[-1].operands.append(Operand(total, 0, 4, total.size))
    order = [c.name for group in schedule.groups(calls) for c in group.calls]
    assert order[-2:] == ["clear", "add"]


def test_what_is_large_is_not_made_long_before_its_turn() -> None:
    x, late, *chain = (Buffer(4 << 20) for _ in range(42))
    calls = [call("exp", b, a) for a, b in zip([x, *chain], chain, strict=False)]
    calls += [call("matmul", late, x), call("matmul", x, late)]
    calls[-2].elements = calls[-1].elements = 0
    order = [c.name for group in schedule.groups(calls, lean=True) for c in group.calls]
    assert order.index("matmul") > 30


def forward_and_back() -> tuple[list[Call], Buffer]:
    """``x`` becomes ``y`` by a pass over memory; y is read, and again in the end."""
    x, y, z, *others = (Buffer(4 << 20) for _ in range(10))
    calls = [
        *(call("exp", y, x), call("matmul", z, y)),
        *[call("matmul", b, z) for b in others],
        *(call("matmul", z, y), call("matmul", z, x)),
    ]
    return calls, x


def made(calls: list[Call]) -> list[str]:
    return [c.name for c in again.repeated([calls])[0]]


def test_a_pass_over_memory_is_repeated_for_the_end() -> None:
    calls, _ = forward_and_back()
    found = again.repeated([calls])[0]
    assert [c.name for c in found] == ["exp", *["matmul"] * 8, "exp", *["matmul"] * 2]
    first, second = found[0].operands[-1].buffer, found[-3].operands[-1].buffer
    assert second is not first
    assert found[-2].operands[0].buffer is second
    assert found[1].operands[0].buffer is first


def test_what_is_not_there_any_more_or_changes_is_kept() -> None:
    calls, x = forward_and_back()
    calls.insert(3, call("matmul", x, Buffer(8)))  # its input changes
    assert made(calls).count("exp") == 1
    calls, x = forward_and_back()
    del calls[-1]  # nobody needs the input any more
    assert made(calls).count("exp") == 1
    calls, x = forward_and_back()
    x.source, x.shared = ("value", 0), object()  # of which others may be a part
    assert made(calls).count("exp") == 1
    calls, _ = forward_and_back()
    calls[0].name = "matmul"
    assert made(calls) == [c.name for c in calls]


def test_planned_memory_is_given_back_while_a_step_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arena, "_LARGE", 1)
    step = dg.capture(gpt())
    for i in range(7):
        step(*text(i))
    memory, freed = weakref.ref(arena.arena.memory), list[int]()
    monkeypatch.setattr(arena, "give_back_freed", freed.append)
    size = arena.arena.memory.size
    step(*text(7))  # number 8, which is recorded
    assert memory() is None
    assert freed == [size]
    step(*text(8))
    memory = weakref.ref(arena.arena.memory)
    step(*text(9))
    assert memory() is arena.arena.memory
