"""The report's page as text: complete, self-contained, and nobody's words are markup."""

import html.parser
import json
import re
from datetime import datetime, timezone

import numpy as np
import pytest
from run_folders import RunFolder

from distgrad.errors import DistgradError
from distgrad.observe.report import gather, page, write_report
from distgrad.observe.run import read_run

NOW = datetime(2024, 5, 2, 12, 0, 0, tzinfo=timezone.utc)


def page_of(tmp_path, *folders):
    records = [read_run(f.write(tmp_path / str(i))) for i, f in enumerate(folders)]
    return page(gather(records), "1.2.3", NOW)


def data_of(text):
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert not set(found) & set("<>&")  # which could end it, or begin a comment
    return json.loads(found)


VOID = {"meta", "input", "br", "rect", "line", "img"}


class Elements(html.parser.HTMLParser):
    """All elements with their attributes, and whether each is closed."""

    def __init__(self, text):
        super().__init__()
        self.found, self._open = [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag


def test_100_000_steps_on_4_ranks_fit_into_5_mb(long):
    assert long.stat().st_size <= 5_000_000
    curves = data_of(long.read_text())["curves"]
    assert curves[0]["title"] == "Loss"
    assert len(curves[0]["curves"][0]["steps"]) == 10_000


def test_its_one_spike_its_nan_and_its_resume_are_in_the_data(long):
    text = long.read_text()
    data = data_of(text)
    loss = data["curves"][0]["curves"][0]
    at = int(np.argmax(loss["high"]))
    assert (loss["high"][at], loss["steps"][at]) == (9.5, 31_420)
    assert loss["broken"] == [70_000]
    assert data["runs"][0]["parts"] == [40_000]
    assert "A point of a curve stands for up to 10 neighbouring measurements" in text


def test_many_runs_share_the_room(tmp_path):
    folders = [RunFolder(f"r{i}", steps=3000, split_every=1000) for i in range(6)]
    text = page_of(tmp_path, *folders)
    curves = [c for figure in data_of(text)["curves"] for c in figure["curves"]]
    assert sum(len(c["steps"]) for c in curves) <= 60_000
    assert {c["run"] for c in curves} == set(range(6))
    assert len(text) < 5_000_000


def test_nothing_is_fetched_and_the_page_forbids_it(tmp_path):
    elements = Elements(page_of(tmp_path, RunFolder())).found
    for tag, attributes in elements:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    (policy,) = [a["content"] for _, a in elements if "http-equiv" in a]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'\"$title"


def test_the_words_of_a_user_are_text_wherever_they_stand(tmp_path):
    folder = RunFolder(
        name=HOSTILE,
        hosts=(HOSTILE,),
        ended_by=HOSTILE,
        layers=(HOSTILE, "2", "4"),
        configuration={HOSTILE: HOSTILE},
        problems=lambda step: [f"dead: '{HOSTILE}' at step {step}: it is 0"],
        slow={1: 0.05},
    ).write(tmp_path / "a")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    row = json.loads(lines[-1]) | {HOSTILE: 1.5, f"validation/{HOSTILE}": 2.5}
    (folder / "metrics.jsonl").write_text("\n".join([*lines, json.dumps(row)]) + "\n")
    other = RunFolder(name="other", ranks=2).write(tmp_path / "b")
    for folders in ([folder], [folder, other]):
        text = page(gather([read_run(f) for f in folders]), HOSTILE, NOW)
        elements = Elements(text).found
        assert sum(tag == "script" for tag, _ in elements) == 2
        assert not any(tag == "img" or "onerror" in a for tag, a in elements)
        assert data_of(text)["runs"][0]["name"] == HOSTILE
        assert "<title>&lt;/script&gt;" in text


def test_every_figure_has_words_for_those_who_do_not_see_it(tmp_path):
    text = page_of(tmp_path, RunFolder("a"), RunFolder("b"))
    data = data_of(text)
    count = sum(len(data[kind]) for kind in ("curves", "heatmap", "stretches"))
    assert text.count("<figure") == text.count('class="numbers"') == count
    for kind in ("curves", "heatmap", "stretches"):
        assert all(len(spec["words"]) > 40 for spec in data[kind])
    assert [a["lang"] for tag, a in Elements(text).found if tag == "html"] == ["en"]


def test_no_two_elements_have_one_id(tmp_path):
    elements = Elements(page_of(tmp_path, RunFolder("a"), RunFolder("b"))).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_numbers_that_json_has_not_are_not_in_the_data(tmp_path):
    folder = RunFolder(steps=300, loss=lambda step: float("nan")).write(tmp_path / "a")
    lines = [json.loads(line) for line in (folder / "health.jsonl").read_text().splitlines()]
    lines[0]["layers"] = {"0": "Infinity", "2": "NaN", "4": 0.0}
    (folder / "health.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = data_of(page(gather([read_run(folder)]), "1.2.3", NOW))
    assert data["curves"][0]["curves"][0]["mean"] == []
    assert data["heatmap"][0]["norms"][0] == ["Infinity", None, None]


def test_of_many_runs_the_title_gives_the_number_and_sentences_name_few(tmp_path):
    folders = [RunFolder(f"r{i}", steps=200, slow={1: 0.05} if i < 4 else {}) for i in range(5)]
    text = page_of(tmp_path, *folders)
    assert "<title>5 runs</title>" in text
    assert "all runs: ended with the same parameters, bit for bit" in text
    assert "r0, r1 and 2 more: rank 1 (host node-a) is slow" in text


def test_the_page_says_when_it_was_made_and_by_what(tmp_path):
    assert "Made 2024-05-02 12:00:00 UTC by distgrad 1.2.3" in page_of(tmp_path, RunFolder())


def test_a_path_that_cannot_be_written_is_said_to_be_so(tmp_path):
    folder = RunFolder(steps=100).write(tmp_path / "a")
    with pytest.raises(DistgradError, match=r"cannot be written: .* choose another file with -o"):
        write_report([folder], tmp_path / "nowhere" / "r.html", "1.2.3")
    with pytest.raises(DistgradError, match="is no run folder"):
        write_report([tmp_path], tmp_path / "r.html", "1.2.3")
    assert not list(tmp_path.glob("*r.html*"))


def test_an_older_report_is_replaced_whole(tmp_path):
    folder = RunFolder(steps=100).write(tmp_path / "a")
    target = folder / "report.html"
    target.write_text("older")
    size = write_report([folder], target, "1.2.3")
    assert target.stat().st_size == size > 1000
    assert target.read_text().startswith("<!DOCTYPE html>")
    assert [p.name for p in folder.iterdir() if "report" in p.name] == ["report.html"]
