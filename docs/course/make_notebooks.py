"""Makes the course's notebooks from their sources: docs/course/source/*.py -> docs/course/*.ipynb.

A source is Python in the percent format that editors and jupytext know: ``# %%`` begins a cell of
code, ``# %% [markdown]`` one of text. Three tags make an exercise: ``# %% exercise`` is what
students fill in, ``# %% check`` tells right from wrong, ``# %% solution`` becomes text that
the notebook shows when it is asked for.

    python docs/course/make_notebooks.py [--check]    # --check: complain if they are out of date
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

COURSE = Path(__file__).resolve().parent
KINDS = ("markdown", "code", "exercise", "check", "solution")
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


@dataclass(frozen=True)
class Cell:
    """A cell: its kind (one of KINDS), its text, and the line of the source it begins at."""

    kind: str
    text: str
    line: int


def sources() -> list[Path]:
    """Return the notebooks' sources, in the course's order."""
    return sorted((COURSE / "source").glob("[0-9]-*.py"))


def notebook_of(source: Path) -> Path:
    """Return where the notebook of a source lies."""
    return COURSE / f"{source.stem}.ipynb"


def read(source: Path) -> list[Cell]:
    """Cut a source into cells; ValueError for a mark that is none."""
    lines = source.read_text(encoding="utf-8").splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("# %%")]
    cells = []
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        kind = lines[start].removeprefix("# %%").strip(" []") or "code"
        if kind not in KINDS:
            raise ValueError(f"{source.name}:{start + 1}: {lines[start]!r} is no cell; {KINDS}")
        body = lines[start + 1 : stop]
        if kind == "markdown":
            body = [re.sub(r"^# ?", "", line) for line in body]
        cells.append(Cell(kind, "\n".join(body).strip("\n"), start + 1))
    return cells


def notebook(cells: list[Cell]) -> str:
    """Return the text of the .ipynb file (nbformat 4.5) that has these cells, without outputs."""
    made: list[dict[str, object]] = []
    for number, cell in enumerate(cells, 1):
        shared = {"id": f"cell-{number:02}", "metadata": {}}
        if cell.kind == "markdown":
            made.append({"cell_type": "markdown", **shared, "source": _lines(cell.text)})
        elif cell.kind == "solution":
            made.append({"cell_type": "markdown", **shared, "source": _lines(_folded(cell.text))})
        else:
            tags = {} if cell.kind == "code" else {"tags": [cell.kind]}
            made.append(
                {
                    "cell_type": "code",
                    "execution_count": None,
                    "id": shared["id"],
                    "metadata": tags,
                    "outputs": [],
                    "source": _lines(cell.text),
                }
            )
    whole = {"cells": made, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def _folded(code: str) -> str:
    return f"<details><summary>Solution</summary>\n\n```python\n{code}\n```\n\n</details>"


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main() -> int:
    """Write the notebooks, or with --check say which are out of date; return the exit status."""
    status = 0
    for source in sources():
        path, text = notebook_of(source), notebook(read(source))
        if "--check" not in sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            print(f"{path.name} is not what {source.name} says", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
