"""From run folders to the numbers and sentences of the report."""

import json

import numpy as np
import pytest
from run_folders import RunFolder

from distgrad.errors import DistgradError
from distgrad.observe.report import gather
from distgrad.observe.report.facts import facts, findings
from distgrad.observe.report.measured import Series
from distgrad.observe.report.settings import configuration, environment, history
from distgrad.observe.run import read_run


def report_of(tmp_path, *folders):
    return gather([read_run(f.write(tmp_path / str(i))) for i, f in enumerate(folders)])


def texts(report):
    return [finding.text for finding in findings(report)]


# -- curves ----------------------------------------------------------------------------------------


def test_training_and_validation_share_a_figure_and_all_runs_are_in_it(tmp_path):
    report = report_of(tmp_path, RunFolder("a"), RunFolder("b", seed=1), RunFolder("c", seed=2))
    loss = report.figures[0]
    assert loss.name == "loss"
    assert [(c.run, c.name) for c in loss.curves] == [
        (run, kind) for run in range(3) for kind in ("training", "validation")
    ]
    names = [figure.name for figure in report.figures]
    assert names == ["loss", "accuracy", "gradient_norm", "learning_rate", "samples_per_second"]
    assert report.figures[1].title == "accuracy (validation)"


def test_a_curve_holds_what_the_folder_does(tmp_path):
    report = report_of(tmp_path, RunFolder(steps=300))
    steps, losses = report.runs[0].record.series("loss")
    points = report.figures[0].curves[0].points
    assert points.steps.tolist() == steps.tolist() == list(range(1, 301))
    assert points.mean.tolist() == losses.tolist()


def test_what_a_resume_did_again_is_not_counted_twice(tmp_path):
    lost = report_of(tmp_path, RunFolder(steps=300, resumes=(120,), lost=30))
    whole = report_of(tmp_path / "x", RunFolder(steps=300))
    assert lost.figures[0].curves[0].points.steps.tolist() == list(range(1, 301))
    assert lost.runs[0].resumed == [120]
    assert facts(lost.runs[0])["Resumed"] == "at step 120"
    seconds = [run.clock.seconds[-1] for run in (lost.runs[0], whole.runs[0])]
    assert seconds == [pytest.approx(300 * 0.02)] * 2


def test_the_clock_says_when_each_step_was_and_in_which_epoch(tmp_path):
    clock = report_of(tmp_path, RunFolder(steps=300, epoch=100)).runs[0].clock
    at = clock.steps.index(201)
    assert clock.seconds[at] == pytest.approx(201 * 0.02)
    assert clock.epochs[at] == 2.0
    assert clock.epochs[-1] == pytest.approx(2.99)
    one = report_of(tmp_path / "x", RunFolder(steps=90, epoch=100)).runs[0].clock
    assert one.epochs == []


def test_the_words_of_a_figure_say_where_it_begins_ends_and_peaks(tmp_path):
    report = report_of(tmp_path, RunFolder(steps=300, loss={1: 2.5, 77: 9.5, 300: 0.125}.get))
    words = report.figures[0].words
    assert "training: 2.5 at step 1, 0.125 at step 300" in words
    assert "highest 9.5 by step 77" in words


def test_only_what_spans_orders_of_magnitude_begins_on_a_logarithmic_axis(tmp_path):
    report = report_of(tmp_path, RunFolder(steps=300, loss={5: 1e9}.get))
    log = {figure.name: figure.log for figure in report.figures}
    assert log["loss"]
    assert not log["samples_per_second"]
    assert not log["learning_rate"]


# -- findings --------------------------------------------------------------------------------------


def test_a_rank_that_computes_slowly_is_named_with_the_share_it_costs(tmp_path):
    found = texts(report_of(tmp_path, RunFolder(slow={1: 0.02}, hosts=("node-a", "node-b"))))
    assert found[0].startswith("rank 1 (host node-a) is slow: ")
    assert "of the time is lost to it" in found[0]


def test_a_slow_rank_with_fewer_cores_is_told_so(tmp_path):
    for few, ending in [
        (1, "lost to it; it computes with 1 core, the others with 2"),
        (2, "of the time is lost to it"),  # that is another one's
    ]:
        folder = RunFolder(slow={1: 0.02}, few_cores=few)
        assert texts(report_of(tmp_path / str(few), folder))[0].endswith(ending)


def test_a_rank_that_reads_slowly_is_named_as_such(tmp_path):
    found = texts(report_of(tmp_path, RunFolder(reads={2: 0.02})))
    assert found[0].startswith("rank 2 (host node-a) reads data slowly: ")


def test_ranks_that_changed_at_a_resume_are_judged_apart(tmp_path):
    folder = RunFolder(steps=600, resumes=(300,), slow={2: 0.05}).write(tmp_path / "a")
    facts_of = (folder / "run.json").read_text()
    (folder / "run.json").write_text(facts_of.replace("node-a", "node-z", 3))  # of part 0 alone
    groups = gather([read_run(folder)]).runs[0].times
    assert [(g.first, g.last) for g in groups] == [(0, 300), (300, 600)]
    assert [g.shares.ranks[0].host for g in groups] == ["node-z", "node-a"]


def test_the_seconds_of_a_line_are_the_parts_that_the_format_says(tmp_path):
    folder = RunFolder(steps=100).write(tmp_path / "a")
    ranks = [[10.0, 3.0, 1.0, 0.5, 2.0], [10.0, 0.0, 1.0, 0.25, 0.0], [10.0, 2.0, 1.0, 0.0, 1.0]]
    line = {"part": 0, "step": 100, "steps": 100, "ranks": ranks}
    (folder / "time.jsonl").write_text(json.dumps(line) + "\n")
    (group,) = gather([read_run(folder)]).runs[0].times
    # Compute, data, waiting, transfer, hidden.
    expected = [[0.4, 0.2, 0.3, 0.1, 0.05], [0.9, 0, 0, 0.1, 0.025], [0.6, 0.1, 0.2, 0.1, 0]]
    np.testing.assert_allclose(group.parts, expected)
    assert group.steps == [0.1]


def test_the_parts_of_a_ranks_time_sum_up_to_all_of_it(tmp_path):
    group = report_of(tmp_path, RunFolder(slow={1: 0.01}, reads={0: 0.005})).runs[0].times[0]
    for table in (group.parts, group.mean, group.by_rank):
        np.testing.assert_allclose(table[..., :4].sum(axis=-1), 1)
        assert np.all(table[..., 4] <= table[..., 0])
    assert group.starts[0] == 0
    assert group.ends[-1] == 600
    assert group.starts[1:] == group.ends[:-1]


def test_of_many_ranks_the_busiest_are_shown_over_the_steps(tmp_path):
    group = report_of(tmp_path, RunFolder(ranks=100, slow={57: 0.02})).runs[0].times[0]
    assert len(group.chosen) == 32
    assert 57 in group.chosen
    at = group.chosen.index(57)
    assert group.by_rank[at, :, 0].mean() == pytest.approx(group.parts[57, 0], abs=1e-3)


def test_a_layers_trouble_is_told_once_and_framed_where_it_was(tmp_path):
    said = "exploding: '2' at step 200: gradient norm 3e2, 2e2 times its median"
    report = report_of(
        tmp_path,
        RunFolder(
            steps=600,
            problems=lambda step: (
                [said + (f"; {step} so far" if step > 200 else "")] if 200 <= step <= 260 else []
            ),
        ),
    )
    assert [text for text in texts(report) if "exploding" in text] == [said + "; 260 so far"]
    (frame,) = report.runs[0].heat.frames
    assert report.runs[0].heat.layers[frame.layer] == "2"
    assert (frame.first, frame.last) == (200, 260)


def test_trouble_that_comes_back_is_framed_twice(tmp_path):
    said = "dead: '4' at step 40: its gradient is exactly 0"
    report = report_of(
        tmp_path,
        RunFolder(steps=600, problems=lambda step: [said] if step in (40, 60, 300) else []),
    )
    assert [(f.first, f.last) for f in report.runs[0].heat.frames] == [(40, 60), (300, 300)]


def test_of_many_observed_steps_a_column_is_the_largest_norm(tmp_path):
    report = report_of(tmp_path, RunFolder(steps=1800, health_every=1, split_every=600))
    heat = report.runs[0].heat
    assert heat.observed == 1800
    assert len(heat.steps) <= 400
    norms = [row["layers"]["0"] for row in report.runs[0].record.health[: 1800 // len(heat.steps)]]
    assert heat.norms[0, 0] == max(norms)


def test_values_that_are_not_finite_are_counted_and_said_first(tmp_path):
    report = report_of(
        tmp_path, RunFolder(steps=300, loss={50: float("nan"), 60: float("inf")}.get)
    )
    assert texts(report)[0] == "loss is not finite at step 50 and 1 more"
    assert report.figures[0].curves[0].points.broken.tolist() == [50, 60]
    assert "2 values are not finite" in report.figures[0].words


def test_runs_that_end_with_the_same_bits_are_said_to(tmp_path):
    report = report_of(
        tmp_path, RunFolder("a"), RunFolder("b", ranks=2), RunFolder("c", hash="00" * 32)
    )
    (same,) = [f for f in findings(report) if "bit for bit" in f.text]
    assert same.runs == ["a", "b"]


def test_what_is_true_of_several_runs_is_said_once(tmp_path):
    found = findings(report_of(tmp_path, RunFolder("a", hash=None), RunFolder("b", hash=None)))
    assert [(f.kind, f.runs) for f in found] == [("good", ["a", "b"])] * 2


# -- facts and settings ----------------------------------------------------------------------------


def test_the_figures_of_a_run(tmp_path):
    shown = facts(report_of(tmp_path, RunFolder(hosts=("node-a", "node-b"))).runs[0])
    assert shown["State"] == "ended: 10 epochs"
    assert shown["Steps"] == "600"
    assert shown["Ranks"] == "3 on 2 hosts"
    assert shown["Parameters"] == "9,610"
    assert shown["Peak memory of a rank"] == "194 MiB"
    assert "best" in shown["Validation loss"]
    assert "best" not in shown["Validation accuracy"]


BEST = {"trainer": {"best": {"name": "accuracy", "mode": "max"}}}


def test_the_best_of_what_the_trainer_was_told_to_keep_is_marked(tmp_path):
    report = report_of(tmp_path, RunFolder(configuration=BEST, evaluate_every=100))
    shown = facts(report.runs[0])
    series = report.runs[0].measured["validation/accuracy"]
    place = int(np.argmax(series.values))
    kept = f"(best {series.values[place]:.4g} at step {series.steps[place]:,}, kept)"
    assert shown["Validation accuracy"].endswith(kept)
    assert "kept" not in shown["Validation loss"]
    curves = {f.name: f.curves for f in report.figures}
    assert [c.best for c in curves["loss"]] == [None, None]
    assert curves["accuracy"][-1].best == (series.steps[place], series.values[place])
    (words,) = [f.words for f in report.figures if f.name == "accuracy"]
    assert f"; kept as the best: step {series.steps[place]:,}." in words


def test_the_best_is_by_the_mode_and_no_nan(tmp_path):
    values = np.array([np.nan, 3.0, 1.0, np.inf, 1.0])
    assert Series(np.arange(5), values, "min").best == 2
    assert Series(np.arange(5), values, "max").best == 1
    assert Series(np.arange(5), values).best is None
    assert Series(np.arange(1), values[:1], "max").best is None


def test_a_run_that_was_killed_does_not_count_as_ended(tmp_path):
    run = report_of(tmp_path, RunFolder(ended=False)).runs[0]
    assert facts(run)["State"] == "running, or killed: no end is recorded"
    assert "Hash of the parameters" not in facts(run)


def test_settings_that_differ_between_runs_are_marked(tmp_path):
    report = report_of(
        tmp_path,
        RunFolder("a", rate=1e-3, configuration={"only here": [1, 2]}),
        RunFolder("b", rate=3e-3),
    )
    found = {c.name: (c.values, c.differs) for c in configuration(report)}
    assert found["lr"] == (["0.001", "0.003"], True)
    assert found["model.width"] == (["128", "128"], False)
    assert found["only here"] == (["[1, 2]", "–"], True)
    around = {c.name: c.values for c in environment(report)}
    assert around["numerics: BLAS.0.num_threads"] == ["1", "1"]
    assert around["hosts"] == ["node-a (3)", "node-a (3)"]
    assert around["git"][0].endswith("(main), unchanged")


def test_a_command_is_shown_as_one_would_type_it_and_in_full_with_the_environment(tmp_path):
    folder = RunFolder(steps=100).write(tmp_path / "a")
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"python"', '"/opt/venv/bin/python3.11"'))
    report = gather([read_run(folder)])
    assert history(report)[0][8] == "python3.11 train.py --lr 0.001 --run runs/digits"
    (command,) = [c.values[0] for c in environment(report) if c.name == "command"]
    assert command.startswith("/opt/venv/bin/python3.11 train.py")


def test_each_part_has_a_row_in_the_history(tmp_path):
    rows = history(report_of(tmp_path, RunFolder(steps=300, resumes=(120, 200), lost=10)))
    assert [row[1] for row in rows] == ["1", "2", "3"]
    assert [row[4] for row in rows] == ["0 to 130", "120 to 210", "200 to 300"]
    assert [row[3] == "no end is recorded" for row in rows] == [True, True, False]


def test_a_run_that_has_written_nothing_yet_has_a_report(tmp_path):
    folder = RunFolder(steps=0, ended=False).write(tmp_path / "a")
    for name in ("metrics.jsonl", "time.jsonl", "health.jsonl"):
        (folder / name).unlink()
    report = gather([read_run(folder)])
    assert report.figures == []
    assert facts(report.runs[0])["Steps"] == "0"


def test_runs_of_one_name_are_called_by_their_folders_and_a_folder_counts_once(tmp_path):
    report = report_of(tmp_path, RunFolder("a"), RunFolder("a"), RunFolder("b"))
    assert [run.name for run in report.runs] == [str(tmp_path / "0"), str(tmp_path / "1"), "b"]
    record = report.runs[0].record
    with pytest.raises(DistgradError, match="is given twice: name each run once"):
        gather([record, record])
