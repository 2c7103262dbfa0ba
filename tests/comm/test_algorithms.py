"""The table of all-reduces: the only place that knows them by name."""

import ast
from pathlib import Path

import pytest

import distgrad
from distgrad.comm import ALL_REDUCE, CANONICAL, PLAIN

ROOT = Path(distgrad.__file__).parent
TABLE = ROOT / "comm" / "algorithms" / "__init__.py"


def strings(source):
    """Return every string written in the source, with its line; a docstring is one long string."""
    return [
        (node.lineno, node.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def test_no_file_but_the_table_names_an_all_reduce():
    named = [
        f"{path.relative_to(ROOT)}:{line}: {string!r}"
        for path in ROOT.rglob("*.py")
        if path != TABLE
        for line, string in strings(path.read_text())
        if string in ALL_REDUCE
    ]
    assert named == [], "ask the record in ALL_REDUCE, or take PLAIN or CANONICAL"


def test_the_defaults_run_everywhere_and_the_canonical_one_is_canonical():
    assert ALL_REDUCE[CANONICAL].canonical
    assert ALL_REDUCE[CANONICAL].missing is ALL_REDUCE[PLAIN].missing is None


@pytest.mark.parametrize("name", ALL_REDUCE)
def test_an_algorithm_has_a_file_of_its_own_that_says_what_it_is(name):
    path = TABLE.with_name(f"{name}.py")
    assert ast.get_docstring(ast.parse(path.read_text()))
