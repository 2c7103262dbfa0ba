"""The table of all-reduces: the only place that knows them by name."""

import ast
from pathlib import Path

import pytest

import distgrad
from distgrad.comm import ALL_REDUCE
from distgrad.comm.algorithms import choose
from distgrad.comm.topology import Topology

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
        # A plan has the rounds of each: its tests compare them with what the table's send.
        if path != TABLE and path.parent.name != "plan"
        for line, string in strings(path.read_text())
        if string in ALL_REDUCE
    ]
    assert named == [], "ask the record in ALL_REDUCE, or take AUTO"


@pytest.mark.parametrize("nodes", [((0,),), ((0, 1, 2),), ((0,), (1,)), ((0, 1), (2,))])
def test_auto_is_canonical_where_that_is_asked_for_and_wherever_memory_is_shared(nodes):
    topology = Topology(nodes)
    assert ALL_REDUCE[choose(topology, canonical=True)].canonical
    plain = ALL_REDUCE[choose(topology, canonical=False)]
    assert plain.canonical == topology.shares
    assert plain.missing is None or topology.one_node


@pytest.mark.parametrize("name", ALL_REDUCE)
def test_an_algorithm_has_a_file_of_its_own_that_says_what_it_is(name):
    path = TABLE.with_name(f"{name}.py")
    assert ast.get_docstring(ast.parse(path.read_text()))
