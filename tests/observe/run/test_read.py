"""read_run: what counts of a folder that was killed, resumed, or is being written."""

import json
import math
from pathlib import Path

import pytest

from distgrad.errors import DistgradError
from distgrad.observe.run import RunReader, read_run


def a_part(first_step, **facts):
    return {
        "started": "2026-01-02T03:04:05+00:00",
        "ended": None,
        "first_step": first_step,
        "last_step": None,
        "total_steps": None,
        "ended_by": None,
        "command": ["python", "train.py"],
        "working_directory": "/",
        "ranks": 3,
        "shards": 4,
        "hosts": ["a", "a", "b"],
        "threads": [1, 1, 2],
        "cores": ["0-1", "0-1", "0,2-4"],
        "versions": {},
        "numerics": {},
        "environment": {},
        "git": None,
        "parameters": 10,
        "hash": None,
        "peak_memory": None,
    } | facts


def folder(path: Path, *parts, metrics: str = "", **facts) -> Path:
    """Write a run folder by hand: the format is the contract, not the writer."""
    whole = {"format": 1, "name": "a", "created": "2026", "configuration": {}, "parts": parts}
    (path / "run.json").write_text(json.dumps(whole | facts))
    (path / "metrics.jsonl").write_text(metrics)
    return path


def line(part, step, **values):
    return json.dumps({"part": part, "step": step, "seconds": 0.5 * step, **values}) + "\n"


def test_series_gives_steps_and_values_of_one_name(tmp_path):
    text = line(0, 1, loss=3.0) + line(0, 2, loss=2.0, error=0.5) + line(0, 2, accuracy=0.25)
    run = read_run(folder(tmp_path, a_part(0), metrics=text))
    assert run.names == ["loss", "error", "accuracy"]
    steps, values = run.series("loss")
    assert steps.tolist() == [1, 2]
    assert values.tolist() == [3.0, 2.0]
    assert run.series("accuracy")[0].tolist() == [2]
    assert run.series("nobody measured it")[0].size == 0


def test_a_last_line_that_was_cut_off_is_not_there(tmp_path):
    text = line(0, 1, loss=3.0) + line(0, 2, loss=2.0)
    for cut in range(1, len(line(0, 2, loss=2.0)) + 1):
        run = read_run(folder(tmp_path, a_part(0), metrics=text[:-cut]))
        assert [row["step"] for row in run.metrics] == [1]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    folder(tmp_path, a_part(0), metrics=line(0, 1, loss=3.0) + "{nonsense\n" + line(0, 2, loss=1.0))
    with pytest.raises(DistgradError, match=r"metrics.jsonl is damaged.* line 2: .*delete that"):
        read_run(tmp_path)


def test_words_are_the_numbers_that_json_has_not(tmp_path):
    text = line(0, 1, loss="NaN") + line(0, 2, loss="Infinity") + line(0, 3, loss="-Infinity")
    values = read_run(folder(tmp_path, a_part(0), metrics=text)).series("loss")[1].tolist()
    assert math.isnan(values[0])
    assert values[1:] == [math.inf, -math.inf]


def test_another_word_is_no_number(tmp_path):
    folder(tmp_path, a_part(0), metrics=line(0, 1, loss="three"))
    with pytest.raises(DistgradError, match=r"line 1: 'loss' is no number"):
        read_run(tmp_path)


def test_what_a_later_part_has_done_again_is_superseded(tmp_path):
    text = "".join(line(0, s, loss=s) for s in (1, 2, 3, 4, 5))  # killed after 5, saved at 3
    text += "".join(line(1, s, loss=10 * s) for s in (4,))
    run = read_run(folder(tmp_path, a_part(0), a_part(3), metrics=text))
    assert [(r["step"], r["loss"]) for r in run.metrics] == [(1, 1), (2, 2), (3, 3), (4, 40)]


def test_a_third_part_supersedes_both_that_went_further(tmp_path):
    text = "".join(line(0, s, loss=s) for s in range(1, 6))
    text += "".join(line(1, s, loss=10 * s) for s in (4, 5, 6))
    text += line(2, 4, loss=400)  # its step 3 was not logged
    run = read_run(folder(tmp_path, a_part(0), a_part(3), a_part(2), metrics=text))
    assert [(r["step"], r["loss"]) for r in run.metrics] == [(1, 1), (2, 2), (4, 400)]


def test_a_part_that_has_not_said_where_it_begins_supersedes_nothing(tmp_path):
    text = line(0, 1, loss=1.0) + line(0, 2, loss=2.0)
    run = read_run(folder(tmp_path, a_part(0), a_part(None), metrics=text))
    assert len(run.metrics) == 2


def test_of_two_lines_with_the_same_step_and_names_the_later_counts(tmp_path):
    text = line(0, 2, loss=1.0, error=1.0) + line(0, 2, accuracy=0.5) + line(0, 2, error=2, loss=2)
    run = read_run(folder(tmp_path, a_part(0), metrics=text))
    assert run.series("loss")[1].tolist() == [2.0]
    assert run.series("accuracy")[1].tolist() == [0.5]


def test_a_reader_reads_what_has_been_added_since(tmp_path):
    reader = RunReader(folder(tmp_path, a_part(0), metrics=line(0, 1, loss=3.0) + '{"par'))
    assert len(reader.read().metrics) == 1
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('t": 0, "step": 2, "seconds": 1.0, "loss": 2.0}\n')
    assert reader.read().series("loss")[1].tolist() == [3.0, 2.0]


def test_a_reader_notices_a_run_that_was_begun_anew(tmp_path):
    reader = RunReader(folder(tmp_path, a_part(0), metrics=line(0, 1, loss=3.0) * 2))
    reader.read()
    folder(tmp_path, a_part(0), metrics=line(0, 1, loss=7.0))
    assert reader.read().series("loss")[1].tolist() == [7.0]


def test_a_part_that_was_killed_has_not_ended(tmp_path):
    assert not read_run(folder(tmp_path, a_part(0))).ended
    assert read_run(folder(tmp_path, a_part(0), a_part(2, ended="2026"))).ended


def test_time_and_health_are_read_by_the_same_rules(tmp_path):
    folder(tmp_path, a_part(0), a_part(4))
    seconds = [[1.0, 0.1, 0.2, 0.3, 0.0]] * 3
    time = [{"part": 0, "step": s, "steps": 2, "ranks": seconds} for s in (2, 4, 6)]
    health = [{"part": 0, "step": 2, "layers": {"0": "NaN", "2": 1.5}, "problems": ["dead: '0'"]}]
    (tmp_path / "time.jsonl").write_text("".join(json.dumps(t) + "\n" for t in time))
    (tmp_path / "health.jsonl").write_text("".join(json.dumps(h) + "\n" for h in health))
    run = read_run(tmp_path)
    assert [t["step"] for t in run.time] == [2, 4]
    assert math.isnan(run.health[0]["layers"]["0"])
    assert run.health[0]["layers"]["2"] == 1.5


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("time.jsonl", '{"part": 0, "step": 1, "steps": 1, "ranks": [[1.0]]}', "five seconds"),
        ("health.jsonl", '{"part": 0, "step": 1, "layers": [], "problems": []}', "no norms"),
        ("health.jsonl", '{"part": 0, "step": 1, "layers": {}, "problems": 3}', "sentences"),
        ("metrics.jsonl", '{"part": 0, "loss": 1.0}', "'part' and 'step'"),
        ("metrics.jsonl", "[1]", "'part' and 'step'"),
    ],
)
def test_a_line_of_another_shape_is_named(tmp_path, name, text, wrong):
    folder(tmp_path, a_part(0))
    (tmp_path / name).write_text(text + "\n")
    with pytest.raises(DistgradError, match=rf"{name} .*line 1: .*{wrong}"):
        read_run(tmp_path)


def test_a_folder_without_a_run_is_said_to_be_none(tmp_path):
    with pytest.raises(DistgradError, match=r"is no run folder: it has no run\.json; Trainer"):
        read_run(tmp_path)


def test_a_run_of_a_later_format_is_refused(tmp_path):
    with pytest.raises(DistgradError, match="format 2, which a later distgrad has written"):
        read_run(folder(tmp_path, a_part(0), format=2))


@pytest.mark.parametrize("text", ["", "[]", '{"format": "1"}', '{"format": 1, "name": "a"}'])
def test_a_damaged_run_json_is_named(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(DistgradError, match=r"run\.json is damaged, or of another program"):
        read_run(tmp_path)


def test_a_part_that_lacks_a_field_is_damaged(tmp_path):
    part = a_part(0)
    del part["ranks"], part["hash"]
    with pytest.raises(DistgradError, match="a part lacks hash, ranks"):
        read_run(folder(tmp_path, part))


@pytest.mark.parametrize("cores", [[2, 2, 4], ["0-1", "many", "0"], "0-1"])
def test_a_part_whose_cores_are_spelled_otherwise_is_damaged(tmp_path, cores):
    with pytest.raises(DistgradError, match="'cores' of a part is no list of texts"):
        read_run(folder(tmp_path, a_part(0, cores=cores)))
