"""Assembles the site's pages: plain Markdown and files that any builder can take.

python docs/site/make.py [FOLDER] [--without-outputs]    # default: build
mkdocs build --strict -f FOLDER/mkdocs.yml

`sh docs/build.sh` does both. What is written by hand lies in docs/ and is read there on a code
host, too: links that leave docs/ are led to the pages made of what they point at. The rest is made
here: the API reference with its examples, the command line, the source files, the course, whose
notebooks are run for what they print and draw, unless that is not wanted. mkdocs.yml has the
navigation.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import command_line
import course
import execute
import sources
import yaml
from reference import ROOT, Reference

WITHOUT = "--without-outputs"
FOLDERS = [word for word in sys.argv[1:] if word != WITHOUT]
BUILD = Path(*FOLDERS[:1] or [ROOT / "build"]).resolve()
PAGES = BUILD / "docs"
DOCS = ROOT / "docs"

ELSEWHERE = {
    "launch/README.md": "launch.md",
    "examples/gallery/README.md": "gallery.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the repository that the site has, too, and where."""

NOT_PAGES = {".py", ".json", ".sh", ".ipynb"}


def main() -> int:
    """Write the pages, and mkdocs.yml beside them."""
    shutil.rmtree(PAGES, ignore_errors=True)
    pages = {
        path.relative_to(ROOT).as_posix(): path.relative_to(DOCS).as_posix()
        for path in sorted(DOCS.rglob("*.md"))
    } | ELSEWHERE
    linked: set[str] = set()
    for origin, page in pages.items():
        text = (ROOT / origin).read_text()
        _write(page, led_into_the_site(text, origin, page, pages, linked))
    for path in sorted(DOCS.rglob("*")):
        if path.is_file() and path.suffix not in {".md", *NOT_PAGES}:
            target = PAGES / path.relative_to(DOCS)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    reference = Reference()
    for page, text in reference.pages():
        _write(page, text)
    _write("reference/index.md", reference.index())
    _write("reference/command-line.md", command_line.page())
    ran = {} if WITHOUT in sys.argv else execute.outputs(BUILD / "course")
    lessons = course.pages(DOCS / "course", ran)
    for page, (_, text) in lessons.items():
        _write(page, text)
    for file in sorted(linked | reference.sources):
        _write(sources.place(file), sources.page(ROOT, ROOT / file))
    _write("assets/source.css", sources.STYLE)
    titles = {page: title for page, (title, _) in lessons.items()}
    settings = configuration(reference.titles, titles)
    (BUILD / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False))
    print(f"{len(list(PAGES.rglob('*.md')))} pages in {PAGES}")
    return 0


def led_into_the_site(
    text: str, origin: str, page: str, pages: Mapping[str, str], linked: set[str]
) -> str:
    """Return a page's text with its links to files of the repository led to the site's.

    ``linked`` takes the source files they lead to.

    Raises:
        SystemExit: a link leads to a file that the site does not have.
    """

    def led(match: re.Match[str]) -> str:
        target, _, anchor = match[1].partition("#")
        file = os.path.normpath(os.path.join(os.path.dirname(origin), target))
        inside = file.startswith("docs/") and (ROOT / file).is_file() and not file.endswith(".py")
        if file in pages:
            place = pages[file]
        elif inside and not file.endswith(tuple(NOT_PAGES)):
            place = file.removeprefix("docs/")
        elif (ROOT / file).is_file():
            place = sources.place(file)
            linked.add(file)
        else:
            raise SystemExit(f"{origin} links to {match[1]}, which is no file of the repository")
        way = os.path.relpath(place, os.path.dirname(page) or ".")
        return f"]({way}{anchor and '#' + anchor})"

    link = re.compile(r"\]\((?!https?:|#|mailto:)([^)\s]+)\)")
    pieces = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.DOTALL)
    return "".join(p if p.startswith("`") else link.sub(led, p) for p in pieces)


def configuration(reference: Mapping[str, str], lessons: Mapping[str, str]) -> dict[str, Any]:
    """Return mkdocs.yml with what is made here in its navigation."""
    settings: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    settings |= {"docs_dir": "docs", "site_dir": str(BUILD / "site")}
    sections = {title: part for entry in settings["nav"] for title, part in entry.items()}
    functions = {t: p for p, t in reference.items() if t.startswith("distgrad: ")}
    others = {t: p for p, t in reference.items() if t not in functions}
    sections["Reference"].append({"distgrad": others.pop("distgrad")})
    sections["Reference"] += [
        {"distgrad: functions": [{t.partition(": ")[2]: p} for t, p in sorted(functions.items())]},
        *({title: page} for title, page in others.items()),
    ]
    if lessons:
        settings["nav"].append({"Course": [{title: page} for page, title in lessons.items()]})
    return settings


def _write(page: str, text: str) -> None:
    path = PAGES / page
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
