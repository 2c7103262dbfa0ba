"""Runs one notebook of the course from its source, as its cells would be run, in this process.

At the exercise it runs the check with the stub, with each of some wrong answers, and with the
solution, and prints what each led to as the last line, in JSON; the notebook goes on with
the solution.

    python run_notebook.py SOURCE [WRONG_ANSWER_FILE …]     # COURSE_FIGURES=DIR keeps the figures
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs/course"))

from make_notebooks import Cell, read
from matplotlib import pyplot as plt


def main() -> None:
    source, wrong = Path(sys.argv[1]), [Path(a) for a in sys.argv[2:]]
    cells = read(source)
    names: dict[str, Any] = {"__name__": "__main__"}
    check = next(cell for cell in cells if cell.kind == "check")
    found: dict[str, Any] = {"wrong": []}
    for cell in cells:
        if cell.kind == "code":
            run(cell.text, cell, source, names)
            keep_figures(source, cell)
        elif cell.kind == "exercise":
            run(cell.text, cell, source, names)
            found["stub"] = verdict(check, source, names)
            for path in wrong:
                run(path.read_text(), cell, path, names)
                found["wrong"].append(verdict(check, source, names))
        elif cell.kind == "solution":
            run(cell.text, cell, source, names)
            found["solution"] = verdict(check, source, names)
    print(json.dumps(found))


def run(text: str, cell: Cell, path: Path, names: dict[str, Any]) -> None:
    padding = (
        "\n" * cell.line if path.suffix == ".py" else ""
    )  # so that line numbers are the file's
    exec(compile(padding + text, str(path), "exec", dont_inherit=True), names)


def verdict(check: Cell, source: Path, names: dict[str, Any]) -> str:
    """Return "passed", or what the check says is wrong."""
    try:
        run(check.text, check, source, names)
    except AssertionError as error:
        return str(error)
    return "passed"


def keep_figures(source: Path, cell: Cell) -> None:
    folder = os.environ.get("COURSE_FIGURES")
    for number in plt.get_fignums():
        if folder:
            name = f"{source.stem}-{cell.line}-{number}.png"
            plt.figure(number).savefig(Path(folder) / name, dpi=80)
    plt.close("all")


main()
