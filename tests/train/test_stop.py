"""Stop criteria: when each says stop, what it says, and what it remembers."""

import json
import math

import numpy as np
import pytest

import distgrad as dg
from distgrad import (
    EarlyStopping,
    LossPlateau,
    MaxEpochs,
    MaxSteps,
    TargetMetric,
    Tensor,
    TrainState,
    WallTime,
    accuracy,
    nn,
    optim,
)
from distgrad.comm import run_ranks
from distgrad.errors import DistgradError, ShapeError
from distgrad.nn import functional as F


@pytest.mark.parametrize(
    ("criterion", "before", "at", "after", "reason"),
    [
        (MaxSteps(10), {"step": 9}, {"step": 10}, {"step": 11}, "10 steps"),
        (MaxEpochs(3), {"epoch": 2}, {"epoch": 3}, {"epoch": 4}, "3 epochs"),
        (WallTime(1.5), {"seconds": 1.4}, {"seconds": 1.5}, {"seconds": 9.0}, "1.5 s of wall time"),
    ],
)
def test_limits_are_reached_not_passed(criterion, before, at, after, reason):
    assert criterion.check(TrainState(**before)) is None
    assert criterion.check(TrainState(**at)) == reason
    assert criterion.check(TrainState(**after)) == reason


@pytest.mark.parametrize("criterion", [MaxSteps, MaxEpochs])
def test_a_negative_limit_is_refused(criterion):
    with pytest.raises(DistgradError, match="s is a whole number, 0 or more; got -1"):
        criterion(-1)


@pytest.mark.parametrize(
    ("minimize", "value", "stops"),
    [
        (False, 0.89, False),
        (False, 0.9, True),
        (False, 0.95, True),
        (True, 0.95, False),
        (True, 0.9, True),
        (True, 0.1, True),
        (False, math.nan, False),
        (True, math.nan, False),
    ],
)
def test_a_target_is_reached_from_its_side(minimize, value, stops):
    criterion = TargetMetric("accuracy", 0.9, minimize=minimize)
    found = criterion.check(TrainState(evaluation={"accuracy": value}))
    assert found == (f"accuracy reached {value:.4g}" if stops else None)


def test_a_target_waits_for_the_first_evaluation():
    assert TargetMetric("loss", 5.0, minimize=True).check(TrainState(step=4)) is None


def test_a_target_that_is_not_evaluated_is_named():
    state = TrainState(evaluation={"loss": 1.0, "accuracy": 0.5})
    with pytest.raises(DistgradError, match="no 'acc' in the evaluation; it has accuracy, loss"):
        TargetMetric("acc", 0.9).check(state)


def follow(criterion, losses, first=1):
    """Return {step: reason} of the steps at which the criterion says stop."""
    reasons = {}
    for step, loss in enumerate(losses, first):
        reason = criterion.check(TrainState(step=step, loss=loss))
        if reason:
            reasons[step] = reason
    return reasons


def test_a_falling_loss_goes_on():
    assert follow(LossPlateau(3, smoothing=0.5), [10 - 0.1 * t for t in range(50)]) == {}


def test_a_flat_loss_stops_after_patience_steps():
    reasons = follow(LossPlateau(5, smoothing=0.0), [3.0, 2.0, *[2.0] * 5])
    assert reasons == {7: "no progress for 5 steps"}


def test_progress_smaller_than_min_delta_is_none():
    falling = [1 - 0.01 * t for t in range(6)]
    assert follow(LossPlateau(3, min_delta=0.1, smoothing=0.0), falling)[4]
    assert follow(LossPlateau(3, min_delta=0.001, smoothing=0.0), falling) == {}


def test_smoothing_follows_the_exponential_mean():
    criterion, mean = LossPlateau(99, smoothing=0.75), None
    for step, loss in enumerate([4.0, 2.0, 8.0, 1.0], 1):
        criterion.check(TrainState(step=step, loss=loss))
        mean = loss if mean is None else 0.75 * mean + 0.25 * loss
        assert criterion.state_dict()["mean"] == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_skipped_step_does_not_spoil_the_mean(bad):
    losses = [10 - 0.1 * t for t in range(30)]
    losses[0] = losses[7] = bad
    assert follow(LossPlateau(3, smoothing=0.5), losses) == {}


def test_a_loss_that_stays_nan_is_no_progress():
    assert follow(LossPlateau(4, smoothing=0.5), [1.0, *[math.nan] * 4]) == {
        5: "no progress for 4 steps"
    }


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_a_plateau_is_found_at_the_same_step_after_a_resume(cut):
    losses = [*np.linspace(3, 1, 8).tolist(), *[1.0] * 12]
    settings = {"patience": 6, "min_delta": 0.1, "smoothing": 0.5}
    whole = follow(LossPlateau(**settings), losses)
    first = LossPlateau(**settings)
    found = follow(first, losses[:cut])
    second = LossPlateau(**settings)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    found |= follow(second, losses[cut:], first=cut + 1)
    assert whole
    assert found == whole


@pytest.mark.parametrize("settings", [{"patience": 0}, {"patience": 3, "smoothing": 1.0}])
def test_a_plateau_that_makes_no_sense_is_refused(settings):
    with pytest.raises(DistgradError, match=r"LossPlateau: (patience|smoothing) is a .*; got"):
        LossPlateau(**settings)


@pytest.mark.parametrize(
    "criterion", [MaxSteps(1), MaxEpochs(1), WallTime(1), TargetMetric("a", 1)]
)
def test_criteria_of_the_moment_remember_nothing(criterion):
    assert criterion.state_dict() == {}
    criterion.load_state_dict({})


def test_a_train_state_comes_back_as_it_was_saved():
    state = TrainState(step=7, epoch=2, loss=0.5, evaluation={"loss": 1.5}, skipped=3)
    other = TrainState()
    other.load_state_dict(json.loads(json.dumps(state.state_dict())))
    assert other.state_dict() == state.state_dict()
    other.evaluation["loss"] = 9.0
    assert state.evaluation == {"loss": 1.5}


def test_a_saved_train_state_does_not_follow_the_run():
    state = TrainState(evaluation={"loss": 1.0})
    saved = state.state_dict()
    state.evaluation["loss"] = 2.0
    assert saved["evaluation"] == {"loss": 1.0}


def test_accuracy_counts_the_rows_that_are_right():
    logits = Tensor(np.array([[1, 5, 2], [7, 1, 1], [0, 0, 3], [2, 9, 8]], np.float32))
    assert accuracy(logits, np.array([1, 0, 0, 1])) == 3.0
    assert accuracy(logits, np.array([0, 1, 1, 2])) == 0.0
    assert isinstance(accuracy(logits, [1, 0, 2, 1]), float)


def test_accuracy_counts_every_place_of_a_sequence():
    logits = Tensor(np.eye(4, dtype=np.float32)[np.array([[0, 1], [2, 3]])])
    assert accuracy(logits, np.array([[0, 1], [3, 3]])) == 3.0


def test_accuracy_refuses_labels_that_would_be_compared_with_every_row():
    logits = Tensor(np.zeros((4, 3), np.float32))
    message = r"logits of \(4, 3\) need labels of \(4,\); got \(4, 1\)"
    with pytest.raises(ShapeError, match=message):
        accuracy(logits, np.zeros((4, 1), np.int64))


@pytest.mark.parametrize(
    "criterion", [TargetMetric("accuracy", 0.9), EarlyStopping("accuracy", mode="max")]
)
def test_a_target_that_no_evaluation_can_reach_is_refused(criterion):
    def body():
        dg.init()
        model = nn.Linear(2, 2)
        trainer = dg.Trainer(model, optim.SGD(model.parameters(), lr=0.1), F.cross_entropy)
        data = dg.data.ArrayDataset(np.ones((4, 2), np.float32), np.arange(4) % 2)
        trainer.fit(dg.data.DataLoader(data, 2), stop=[criterion])

    name = type(criterion).__name__
    with pytest.raises(dg.DistgradError, match=rf"{name}\('accuracy'\).*pass evaluate="):
        run_ranks(1, body)


def evaluations(values, name="loss", every=10):
    """States of a training that is evaluated every ``every`` steps, and looked at after each."""
    state = TrainState()
    for value in values:
        state.evaluation, state.evaluation_step = {name: value}, state.step + every
        for _ in range(every):
            state.step += 1
            if state.step < state.evaluation_step:
                continue
            yield state
            yield state  # a step without an evaluation: it was looked at before


def stops(criterion, values, **settings):
    """Return how many evaluations there were when it said stop, and what it said."""
    for count, state in enumerate(evaluations(values, **settings)):
        if reason := criterion.check(state):
            return count // 2 + 1, reason
    return None


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({"patience": 2}, [3, 2, 2.5, 1.9, 1.9, 2.0], (6, "1.9 at step 40")),
        ({"patience": 3}, [3, 2, 2.5, 1.9, 1.9, 2.0], None),
        ({"patience": 2, "min_delta": 0.5}, [3, 2, 1.6, 1.7], (4, "2 at step 20")),
        ({"patience": 2}, [math.nan, math.nan], (2, "nan at step 0")),
        ({"patience": 2}, [math.nan, 5, math.nan, 4, 3], None),
        ({"patience": 1, "mode": "max"}, [1, 2, 3, 2.9], (4, "3 at step 30")),
        ({"patience": 1, "mode": "max"}, [-math.inf, -2, -3], (3, "-2 at step 20")),
    ],
)
def test_early_stopping_counts_evaluations_without_an_improvement(settings, values, expected):
    found = stops(EarlyStopping("loss", **settings), values)
    if expected is None:
        assert found is None
    else:
        count, best = expected
        text = f"loss has not improved in {settings['patience']} evaluations: {best}"
        assert found == (count, text)


def test_early_stopping_goes_on_where_a_checkpoint_was():
    values = [3, 2, 2.5, 2.4, 2.3]
    states = [(s.step, dict(s.evaluation)) for s in evaluations(values)][::2]
    first, second = EarlyStopping(patience=3), EarlyStopping(patience=3)
    for step, evaluation in states[:4]:
        state = TrainState(step=step, evaluation=evaluation, evaluation_step=step)
        assert first.check(state) is None
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.check(state) is None  # that one counts once
    step, evaluation = states[4]
    assert second.check(TrainState(step=step, evaluation=evaluation, evaluation_step=step))


def test_what_is_good_in_a_metric_has_to_be_said():
    with pytest.raises(DistgradError, match="EarlyStopping: is a large 'accuracy' good or bad"):
        EarlyStopping("accuracy")
    with pytest.raises(DistgradError, match=r"EarlyStopping: patience is a .* above 0; got 0"):
        EarlyStopping(patience=0)
    with pytest.raises(DistgradError, match="no 'acc' in the evaluation; it has accuracy"):
        stops(EarlyStopping("acc", mode="max"), [0.5], name="accuracy")


@pytest.mark.parametrize("zero", [0.0, np.float32(0), math.nan])
def test_a_clip_norm_that_is_not_positive_is_refused(zero):
    def body():
        dg.init()
        model = nn.Linear(2, 2)
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        dg.Trainer(model, optimizer, F.cross_entropy, clip_norm=zero)

    with pytest.raises(dg.DistgradError, match=r"Trainer: clip_norm is a number above 0, .*; got"):
        run_ranks(1, body)


def trained_on_two(**settings):
    dg.init()
    model = nn.Linear(2, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    trainer = dg.Trainer(model, optimizer, F.cross_entropy, progress=False, **settings)
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    data = dg.data.ArrayDataset(x, np.arange(6) % 2)
    return trainer, data


def test_one_loader_that_trains_and_evaluates_is_refused():
    def body():
        trainer, data = trained_on_two()
        loader = dg.data.DataLoader(data, 2)
        trainer.fit(loader, epochs=1, evaluate=loader)

    with pytest.raises(dg.DistgradError, match=r"cannot train and evaluate.* make a second"):
        run_ranks(1, body)


@pytest.mark.parametrize("taken", [1, 2, 3])
def test_evaluation_takes_all_samples_of_a_loader_left_half_way(taken):
    def body():
        trainer, data = trained_on_two()
        whole = trainer.evaluate(dg.data.DataLoader(data, 2))
        loader = dg.data.DataLoader(data, 2)
        for _, batch in zip(range(taken), loader, strict=False):
            list(batch.shards)
        before = loader.state_dict()
        found = trainer.evaluate(loader)
        assert found == whole
        assert loader.state_dict() == before

    run_ranks(2, body)


def test_the_training_loader_can_be_evaluated_in_a_callback_and_goes_on():
    def body():
        seen = []
        trainer, data = trained_on_two(callbacks=[lambda _: seen.append(trainer.evaluate(loader))])
        loader = dg.data.DataLoader(data, 2)
        assert trainer.fit(loader, epochs=2).step == 6
        assert len(seen) == 6
        assert seen[-1] == trainer.evaluate(dg.data.DataLoader(data, 2))

    run_ranks(2, body)
