"""Reads docs/examples: for every public name an example, run as at Python's prompt.

A folder is a module, a file a group of its names. Below the line ``# Examples`` every paragraph is
an example; one that ends with an assignment, a class or a function goes on in the next paragraph.
It belongs to the names in the comment it begins with (``# lu, lu_solve: what it shows``), without
one to what its last line calls: ``dg.sort(x).values`` to ``sort``. What stands above that line is
run before each.
"""

from __future__ import annotations

import ast
import contextlib
import io
import linecache
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "examples"
MARK = "\n# Examples\n"


@dataclass(frozen=True)
class Example:
    """Code that shows public names of a module."""

    module: str
    names: tuple[str, ...]
    note: str
    """What it shows, in words; may be empty."""
    code: str
    prelude: str
    """What runs before it, the same for all examples of a file."""
    where: str
    """File and line, for errors."""

    @property
    def whole(self) -> str:
        """The code with those lines of the prelude that it needs: it runs by itself."""
        wanted = _words(ast.parse(self.code))
        kept: list[str] = []
        statements = ast.parse(self.prelude).body
        for statement in reversed(statements):
            if _bound(statement) & wanted:
                wanted |= _words(statement)
                kept.append(ast.get_source_segment(self.prelude, statement) or "")
        imports = [line for line in reversed(kept) if line.startswith(("import ", "from "))]
        others = [line for line in reversed(kept) if line not in imports]
        gap = "\n\n\n" if any(line.startswith("def ") for line in others) else "\n\n"
        return gap.join(filter(None, ["\n".join(imports), "\n".join(others), self.code]))

    def run(self) -> str:
        """Return what it prints at the prompt.

        Raises:
            ExampleError: it raises, or shows nothing.
        """
        import distgrad as dg  # noqa: PLC0415 (whoever only reads examples needs no distgrad)

        dg.manual_seed(0)
        shown = io.StringIO()
        # Errors that show the line they are about find it here.
        linecache.cache[self.where] = (0, None, self.code.splitlines(), self.where)
        scope: dict[str, Any] = {"__name__": "__main__"}
        try:
            # As written, without fused kernels: the same digits with and without numba.
            with contextlib.redirect_stdout(shown), dg.reference_kernels():
                exec(compile(self.prelude, f"above {self.where}", "exec"), scope)
                for statement in ast.parse(self.code).body:
                    _prompt(statement, self.where, scope)
        except Exception as error:
            raise ExampleError(f"{self.where}: {type(error).__name__}: {error}") from error
        if not shown.getvalue().strip():
            raise ExampleError(f"{self.where}: the example of {self.names} shows nothing")
        return shown.getvalue().rstrip()


class ExampleError(Exception):
    """An example that cannot be read or run."""


def _words(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _bound(statement: ast.stmt) -> set[str]:
    """Return the names that a statement of a prelude binds."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return {statement.name}
    return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)
            and isinstance(n.ctx, ast.Store)}  # fmt: skip


def _prompt(statement: ast.stmt, where: str, scope: dict[str, Any]) -> None:
    if not isinstance(statement, ast.Expr):
        exec(compile(ast.Module([statement], []), where, "exec"), scope)
        return
    value = eval(compile(ast.Expression(statement.value), where, "eval"), scope)
    if value is not None:
        print(repr(value))


def examples() -> dict[tuple[str, str], list[Example]]:
    """Return the examples of each (module, name)."""
    found: dict[tuple[str, str], list[Example]] = {}
    for path in sorted(FOLDER.glob("*/*.py")):
        for example in read(path):
            for name in example.names:
                found.setdefault((example.module, name), []).append(example)
    return found


def read(path: Path) -> Iterator[Example]:
    """Yield the examples of one file."""
    text = path.read_text()
    prelude, mark, rest = text.partition(MARK)
    if not mark:
        raise ExampleError(f"{path} has no line '# Examples'")
    module = path.parent.name
    prelude = re.sub(r'\A""".*?"""\n+', "", prelude, flags=re.DOTALL).strip()
    line = text[: len(text) - len(rest)].count("\n") + 1
    begun = ""
    for piece in re.split(r"(\n{2,})", rest):
        begun += piece
        if piece.strip() and _shows(begun):
            line += len(begun) - len(begun.lstrip("\n"))
            where = f"docs/examples/{module}/{path.name}:{line}"
            yield _example(module, begun.strip("\n"), prelude, where)
            line += begun.lstrip("\n").count("\n")
            begun = ""
    if begun.strip():
        raise ExampleError(f"{path} ends with an example that shows nothing: {begun.strip()}")


def _shows(code: str) -> bool:
    try:
        body = ast.parse(code).body
    except SyntaxError:
        return False
    return bool(body) and isinstance(body[-1], ast.Expr | ast.For | ast.Try | ast.With)


def _example(module: str, paragraph: str, prelude: str, where: str) -> Example:
    heading = re.match(r"# (\w+(?:, \w+)*)(?:: (.*))?\n", paragraph)
    code = paragraph[heading.end() :] if heading else paragraph
    names = tuple(re.split(r", *", heading[1])) if heading else (_shown(code, where),)
    return Example(module, names, (heading and heading[2]) or "", code, prelude, where)


def _shown(code: str, where: str) -> str:
    """Return the name that the last line's outermost call, or attribute, looks up in a module."""
    last: Any = ast.parse(code).body[-1]
    node = last.value if isinstance(last, ast.Expr) else None
    while node is not None:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return node.attr
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
            node = node.args[0]  # sorted(optim.…), and functions that stand above the examples
        elif isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Lambda):
            node = node.body
        elif isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        elif isinstance(node, ast.BinOp):
            node = node.left
        elif isinstance(node, ast.Name):
            return node.id
        else:
            node = None
    raise ExampleError(f"{where}: begin the example with a comment that names what it shows")
