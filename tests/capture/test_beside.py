"""Clipping and the optimizer's step as machine-level calls, whatever happens between calls."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import kernels, nn, optim
from distgrad.capture.lower import Stretch
from distgrad.nn import functional as F
from distgrad.optim.prepared import PreparedStep

pytestmark = pytest.mark.skipif(
    kernels.part("machine", "works") is None, reason="needs numba, whose kernels are called"
)
CALLS = 14  # call 8 records again; the machine runs 3, 5, 6, 7, 9, …
OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "AdamW": lambda params: optim.AdamW(params, lr=0.01),
    "AMSGrad": lambda params: optim.Adam(params, lr=0.01, amsgrad=True, weight_decay=0.1),
    "maximize": lambda params: optim.Adam(params, lr=0.001, maximize=True),
    "SGD": lambda params: optim.SGD(params, lr=0.05),
    "momentum": lambda params: optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True),
    "NAdam": lambda params: optim.NAdam(params, lr=0.01),  # a number among its state
    "RAdam": lambda params: optim.RAdam(params, lr=0.01),  # other moves from its sixth step on
    "RMSprop": lambda params: optim.RMSprop(params, lr=0.01, centered=True, momentum=0.5),
    "Lion": lambda params: optim.Lion(params, lr=0.01),
    "Adagrad": lambda params: optim.Adagrad(params, lr=0.01),
    "groups": lambda params: optim.AdamW(
        [{"params": [*params][:2], "lr": 0.1}, {"params": [*params][2:], "weight_decay": 0.0}],
        lr=dg.tensor(0.01),
    ),
}


class World:
    """A model, its optimizer, and a step that also returns the norm."""

    def __init__(
        self,
        make: Callable[[Any], optim.Optimizer],
        clip: Callable[..., Any] = dg.clip_grad_norm_,
        **clipping: Any,
    ) -> None:
        dg.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 3))
        params = list(self.model.parameters())
        self.optimizer = make(params)
        clipping = clipping or {"max_norm": 0.05}

        def step(x: Any, y: Any) -> Any:
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.model(x), y)
            loss.backward()
            norm = clip(params, **clipping)
            self.optimizer.step()
            return loss, norm

        self.step: Any = step

    def run(self, between: Callable[[World, int], None] | None = None) -> list[bytes]:
        """Return the bits of everything after each call."""
        found = []
        for i in range(CALLS):
            if between is not None:
                between(self, i)
            rng = np.random.default_rng(i)
            with np.errstate(all="ignore"):
                loss, norm = self.step(
                    rng.normal(size=(6, 5)).astype(np.float32), rng.integers(0, 3, 6)
                )
            shown = f"{type(norm)} {norm!r}"  # of a number all digits
            if isinstance(norm, dg.Tensor):
                shown = f"{norm.dtype} {norm.shape} {norm.array.tobytes().hex()}"
            found.append(loss.array.tobytes() + shown.encode() + self.bits())
        return found

    def bits(self) -> bytes:
        """Return the bits of parameters, gradients, and the optimizer's state."""
        params = self.model.parameters()
        values = [(p.array, None if p.grad is None else p.grad.array) for p in params]
        state = self.optimizer.state_dict()["state"]
        return (
            repr([(a.tobytes(), g is not None and g.tobytes()) for a, g in values]).encode()
            + (
                repr(
                    [
                        sorted((k, np.asarray(v).tobytes()) for k, v in s.items())
                        for s in state.values()
                    ]
                )
            ).encode()
        )


def natively(step: Any) -> set[str]:
    """Return the names of the lines beside the tape that are machine-level calls."""
    program = step.program
    if program.native is None:
        return set()
    stretches = [p for p in program.native.found.parts if isinstance(p, Stretch)]
    return {program.lines[b.number].name for s in stretches for b in s.beside}


def compare(
    make: Callable[[Any], optim.Optimizer],
    between: Callable[[World, int], None] | None = None,
    **clipping: Any,
) -> set[str]:
    """Compare the captured step's bits with the eager step's; return what is called natively."""
    eager, captured = World(make, **clipping), World(make, **clipping)
    captured.step = dg.capture(captured.step)
    for i, (a, b) in enumerate(zip(eager.run(between), captured.run(between), strict=True)):
        assert a == b, f"call {i + 1}"
    return natively(captured.step)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_and_clipping_have_the_bits_of_the_eager_step(name: str) -> None:
    assert compare(OPTIMIZERS[name]) == {"clip_grad_norm_", f"{_class(name)}.step"}


def _class(name: str) -> str:
    return type(OPTIMIZERS[name]([nn.Parameter(np.ones(2)) for _ in range(4)])).__name__


@pytest.mark.parametrize("limit", [1e-6, 1e6, float("inf")])
def test_limits(limit: float) -> None:
    assert "clip_grad_norm_" in compare(OPTIMIZERS["AdamW"], max_norm=limit)


@pytest.mark.parametrize("other", [{"norm_type": 3.0}, {"error_if_nonfinite": True}])
def test_other_norms_and_errors_stay_lines_of_python(other: Any) -> None:
    found = compare(OPTIMIZERS["AdamW"], max_norm=0.05, **other)
    assert found == {"AdamW.step"}


@pytest.mark.parametrize(
    ("clip", "settings"),
    [
        (nn.utils.clip_grad_norm_, {"max_norm": 0.05}),
        (nn.utils.clip_grad_norm_, {"max_norm": 5.0, "norm_type": 2}),
        (dg.clip_grad_value_, {"clip_value": 0.02}),
        (nn.utils.clip_grad_value_, {"clip_value": 1e-3}),
        (nn.utils.clip_grad_value_, {"clip_value": float("inf")}),
    ],
)
def test_all_ways_to_clip(clip: Any, settings: Any) -> None:
    def spoil(world: World, i: int) -> None:
        if i == 11:
            with dg.no_grad():
                world.model[2].bias.array[0] = np.nan

    for between in (None, spoil):
        found = compare(OPTIMIZERS["AdamW"], between, clip=clip, **settings)
        assert found == {clip.__name__, "AdamW.step"}


def test_a_limit_of_zero_stays_a_line_of_python() -> None:
    assert compare(OPTIMIZERS["SGD"], clip=dg.clip_grad_value_, clip_value=0.0) == {"SGD.step"}


def test_norms_that_are_not_finite() -> None:
    def spoil(world: World, i: int) -> None:
        if i == 9:
            for p in world.model[2].parameters():
                with dg.no_grad():
                    p.array[...] = np.inf

    assert "clip_grad_norm_" in compare(OPTIMIZERS["SGD"], spoil)


def halve_rate(world: World, i: int) -> None:
    world.optimizer.param_groups[0]["lr"] *= 0.5


def change_once(world: World, i: int) -> None:
    # Late, after steps of the same settings, whose numbers are found together.
    if i == 11:
        world.optimizer.param_groups[0]["lr"] *= 0.5
    if i == 13:
        world.optimizer.param_groups[0]["betas"] = (0.8, 0.9)


def change_tensor_in_place(world: World, i: int) -> None:
    if i in {11, 13}:
        world.optimizer.param_groups[1]["lr"].array[...] *= 0.5


def load_state(world: World, i: int) -> None:
    if i == 5:
        world.saved = copy.deepcopy(world.optimizer.state_dict())  # type: ignore[attr-defined]
    if i in {6, 9}:
        world.optimizer.load_state_dict(world.saved)  # type: ignore[attr-defined]


def replace_data(world: World, i: int) -> None:
    if i in {6, 10}:
        weight = world.model[0].weight
        weight.data = dg.tensor(weight.array * 0.5)


def nesterov_from_now_on(world: World, i: int) -> None:
    if i == 6:
        world.optimizer.param_groups[0].update(momentum=0.9, nesterov=True)


def another_state(world: World, i: int) -> None:
    if i == 6:
        world.optimizer.param_groups[0]["amsgrad"] = True


def another_state_for_a_step(world: World, i: int) -> None:
    if i == 11:
        group = world.optimizer.param_groups[0]
        group["amsgrad"] = True
        world.optimizer.step()
        group["amsgrad"] = False


def upwards_from_now_on(world: World, i: int) -> None:
    if i == 6:
        world.optimizer.param_groups[0]["maximize"] = True


def rate_that_overflows(world: World, i: int) -> None:
    world.optimizer.param_groups[0]["lr"] = 1e39 if i == 6 else 0.01


@pytest.mark.parametrize(
    ("name", "between"),
    [
        *(("AdamW", halve_rate), ("AdamW", load_state), ("AdamW", replace_data)),
        *(("SGD", nesterov_from_now_on), ("AdamW", another_state), ("SGD", rate_that_overflows)),
        *(("SGD", upwards_from_now_on), ("momentum", load_state), ("NAdam", load_state)),
        *(("AdamW", another_state_for_a_step),),
        *(("AdamW", change_once), ("groups", change_tensor_in_place), ("RAdam", change_once)),
    ],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_what_changes_between_calls_is_followed(name: str, between: Any) -> None:
    compare(OPTIMIZERS[name], between)


LATER = {
    **{n: m for n, m in OPTIMIZERS.items() if n not in {"NAdam", "groups"}},
    "Adamax": lambda params: optim.Adamax(params, lr=0.01, weight_decay=0.1),
    "Adadelta": lambda params: optim.Adadelta(params, rho=0.8),
    "Rprop": lambda params: optim.Rprop(params, lr=0.01),
    "dampening": lambda params: optim.SGD(params, lr=0.1, momentum=0.9, dampening=0.5),
    "decaying": lambda params: optim.Adagrad(params, lr=0.1, lr_decay=0.01),
}


@pytest.mark.parametrize("name", LATER)
def test_the_numbers_of_later_steps_are_those_that_each_step_asks_for(name: str) -> None:
    world = World(LATER[name])
    world.run()
    (move,) = PreparedStep(world.optimizer).moves
    (group,) = world.optimizer.param_groups
    for step in (2, 9):  # the first one may write to its state
        move._asked(world.optimizer, group, step)
        later = move._value.later
        assert later is not None, "the update says no numbers of later steps"
        for other in (step + 1, step + 3, step + 40):
            sign, *numbers = move._asked(world.optimizer, group, other)[2]
            assert [*later(other)] == numbers
            assert sign == (-1 if name == "maximize" else 1)


def test_a_hook_that_comes_later_is_called() -> None:
    seen: dict[int, list[int]] = {}

    def listen(world: World, i: int) -> None:
        if i == 5:
            world.handle = world.optimizer.register_step_post_hook(  # type: ignore[attr-defined]
                lambda *_: seen.setdefault(id(world), []).append(world.now)  # type: ignore[attr-defined]
            )
        if i == 10:
            world.handle.remove()  # type: ignore[attr-defined]
        world.now = i  # type: ignore[attr-defined]

    compare(OPTIMIZERS["AdamW"], listen)
    assert [*seen.values()] == [[5, 6, 7, 8, 9]] * 2


def test_parameters_without_a_gradient_are_left_alone() -> None:
    def make(params: Any) -> optim.Optimizer:
        params[0].requires_grad_(False)
        return optim.AdamW(params[1:], lr=0.01)

    assert compare(make) == {"clip_grad_norm_", "AdamW.step"}
    assert compare(lambda p: [p[0].requires_grad_(False), optim.AdamW(p, lr=0.01)][1]) == {
        "clip_grad_norm_"
    }

    def given(world: World, i: int) -> None:
        world.model[0].weight.grad = dg.ones(9, 5) if i == 9 else None

    compare(make, given)


class Counting(optim.SGD):
    """An optimizer of the user's, whose update does more than to move."""

    calls = 0

    def update(self, *args: Any) -> None:
        """Count."""
        self.calls += 1
        super().update(*args)


def test_an_update_of_the_users_is_called_for_each_step_alone() -> None:
    world = World(lambda params: Counting(params, lr=0.1))
    world.step = dg.capture(world.step)
    world.run()
    assert world.optimizer.calls == CALLS  # type: ignore[attr-defined]
    assert natively(world.step) == {"clip_grad_norm_"}


def test_several_steps_of_one_optimizer_each_count() -> None:
    def twice(world: World) -> World:
        step = world.step

        def more(x: Any, y: Any) -> Any:
            step(x, y)
            return step(x, y)

        world.step = more
        return world

    eager, captured = twice(World(OPTIMIZERS["AdamW"])), twice(World(OPTIMIZERS["AdamW"]))
    captured.step = dg.capture(captured.step)
    assert eager.run() == captured.run()
    assert natively(captured.step) == {"clip_grad_norm_"}


def test_a_label_out_of_range_changes_nothing() -> None:
    world = World(OPTIMIZERS["AdamW"])
    world.step = dg.capture(world.step)
    world.run()
    world.optimizer.zero_grad()
    before = world.bits()
    assert natively(world.step) == {"clip_grad_norm_", "AdamW.step"}
    with pytest.raises(dg.ShapeError, match="label 3"):
        world.step(np.ones((6, 5), np.float32), np.array([0, 1, 2, 3, 0, 1]))
    world.optimizer.zero_grad()
    assert world.bits() == before


def _none(p: dg.Tensor) -> None:
    p.grad = None


def _doubled(p: dg.Tensor) -> None:
    assert p.grad is not None
    p.grad = p.grad * 2


def _halved(p: dg.Tensor) -> None:
    assert p.grad is not None
    with dg.no_grad():
        p.grad.mul_(0.5)


def _kept(p: dg.Tensor) -> None:
    pass


@pytest.mark.parametrize("before", [_none, _kept], ids=["none", "kept"])
@pytest.mark.parametrize("after", [_none, _doubled, _halved, _kept])
@pytest.mark.parametrize("many", [1, 4])
def test_gradients_that_the_step_itself_changes(before: Any, after: Any, many: int) -> None:
    def changing(world: World) -> World:
        params = list(world.model.parameters())

        def step(x: Any, y: Any) -> Any:
            for p in params:
                before(p)
            loss = F.cross_entropy(world.model(x), y)
            loss.backward()
            for p in params[:many]:
                after(p)
            norm = dg.clip_grad_norm_(params, 0.05)
            world.optimizer.step()
            return loss, norm

        world.step = step
        return world

    eager, captured = changing(World(OPTIMIZERS["AdamW"])), changing(World(OPTIMIZERS["AdamW"]))
    captured.step = dg.capture(captured.step)
    assert eager.run() == captured.run()
