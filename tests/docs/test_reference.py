"""The API reference: every public name has an example, and every example runs."""

from __future__ import annotations

import doctest
import json
import re
import subprocess
import sys
from collections import Counter

import derived
import example_files
import names
import pytest
from pages import DOCS, ROOT

import distgrad as dg

PUBLIC = names.public()
SHOWN = derived.shown(PUBLIC)
RUN = """
import json, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import derived, example_files, names
found, done = {}, {}
for dotted, (_, those) in derived.shown(names.public()).items():
    for example in those:
        try:
            key = (example.where, example.code)
            done[key] = done.get(key) or example.run()
        except example_files.ExampleError as error:
            found[dotted] = str(error)
print(json.dumps([len(done), found]))
"""


@pytest.fixture(scope="module")
def failures():
    """What each example raised, by the name it shows; all run in one process of their own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUN, str(ROOT), str(DOCS / "site")],
        capture_output=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr.decode()
    run, found = json.loads(done.stdout)
    assert run > 1200
    return found


def test_every_public_name_has_an_example():
    missing = [dotted for dotted, (kind, _) in SHOWN.items() if not kind]
    assert missing == [], "see docs/site/example_files.py: a line each in docs/examples"


@pytest.mark.parametrize("module", names.modules())
def test_the_examples_of_a_module_run(module, failures):
    own = {f"{n.module}.{n.name}" for n in PUBLIC if n.module == module}
    assert {dotted: error for dotted, error in failures.items() if dotted in own} == {}


def test_the_prompts_in_docstrings_print_what_they_say():
    pytest.importorskip("tokenizers", reason="the extra text is not installed")
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    prompted = [n for n in PUBLIC if not n.alias and "\n    >>> " in (n.value.__doc__ or "")]
    own = [n for n in prompted if str(n.value.__module__).startswith("distgrad")]
    assert own
    for name in own:
        for case in finder.find(name.value, name.dotted, globs={"dg": dg}):
            assert runner.run(case).failed == 0, name.dotted


def test_every_example_is_of_a_public_name_and_mentions_it():
    homes = {(n.module, n.name) for n in PUBLIC if not n.alias}
    written = example_files.examples()
    assert set(written) - homes == set()
    silent = [
        f"{example.where}: {name}"
        for (_, name), those in written.items()
        for example in those
        if not re.search(rf"\b{name}\b", example.code)
    ]
    assert silent == []


def test_most_examples_are_written_by_hand():
    kinds = Counter(kind for kind, _ in SHOWN.values())
    assert kinds["written"] > 1300
    assert set(kinds) == {"written", "in place", "op", "alias"}


def test_an_example_that_raises_is_named_by_file_and_line(tmp_path):
    path = tmp_path / "distgrad" / "broken.py"
    path.parent.mkdir()
    path.write_text('"""Broken."""\n\nimport distgrad as dg\n\n# Examples\n\ndg.ones(2) / "x"\n')
    (example,) = example_files.read(path)
    assert example.names == ("ones",)
    with pytest.raises(example_files.ExampleError, match=r"distgrad/broken\.py:7: ShapeError"):
        example.run()


def test_an_example_goes_on_until_it_shows_something_and_takes_what_it_needs(tmp_path):
    path = tmp_path / "distgrad" / "two.py"
    path.parent.mkdir()
    path.write_text(
        '"""Two."""\n\nimport numpy as np\n\nimport distgrad as dg\n\nx = dg.ones(2)\ny = x + 1\n'
        "z = np.ones(2)\n\n# Examples\n\n# Tensor: a class\nclass A:\n    pass\n\n\nA(), y\n\n"
        "dg.abs(x)\n"
    )
    first, second = example_files.read(path)
    assert first.names == ("Tensor",)
    assert first.note == "a class"
    assert first.code.endswith("A(), y")
    assert "y = x + 1" in first.whole
    assert "numpy" not in first.whole
    assert second.whole == "import distgrad as dg\n\nx = dg.ones(2)\n\ndg.abs(x)"


def test_what_works_in_place_is_shown_by_what_does_not():
    (kind, (example,)) = SHOWN["distgrad.clamp_"]
    assert kind == "in place"
    assert example.code == "dg.clamp_(x, min=0.0, max=1.0)\nx"
    assert example.run() == "Tensor([0. , 0.5, 1. ])\nTensor([0. , 0.5, 1. ])"
