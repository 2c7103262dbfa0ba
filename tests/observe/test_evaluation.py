"""How far an evaluation is: shown if it takes long, in a training's line or in its own."""

from __future__ import annotations

import pytest
from training import alone, build, simulated

import distgrad as dg
from distgrad import optim
from distgrad.observe import Progress, evaluation, progress
from distgrad.observe.evaluation import evaluation as evaluation_alone
from distgrad.observe.terminal import Status, words


class Heard:
    """A display that remembers what it was asked to show."""

    interval, live = 10.0, False

    def __init__(self):
        self.shown, self.closed = [], []

    def show(self, status):
        self.shown.append(status)

    def close(self, *, failed):
        self.closed.append(failed)


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when it is told to."""
    now = [100.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


@pytest.fixture
def heard(monkeypatch):
    made = Heard()
    for module in (progress, evaluation):
        monkeypatch.setattr(module, "choose", lambda *_: made)
    return made


def ticking(clock, seconds, count=8):
    """Yield batches that take so many seconds each."""
    for number in range(count):
        yield number
        clock[0] += seconds


def line(status, width=79):
    return words.live_line(status, width, ascii_only=True, color=False).plain


# -- within a training --------------------------------------------------------------------------


def test_a_short_evaluation_in_a_training_is_not_shown(clock, heard):
    heard.interval = 0.1
    with Progress(rank=0, total=10, per_epoch=5) as bar:
        bar.step(0, {"loss": 1.0})
        before = len(heard.shown)
        assert [*bar.evaluating(ticking(clock, 0.01), 8)] == [*range(8)]
        assert len(heard.shown) == before
        clock[0] += 0.03
        bar.step(1, {"loss": 1.0})  # which is due as if there had been none
    assert len(heard.shown) == before + 1


@pytest.mark.parametrize(("interval", "shown"), [(0.1, range(2, 12)), (1.0, [4, 8])])
def test_a_long_one_is_shown_once_in_an_interval(clock, heard, interval, shown):
    heard.interval = interval
    with Progress(rank=0, total=10, per_epoch=5) as bar:
        bar.step(0, {"loss": 1.0})
        heard.shown.clear()
        assert [*bar.evaluating(ticking(clock, 0.3, 12), 12)] == [*range(12)]
        assert [status.evaluating for status in heard.shown] == [*shown]
        assert {status.batches for status in heard.shown} == {12}
        assert bar.status().evaluating is None


def test_an_evaluation_that_raised_is_over_with_the_next_step(clock, heard):
    with Progress(rank=0, total=10) as bar:
        for batch in bar.evaluating(ticking(clock, 9.0), 8):
            if batch == 3:
                break
        bar.step(0, {"loss": 1.0})
        assert bar.status().evaluating is None


STATUS = Status(
    step=450,
    total=1800,
    epoch=3,
    epochs=12,
    numbers={"loss": 0.21345},
    rate=12345.6,
    left=83.4,
    validation={"loss": 0.31, "accuracy": 0.91},
    evaluating=12,
    batches=40,
)


def test_the_line_has_it_in_the_place_of_the_last_result():
    assert line(STATUS, 59) == "epoch 3/12  loss 0.2135  eta 1:23  validating 12/40"
    assert line(STATUS).endswith("12,346 samples/s  eta 1:23  validating 12/40")
    unknown = Status(**{**STATUS.as_json(), "batches": None})
    assert line(unknown).endswith("validating 12")
    assert words.log_line(STATUS) == "step 450/1800 epoch 3/12 validating 12/40"


# -- alone --------------------------------------------------------------------------------------


def test_a_short_evaluation_alone_asks_for_no_display(clock, monkeypatch):
    monkeypatch.setattr(evaluation, "choose", None)
    with evaluation_alone(ticking(clock, 0.01), 8, rank=0) as batches:
        assert [*batches] == [*range(8)]


def test_a_long_one_alone_has_a_line_with_its_end(clock, heard):
    with evaluation_alone(ticking(clock, 4.0), 8, rank=0) as batches:
        assert [*batches] == [*range(8)]
    assert [(s.evaluating, s.left) for s in heard.shown] == [(3, 20.0), (6, 8.0)]
    assert heard.closed == [False]
    assert line(heard.shown[0]) == f"evaluating 3/8  {'#' * 11}{'-' * 19}  eta 0:20"
    assert words.log_line(heard.shown[0]) == "evaluating 3/8 eta 0:20"


def test_one_that_raises_leaves_its_line_to_be_read(clock, heard):
    def body():
        with evaluation_alone(ticking(clock, 4.0), 8, rank=0) as batches:
            return [1 / (batch - 5) for batch in batches]

    with pytest.raises(ZeroDivisionError):
        body()
    assert heard.closed == [True]


@pytest.mark.parametrize("settings", [{"rank": 1}, {"rank": 0, "visible": False}])
def test_other_ranks_and_an_invisible_one_show_nothing(clock, heard, settings):
    with evaluation_alone(ticking(clock, 4.0), 8, **settings) as batches:
        assert [*batches] == [*range(8)]
    assert heard.shown == []


# -- the Trainer --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3])
def test_a_trainer_shows_its_evaluations_within_fit_and_after_it(size, monkeypatch):
    shown = []

    class Quick(Heard):
        interval = 0.0

        def show(self, status):
            shown.append(words.log_line(status))

        def evaluated(self, status):
            shown.append(words.evaluation_log_line(status))

        def table(self, title, rows):
            shown.append(title)

        def say(self, text):
            """It is not what is looked at."""

    for module in (progress, evaluation):
        monkeypatch.setattr(module, "choose", lambda *_: Quick())
        monkeypatch.setattr(module, "LONG", 0.0)

    def body():
        dg.init()
        model, data, loss_fn = build("mlp")
        trainer = dg.Trainer(model, optim.SGD(model.parameters(), lr=0.1), loss_fn)
        test = dg.data.DataLoader(data, -(-len(data) // 3))
        trainer.fit(dg.data.DataLoader(data, 40), max_steps=2, evaluate=test, evaluate_every=1)
        trainer.evaluate(test)
        return trainer.predict(test)

    alone(body) if size == 1 else simulated(size, body)
    validating = [text for text in shown if "validating" in text]
    assert validating == [
        f"step {step}/2 epoch 1/1 validating {done}/3" for step in (1, 2) for done in range(3)
    ]
    end = next(i for i, text in enumerate(shown) if text.startswith("stopped at step 2"))
    after = shown[end + 1 :]
    one = [f"evaluating {n}/3" for n in range(3)]
    assert [text.partition(" eta")[0] for text in after] == [*one, *one]  # evaluate and predict
