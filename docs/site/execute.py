"""Runs the course's notebooks, so that their pages have what the cells print and draw.

A notebook goes on with the solution of its exercise, which is not shown before it is asked for: the
exercise and its check have no output. What came out is kept in a folder until the notebook or
distgrad changes: the seven take about 30 s.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from reference import ROOT

sys.path.insert(0, str(ROOT / "docs/course"))
make_notebooks = import_module("make_notebooks")

Outputs: TypeAlias = Mapping[int, list[dict[str, Any]]]
"""Of each cell that has any, by its place in the notebook: as nbformat has them."""

_AT_ONCE = 3  # notebooks: more than cores, as the last one waits a lot
_LONGEST = 300  # seconds of a cell
_SETTINGS = """from matplotlib_inline.backend_inline import set_matplotlib_formats
set_matplotlib_formats("retina")"""


def outputs(kept: Path) -> dict[str, Outputs]:
    """Return the outputs of every notebook by its name; in ``kept`` they stay.

    Raises:
        SystemExit: a cell raises, or what runs notebooks is not installed.
    """
    state = hashlib.sha256()
    for file in sorted((ROOT / "distgrad").rglob("*.py")):
        state.update(file.read_bytes())
    found = {}
    files = {
        source: kept / f"{source.stem}-{_key(state.hexdigest(), source)}.json"
        for source in make_notebooks.sources()
    }
    kept.mkdir(parents=True, exist_ok=True)
    for file in {*kept.glob("*.json")} - {*files.values()}:
        file.unlink()  # of what has changed
    missing = [source for source, file in files.items() if not file.exists()]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        # The last ones take longest.
        for source, made in zip(missing[::-1], pool.map(executed, missing[::-1]), strict=True):
            files[source].write_text(json.dumps(made))
    for source, file in files.items():
        found[source.stem] = {int(place): of for place, of in json.loads(file.read_text()).items()}
    return found


def executed(source: Path) -> Outputs:
    """Return what the cells of a notebook print and draw."""
    try:
        import nbclient  # noqa: PLC0415 (only the site needs it)
        import nbformat  # noqa: PLC0415 (the same)
    except ImportError as error:
        raise SystemExit(f"{error}: pip install -e '.[docs,plot]' runs the course") from None
    cells = make_notebooks.read(source)
    run = [place for place, cell in enumerate(cells) if cell.kind in ("code", "solution")]
    new = nbformat.v4.new_code_cell
    notebook = nbformat.v4.new_notebook(
        cells=[new(_SETTINGS), *(new(cells[place].text) for place in run)],
        metadata=make_notebooks.METADATA,
    )
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    with TemporaryDirectory() as folder:
        client = nbclient.NotebookClient(
            notebook,
            timeout=_LONGEST,
            extra_arguments=["--log-level=ERROR"],
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute(env=os.environ | environment)
        except nbclient.exceptions.CellExecutionError as error:
            raise SystemExit(f"{source.name}: {error}") from None
    made = {
        place: cell["outputs"]
        for place, cell in zip(run, notebook["cells"][1:], strict=True)
        if cells[place].kind == "code" and cell["outputs"]
    }
    for output in (output for those in made.values() for output in those):
        if "text" in output:  # where distgrad lies here is nobody's concern
            output["text"] = output["text"].replace(f"{ROOT}/", "")
    return made


def _key(state: str, source: Path) -> str:
    return hashlib.sha256(state.encode() + source.read_bytes()).hexdigest()[:16]
