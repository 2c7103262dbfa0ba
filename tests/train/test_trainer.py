"""The Trainer: policies, evaluation, checkpoints, stopping; the same on any number of ranks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training import simulated

import distgrad as dg
from distgrad import checkpoint, nn, optim
from distgrad.comm import run_ranks
from distgrad.nn import functional as F


def samples(n: int = 40) -> dg.data.ArrayDataset:
    i = np.arange(n)
    x = np.sin(np.outer(i + 1, np.arange(1, 7))).astype(np.float32)
    return dg.data.ArrayDataset(x, (i * i) % 3)


def trainer(width: int = 5, shards: int | None = 4, **settings: Any) -> dg.Trainer:
    dg.init(shards=shards)
    dg.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(6, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3)
    )
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    return dg.Trainer(
        model,
        optimizer,
        F.cross_entropy,
        metrics={"accuracy": dg.accuracy},
        progress=False,
        **settings,
    )


def loader(data: Any = None, batch: int = 12) -> dg.data.DataLoader:
    return dg.data.DataLoader(data or samples(), batch, shuffle=True, seed=2)


def sha256(t: dg.Trainer) -> str:
    return nn.state_sha256(t.model.state_dict())


# -- non-finite losses and gradients ------------------------------------------------------------


def with_nan() -> dg.data.ArrayDataset:
    data = samples()
    x, y = data.__getitems__(np.arange(40))
    x[17] = np.nan
    return dg.data.ArrayDataset(x, y)


@pytest.mark.parametrize("size", [1, 3])
def test_skip_leaves_the_step_out_on_all_ranks(size: int) -> None:
    def body() -> tuple[str, int, int, bool]:
        t = trainer(nonfinite="skip")
        state = t.fit(loader(with_nan()), epochs=1)
        finite = all(np.isfinite(a).all() for a in t.model.state_dict().values())
        return sha256(t), state.step, state.skipped, finite

    found = simulated(size, body)
    assert len(set(found)) == 1
    assert found[0][1:] == (4, 1, True)
    assert found[0] == run_ranks(1, body)[0]


def test_continue_goes_on_with_nan() -> None:
    def body() -> bool:
        t = trainer(nonfinite="continue")
        t.fit(loader(with_nan()), epochs=1)
        return bool(np.isnan(t.model.state_dict()["0.weight"]).any())

    assert simulated(2, body) == [True, True]


def test_raise_names_rank_step_and_shard() -> None:
    with pytest.raises(dg.NonFiniteError, match=r"\[rank \d/3\] the loss is nan at step \d, shard"):
        simulated(3, lambda: trainer().fit(loader(with_nan()), epochs=1))


def test_raise_names_the_step_of_a_gradient_that_overflows() -> None:
    def body() -> None:
        t = trainer()
        t.loss_fn = lambda output, y: (
            np.sqrt(np.sum(np.square(output * 0))) + F.cross_entropy(output, y)
        )
        with np.errstate(all="ignore"):
            t.fit(loader(), epochs=1)

    with pytest.raises(dg.NonFiniteError, match=r"the gradients of '0.weight', .* at step 0"):
        simulated(2, body)


def test_an_unknown_policy() -> None:
    with pytest.raises(dg.DistgradError, match=r"Trainer: nonfinite is 'raise', .*; got 'ignore'"):
        run_ranks(1, lambda: trainer(nonfinite="ignore"))


# -- clipping ------------------------------------------------------------------------------------


def test_a_function_may_clip_and_the_norm_shown_is_that_before_it() -> None:
    def body() -> tuple[float, float]:
        t = trainer(clip_norm=optim.adaptive_clip_grad_)
        t.fit(loader(), max_steps=1)
        plain = trainer()
        plain.fit(loader(), max_steps=1)
        left = optim.get_total_norm(p.grad for p in t.model.parameters() if p.grad is not None)
        assert left < t.state.gradient_norm
        return t.state.gradient_norm, plain.state.gradient_norm

    for clipped, plain in simulated(2, body):
        assert clipped == plain


def test_a_resumed_run_clips_as_if_nothing_had_happened(tmp_path: Path) -> None:
    def whole() -> str:
        t = trainer(clip_norm=optim.AutoClip(30))
        t.fit(loader(), max_steps=7)
        return sha256(t)

    def part(steps: int, resume: bool) -> str:
        t = trainer(clip_norm=optim.AutoClip(30), checkpoint=str(tmp_path / "run"))
        t.fit(loader(), max_steps=steps, resume=resume)
        return sha256(t)

    assert run_ranks(1, lambda: part(4, False)) != run_ranks(1, whole)
    assert simulated(2, lambda: part(7, True)) == run_ranks(1, whole) * 2


def test_a_step_that_was_left_out_has_no_norm_and_is_not_remembered() -> None:
    def body() -> tuple[int, bool]:
        clip = optim.AutoClip()
        norms: list[float] = []
        t = trainer(nonfinite="skip", clip_norm=clip)
        t.callbacks.append(lambda state: norms.append(state.gradient_norm))
        t.fit(loader(with_nan()), epochs=1)
        return len(clip.state_dict()["norms"]), sum(math.isnan(n) for n in norms) == 1

    assert simulated(3, body) == [(3, True)] * 3


# -- evaluation and stopping --------------------------------------------------------------------


def test_a_target_of_several_arrays_counts_as_one_sample() -> None:
    weights = (1 + np.arange(40) % 3).astype(np.float32)

    def loss(output: Any, target: Any) -> Any:
        return (F.cross_entropy(output, target[0], reduction="none") * target[1]).mean()

    def paired(found: Any) -> Any:
        x, y, w = (np.stack(column) for column in zip(*found, strict=True))
        return x, (y, w)

    def body() -> list[dict[str, float]]:
        t = trainer()
        t.loss_fn, t.metrics = loss, {"accuracy": lambda output, y: dg.accuracy(output, y[0])}
        x, y = samples().__getitems__(np.arange(40))
        data = dg.data.ArrayDataset(x, y, weights)
        # 40 = 3 * 11 + 7: shards of 3 and 2 samples.
        cut, whole = (dg.data.DataLoader(data, n, collate_fn=paired) for n in (11, 40))
        return [t.evaluate(cut), t.evaluate(whole)]

    for cut, whole in simulated(3, body):
        assert cut == pytest.approx(whole)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_evaluation_is_the_exact_mean_over_all_samples(size: int) -> None:
    def body() -> tuple[dict[str, float], float, float]:
        t = trainer()
        found = t.evaluate(loader(samples(37), batch=16))
        assert t.model.training
        x, y = samples(37).__getitems__(np.arange(37))
        t.model.eval()
        logits = t.model(x)
        loss = F.cross_entropy(logits, y)
        return found, float(loss), float(np.mean(np.argmax(logits.array, -1) == y))

    results = simulated(size, body)
    assert all(r[0] == run_ranks(1, body)[0][0] for r in results)
    found, loss, accuracy = results[0]
    assert found["loss"] == pytest.approx(loss, rel=1e-6)
    assert found["accuracy"] == pytest.approx(accuracy, rel=1e-12)


def test_fit_that_would_never_end() -> None:
    with pytest.raises(dg.DistgradError, match="fit would never stop: pass epochs="):
        run_ranks(1, lambda: trainer().fit(loader()))


@pytest.mark.parametrize("limit", [{"max_steps": 0}, {"epochs": 0}])
def test_no_step_is_taken_where_none_is_asked_for(limit: dict[str, int]) -> None:
    def body() -> tuple[int, str, bool]:
        t = trainer()
        before = sha256(t)
        state = t.fit(loader(), **limit)
        return state.step, state.stopped, before == sha256(t)

    ((name, _),) = limit.items()
    assert simulated(3, body) == [(0, f"0 {name.removeprefix('max_')}", True)] * 3


@pytest.mark.parametrize("wrong", [{"every": -1}, {"keep": 0}])
def test_settings_of_checkpoints_are_checked_before_the_first_step(wrong: dict[str, int]) -> None:
    with pytest.raises(dg.DistgradError, match=r"Trainer: (every|keep) is a whole number.*; got"):
        run_ranks(1, lambda: trainer(**wrong))


def test_all_ranks_stop_at_the_same_step_by_the_wall_clock() -> None:
    steps = simulated(3, lambda: trainer().fit(loader(), stop=[dg.WallTime(0.05)]).step)
    assert len(set(steps)) == 1


def test_a_target_metric_ends_training_after_the_evaluation() -> None:
    def body() -> tuple[int, str]:
        stop = [dg.TargetMetric("accuracy", 0.0)]
        state = trainer().fit(loader(), epochs=9, evaluate=loader(), stop=stop)
        return state.epoch, state.stopped

    for epoch, reason in simulated(2, body):
        assert epoch == 1
        assert reason.startswith("accuracy reached")


def test_the_state_is_equal_on_all_ranks_clock_and_throughput_included() -> None:
    def body() -> tuple[float, ...]:
        seen: list[float] = []
        t = trainer(callbacks=[lambda s: seen.extend([s.seconds, s.samples_per_second, s.loss])])
        t.fit(loader(), epochs=2, evaluate=loader())
        return tuple(seen)

    assert len(set(simulated(3, body))) == 1


def test_callbacks_run_after_every_step_on_every_rank() -> None:
    def body() -> list[int]:
        seen: list[int] = []
        trainer(callbacks=[lambda state: seen.append(state.step)]).fit(loader(), max_steps=5)
        return seen

    assert simulated(3, body) == [[1, 2, 3, 4, 5]] * 3


def test_the_loss_of_a_step_has_the_same_bits_on_any_number_of_ranks() -> None:
    def body() -> tuple[float, ...]:
        losses: list[float] = []
        t = trainer(callbacks=[lambda s: losses.append(s.loss + s.gradient_norm)], clip_norm=0.5)
        t.fit(loader(), max_steps=7)
        return tuple(losses)

    one = run_ranks(1, body)[0]
    for size in (2, 3, 4):
        assert set(simulated(size, body)) == {one}


# -- checkpoints --------------------------------------------------------------------------------


def run(folder: Path, steps: int, *, resume: bool = False, **settings: Any) -> tuple[str, int]:
    t = trainer(checkpoint=str(folder), every=2, **settings)
    t.schedule = optim.WarmupCosineLR(t.optimizer, 3, 30)
    state = t.fit(loader(), max_steps=steps, resume=resume)
    return sha256(t), state.step


@pytest.mark.parametrize(("first", "second"), [(1, 3), (4, 2), (3, 1)])
def test_a_resumed_run_ends_like_the_undisturbed_one(
    first: int, second: int, tmp_path: Path
) -> None:
    undisturbed = run_ranks(1, lambda: run(tmp_path / "a", 13))[0]
    simulated(first, lambda: run(tmp_path / "b", 7))
    found = simulated(second, lambda: run(tmp_path / "b", 13, resume=True))
    assert set(found) == {undisturbed}


def test_the_newest_three_checkpoints_stay(tmp_path: Path) -> None:
    run_ranks(2, lambda: run(tmp_path, 9))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "step-000006",
        "step-000008",
        "step-000009",
    ]


def test_resume_without_a_checkpoint_starts_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_ranks(2, lambda: run(tmp_path / "none", 3, resume=True))
    assert "no checkpoint in" in capsys.readouterr().out


def test_a_damaged_checkpoint_is_skipped_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = run_ranks(1, lambda: run(tmp_path / "a", 9))[0]
    run_ranks(2, lambda: run(tmp_path / "b", 6))
    damaged = tmp_path / "b" / "step-000006" / "model.safetensors"
    data = bytearray(damaged.read_bytes())
    data[-3] ^= 4
    damaged.write_bytes(bytes(data))
    assert run_ranks(2, lambda: run(tmp_path / "b", 9, resume=True))[0] == undisturbed
    out = capsys.readouterr().out
    assert "skipped" in out
    assert "step-000006" in out
    assert "resumed from step-000004" in out


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    run_ranks(1, lambda: run(tmp_path, 4))
    with pytest.raises(dg.CheckpointError, match=r"belongs to another model.*'0.weight'"):
        run_ranks(2, lambda: run(tmp_path, 6, resume=True, width=7))


def test_a_checkpoint_of_another_number_of_shards(tmp_path: Path) -> None:
    run_ranks(1, lambda: run(tmp_path, 4))
    with pytest.raises(dg.CheckpointError, match=r"written with shards=4 .* --shards 4"):
        run_ranks(2, lambda: run(tmp_path, 6, resume=True, shards=8))


def test_a_new_run_refuses_the_folder_of_an_old_one(tmp_path: Path) -> None:
    run_ranks(1, lambda: run(tmp_path, 4))
    with pytest.raises(dg.CheckpointError, match=r"holds checkpoints of an earlier run.*resume"):
        run_ranks(2, lambda: run(tmp_path, 4))


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(
    resume: bool, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")

    def body() -> None:
        t = trainer(checkpoint=str(tmp_path / "file"), callbacks=[lambda s: pytest.fail("ran")])
        t.fit(loader(), max_steps=4, resume=resume)

    with pytest.raises(dg.CheckpointError, match=r"file.*in the way|cannot be written"):
        run_ranks(2, body)


def test_a_failed_save_ends_all_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise dg.CheckpointError("No space left on device: free some room")

    monkeypatch.setattr(checkpoint, "save", full)
    caught = []

    def body() -> None:
        try:
            run(tmp_path, 4)
        except dg.CheckpointError as error:
            caught.append(str(error))

    run_ranks(3, body)
    assert len(caught) == 3
    assert all("No space left" in c for c in caught)


def test_resume_needs_a_folder() -> None:
    with pytest.raises(dg.DistgradError, match="resume=True needs the folder"):
        run_ranks(1, lambda: trainer().fit(loader(), max_steps=1, resume=True))


def test_other_data_than_the_saved_runs(tmp_path: Path) -> None:
    run_ranks(1, lambda: run(tmp_path, 4))

    def body() -> None:
        t = trainer(checkpoint=str(tmp_path))
        t.schedule = optim.WarmupCosineLR(t.optimizer, 3, 30)
        t.fit(loader(batch=8), max_steps=6, resume=True)

    with pytest.raises(dg.CheckpointError, match=r"global_batch_size=12.*global_batch_size=8"):
        run_ranks(1, body)


def test_a_plateau_is_remembered_over_a_resume(tmp_path: Path) -> None:
    def body(steps: int, resume: bool) -> float:
        t = trainer(checkpoint=str(tmp_path / "p"), every=1)
        plateau = dg.LossPlateau(patience=1000)
        t.fit(loader(), max_steps=steps, stop=[plateau], resume=resume)
        return float(plateau.state_dict()["mean"])

    first = run_ranks(1, lambda: body(3, resume=False))[0]
    again = run_ranks(1, lambda: body(3, resume=True))[0]
    assert again == first
    assert math.isfinite(first)
