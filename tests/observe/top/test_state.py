"""The state of a run as of now, and the screen of it."""

import json

import pytest
from rich.console import Console
from run_folders import RunFolder

from distgrad.errors import DistgradError
from distgrad.observe.run import RunReader, read_run
from distgrad.observe.top import state_of
from distgrad.observe.top.screen import Screen, sparkline


def state_in(tmp_path, quiet=1.0, **settings):
    return state_of(read_run(RunFolder(**settings).write(tmp_path / "run")), quiet)


def screen_of(state, width=80, **settings):
    console = Console(width=width, force_terminal=False, **settings)
    with console.capture() as captured:
        console.print(Screen(state, checkpoint="step 300 in runs/a", footer="q leaves"))
    return captured.get().splitlines()


def half_done(tmp_path, **settings):
    """Return the folder of a run of 600 steps of which 300 have been done."""
    folder = RunFolder(ended=False, **settings).write(tmp_path / "run")
    for name in ("metrics.jsonl", "time.jsonl", "health.jsonl"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        done = [line for line in lines if json.loads(line)["step"] <= 300]
        (folder / name).write_text("".join(done))
    return folder


def test_a_run_under_way_has_a_step_an_epoch_and_an_end_in_sight(tmp_path):
    state = state_of(read_run(half_done(tmp_path)), 1.0)
    assert state.status == "running"
    assert (state.step, state.total, state.epoch) == (300, 600, 1)
    assert state.eta == pytest.approx(300 * 0.02)


def test_a_run_that_has_ended_says_by_what_and_has_no_eta(tmp_path):
    state = state_in(tmp_path, quiet=1e6)
    assert (state.status, state.eta, state.silent) == ("ended: 10 epochs", None, None)


@pytest.mark.parametrize(("quiet", "status"), [(59, "running"), (61, "silent"), (3600, "silent")])
def test_a_run_that_writes_nothing_for_long_is_silent(tmp_path, quiet, status):
    assert state_in(tmp_path, quiet=quiet, ended=False).status == status


def test_a_run_that_logs_rarely_is_silent_later(tmp_path):
    rare = {"ended": False, "step_seconds": 0.5, "log_every": 100, "evaluate_every": 100}
    assert state_in(tmp_path, quiet=400, **rare).status == "running"
    assert state_in(tmp_path / "b", quiet=600, **rare).status == "silent"


def test_after_a_resume_the_step_is_the_resumed_ones(tmp_path):
    folder = RunFolder(ended=False, resumes=(200,), lost=90).write(tmp_path / "run")
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(x for x in lines if json.loads(x)["part"] == 0))
    state = state_of(read_run(folder), 1.0)
    assert state.step == 200
    assert state.eta is None  # nobody knows how fast the resumed part is
    assert "part 2" in screen_of(state)[0]


def test_the_same_reader_sees_the_run_go_on(tmp_path):
    folder = half_done(tmp_path)
    reader = RunReader(folder)
    assert state_of(reader.read(), 1.0).step == 300
    row = {"part": 0, "step": 301, "epoch": 1, "seconds": 6.1, "loss": 0.5}
    with open(folder / "metrics.jsonl", "a") as file:
        file.write(json.dumps(row) + '\n{"part": 0, "ste')  # the next line is being written
    assert state_of(reader.read(), 1.0).step == 301


def test_the_last_and_the_best_validation_are_told(tmp_path):
    state = state_in(tmp_path, evaluate_every=100)
    loss, accuracy = state.validations
    assert (loss.name, loss.step) == ("loss", 600)
    assert loss.best < loss.value
    assert (accuracy.name, accuracy.best) == ("accuracy", None)


def test_the_best_of_what_the_trainer_keeps_is_told_and_said_to_be_kept(tmp_path):
    best = {"name": "accuracy", "mode": "max"}
    state = state_in(tmp_path, evaluate_every=100, configuration={"trainer": {"best": best}})
    loss, accuracy = state.validations
    assert (loss.kept, accuracy.kept) == (False, True)
    steps, values = read_run(tmp_path / "run").series("validation/accuracy")
    assert (accuracy.best, accuracy.best_step) == (values.max(), steps[values.argmax()])
    (line,) = [text.rstrip() for text in screen_of(state) if "accuracy" in text]
    assert line.endswith(f" at {accuracy.best_step}, kept")


@pytest.mark.parametrize("mine", ["SGD", {"best": "accuracy"}, {"best": {"name": 3}}, None])
def test_a_users_own_setting_called_trainer_is_no_record_of_the_trainers(tmp_path, mine):
    state = state_in(tmp_path, evaluate_every=100, configuration={"trainer": mine})
    assert [v.kept for v in state.validations] == [False, False]


def test_who_is_slow_now_is_told_and_who_was_before_is_not(tmp_path):
    folder = RunFolder(steps=3000, slow={1: 0.02}).write(tmp_path / "run")
    slow = state_of(read_run(folder), 1.0)
    assert "rank 1 (host node-a) is slow" in slow.times.accusations[0]
    well = RunFolder(steps=3000).write(tmp_path / "well")
    before = (folder / "time.jsonl").read_text().splitlines(keepends=True)[:15]
    since = (well / "time.jsonl").read_text().splitlines(keepends=True)[15:]
    (folder / "time.jsonl").write_text("".join(before + since))
    assert state_of(read_run(folder), 1.0).times.accusations == []


def test_problems_of_gradients_are_those_of_the_newest_observed_step(tmp_path):
    said = "dead: '2' at step 600: its gradient is exactly 0"
    assert state_in(tmp_path, problems=lambda s: [said] if s == 600 else []).problems == [said]
    over = state_in(tmp_path / "b", problems=lambda s: [said] if s < 600 else [])
    assert over.problems == []


def test_a_run_without_a_part_has_not_begun(tmp_path):
    folder = RunFolder(steps=100).write(tmp_path / "run")
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"parts": []}))
    with pytest.raises(DistgradError, match="has not begun"):
        state_of(read_run(folder), 1.0)


# -- the screen ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal(tmp_path, width):
    state = state_in(tmp_path, slow={1: 0.02}, hosts=("node-a", "node-b"))
    lines = screen_of(state, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for word in (
        "step",
        "loss",
        "validation",
        "samples/s",
        "rank 0",
        "rank 2",
        "slow",
        "checkpoint",
    ):
        assert word in text


def test_the_bar_of_a_slow_rank_is_compute_and_of_the_others_waiting(tmp_path):
    state = state_in(tmp_path, slow={1: 0.02})
    bars = [line for line in screen_of(state) if line.startswith("  rank")]
    assert [bar.count("░") > 10 for bar in bars] == [True, False, True]


def test_of_many_ranks_the_busiest_have_a_bar(tmp_path):
    lines = screen_of(state_in(tmp_path, ranks=100, slow={57: 0.02}))
    assert sum(line.startswith("  rank") for line in lines) == 16
    assert any(line.startswith("  rank 57") for line in lines)
    assert any("the 16 busiest of 100 ranks" in line for line in lines)


def test_a_name_with_markup_is_shown_as_it_is(tmp_path):
    lines = screen_of(state_in(tmp_path, name="[red]a[/red]", hosts=("[b]h",)))
    assert lines[0].startswith("[red]a[/red]")
    assert any(line.endswith("[b]h") or "[b]h " in line for line in lines)


def test_a_sparkline_goes_from_high_to_low():
    assert sparkline([3.0, 2.0, 1.0], 3, "_-^") == "^-_"
    assert sparkline(list(range(100)), 4, "0123") == "0123"
    assert sparkline([1.0, float("nan"), 3.0], 3, "_^") == "_!^"
    assert sparkline([2.0, 2.0], 5, "_^") == "__"
    assert sparkline([float("inf")], 5) == "!"
    assert sparkline([], 5) == ""
