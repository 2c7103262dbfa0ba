"""Sharded training: the bits of zero=0, whoever keeps what, and what may be read and written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from training import alone, build, simulated, trained_sha256

import distgrad as dg
from distgrad import nn, optim
from distgrad.autograd.flat import held
from distgrad.comm import run_ranks
from distgrad.errors import CommError, DistgradError, GradError
from distgrad.nn import functional as F

STAGES = [1, 2, 3]
NODES = {
    1: [None],
    2: [None, [1, 1]],
    3: [None, [2, 1], [1, 1, 1]],
    4: [None, [3, 1], [2, 2], [1] * 4],
    5: [None, [2, 3]],
    8: [None, [3, 1, 4], [1] * 8],
}
WORLDS = [("mlp", size, nodes) for size, found in NODES.items() for nodes in found]
WORLDS += [(name, 3, nodes) for name in ("cnn", "gpt") for nodes in NODES[3]]
WORLDS += [(name, 8, [3, 1, 4]) for name in ("cnn", "gpt")]


@cache
def reference(name: str, steps: int, shards: int) -> str:
    """The value of zero=0 in a world of one."""
    return run_ranks(1, lambda: trained_sha256(name, steps=steps, shards=shards))[0]


# -- the same bits ----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size", "nodes"), WORLDS)
@pytest.mark.parametrize("zero", STAGES)
def test_the_bits_are_those_of_one_rank(
    name: str, zero: int, size: int, nodes: Sequence[int] | None
) -> None:
    body = lambda: trained_sha256(name, steps=6, shards=8, zero=zero, bucket_mb=0.02)  # noqa: E731
    assert set(simulated(size, body, nodes=nodes)) == {reference(name, 6, 8)}


@pytest.mark.parametrize("nodes", [None, [2, 1], [1, 1, 1]])
@pytest.mark.parametrize("zero", STAGES)
@pytest.mark.parametrize("schedule", [1, 2, 3])
def test_any_interleaving_of_the_ranks_gives_them(
    schedule: int, zero: int, nodes: Sequence[int] | None
) -> None:
    body = lambda: trained_sha256("mlp", steps=6, zero=zero, bucket_mb=0.005)  # noqa: E731
    found = simulated(3, body, schedule=schedule, nodes=nodes)
    assert set(found) == {reference("mlp", 6, 4)}


@pytest.mark.mpi
@pytest.mark.parametrize("zero", STAGES)
@pytest.mark.parametrize("name", ["mlp", "cnn", "gpt"])
def test_mpi_ranks_give_them(name: str, zero: int) -> None:
    body = lambda: trained_sha256(name, steps=8, zero=zero, bucket_mb=0.02)  # noqa: E731
    assert alone(body) == reference(name, 8, 4)


@pytest.mark.parametrize("zero", STAGES)
def test_batches_smaller_than_the_shards_give_them(zero: int) -> None:
    # 200 samples in batches of 66: the last batch has 2 samples for 4 shards.
    one = run_ranks(1, lambda: trained_sha256("mlp", batch=66, steps=9))[0]
    for nodes in (None, [1, 1, 1]):
        body = lambda: trained_sha256("mlp", batch=66, steps=9, zero=zero)  # noqa: E731
        assert set(simulated(3, body, nodes=nodes)) == {one}


@pytest.mark.parametrize("zero", STAGES)
def test_without_shards_all_ranks_have_the_same_bits(zero: int) -> None:
    body = lambda: trained_sha256("mlp", shards=None, steps=6, zero=zero)  # noqa: E731
    for nodes in (None, [2, 1], [1, 1, 1]):
        assert len(set(simulated(3, body, nodes=nodes))) == 1


# -- a small model, step by step --------------------------------------------------------------


def _model() -> nn.Module:
    dg.manual_seed(5)
    return nn.Sequential(nn.Linear(64, 150), nn.Tanh(), nn.Linear(150, 90), nn.Linear(90, 10))


def _trained(zero: int, steps: int, body: Callable[..., None] | None = None) -> str:
    """Train a model of 24,150 parameters, one of which is cut, and show each step to ``body``."""
    world = dg.init(shards=4)
    model = _model()
    ddp = dg.DistributedDataParallel(model, zero=zero, bucket_mb=0.05)
    optimizer = optim.Adam(ddp.parameters(), lr=1e-2)
    for step in range(steps):
        _backward(ddp, step)
        if body is not None:
            body(ddp, optimizer, world, step)
        dg.clip_grad_norm_(ddp.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
    return nn.state_sha256(ddp.state_dict())


def _backward(ddp: Any, step: int) -> None:
    for shard in dg.own_shards(ddp.world, step, 22):
        rng = np.random.default_rng([step, shard.start])
        x = rng.normal(size=(len(shard), 64)).astype(np.float32)
        ddp.backward(F.cross_entropy(ddp(x), rng.integers(0, 10, len(shard))))


PLACES = [(2, None), (3, None), (3, [2, 1]), (3, [1, 1, 1])]


@pytest.mark.parametrize(("size", "nodes"), PLACES)
@pytest.mark.parametrize("zero", STAGES)
def test_gradients_are_read_whole_where_that_is_asked_for(
    zero: int, size: int, nodes: Sequence[int] | None
) -> None:
    def body(zero: int) -> list[Any]:
        seen: list[Any] = []

        def look(ddp: Any, *_: Any) -> None:
            with ddp.summon_full_gradients():
                seen.append([p.grad.array.copy() for p in ddp.parameters()])

        _trained(zero, 3, look)
        return seen

    expected = run_ranks(1, lambda: body(0))[0]
    for found in simulated(size, lambda: body(zero), nodes=nodes):
        for step, step_expected in zip(found, expected, strict=True):
            for g, e in zip(step, step_expected, strict=True):
                np.testing.assert_array_equal(g, e)


@pytest.mark.parametrize("zero", STAGES)
def test_gradients_changed_there_stay_changed(zero: int) -> None:
    def double(ddp: Any, *_: Any) -> None:
        with ddp.summon_full_gradients():
            for p in ddp.parameters():
                p.grad.array[...] *= 2

    one = run_ranks(1, lambda: _trained(0, 3, double))[0]
    for size, nodes in PLACES:
        assert set(simulated(size, lambda: _trained(zero, 3, double), nodes=nodes)) == {one}


@pytest.mark.parametrize("zero", STAGES)
def test_a_gradient_in_parts_is_not_read_by_accident(zero: int) -> None:
    def body(ddp: Any, *_: Any) -> None:
        p = next(ddp.parameters())
        assert p.grad.shape == p.shape
        with pytest.raises(GradError, match=r"with ddp\.summon_full_gradients\(\):"):
            _ = p.grad.array
        with pytest.raises(GradError, match=r"with ddp\.summon_full_gradients\(\):"):
            p.grad * 2

    simulated(3, lambda: _trained(zero, 2, body))


@pytest.mark.parametrize(("size", "nodes"), PLACES)
@pytest.mark.parametrize("zero", STAGES)
def test_weights_written_inside_writing_are_those_of_all_ranks(
    zero: int, size: int, nodes: Sequence[int] | None
) -> None:
    def write(ddp: Any, *_: Any) -> None:
        with ddp.writing(), dg.no_grad():
            for n, p in enumerate(ddp.parameters()):
                p.mul_(0.5)
                p.data[0] = n
                p.array[-1] += 0.25

    def plain(ddp: Any, *_: Any) -> None:
        with dg.no_grad():
            for n, p in enumerate(ddp.parameters()):
                p.mul_(0.5)
                p.data[0] = n
                p.array[-1] += 0.25

    one = run_ranks(1, lambda: _trained(0, 3, plain))[0]
    assert run_ranks(1, lambda: _trained(0, 3, write))[0] == one
    assert set(simulated(size, lambda: _trained(zero, 3, write), nodes=nodes)) == {one}


@pytest.mark.parametrize("zero", STAGES)
@pytest.mark.parametrize("nodes", [None, [2, 1], [1, 1, 1]])
def test_weights_are_not_written_by_accident(zero: int, nodes: Sequence[int] | None) -> None:
    def body(ddp: Any, *_: Any) -> None:
        with ddp.summon_full_parameters():
            p = next(ddp.parameters())
            for write in (
                lambda: p.data.mul_(2),
                lambda: p.data.__setitem__(0, 1.0),
                lambda: p.data.copy_(dg.zeros(p.shape)),
                lambda: nn.init.zeros_(p),
                lambda: np.add(p.data, 1, out=p.data),
            ):
                with pytest.raises(GradError, match=r"with ddp\.writing\(\):"):
                    write()
            with pytest.raises(ValueError, match="read-only"):
                p.array[...] = 0
            with pytest.raises(ValueError, match="read-only"):
                p.detach().numpy()[...] = 0

    one = run_ranks(1, lambda: _trained(0, 2))[0]
    assert set(simulated(3, lambda: _trained(zero, 2, body), nodes=nodes)) == {one}


@pytest.mark.parametrize(("size", "nodes"), PLACES)
@pytest.mark.parametrize("zero", STAGES)
@pytest.mark.parametrize("how", ["load_state_dict", "data", "vector"])
def test_weights_that_are_loaded_are_those_of_all_ranks(
    how: str, zero: int, size: int, nodes: Sequence[int] | None
) -> None:
    def load(ddp: Any, optimizer: Any, world: Any, step: int) -> None:
        if how == "vector":
            n = sum(p.size for p in ddp.parameters())
            nn.utils.vector_to_parameters(np.linspace(-0.1, 0.1, n, dtype="f"), ddp.parameters())
            return
        other = _model()
        if how == "load_state_dict":
            ddp.load_state_dict(other.state_dict())
        else:
            for p, q in zip(ddp.parameters(), other.parameters(), strict=True):
                p.data = q.data.clone()

    one = run_ranks(1, lambda: _trained(0, 3, load))[0]
    assert set(simulated(size, lambda: _trained(zero, 3, load), nodes=nodes)) == {one}


@pytest.mark.parametrize("zero", STAGES)
def test_data_of_another_shape_are_refused(zero: int) -> None:
    def load(ddp: Any, *_: Any) -> None:
        next(ddp.parameters()).data = dg.zeros(3)

    with pytest.raises(DistgradError, match=r"shape"):
        simulated(3, lambda: _trained(zero, 2, load))


# -- accumulation, and parameters without gradients ---------------------------------------------


@pytest.mark.parametrize(("size", "nodes"), PLACES)
@pytest.mark.parametrize("zero", STAGES)
def test_accumulated_batches_give_the_bits_of_one_rank(
    zero: int, size: int, nodes: Sequence[int] | None
) -> None:
    def body(zero: int) -> str:
        dg.init(shards=4)
        ddp = dg.DistributedDataParallel(_model(), zero=zero, bucket_mb=0.05)
        optimizer = optim.Adam(ddp.parameters(), lr=1e-2)
        for step in range(0, 6, 2):
            with ddp.no_sync():
                _backward(ddp, step)
            _backward(ddp, step + 1)
            optimizer.step()
            if step:  # once the gradients of two steps add up
                optimizer.zero_grad()
        return nn.state_sha256(ddp.state_dict())

    one = run_ranks(1, lambda: body(0))[0]
    assert set(simulated(size, lambda: body(zero), nodes=nodes)) == {one}


class _Odd(nn.Module):
    """One part is frozen, one is used in every other step only, one never."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.sometimes, self.never = (
            nn.Linear(64, 33),
            nn.Linear(33, 33),
            nn.Linear(3, 9),
        )
        self.last = nn.Linear(33, 10)
        self.frozen = nn.Linear(33, 33).requires_grad_(False)
        self.scale = nn.Parameter(np.float32(1.5))
        self.step = 0

    def forward(self, x: Any) -> Any:
        x = self.frozen(F.tanh(self.first(x))) * self.scale
        return self.last(self.sometimes(x) if self.step % 2 else x)


@pytest.mark.parametrize(("size", "nodes"), PLACES)
@pytest.mark.parametrize("zero", STAGES)
def test_frozen_and_unused_parameters_stay_as_they_are(
    zero: int, size: int, nodes: Sequence[int] | None
) -> None:
    def body(zero: int) -> tuple[str, list[bool]]:
        dg.init(shards=4)
        dg.manual_seed(2)
        model = _Odd()
        ddp = dg.DistributedDataParallel(model, zero=zero, bucket_mb=0.01)
        optimizer = optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
        for step in range(4):
            model.step = step
            optimizer.zero_grad()
            _backward(ddp, step)
            optimizer.step()
        return nn.state_sha256(model.state_dict()), [p.grad is None for p in model.parameters()]

    one = run_ranks(1, lambda: body(0))[0]
    for found in simulated(size, lambda: body(zero), nodes=nodes):
        assert found == one


# -- who has what -------------------------------------------------------------------------------


def test_the_ranks_of_a_node_have_the_parameters_once() -> None:
    def body() -> tuple[int, bytes]:
        _trained(1, 1)
        dg.init(shards=4)
        ddp = dg.DistributedDataParallel(_model(), zero=1)
        p = next(ddp.parameters())
        address = p.array.__array_interface__["data"][0]
        dg.distributed.barrier()
        return address, p.array.tobytes()

    # Simulated ranks are threads of one process, in which the same memory has the same address.
    found = simulated(3, body, nodes=[2, 1])
    assert found[0] == found[1]
    assert found[2][0] != found[0][0]
    assert found[2][1] == found[0][1]


def test_outside_of_its_use_a_rank_has_its_own_parameters_alone() -> None:
    def body() -> list[int]:
        dg.init(shards=4)
        model = _model()
        ddp = dg.DistributedDataParallel(model, zero=3, bucket_mb=0.02)
        optimizer = optim.SGD(ddp.parameters(), lr=0.1)
        counts = []
        model[1].register_forward_hook(lambda *_: counts.append(_present(model)))
        for step in range(2):
            _backward(ddp, step)
            optimizer.step()
            counts.append(_present(model))
            optimizer.zero_grad()
        dg.distributed.barrier()
        return counts

    whole = sum(p.size for p in _model().parameters())
    found = np.array(simulated(4, body, nodes=[1] * 4))
    _, after_first, second, after_second = found.T
    # A block of 8192 elements is one rank's, and freed are whole pages of 1024.
    assert (after_first < whole / 4 + 8192 + 4096).all()
    assert (after_second < whole / 4 + 8192 + 4096).all()
    assert (second < whole * 0.75).all()  # while the first layers run the last ones are not there


def _present(model: nn.Module) -> int:
    return sum(int((held(p) != 0).sum()) for p in model.parameters())


@pytest.mark.parametrize("zero", [2, 3])
def test_after_a_batch_a_rank_has_its_own_gradients_alone(zero: int) -> None:
    def body() -> list[int]:
        counts: list[int] = []

        def look(ddp: Any, *_: Any) -> None:
            grads = [held(p.grad) for p in ddp.parameters()]
            counts.append(sum(int((g != 0).sum()) for g in grads))

        _trained(zero, 2, look)
        return counts

    whole = sum(p.size for p in _model().parameters())
    for counts in simulated(3, body):
        assert max(counts) < whole / 3 + 8192 + 4096


# -- reading at any time ------------------------------------------------------------------------


@pytest.mark.parametrize("zero", [1, 2])
@pytest.mark.parametrize("nodes", [None, [2, 1], [1, 1, 1]])
def test_one_rank_alone_may_read_weights_between_steps(
    zero: int, nodes: Sequence[int] | None
) -> None:
    def body(zero: int) -> list[float]:
        world = dg.init(shards=4)
        ddp = dg.DistributedDataParallel(_model(), zero=zero, bucket_mb=0.05)
        optimizer = optim.SGD(ddp.parameters(), lr=0.1)
        found = []
        for step in range(4):
            _backward(ddp, step)
            optimizer.step()
            if world.rank == 0:
                found.append(float(sum(float((p * p).sum()) for p in ddp.parameters())))
            optimizer.zero_grad()
        return found

    one = run_ranks(1, lambda: body(0))[0]
    assert simulated(3, lambda: body(zero), nodes=nodes, schedule=3)[0] == one


@pytest.mark.parametrize("nodes", [None, [2, 1], [1, 1, 1]])
@pytest.mark.parametrize("zero", STAGES)
def test_a_rank_may_end_without_reading_what_it_has_moved(
    zero: int, nodes: Sequence[int] | None
) -> None:
    def body() -> str | None:
        world = dg.init(shards=4)
        ddp = dg.DistributedDataParallel(_model(), zero=zero, bucket_mb=0.05)
        optimizer = optim.SGD(ddp.parameters(), lr=0.1)
        _backward(ddp, 0)
        optimizer.step()
        if world.rank == 0 and zero < 3:
            return nn.state_sha256(ddp.state_dict())
        return None

    for schedule in (None, 1, 2):
        assert len(simulated(3, body, nodes=nodes, schedule=schedule)) == 3


@pytest.mark.parametrize("zero", STAGES)
def test_an_evaluation_sees_what_was_moved(zero: int) -> None:
    def body(zero: int) -> float:
        dg.init(shards=4)
        model, _, _ = build("cnn")
        ddp = dg.DistributedDataParallel(model, zero=zero, bucket_mb=0.02)
        optimizer = optim.SGD(ddp.parameters(), lr=0.1)
        x = np.linspace(-1, 1, 4 * 64, dtype=np.float32).reshape(4, 1, 8, 8)
        for step in range(2):
            for shard in dg.own_shards(ddp.world, step, 4):
                y = np.arange(shard.start, shard.stop) % 10
                ddp.backward(F.cross_entropy(ddp(x[shard.start : shard.stop]), y))
            optimizer.step()
            optimizer.zero_grad()
        ddp.eval()
        with dg.no_grad(), ddp.summon_full_parameters():
            return float(ddp(x).sum())

    one = run_ranks(1, lambda: body(0))[0]
    for nodes in (None, [2, 1], [1, 1, 1]):
        assert simulated(3, lambda: body(zero), nodes=nodes) == [one] * 3


# -- what cannot be -----------------------------------------------------------------------------


@pytest.mark.parametrize("zero", [4, -1, True, 1.0, "1"])
def test_a_stage_that_does_not_exist_is_refused(zero: Any) -> None:
    refused = r"zero is 0 \(every rank moves all parameters\), 1 .*; got "
    with pytest.raises((TypeError, DistgradError), match=refused):
        simulated(1, lambda: dg.DistributedDataParallel(_model(), zero=zero))


def test_ranks_with_different_stages_are_told() -> None:
    def body() -> None:
        world = dg.init()
        dg.DistributedDataParallel(_model(), zero=world.rank % 2)

    with pytest.raises(DistgradError, match=r"zero="):
        simulated(3, body)


@pytest.mark.parametrize("zero", STAGES)
def test_a_hook_needs_whole_buckets(zero: int) -> None:
    def body() -> None:
        dg.init()
        ddp = dg.DistributedDataParallel(_model(), zero=zero)
        ddp.register_comm_hook(None, dg.parallel.hooks.fp16_compress_hook)

    with pytest.raises(CommError, match="zero=0"):
        simulated(2, body)
