"""What gradient closures hold on to: an array that is asked for its form alone costs its memory."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import distgrad

ROOT = Path(distgrad.__file__).parent
FORMS = {"shape", "dtype", "size", "ndim"}
MENTIONED = {
    ("scatter.py", "getitem", "index"): "so that whoever changes it before backward is told",
}
FUNCTIONS = (ast.FunctionDef, ast.Lambda)
SOURCES = sorted([*ROOT.glob("kernels/*.py"), *ROOT.glob("ops/*.py")])


def names(f: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(f) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def parameters(f: ast.FunctionDef | ast.Lambda) -> set[str]:
    return {a.arg for a in (*f.args.args, *f.args.kwonlyargs)}


def held_for_their_form(source: str) -> Iterator[tuple[str, str]]:
    """Yield (function, name) of what closures inside of functions read nothing but the form of."""
    for f in ast.walk(ast.parse(source)):
        if not isinstance(f, ast.FunctionDef):
            continue
        own = parameters(f) | names(f)
        for closure in ast.walk(f):
            if closure is f or not isinstance(closure, FUNCTIONS):
                continue
            asked = {
                id(n.value): n.value.id
                for n in ast.walk(closure)
                if isinstance(n, ast.Attribute)
                and isinstance(n.value, ast.Name)
                and n.attr in FORMS
            }
            read = {
                n.id
                for n in ast.walk(closure)
                if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and id(n) not in asked
            }
            for name in {*asked.values()} - read - parameters(closure) - names(closure):
                if name in own:
                    yield f.name, name


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_no_closure_holds_an_array_for_its_form(path: Path) -> None:
    found = {(path.name, *where) for where in held_for_their_form(path.read_text())}
    assert found <= MENTIONED.keys(), "name the shape or the dtype before the closure, and use that"


def test_one_that_does_is_found() -> None:
    source = "def f(a):\n    y = a * 2\n    return y, lambda g: g.reshape(a.shape) * y\n"
    assert [*held_for_their_form(source)] == [("f", "a")]
    assert [*held_for_their_form(source.replace("a.shape", "shape"))] == []
