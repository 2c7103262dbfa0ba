"""The pages that people read, and the code, commands, links and headings in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OTHERS = ["README.md", "CONTRIBUTING.md", "launch/README.md", "examples/gallery/README.md"]
PAGES = sorted([*DOCS.rglob("*.md"), *(ROOT / name for name in OTHERS)])


def name_of(page: Path) -> str:
    """Its path in the repository: the id of a test."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """The text without its blocks of code."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"^ {4}(?! *[-*]).*$", "", text, flags=re.MULTILINE)


def commands(page: Path) -> list[str]:
    """The command lines in the blocks of shell, without what is said behind a #."""
    lines = "\n".join(blocks(page, "sh")).splitlines()
    lines += [
        line.removeprefix("$ ")
        for block in blocks(page, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    return [bare for line in lines if (bare := re.sub(r"(?:^|\s)#.*$", "", line).strip())]


def links(page: Path) -> list[tuple[str, str]]:
    """(file, anchor) of each link inside the repository; either may be empty."""
    text = re.sub(r"`[^`\n]*`", "", prose(page))
    found = re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)#?([^)\s]*)\)", text)
    return [(file, anchor) for file, anchor in found if file or anchor]


def anchors(page: Path, *, host: bool) -> set[str]:
    """The headings' anchors, as a code host makes them, or as the site does."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)|`", r"\1", title).strip().lower()
        text = re.sub(r"[^\w\s-]", "", text)
        slug = re.sub(r"\s", "-", text) if host else re.sub(r"[-\s]+", "-", text).strip("-")
        repeated = sum(re.sub(r"[-_]\d+$", "", other) == slug for other in found)
        found.add(f"{slug}{'-' if host else '_'}{repeated}" if repeated else slug)
    return found
