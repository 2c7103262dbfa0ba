"""The course's notebooks as pages: text, code, and the outputs that a notebook carries."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def pages(folder: Path) -> dict[str, tuple[str, str]]:
    """Return title and text of each page of the course, by its path in the site."""
    found: dict[str, tuple[str, str]] = {}
    if (folder / "README.md").exists():
        text = (folder / "README.md").read_text()
        found["course/index.md"] = ("The course", re.sub(r"\.ipynb(?=[)#])", ".md", text))
    for notebook in sorted(folder.glob("*.ipynb")):
        text = "\n\n".join(_cells(json.loads(notebook.read_text())))
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        if title is None:
            raise SystemExit(f"{notebook} has no title: a first cell with a line '# …'")
        found[f"course/{notebook.stem}.md"] = (title[1], text + "\n")
    return found


def _cells(notebook: dict[str, Any]) -> Iterator[str]:
    for cell in notebook["cells"]:
        source = "".join(cell["source"]).strip("\n")
        if cell["cell_type"] == "markdown":
            yield _with_mathml(source).replace("<details>", '<details markdown="1">')
        elif source:
            yield f"```python\n{source}\n```"
            for output in cell.get("outputs", ()):
                yield from _output(output)


def _output(output: dict[str, Any]) -> Iterator[str]:
    data = output.get("data", {})
    if "image/png" in data:
        picture = "".join(data["image/png"]).replace("\n", "")
        yield f'<img alt="what the cell draws" src="data:image/png;base64,{picture}">'
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
    return re.sub(r"\$([^$]+?)\$", lambda m: convert(m[1]), text, flags=re.DOTALL)
