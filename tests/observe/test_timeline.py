"""The timeline: what is recorded, in every kind of world, and that it changes nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from traces import events_of, names_of, slices_of
from training import alone, build, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.autograd import walk
from distgrad.autograd.mode import call_observer, watching
from distgrad.nn import functional as F
from distgrad.nn import hooks
from distgrad.observe.timeline.tracer import MOST, RankTracer
from distgrad.tracing import tracer

JOBS = Path(__file__).parent / "jobs"


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.second(np.tanh(self.first(x))) + x


def learnt(folder=None, *, steps=6, captured=False, between=None, kept=None, every=1, **options):
    """Train a small model, under a profile if there is a folder; return its weights and it."""
    dg.init()
    dg.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 8), Block(), nn.Linear(8, 3))
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    ddp = dg.DistributedDataParallel(model)
    rng = np.random.default_rng(1)
    data = dg.data.ArrayDataset(
        rng.normal(size=(6 * steps, 5)).astype(np.float32), np.arange(6 * steps) % 3
    )

    def step(x, y):
        ddp.backward(F.cross_entropy(model(x), y))
        dg.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()

    step = dg.capture(step) if captured else step

    def loop():
        for batch in dg.data.DataLoader(data, 6):
            optimizer.zero_grad()
            for x, y in batch.shards:
                step(x, y)
            if between is not None:
                between(model, batch)

    if folder is None:
        loop()
        profile = None
    else:
        with dg.observe.profile(folder, steps=kept, every=every, **options) as profile:
            loop()
    return {k: v.tobytes() for k, v in model.state_arrays().items()}, profile


# -- what is in it ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3])
def test_a_trace_has_all_that_a_rank_does_by_layer_and_is_valid(tmp_path, size):
    simulated(size, lambda: learnt(tmp_path)[0])
    events = events_of(tmp_path / "trace.json")
    for rank in range(size):
        assert names_of(events, "step", rank) == {f"step {n}": 1 for n in range(7)}
        layers = {
            "Sequential": 6,
            "0 (Linear)": 6,
            "1 (Block)": 6,
            "1.first (Linear)": 6,
            "1.second (Linear)": 6,
            "2 (Linear)": 6,
        }
        assert names_of(events, "forward", rank) == layers
        assert names_of(events, "backward", rank) == {"backward": 6, **layers}
        assert names_of(events, "optimizer", rank) == {"AdamW": 6}
        assert names_of(events, "clipping", rank) == {"clipping": 6}
        assert len(slices_of(events, "data", rank)) >= 12  # a batch, and its shard
        buckets = [e for e in slices_of(events, "collective", rank) if "'bucket 0" in e["name"]]
        assert len(buckets) == (6 if size > 1 else 0)
        assert all(e["args"]["bytes"] > 4 * (5 * 8 + 8) and e["tid"] > 0 for e in buckets)
    names = [e["args"]["name"] for e in events if e["name"] == "process_name"]
    assert [name.split(" on ")[0] for name in names] == [f"rank {r}" for r in range(size)]


def test_layers_lie_in_the_layers_they_are_called_by_and_backward_comes_the_other_way(tmp_path):
    alone(lambda: learnt(tmp_path, steps=1))
    events = events_of(tmp_path / "trace.json")
    forward = {e["name"]: (e["ts"], e["ts"] + e["dur"]) for e in slices_of(events, "forward")}
    backward = {e["name"]: (e["ts"], e["ts"] + e["dur"]) for e in slices_of(events, "backward")}
    for found in (forward, backward):
        outer, inner = found["1 (Block)"], found["1.first (Linear)"]
        assert outer[0] <= inner[0] <= inner[1] <= outer[1] + 1e-3
    order = ["0 (Linear)", "1.first (Linear)", "1.second (Linear)", "2 (Linear)"]
    assert sorted(order, key=lambda name: forward[name]) == order
    assert sorted(order, key=lambda name: backward[name]) == order[::-1]
    assert backward["backward"][0] >= forward["Sequential"][1]


def test_every_rank_has_its_own_file_of_lines_and_the_same_summary(tmp_path):
    said = [profile.summary() for _, profile in simulated(3, lambda: learnt(tmp_path))]
    assert said[0] == said[1] == said[2]
    assert said[0] + "\n" == (tmp_path / "summary.txt").read_text()
    for rank in range(3):
        head, *lines = map(json.loads, (tmp_path / f"rank-{rank}.jsonl").read_text().splitlines())
        assert (head["rank"], head["ranks"], head["steps"]) == (rank, 3, 6)
        assert {line["kind"] for line in lines} >= {"step", "forward", "backward", "collective"}
        assert all(0 <= line["start"] <= line["end"] for line in lines)


def test_a_captured_step_is_one_span_and_ends_a_step_if_an_optimizer_is_in_it(tmp_path):
    alone(lambda: learnt(tmp_path, captured=True, steps=8))
    events = events_of(tmp_path / "trace.json")
    assert names_of(events, "captured step") == {"learnt.<locals>.step": 4}
    assert names_of(events, "recording") == {"learnt.<locals>.step": 4}  # calls 1, 2, 4, 8
    assert len(slices_of(events, "step")) == 9
    assert slices_of(events, "forward") == []


def test_of_an_evaluation_and_a_checkpoint_the_whole_is_recorded_and_spans_of_ones_own(tmp_path):
    def body():
        dg.init()
        model, data, loss = build("mlp")
        trainer = dg.Trainer(
            model,
            optim.SGD(model.parameters(), lr=0.1),
            loss,
            checkpoint=str(tmp_path / "saved"),
            progress=False,
            callbacks=[lambda state: mine()],
        )

        def mine():
            with dg.observe.span("mine"):
                model(np.zeros((1, 64), np.float32))

        loaders = [dg.data.DataLoader(data, 50) for _ in range(2)]
        with dg.observe.profile(tmp_path):
            trainer.fit(loaders[0], epochs=1, evaluate=loaders[1])

    alone(body)
    events = events_of(tmp_path / "trace.json")
    assert len(slices_of(events, "evaluation")) == 1
    assert len(slices_of(events, "checkpoint")) == 2  # the Trainer's, and the writing inside it
    assert names_of(events, "span") == {"mine": 4}
    whole = slices_of(events, "evaluation")[0]
    inside = [
        e
        for e in slices_of(events, "forward")
        if whole["ts"] < e["ts"] < whole["ts"] + whole["dur"]
    ]
    assert inside == []
    assert names_of(events, "forward")["Sequential"] == 8  # 4 of training, 4 of the callback


def test_a_stretch_that_backward_runs_again_is_in_it_twice(tmp_path):
    def body():
        dg.init()
        model = Block()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        x = dg.Tensor(np.ones((2, 8), np.float32))
        with dg.observe.profile(tmp_path):
            dg.utils.checkpoint.checkpoint(model, x, use_reentrant=False).sum().backward()
            optimizer.step()

    alone(body)
    events = events_of(tmp_path / "trace.json")
    assert names_of(events, "forward")["Block"] == 2
    assert names_of(events, "backward")["first (Linear)"] == 1


def test_two_optimizers_may_share_a_forward_pass(tmp_path):
    def body():
        dg.init()
        one, two = nn.Linear(3, 3), nn.Linear(3, 3)
        first, second = (optim.SGD(m.parameters(), lr=0.1) for m in (one, two))
        with dg.observe.profile(tmp_path):
            a, b = one(np.ones((2, 3), np.float32)), two(np.ones((2, 3), np.float32))
            a.sum().backward()
            first.step()
            b.sum().backward()
            second.step()

    alone(body)
    events = events_of(tmp_path / "trace.json")
    assert len(slices_of(events, "step")) == 3
    backward = [e["name"] for e in slices_of(events, "backward")]
    assert backward == ["backward", "Linear", "backward", "Linear"]


def test_ops_are_recorded_if_asked_for_with_their_way_back(tmp_path):
    weights, profile = alone(lambda: learnt(tmp_path, kernels=True))
    assert weights == alone(learnt)[0]
    ops = names_of(events_of(tmp_path / "trace.json"), "op")
    assert ops["linear"] == ops["linear backward"] == 24
    assert ops["tanh"] == ops["tanh backward"] == 6
    assert re.search(r"^ops that took most, on rank 0", profile.summary(), re.M)


def test_kernels_runs_captured_steps_op_by_op_with_the_same_bits(tmp_path):
    weights, _ = alone(lambda: learnt(tmp_path, kernels=True, captured=True))
    assert weights == alone(lambda: learnt(captured=True))[0]
    assert names_of(events_of(tmp_path / "trace.json"), "op")["linear"] == 24


# -- how much of it -----------------------------------------------------------------------------


def test_the_newest_steps_are_kept(tmp_path):
    _, profile = alone(lambda: learnt(tmp_path, last=2))
    events = events_of(tmp_path / "trace.json")
    assert [e["name"] for e in slices_of(events, "step")] == ["step 4", "step 5", "step 6"]
    assert names_of(events, "optimizer") == {"AdamW": 2}
    assert profile.summary().endswith("the files have 2 of 6 steps")


def test_those_steps_are_kept_that_are_asked_for(tmp_path):
    _, profile = alone(lambda: learnt(tmp_path, kept=range(1, 4)))
    events = events_of(tmp_path / "trace.json")
    assert [e["name"] for e in slices_of(events, "step")] == ["step 1", "step 2", "step 3"]
    assert names_of(events, "forward")["Sequential"] == 3
    assert profile.summary().endswith("the files have 3 of 6 steps")


def test_every_so_many_th_step_is_recorded(tmp_path):
    _, profile = alone(lambda: learnt(tmp_path, every=3, steps=8))
    events = events_of(tmp_path / "trace.json")
    assert [e["name"] for e in slices_of(events, "step")] == ["step 0", "step 3", "step 6"]
    assert names_of(events, "forward")["Sequential"] == names_of(events, "optimizer")["AdamW"] == 3
    assert profile.summary().endswith("the files have 3 of 8 steps, one of 3: steps are short")


@pytest.mark.parametrize(("seconds", "every"), [(1e-4, 32), (1e-3, 2), (1e-2, 1)])
def test_of_short_steps_only_some_are_recorded(seconds, every, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("distgrad.observe.timeline.tracer.perf_counter", lambda: now[0])
    notes = RankTracer(100, None, None)
    tracer.set(notes)
    for _ in range(64):
        for _ in range(4):
            tracer.get().begin("clipping")
            tracer.get().end("clipping")
        tracer.get().begin("optimizer")
        now[0] += seconds
        tracer.get().end("optimizer")
    assert notes.every == every
    assert [step.number for step in notes.kept][5:] == [*range(every * -(-5 // every), 64, every)]
    notes.stop()
    assert notes.seen == 64
    tracer.set(None)
    call_observer.set(None)


def test_of_a_step_that_never_ends_the_memory_is_bounded():
    notes, module = RankTracer(3, None), nn.Linear(2, 2)
    for _ in range(MOST):
        notes.entered(module)
        notes.left(module)
    assert len(notes.rest.notes) <= 2 * MOST
    assert notes.left_out > 0


# -- that it changes nothing --------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("captured", [False, True])
def test_what_is_learnt_has_the_same_bits_with_and_without(tmp_path, size, captured):
    def body(folder):
        return lambda: learnt(folder, captured=captured)[0]

    assert simulated(size, body(tmp_path)) == simulated(size, body(None))


def test_when_nothing_is_recorded_nobody_is_asked(monkeypatch):
    """Neither a module's call nor the walk of backward takes another way."""

    def refuse(*_):
        raise AssertionError("a module without hooks was called the long way")

    monkeypatch.setattr(hooks, "call", refuse)
    layer = nn.Linear(2, 3)
    loss = layer(np.ones((1, 2), np.float32)).sum()
    nodes, _ = walk.reach([loss])
    assert walk.traced(nodes) is nodes
    loss.backward()


@pytest.mark.parametrize("kernels", [False, True])
def test_nobody_is_asked_any_more_after_the_block(tmp_path, kernels):
    def body():
        learnt(tmp_path, kernels=kernels)
        return [variable.get() for variable in (tracer, call_observer, watching)]

    assert alone(body) == [None, None, None]


# -- mistakes and failures ----------------------------------------------------------------------


def test_after_an_exception_each_rank_writes_its_own_part(tmp_path):
    def body():
        def fail(model, batch):
            if batch.step == 3:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            learnt(tmp_path, between=fail)
        return tracer.get()

    assert simulated(3, body) == [None] * 3
    assert not (tmp_path / "trace.json").exists()
    for rank in range(3):
        events = events_of(tmp_path / f"trace-{rank}.json")
        assert names_of(events, "optimizer", rank) == {"AdamW": 4}


def test_a_profile_inside_another_one_is_refused(tmp_path):
    def body():
        with dg.observe.profile(tmp_path), dg.observe.profile(tmp_path / "inner"):
            pass

    with pytest.raises(dg.DistgradError, match=r"inside another one.*leave one out"):
        alone(body)


@pytest.mark.parametrize("options", [{"last": 0}, {"steps": range(3, 3)}, {"steps": range(-2, 3)}])
def test_settings_that_keep_nothing_are_refused(tmp_path, options):
    with pytest.raises(dg.DistgradError, match="number of steps to keep, 1 or more"):
        alone(lambda: dg.observe.profile(tmp_path, **options))


def test_a_folder_that_cannot_be_made_is_named_on_every_rank(tmp_path):
    (tmp_path / "file").touch()

    def body():
        with pytest.raises(dg.DistgradError, match=r"cannot write to '.*file/inner'.*another"):
            dg.observe.profile(tmp_path / "file" / "inner").__enter__()
        return tracer.get()

    assert simulated(3, body) == [None] * 3


def test_a_block_without_a_step_says_what_a_step_is(tmp_path):
    def body():
        dg.init()
        with dg.observe.profile(tmp_path) as profile:
            nn.Linear(2, 2)(np.ones((1, 2), np.float32))
        return profile.summary()

    assert "a step ends where an optimizer has moved the parameters" in alone(body)
    assert names_of(events_of(tmp_path / "trace.json"), "forward") == {"Linear": 1}
