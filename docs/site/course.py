"""The course's notebooks as pages: text, code, and what the cells print and draw."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from execute import Outputs


def pages(folder: Path, outputs: Mapping[str, Outputs]) -> dict[str, tuple[str, str]]:
    """Return title and text of each page of the course, by its path in the site.

    ``outputs`` are those of each notebook, by its name; one that has none was not run.
    """
    found: dict[str, tuple[str, str]] = {}
    if (folder / "README.md").exists():
        text = (folder / "README.md").read_text()
        found["course/index.md"] = ("The course", re.sub(r"\.ipynb(?=[)#])", ".md", text))
    for notebook in sorted(folder.glob("*.ipynb")):
        cells = json.loads(notebook.read_text())["cells"]
        text = "\n\n".join(_cells(cells, outputs.get(notebook.stem, {})))
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        if title is None:
            raise SystemExit(f"{notebook} has no title: a first cell with a line '# …'")
        found[f"course/{notebook.stem}.md"] = (title[1], text + "\n")
    return found


def _cells(cells: list[dict[str, Any]], outputs: Outputs) -> Iterator[str]:
    for place, cell in enumerate(cells):
        source = "".join(cell["source"]).strip("\n")
        if cell["cell_type"] == "markdown":
            yield _with_mathml(source).replace("<details>", '<details markdown="1">')
        elif source:
            yield f"```python\n{source}\n```"
            for output in _joined(outputs.get(place, [])):
                yield from _output(output)


def _joined(outputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a cell's outputs, with what was printed in several pieces in one."""
    printed = ""
    for output in outputs:
        if output.get("name") == "stdout":
            printed += output["text"]
        elif output.get("name") != "stderr":
            if printed:
                yield {"text": printed}
            printed = ""
            yield output
    if printed:
        yield {"text": printed}


def _output(output: dict[str, Any]) -> Iterator[str]:
    data = output.get("data", {})
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        size = output["metadata"].get("image/png", {})
        width = f' width="{size["width"]}"' if "width" in size else ""
        yield f'<img alt="what the cell draws"{width} src="data:image/png;base64,{picture}">'
    elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
        yield f"``` {{ .text .result }}\n{text}\n```"


def _with_mathml(text: str) -> str:
    """Return a text with its formulas as MathML, which browsers draw without help."""
    pieces = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    return "".join(p if p.startswith("`") else _formulas(p) for p in pieces)


def _formulas(text: str) -> str:
    from latex2mathml.converter import convert  # noqa: PLC0415 (a site without a course needs none)

    text = re.sub(
        r"\$\$(.+?)\$\$",
        lambda m: f"\n<div>{convert(m[1].strip(), display='block')}</div>\n",
        text,
        flags=re.DOTALL,
    )
    # Markdown takes a line that begins with <math> for a block, and so ends the paragraph.
    inline = re.compile(r"\$([^$]+?)\$", re.DOTALL)
    return inline.sub(lambda m: f"<span>{convert(m[1])}</span>", text)
