"""The timeline: what is recorded, in every kind of world, and that it changes nothing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jobs import PYTHONPATH, run_job
from traces import events_of
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


def slices(events, kind, rank=0):
    return [e for e in events if e["ph"] == "X" and e["cat"] == kind and e["pid"] == rank]


def named(events, kind, rank=0):
    """How often each name occurs among a rank's slices of a kind."""
    names = [e["name"] for e in slices(events, kind, rank)]
    return {name: names.count(name) for name in names}


# -- what is in it ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3])
def test_a_trace_has_all_that_a_rank_does_by_layer_and_is_valid(tmp_path, size):
    simulated(size, lambda: learnt(tmp_path)[0])
    events = events_of(tmp_path / "trace.json")
    for rank in range(size):
        assert named(events, "step", rank) == {f"step {n}": 1 for n in range(7)}
        layers = {
            "Sequential": 6,
            "0 (Linear)": 6,
            "1 (Block)": 6,
            "1.first (Linear)": 6,
            "1.second (Linear)": 6,
            "2 (Linear)": 6,
        }
        assert named(events, "forward", rank) == layers
        assert named(events, "backward", rank) == {"backward": 6, **layers}
        assert named(events, "optimizer", rank) == {"AdamW": 6}
        assert named(events, "clipping", rank) == {"clipping": 6}
        assert len(slices(events, "data", rank)) >= 12  # a batch, and its shard
        buckets = [e for e in slices(events, "collective", rank) if "'bucket 0" in e["name"]]
        assert len(buckets) == (6 if size > 1 else 0)
        assert all(e["args"]["bytes"] > 4 * (5 * 8 + 8) and e["tid"] > 0 for e in buckets)
    names = [e["args"]["name"] for e in events if e["name"] == "process_name"]
    assert [name.split(" on ")[0] for name in names] == [f"rank {r}" for r in range(size)]


def test_layers_lie_in_the_layers_they_are_called_by_and_backward_comes_the_other_way(tmp_path):
    alone(lambda: learnt(tmp_path, steps=1))
    events = events_of(tmp_path / "trace.json")
    forward = {e["name"]: (e["ts"], e["ts"] + e["dur"]) for e in slices(events, "forward")}
    backward = {e["name"]: (e["ts"], e["ts"] + e["dur"]) for e in slices(events, "backward")}
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
    assert named(events, "captured step") == {"learnt.<locals>.step": 4}
    assert named(events, "recording") == {"learnt.<locals>.step": 4}  # calls 1, 2, 4, 8
    assert len(slices(events, "step")) == 9
    assert slices(events, "forward") == []


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
    assert len(slices(events, "evaluation")) == 1
    assert len(slices(events, "checkpoint")) == 2  # the Trainer's, and the writing inside it
    assert named(events, "span") == {"mine": 4}
    whole = slices(events, "evaluation")[0]
    inside = [
        e for e in slices(events, "forward") if whole["ts"] < e["ts"] < whole["ts"] + whole["dur"]
    ]
    assert inside == []
    assert named(events, "forward")["Sequential"] == 8  # 4 of training, 4 of the callback


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
    assert named(events, "forward")["Block"] == 2
    assert named(events, "backward")["first (Linear)"] == 1


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
    assert len(slices(events, "step")) == 3
    backward = [e["name"] for e in slices(events, "backward")]
    assert backward == ["backward", "Linear", "backward", "Linear"]


def test_ops_are_recorded_if_asked_for_with_their_way_back(tmp_path):
    weights, profile = alone(lambda: learnt(tmp_path, kernels=True))
    assert weights == alone(learnt)[0]
    ops = named(events_of(tmp_path / "trace.json"), "op")
    assert ops["linear"] == ops["linear backward"] == 24
    assert ops["tanh"] == ops["tanh backward"] == 6
    assert re.search(r"^ops that took most, on rank 0", profile.summary(), re.M)


def test_kernels_runs_captured_steps_op_by_op_with_the_same_bits(tmp_path):
    weights, _ = alone(lambda: learnt(tmp_path, kernels=True, captured=True))
    assert weights == alone(lambda: learnt(captured=True))[0]
    assert named(events_of(tmp_path / "trace.json"), "op")["linear"] == 24


# -- how much of it -----------------------------------------------------------------------------


def test_the_newest_steps_are_kept(tmp_path):
    _, profile = alone(lambda: learnt(tmp_path, last=2))
    events = events_of(tmp_path / "trace.json")
    assert [e["name"] for e in slices(events, "step")] == ["step 4", "step 5", "step 6"]
    assert named(events, "optimizer") == {"AdamW": 2}
    assert profile.summary().endswith("the files have 2 of 6 steps")


def test_those_steps_are_kept_that_are_asked_for(tmp_path):
    _, profile = alone(lambda: learnt(tmp_path, kept=range(1, 4)))
    events = events_of(tmp_path / "trace.json")
    assert [e["name"] for e in slices(events, "step")] == ["step 1", "step 2", "step 3"]
    assert named(events, "forward")["Sequential"] == 3
    assert profile.summary().endswith("the files have 3 of 6 steps")


def test_every_so_many_th_step_is_recorded(tmp_path):
    _, profile = alone(lambda: learnt(tmp_path, every=3, steps=8))
    events = events_of(tmp_path / "trace.json")
    assert [e["name"] for e in slices(events, "step")] == ["step 0", "step 3", "step 6"]
    assert named(events, "forward")["Sequential"] == named(events, "optimizer")["AdamW"] == 3
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
        assert named(events, "optimizer", rank) == {"AdamW": 4}


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
    assert named(events_of(tmp_path / "trace.json"), "forward") == {"Linear": 1}


# -- real jobs ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("sleep", r"ranks 0, 2 wait \d\d% of the time for rank 1's forward, which takes .*: see"),
        ("data", r"ranks 0, 2 wait \d\d% of the time for rank 1's data loading, .*num_workers=2"),
        ("threads", r"rank 1's forward, .*: it computes with 1 thread, the others with 2$"),
    ],
)
def test_the_summary_names_the_rank_for_which_the_others_wait_and_why(tmp_path, what, said):
    done = run_job(3, JOBS / "profiled.py", str(tmp_path), what, "1")
    assert done.status == 0, done.err
    summary = json.loads(done.out.splitlines()[0])["summary"]
    assert re.search(f"^first: .*{said}", summary, re.M), summary
    events = events_of(tmp_path / "trace.json")
    waits = [e for e in events if e["ph"] == "X" and e["cat"] == "waiting" and e["dur"] > 2e4]
    assert {e["pid"] for e in waits} >= {0, 2}
    # Where a long wait ends, there ends an arrow from the rank that was waited for; on a busy
    # machine now and then another one is late.
    came = {e["id"]: e["pid"] for e in events if e["ph"] == "s"}
    ends = [(e, came[e["id"]]) for e in events if e["ph"] == "f"]
    right = 0
    for wait in waits:
        until = wait["ts"] + wait["dur"]
        sources = {s for e, s in ends if e["pid"] == wait["pid"] and abs(until - e["ts"]) < 2}
        right += sources == {1} and wait["pid"] != 1
    assert right > 0.7 * len(waits)


def command(*words, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PMIX_"))}
    environment |= {"PYTHONPATH": PYTHONPATH, **more}
    return subprocess.run(
        [sys.executable, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("verb", ["run", "debug"])
def test_a_whole_program_is_recorded_from_outside(tmp_path, verb):
    words = ["-m", "distgrad", verb, "-n", "3", "--timeline", tmp_path / "out"]
    done = command(*words, JOBS / "sleepy.py", "ddp", "-1", "3")
    assert done.returncode == 0, done.stderr
    assert f"timeline: {tmp_path}/out/trace.json, for https://ui.perfetto.dev" in done.stderr
    events = events_of(tmp_path / "out" / "trace.json")
    assert {e["pid"] for e in slices(events, "step", 2)} == {2}
    first = done.stderr.partition("first: ")[2].splitlines()[0]
    assert first
    assert verb == "run" or " wait" not in first  # simulated ranks take turns


def test_a_program_in_one_process_is_recorded_too_also_if_it_fails(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, sys\n"
        "import distgrad as dg\n"
        "dg.init()\n"
        "model = dg.nn.Linear(2, 2)\n"
        "optimizer = dg.optim.SGD(model.parameters(), lr=0.1)\n"
        "model(np.ones((3, 2), np.float32)).sum().backward()\n"
        "optimizer.step()\n"
        "if sys.argv[1:]:\n"
        "    raise ZeroDivisionError\n"
    )
    done = command(script, DISTGRAD_TIMELINE=str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    assert "1 step of" in done.stderr
    assert named(events_of(tmp_path / "a" / "trace.json"), "optimizer") == {"SGD": 1}
    done = command(script, "fail", DISTGRAD_TIMELINE=str(tmp_path / "b"))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert named(events_of(tmp_path / "b" / "trace-0.json"), "optimizer") == {"SGD": 1}
