"""Trainer(run=): what a training leaves, whatever becomes of it, and that it trains as without."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from jobs import run_job
from training import alone, build, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import CheckpointError, DistgradError, NonFiniteError
from distgrad.observe import Run, RunRecord, read_run
from distgrad.observe.report.measured import measured

JOB = Path(__file__).parent / "jobs" / "recorded.py"
EXACT = ("loss", "gradient_norm", "learning_rate", "accuracy")


def trainer(folder: Any, **settings: Any) -> tuple[dg.Trainer, dg.data.DataLoader]:
    dg.init(shards=4)
    dg.manual_seed(3)
    model, data, loss_fn = build("mlp")
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)
    run = Run(folder, plots=False) if isinstance(folder, Path) else folder
    usual = {
        "schedule": optim.WarmupCosineLR(optimizer, 5, 60),
        "clip_norm": 1.0,
        "metrics": {"accuracy": dg.accuracy},
    }
    made = dg.Trainer(model, optimizer, loss_fn, run=run, progress=False, **{**usual, **settings})
    return made, dg.data.DataLoader(data, 30, shuffle=True, seed=11)


def exact(run: RunRecord) -> dict[str, list[list[float]]]:
    """Return what must be the same on any number of ranks: all but times."""
    return {name: [a.tolist() for a in run.series(name)] for name in EXACT}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    """60 steps in one process, undisturbed; every step is logged."""
    folder = tmp_path_factory.mktemp("whole") / "a"

    def body() -> None:
        made, loader = trainer(folder, log_every=1)
        made.fit(loader, max_steps=60)

    alone(body)
    return read_run(folder)


# -- the same numbers -------------------------------------------------------------------------


def test_a_training_has_the_same_bits_with_a_run_folder_and_without(tmp_path, whole):
    def body(folder):
        made, loader = trainer(folder, log_every=1)
        made.fit(loader, max_steps=60)
        return nn.state_sha256(made.model.state_dict())

    plain = alone(lambda: body(None))
    assert {*simulated(3, lambda: body(tmp_path / "a"))} == {plain}
    recorded = read_run(tmp_path / "a")
    assert exact(recorded) == exact(whole)
    assert recorded.parts[0].hash == whole.parts[0].hash == plain


def test_a_job_that_is_killed_and_resumed_on_other_ranks_has_one_history(tmp_path, whole):
    killed = run_job(3, JOB, str(tmp_path / "a"), "60", "27")
    assert killed.status != 0
    assert "RESULT" not in killed.out
    fallen = read_run(tmp_path / "a")
    assert not fallen.ended
    assert fallen.series("loss")[0].tolist() == [*range(1, 21)]  # written before the checkpoint

    refused = run_job(2, JOB, str(tmp_path / "a"), "60")
    assert refused.status != 0
    assert "continue it with resume=True (--resume)" in refused.err

    resumed = run_job(2, JOB, str(tmp_path / "a"), "60", "--resume")
    assert resumed.status == 0, resumed.err
    run = read_run(tmp_path / "a")
    assert exact(run) == exact(whole)
    assert f"RESULT {whole.parts[0].hash}" in resumed.out
    first, second = run.parts
    assert (first.ranks, first.first_step, first.ended, first.hash) == (3, 0, None, None)
    assert (second.ranks, second.first_step, second.last_step) == (2, 20, 60)
    assert second.ended_by == "60 steps"
    assert second.hash == whole.parts[0].hash
    assert "MPI" in str(second.versions["mpi"]) or "mpich" in str(second.versions["mpi"]).lower()
    assert len(second.peak_memory or []) == 2
    assert [len(row["ranks"]) for row in run.time] == [2]
    assert run.time[0]["step"] == 60
    for seconds, waiting, transfer, hidden, data in run.time[0]["ranks"]:
        assert 0 <= waiting + transfer + data <= seconds
        assert 0 <= hidden <= seconds


# -- what is logged ---------------------------------------------------------------------------


def test_the_learning_rate_is_that_of_the_step(whole):
    steps, rates = whole.series("learning_rate")
    model = nn.Linear(1, 1)
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)
    schedule = optim.WarmupCosineLR(optimizer, 5, 60)
    expected = []
    for _ in steps:
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates.tolist() == expected


def test_every_so_many_steps_are_logged_and_the_first_and_the_last(tmp_path):
    def body():
        made, loader = trainer(tmp_path / "a", log_every=4)
        made.fit(loader, max_steps=9, evaluate=loader_of_all(made), evaluate_every=3)
        made.fit(loader, max_steps=10)
        return made.run, made.state

    def loader_of_all(made):
        return dg.data.DataLoader(build("mlp")[1], 200)

    run, state = alone(body)
    found = read_run(run.folder)
    assert found.series("loss")[0].tolist() == [1, 4, 8, 9, 10]
    assert found.series("validation/accuracy")[0].tolist() == [3, 6, 9]
    assert found.series("validation/loss")[1][-1] == state.evaluation["loss"]
    assert found.series("loss")[1][-1] == state.loss
    assert [part.first_step for part in found.parts] == [0, 9]
    assert [part.total_steps for part in found.parts] == [9, 10]
    assert (found.series("samples_per_second")[1] > 0).all()


def test_the_configuration_says_what_the_training_is_made_of(whole, tmp_path):
    made = whole.configuration["trainer"]
    assert made["optimizer"].items() >= {"name": "AdamW", "lr": 3e-3, "weight_decay": 0.01}.items()
    assert made["schedule"] == "WarmupCosineLR"
    assert made["loss_fn"] == "cross_entropy"
    expected = {"global_batch_size": 30, "seed": 11, "clip_norm": 1.0, "total_steps": 60}
    assert made.items() >= expected.items()

    def body():
        run = Run(tmp_path / "a", configuration={"trainer": "mine", "width": 3}, plots=False)
        made, loader = trainer(run, clip_norm=optim.AutoClip())
        made.fit(loader, max_steps=1)

    alone(body)
    assert read_run(tmp_path / "a").configuration == {"trainer": "mine", "width": 3}


def test_the_folder_knows_which_evaluation_the_trainer_keeps_as_the_best(tmp_path):
    def body():
        made, loader = trainer(tmp_path / "a", best="accuracy", best_mode="max")
        test = dg.data.DataLoader(loader.dataset, 64)
        made.fit(loader, max_steps=9, evaluate=test, evaluate_every=2)
        return made.best.step, made.best.value

    kept = alone(body)
    found = read_run(tmp_path / "a")
    assert found.configuration["trainer"]["best"] == {"name": "accuracy", "mode": "max"}
    series = measured(found)["validation/accuracy"]
    assert (series.steps[series.best], series.values[series.best]) == kept


def test_gradient_health_among_the_callbacks_is_written_down(tmp_path):
    def body():
        made, loader = trainer(tmp_path / "a")
        health = dg.GradientHealth(made.model, every=3)
        made.callbacks.append(health)
        made.fit(loader, max_steps=7)
        return health.gradient_norms[:, -1].tolist()

    norms = alone(body)
    rows = read_run(tmp_path / "a").health
    assert [row["step"] for row in rows] == [1, 4, 7]
    assert [*rows[-1]["layers"].values()] == norms


@pytest.mark.parametrize("name", ["loss", "seconds", "learning_rate"])
def test_a_metric_with_a_name_of_the_folders_own_is_refused(tmp_path, name):
    with pytest.raises(DistgradError, match=f"'{name}'.*has a name that the run folder uses"):
        alone(lambda: trainer(tmp_path / "a", metrics={name: dg.accuracy}))


def test_to_log_every_0_steps_is_refused(tmp_path):
    with pytest.raises(DistgradError, match="Trainer: log_every is a whole number above 0; got 0"):
        alone(lambda: trainer(tmp_path / "a", log_every=0))


# -- parts ------------------------------------------------------------------------------------


def test_checkpoints_lie_in_the_folder_and_a_second_training_is_refused(tmp_path):
    def body(resume):
        made, loader = trainer(tmp_path / "a", log_every=1)
        return made.fit(loader, max_steps=6 if resume else 3, resume=resume)

    alone(lambda: body(False))
    assert [p.name for p in (tmp_path / "a" / "checkpoints").iterdir()] == ["step-000003"]
    with pytest.raises(CheckpointError, match=r"resume=True \(--resume\)"):
        alone(lambda: body(False))
    alone(lambda: body(True))
    alone(lambda: body(True))  # it is over already
    run = read_run(tmp_path / "a")
    assert run.series("loss")[0].tolist() == [*range(1, 7)]
    assert [part.ended_by for part in run.parts] == ["3 steps", "6 steps", "6 steps"]
    assert [(part.first_step, part.last_step) for part in run.parts] == [(0, 3), (3, 6), (6, 6)]


def test_a_run_without_checkpoints_yet_is_resumed_from_the_beginning(tmp_path):
    def body(**settings):
        made, loader = trainer(tmp_path / "a", log_every=1, checkpoint=str(tmp_path / "c"))
        return made.fit(loader, max_steps=2, **settings)

    alone(body)
    for path in (tmp_path / "c").iterdir():
        path.rename(tmp_path / "elsewhere")
    with pytest.raises(DistgradError, match="holds a run that began"):
        alone(body)
    alone(lambda: body(resume=True))
    run = read_run(tmp_path / "a")
    assert [part.first_step for part in run.parts] == [0, 0]
    assert [row["part"] for row in run.metrics] == [1, 1]


def test_a_training_inside_a_users_block_is_in_that_blocks_part(tmp_path):
    def body():
        dg.init(shards=4)
        with Run(tmp_path / "a", plots=False) as run:
            made, loader = trainer(run, log_every=1)
            made.callbacks.append(dg.GradientHealth(made.model, every=1))
            made.fit(loader, max_steps=2)
            run.log(2, {"test/accuracy": 0.5})
            made.fit(loader, max_steps=3)

    alone(body)
    found = read_run(tmp_path / "a")
    assert len(found.parts) == 1
    assert found.parts[0].ended_by == "3 steps"
    assert found.parts[0].hash is not None
    assert found.parts[0].parameters == 64 * 48 + 48 + 48 * 48 + 48 + 48 * 10 + 10
    assert found.series("loss")[0].tolist() == [1, 2, 3]
    assert found.series("test/accuracy")[1].tolist() == [0.5]
    assert len((tmp_path / "a" / "health.jsonl").read_text().splitlines()) == 3


def test_a_training_that_fails_leaves_its_last_steps_and_the_error(tmp_path):
    def poison(state):
        if state.step == 6:
            made.model.state_arrays()["1.bias"][0] = math.nan

    def body():
        nonlocal made
        made, loader = trainer(tmp_path / "a", callbacks=[poison], log_every=4)
        made.fit(loader, max_steps=9)

    made = None
    with pytest.raises(NonFiniteError):
        alone(body)
    run = read_run(tmp_path / "a")
    assert str(run.parts[0].ended_by).startswith("NonFiniteError: ")
    assert run.series("loss")[0].tolist() == [1, 4, 6]
    assert run.parts[0].last_step == 6
