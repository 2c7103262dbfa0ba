"""dg.observe.Run: what a training leaves in a folder, part by part."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from training import alone, simulated

import distgrad as dg
from distgrad import nn
from distgrad.errors import DistgradError
from distgrad.observe import Run, read_run
from distgrad.observe.run import writer
from distgrad.observe.run.append import Lines


def a_run(folder: Path, **settings) -> Run:
    return Run(folder, plots=False, **settings)


def lines(path: Path) -> list[dict]:
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


# -- metrics ----------------------------------------------------------------------------------


def test_what_was_logged_is_read_back_to_the_bit(tmp_path):
    values = np.random.default_rng(0).normal(size=50) ** 7

    def body():
        with a_run(tmp_path / "a") as run:
            for step, value in enumerate(values, 1):
                run.log(step, {"loss": value, "single": np.float32(value)}, epoch=step // 20)

    alone(body)
    run = read_run(tmp_path / "a")
    assert run.series("loss")[1].tolist() == values.tolist()
    assert run.series("single")[1].tolist() == values.astype(np.float32).tolist()
    assert [row["epoch"] for row in run.metrics] == [step // 20 for step in range(1, 51)]
    seconds = [row["seconds"] for row in run.metrics]
    assert seconds == sorted(seconds)
    assert run.ended
    assert run.parts[0].ended_by == "completed"
    assert (run.parts[0].first_step, run.parts[0].last_step) == (0, 50)


def test_a_tensor_or_an_integer_is_a_number(tmp_path):
    def body():
        with a_run(tmp_path / "a") as run:
            run.log(1, {"loss": dg.tensor(0.5), "seen": 64})

    alone(body)
    assert lines(tmp_path / "a" / "metrics.jsonl")[0].items() >= {"loss": 0.5, "seen": 64}.items()


def test_numbers_that_json_has_not_are_words_in_the_file(tmp_path):
    def body():
        with a_run(tmp_path / "a") as run:
            run.log(1, {"loss": math.nan, "worst": math.inf, "best": -math.inf, "plain": 1.5})

    alone(body)
    (row,) = lines(tmp_path / "a" / "metrics.jsonl")
    del row["seconds"]
    words = {"loss": "NaN", "worst": "Infinity", "best": "-Infinity", "plain": 1.5}
    assert row == {"part": 0, "step": 1, **words}
    assert math.isnan(read_run(tmp_path / "a").series("loss")[1][0])


def test_the_table_has_a_column_for_each_name_and_only_lines_that_count(tmp_path):
    def body():
        with a_run(tmp_path / "a") as run:
            for step in (1, 2, 3):
                run.log(step, {"loss": 1 / step}, epoch=0)
            run.log(2, {"validation/loss": 0.75})
        with a_run(tmp_path / "a", resume=True) as run:
            run.log(3, {"loss": 0.25}, epoch=0)

    alone(body)
    table = (tmp_path / "a" / "metrics.csv").read_text().splitlines()
    assert table[0] == "part,step,epoch,seconds,loss,validation/loss"
    cells = [line.split(",") for line in table[1:]]
    assert [(c[0], c[1], c[4], c[5]) for c in cells] == [
        ("0", "1", "1.0", ""),
        ("0", "2", "0.5", ""),
        ("0", "2", "", "0.75"),
        ("1", "3", "0.25", ""),  # and what part 0 had measured after step 2 is superseded
    ]


@pytest.mark.parametrize("name", ["part", "step", "epoch", "seconds", 3])
def test_a_name_that_means_something_else_is_refused(tmp_path, name):
    def body():
        with a_run(tmp_path / "a") as run:
            run.log(1, {name: 1.0})

    with pytest.raises(DistgradError, match=f"{name!r} cannot be the name of what was measured"):
        alone(body)


def test_what_is_no_number_is_named(tmp_path):
    def body():
        with a_run(tmp_path / "a") as run:
            run.log(1, {"losses": np.ones(3)})

    with pytest.raises(DistgradError, match=r"'losses' is array.*a ndarray, where one number"):
        alone(body)


@pytest.mark.parametrize("size", [1, 3])
def test_a_run_without_a_folder_keeps_nothing_and_a_trainer_has_none_then(
    tmp_path, monkeypatch, size
):
    monkeypatch.chdir(tmp_path)

    def body():
        model = nn.Linear(2, 2)
        with Run(None, model=model, configuration={"lr": 1}) as run:
            run.begins(0, 3)
            run.follow(dg.GradientHealth(model))
            run.log(1, {"loss": 1.0})
            run.flush()
        assert not run.kept
        with pytest.raises(DistgradError, match="this Run has no folder"):
            _ = run.folder
        optimizer = dg.optim.SGD(model.parameters(), lr=0.1)
        return dg.Trainer(model, optimizer, nn.functional.mse_loss, run=run).run

    assert ([alone(body)] if size == 1 else simulated(size, body)) == [None] * size
    assert [*tmp_path.iterdir()] == []


def test_loggers_need_a_folder():
    with pytest.raises(DistgradError, match=r"Run\(None, loggers=…\)"):
        Run(None, loggers=[dg.observe.TensorBoardLogger("logs")])


def test_logging_outside_the_block_is_refused(tmp_path):
    with pytest.raises(DistgradError, match=r"run\.log outside its block"):
        a_run(tmp_path / "a").log(1, {"loss": 1.0})
    with pytest.raises(DistgradError, match=r"run\.follow outside its block"):
        a_run(tmp_path / "a").follow(dg.GradientHealth(nn.Linear(2, 2)))
    with pytest.raises(DistgradError, match="takes a TimeSplit or a GradientHealth; got a Linear"):
        a_run(tmp_path / "a").follow(nn.Linear(2, 2))


# -- parts ------------------------------------------------------------------------------------


def test_a_folder_that_has_a_run_is_refused_and_nothing_is_lost(tmp_path):
    def body():
        with a_run(tmp_path / "a") as run:
            run.log(1, {"loss": 1.0})
        before = {p: p.read_bytes() for p in (tmp_path / "a").iterdir()}
        with (
            pytest.raises(DistgradError, match=r"holds a run that began 20.*resume=True \(--res"),
            a_run(tmp_path / "a"),
        ):
            pass
        assert {p: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before

    alone(body)


def test_a_resumed_run_adds_a_part_to_its_history(tmp_path):
    def body():
        for first in (1, 3, 4):  # each but the last goes on after its successor's beginning
            with a_run(tmp_path / "a", configuration={"first": first}, resume=first > 1) as run:
                for step in (first, first + 1, first + 2):
                    run.log(step, {"loss": 100 * first + step})

    alone(body)
    run = read_run(tmp_path / "a")
    assert run.series("loss")[1].tolist() == [101, 102, 303, 404, 405, 406]
    assert [part.first_step for part in run.parts] == [0, 2, 3]
    assert run.configuration == {"first": 4}
    assert len(lines(tmp_path / "a" / "metrics.jsonl")) == 9


def test_a_second_block_of_one_run_is_its_second_part(tmp_path):
    def body():
        run = a_run(tmp_path / "a")
        for step in (1, 2):
            with run:
                run.log(step, {"loss": 1.0})
        with run, pytest.raises(DistgradError, match="was entered twice"), run:
            pass

    alone(body)
    assert len(read_run(tmp_path / "a").parts) == 3


def test_a_line_that_a_killed_run_left_torn_is_cut_off_before_the_next(tmp_path):
    def body():
        with a_run(tmp_path / "a") as run:
            run.log(1, {"loss": 1.0})
            run.log(2, {"loss": 2.0})
        with open(tmp_path / "a" / "metrics.jsonl", "r+b") as file:
            file.truncate(file.seek(0, os.SEEK_END) - 5)
        with a_run(tmp_path / "a", resume=True) as run:
            run.log(2, {"loss": 3.0})

    alone(body)
    assert read_run(tmp_path / "a").series("loss")[1].tolist() == [1.0, 3.0]


def test_a_damaged_line_is_named_before_a_resumed_training_not_after_it(tmp_path):
    def body():
        with a_run(tmp_path / "a") as run:
            run.log(1, {"loss": 1.0})
        with open(tmp_path / "a" / "metrics.jsonl", "ab") as file:
            file.write(b"\0\0\n")
        with pytest.raises(DistgradError, match=r"metrics.jsonl is damaged.*line 2: .*delete"):
            a_run(tmp_path / "a", resume=True).__enter__()
        assert len(json.loads((tmp_path / "a" / "run.json").read_text())["parts"]) == 1

    alone(body)


@pytest.mark.parametrize("size", [0, 1, 70_000, 200_000])
def test_a_torn_line_of_any_length_is_cut_off(tmp_path, size):
    (tmp_path / "a").write_bytes(b"{}\n" + b"x" * size)
    Lines(tmp_path / "a").close()
    assert (tmp_path / "a").read_bytes() == b"{}\n"
    (tmp_path / "b").write_bytes(b"x" * size)
    Lines(tmp_path / "b").close()
    assert (tmp_path / "b").read_bytes() == b""


def test_an_error_ends_the_part_and_is_named_in_it(tmp_path):
    def body():
        with a_run(tmp_path / "a") as run:
            run.log(1, {"loss": 1.0})
            raise ZeroDivisionError("in step 2")

    with pytest.raises(ZeroDivisionError):
        alone(body)
    run = read_run(tmp_path / "a")
    assert run.parts[0].ended_by == "ZeroDivisionError: in step 2"
    assert run.series("loss")[1].tolist() == [1.0]


def test_lines_are_on_disk_before_the_block_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "WRITTEN", -1.0)  # seconds

    def body():
        with a_run(tmp_path / "a") as run:
            run.log(1, {"loss": 1.0})
            seen = read_run(tmp_path / "a")
            assert not seen.ended
            assert seen.series("loss")[1].tolist() == [1.0]

    alone(body)


def test_a_flush_puts_lines_on_disk_at_once(tmp_path):
    def body():
        with a_run(tmp_path / "a") as run:
            run.log(1, {"loss": 1.0})
            assert not read_run(tmp_path / "a").metrics
            run.flush()
            assert read_run(tmp_path / "a").metrics

    alone(body)


# -- ranks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("zero", [0, 3])
def test_ranks_write_one_folder_and_each_has_its_host_and_peak_in_it(tmp_path, zero):
    def body():
        world = dg.init(shards=4)
        model = nn.Linear(3, 2)
        dg.DistributedDataParallel(model, zero=zero)
        with a_run(tmp_path / "a", model=model) as run:
            run.log(1, {"loss": 1.0 + world.rank})
        return nn.state_sha256(model.state_dict())

    hashes = simulated(3, body)
    (part,) = read_run(tmp_path / "a").parts
    assert (part.ranks, part.shards, part.parameters) == (3, 4, 8)
    assert len(part.hosts) == 3
    assert part.peak_memory is not None
    assert len(part.peak_memory) == 3
    assert min(part.peak_memory) > 2**20
    assert {part.hash} == {*hashes}
    assert read_run(tmp_path / "a").series("loss")[1].tolist() == [1.0]  # rank 0's


def test_a_folder_that_has_a_run_is_refused_on_every_rank(tmp_path):
    def body():
        with a_run(tmp_path / "a"):
            pass
        with pytest.raises(DistgradError, match="holds a run"):
            a_run(tmp_path / "a").__enter__()
        return True

    assert simulated(3, body) == [True] * 3


# -- what it follows --------------------------------------------------------------------------


def test_a_followed_gradient_health_writes_norms_and_problems(tmp_path):
    def body():
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
        health = dg.GradientHealth(model, every=2, patience=1)
        with a_run(tmp_path / "a") as run:
            run.follow(health)
            for step in range(4):
                (model(dg.tensor(np.ones((3, 4)))).sum() * (0.0 if step == 2 else 1.0)).backward()
                norms = [math.sqrt(sum(float((p.grad**2).sum()) for p in layer.parameters()))
                         for layer in model]  # fmt: skip
                health.observe()
                model.zero_grad()
                if step == 0:
                    first = norms
        assert not health.listeners
        return first

    first = alone(body)
    run = read_run(tmp_path / "a")
    assert [row["step"] for row in run.health] == [1, 3]
    assert [*run.health[0]["layers"].values()] == pytest.approx(first, rel=1e-6)
    assert run.health[0]["problems"] == []
    assert any(said.startswith("dead: '0' at step 2") for said in run.health[1]["problems"])


def test_pictures_are_drawn_of_all_that_was_measured(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `plot` is not installed")
    from distgrad.observe.run.plots import draw_plots  # noqa: PLC0415

    def body():
        with a_run(tmp_path / "a") as run:
            for step in range(1, 301):
                run.log(step, {"loss": 40.0 / step**2, "top 5/accuracy": math.nan})
            run.log(300, {"validation/loss": 0.1})
            run._writer.time(100, 100, [[1.0, 0.1, 0.2, 0.0, 0.3]] * 3)
            run._writer.time(300, 200, [[2.0, 0.1, 0.2, 0.0, 0.3]] * 3)
            run._writer.health(1, {"0": 1.0, "2": math.nan}, [])

    alone(body)
    assert not (tmp_path / "a" / "plots").exists()
    drawn = draw_plots(read_run(tmp_path / "a"))
    names = ["gradient_health.png", "loss.png", "time.png", "top-5-accuracy.png"]
    assert sorted(path.name for path in drawn) == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)
