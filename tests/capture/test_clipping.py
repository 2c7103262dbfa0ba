"""The clipping family in captured steps: every member that is exported, the eager step's bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import kernels, nn, optim
from distgrad.capture.lower import Stretch
from distgrad.comm import run_ranks
from distgrad.nn import functional as F

CALLS = 14  # call 8 records again; the machine runs 3, 5, 6, 7, 9, …
Clip = Callable[[Any], Any]
"""What clips a model's gradients."""


def grads(model: nn.Module) -> list[dg.Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


def in_two(module: Any) -> Clip:
    """Clip in two calls: the norm is returned, too."""

    def clip(model: nn.Module) -> Any:
        norm = module.get_total_norm(grads(model))
        assert module.clip_grads_with_norm_(model.parameters(), 0.05, norm) is None
        return norm

    return clip


def automatic(clip: optim.AutoClip) -> Clip:
    return lambda model: clip(model.parameters())


def by_a_tensor(model: nn.Module) -> Any:
    """Clip to a norm that the step computes op by op."""
    norm = dg.stack([(g * g).sum() for g in grads(model)]).sum().sqrt()
    nn.utils.clip_grads_with_norm_(model.parameters(), 0.05, norm)
    return norm


FAMILY: dict[str, dict[str, Callable[[], Clip]]] = {
    "optim.clip_grad_norm_": {
        "": lambda: lambda m: optim.clip_grad_norm_(m.parameters(), 0.05),
        "cube": lambda: lambda m: optim.clip_grad_norm_(m.parameters(), 0.05, 3.0),
        "NumPy's number": lambda: lambda m: optim.clip_grad_norm_(m.parameters(), np.float64(0.05)),
    },
    "nn.utils.clip_grad_norm_": {
        "": lambda: lambda m: nn.utils.clip_grad_norm_(m.parameters(), 0.05)
    },
    "nn.utils.clip_grad_norm": {
        "": lambda: lambda m: nn.utils.clip_grad_norm(m.parameters(), 0.05)
    },
    "optim.get_total_norm": {
        "": lambda: lambda m: optim.get_total_norm(grads(m)),
        "largest": lambda: lambda m: optim.get_total_norm(grads(m), float("inf")),
        "of what the step has made": lambda: (
            lambda m: optim.get_total_norm(p.T * 2 for p in m.parameters())
        ),
    },
    "nn.utils.get_total_norm": {"": lambda: lambda m: nn.utils.get_total_norm(grads(m))},
    "optim.clip_grads_with_norm_": {
        "": lambda: in_two(optim),
        "a number": lambda: lambda m: optim.clip_grads_with_norm_(m.parameters(), 0.05, 2),
        "NumPy's number": lambda: (
            lambda m: optim.clip_grads_with_norm_(m.parameters(), 0.05, np.float64(2.1))
        ),
        "without a limit": lambda: (
            lambda m: optim.clip_grads_with_norm_(m.parameters(), float("inf"), float("inf"))
        ),
        "the norm of some": lambda: (
            lambda m: optim.clip_grads_with_norm_(
                m.parameters(), 0.05, optim.get_total_norm(p.grad for p in m[2].parameters())
            )
        ),
        "a Tensor": lambda: (
            lambda m: optim.clip_grads_with_norm_(
                m.parameters(), 0.05, nn.utils.get_total_norm(grads(m))
            )
        ),
    },
    "nn.utils.clip_grads_with_norm_": {
        "": lambda: in_two(nn.utils),
        "a Tensor": lambda: by_a_tensor,
        "a number of the other's": lambda: (
            lambda m: nn.utils.clip_grads_with_norm_(
                m.parameters(), 0.05, optim.get_total_norm(grads(m))
            )
        ),
    },
    "optim.clip_grad_value_": {"": lambda: lambda m: optim.clip_grad_value_(m.parameters(), 0.02)},
    "nn.utils.clip_grad_value_": {
        "": lambda: lambda m: nn.utils.clip_grad_value_(m.parameters(), 0.02)
    },
    "optim.clip_layer_grad_norm_": {
        "": lambda: lambda m: optim.clip_layer_grad_norm_(m.named_parameters(), 0.03),
        "by parameter": lambda: (
            lambda m: optim.clip_layer_grad_norm_(m.named_parameters(), 0.03, by="parameter")
        ),
        "layers that share": lambda: (
            lambda m: optim.clip_layer_grad_norm_(
                [*m.named_parameters(), ("2.again", m[2].bias)], 0.03
            )
        ),
    },
    "optim.adaptive_clip_grad_": {
        "": lambda: lambda m: optim.adaptive_clip_grad_(m.parameters(), 0.01)
    },
    "optim.AutoClip": {
        "": lambda: automatic(optim.AutoClip(40, history=6)),
    },
    "optim.total_norm": {"": lambda: lambda m: optim.total_norm(grads(m))},
}
PYTHONS = {
    "optim.clip_grad_norm_-cube",
    "optim.get_total_norm-largest",
    "optim.clip_grads_with_norm_-NumPy's number",
    "optim.clip_grads_with_norm_-a Tensor",
    "nn.utils.clip_grads_with_norm_-a Tensor",
    "optim.adaptive_clip_grad_-",
    "optim.AutoClip-",
    "optim.total_norm-",
}
"""Which have a line of Python in the replay."""
MEMBERS = {f"{name}-{how}": make for name, ways in FAMILY.items() for how, make in ways.items()}


def test_all_that_clips_or_measures_is_in_the_family() -> None:
    found = set()
    for prefix, module in (("optim", optim), ("nn.utils", nn.utils)):
        for name in module.__all__:
            if "clip" in name.lower() or "total_norm" in name:
                found.add(f"{prefix}.{name}")
    assert found == {*FAMILY}
    for name in dg.__all__:  # the short names are these
        if name.startswith("clip_grad"):
            assert getattr(dg, name) is getattr(optim, name)


def shown(x: Any) -> Any:
    """The bits of what a member returns."""
    if isinstance(x, dg.Tensor):
        return x.dtype, x.shape, x.array.tobytes()
    if isinstance(x, dict):
        return [(name, shown(norm)) for name, norm in x.items()]
    return type(x), repr(x)


Between = Callable[[nn.Module, int], None]


def run(make: Callable[[], Clip], capture: bool, between: Between | None = None) -> Any:
    """Return what each call shows and leaves behind, and the step."""
    dg.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 3))
    moved = [p for p in model.parameters() if between is not freeze or p is not model[0].bias]
    optimizer, clip = optim.AdamW(moved, lr=0.01), make()

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        norm = clip(model)
        optimizer.step()
        return loss, norm

    going = dg.capture(step) if capture else step
    found = []
    for i in range(CALLS):
        if between is not None:
            between(model, i)
        rng = np.random.default_rng(i)
        with np.errstate(all="ignore"):
            loss, norm = going(rng.normal(size=(6, 5)).astype("f4"), rng.integers(0, 3, 6))
        arrays = [*(p.array for p in model.parameters()), *(g.array for g in grads(model))]
        found.append((shown(loss), shown(norm), [a.tobytes() for a in arrays]))
    return found, going


def spoil(model: nn.Module, i: int) -> None:
    if i == 11:
        with dg.no_grad():
            model[2].bias.array[0] = np.nan  # type: ignore[index]


def replace(model: nn.Module, i: int) -> None:
    if i in {6, 10}:
        weight = model[0].weight  # type: ignore[index]
        weight.data = dg.tensor(weight.array * 0.5)


def freeze(model: nn.Module, i: int) -> None:
    """A parameter that the step gives no gradient, and that has one all the same at times."""
    bias = model[0].bias  # type: ignore[index]
    bias.requires_grad_(False)
    bias.grad = dg.ones(9) if i in {4, 9, 10} else None


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("between", [None, spoil, replace, freeze])
def test_a_member_has_the_bits_of_the_eager_step(name: str, between: Any) -> None:
    if between is freeze and name.endswith("by parameter"):
        with pytest.raises(dg.CaptureError, match=r"has .*'0.bias'.* now, and had '0.weight', '2."):
            run(MEMBERS[name], True, between)
        return
    eager, _ = run(MEMBERS[name], False, between)
    captured, _ = run(MEMBERS[name], True, between)
    for i, (a, b) in enumerate(zip(eager, captured, strict=True)):
        assert a == b, f"call {i + 1}"


@pytest.mark.skipif(kernels.part("machine", "works") is None, reason="needs numba")
@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_is_called_without_python_and_the_optimizer_after_it(name: str) -> None:
    _, step = run(MEMBERS[name], True)
    lines, parts = step.program.lines, step.program.native.found.parts
    beside = [lines[b.number].name for p in parts if isinstance(p, Stretch) for b in p.beside]
    assert beside[-1] == "AdamW.step"
    of_python = [lines[p].name for p in parts if not isinstance(p, Stretch)]
    assert (len(of_python) > 1) is (name in PYTHONS)
    assert of_python[0] == "AdamW.zero_grad"


def trained(name: str, zero: int, capture: bool) -> Any:
    """Train on shards of a batch, clipping after the last; return what is shown and the model."""
    dg.init(shards=4)
    dg.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    optimizer, clip = optim.AdamW(model.parameters(), lr=0.01), MEMBERS[name]()
    ddp = dg.DistributedDataParallel(model, zero=zero, bucket_mb=0.0001)

    def backward(x: Any, y: Any) -> None:
        ddp.backward(F.cross_entropy(model(x), y))

    def move() -> Any:
        norm = clip(model)
        optimizer.step()
        optimizer.zero_grad()
        return norm

    if capture:
        backward, move = dg.capture(backward), dg.capture(move)
    found = []
    for number in range(7):
        rng = np.random.default_rng(number)
        x, y = rng.normal(size=(24, 4)).astype("f4"), rng.integers(0, 3, 24)
        for shard in dg.own_shards(dg.current_world(), number, 24):
            backward(x[[*shard]], y[[*shard]])
        found.append(shown(move()))
    return found, nn.state_sha256(model.state_dict())


SHARED = [
    n for n in MEMBERS if n not in {"nn.utils.clip_grads_with_norm_-a Tensor", "optim.total_norm-"}
]
"""A gradient of which each rank has a part is none that ops and functions of arrays can read."""


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("zero", [0, 1, 2])
def test_a_member_on_ranks_has_the_bits_of_one_ranks_eager_step(name: str, zero: int) -> None:
    wanted = run_ranks(1, lambda: trained(name, 0, False))
    for size, nodes in ((1, None), (3, None), (3, [2, 1]), (4, [1] * 4)):
        assert simulated(size, lambda: trained(name, zero, True), nodes=nodes) == wanted * size


@pytest.mark.mpi
@pytest.mark.parametrize("zero", [0, 1])
@pytest.mark.parametrize("name", SHARED)
def test_a_member_on_mpi_ranks(name: str, zero: int) -> None:
    assert [alone(lambda: trained(name, zero, True))] == run_ranks(
        1, lambda: trained(name, 0, False)
    )


def test_gradients_that_are_read_before_there_are_any() -> None:
    def norms(capture: bool) -> list[float]:
        dg.manual_seed(1)
        model = nn.Linear(3, 2)

        def step(x: Any) -> Any:
            before = optim.get_total_norm(grads(model))
            model(x).square().sum().backward()
            return before, optim.get_total_norm(grads(model))

        going = dg.capture(step) if capture else step
        return [going(np.full((1, 3), i + 1, "f4")) for i in range(6)]

    assert norms(capture=True) == norms(capture=False)


def test_gradients_that_are_gone_at_a_call() -> None:
    model = nn.Linear(3, 2)
    step = dg.capture(lambda: optim.get_total_norm(grads(model)))
    for i in range(8):
        model.bias.grad = dg.full((2,), float(i)) if i % 3 else None
        assert step() == optim.get_total_norm(grads(model))


def test_a_gradient_that_its_parameter_has_no_longer_is_refused() -> None:
    model = nn.Linear(3, 2)

    @dg.capture
    def step() -> Any:
        before = model.weight.grad
        model.weight.grad = None
        return optim.get_total_norm([before])

    model.weight.grad = dg.ones(2, 3)
    with pytest.raises(dg.CaptureError, match="enters the captured step from outside"):
        step()
