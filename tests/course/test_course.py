"""The course's notebooks run from first to last cell, and their exercises tell right from wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from jobs import ROOT, mpirun

pytest.importorskip("matplotlib", reason="the notebooks draw: install the extra 'plot'")

pytestmark = pytest.mark.timeout(240)
HERE = Path(__file__).resolve().parent
SOURCES = sorted((ROOT / "docs/course/source").glob("*.py"))
NOTEBOOKS = sorted((ROOT / "docs/course").glob("*.ipynb"))
WITH_MPI = {"5-overlap", "7-failure"}  # they start jobs of their own


def notebooks():
    slow = {"7-failure": pytest.mark.slow}
    return [pytest.param(p, id=p.stem, marks=slow.get(p.stem, ())) for p in SOURCES]


def wrong_answers(source: Path) -> list[Path]:
    return sorted((HERE / "wrong").glob(f"{source.stem[0]}-*.py"))


@lru_cache
def run(source: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook, once, with the wrong answers to its exercise."""
    if source.stem in WITH_MPI:
        mpirun(2)  # skips where there is none
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, HERE / "run_notebook.py", source, *wrong_answers(source)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=220,
    )


def outcome(source: Path) -> dict:
    """Return what a notebook's check said to the stub, the wrong answers, and the solution."""
    done = run(source)
    assert done.returncode == 0, f"{source.name}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def test_there_are_seven_notebooks():
    assert [source.stem[0] for source in SOURCES] == list("1234567")
    assert [path.stem for path in NOTEBOOKS] == [source.stem for source in SOURCES]


@pytest.mark.parametrize("source", notebooks())
def test_every_cell_of_a_notebook_runs_and_its_solution_passes_the_check(source):
    assert outcome(source)["solution"] == "passed"


@pytest.mark.parametrize("source", notebooks())
def test_an_exercise_that_was_not_done_fails_its_check_with_a_hint(source):
    assert re.search(r"your lines?|fill in", outcome(source)["stub"])


@pytest.mark.parametrize("source", notebooks())
def test_a_wrong_answer_is_told_what_is_wrong_with_it(source):
    answers, said = wrong_answers(source), outcome(source)["wrong"]
    assert len(answers) == len(said) >= 2
    for answer, text in zip(answers, said, strict=True):
        expected = answer.read_text().splitlines()[0].removeprefix("# The check says: ")
        assert re.search(expected, text), f"{answer.name}: {text}"


def test_the_notebooks_are_what_their_sources_say():
    command = [sys.executable, ROOT / "docs/course/make_notebooks.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run `python docs/course/make_notebooks.py`\n{done.stderr}"


def test_every_page_and_file_that_a_notebook_links_exists():
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        text = "".join(line for c in cells if c["cell_type"] == "markdown" for line in c["source"])
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        links = re.findall(r"\]\((?!https?:)([^)#\s]+)\)", prose)
        assert links
        assert [link for link in links if not (path.parent / link).exists()] == []


def test_a_notebook_has_no_outputs_and_hides_its_solution():
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
        texts = ["".join(cell["source"]) for cell in cells]
        (solution,) = [text for text in texts if "<summary>Solution</summary>" in text]
        assert solution.startswith("<details>")
        tags = [tag for cell in code for tag in cell["metadata"].get("tags", [])]
        assert tags == ["exercise", "check"]
