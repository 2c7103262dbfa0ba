"""Source files as pages of their own, with a number, and an anchor, at each line."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound

FORMATTER = HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=True)
LIGHT = HtmlFormatter(style="default").get_style_defs(".highlight")
DARK = HtmlFormatter(style="github-dark").get_style_defs(".highlight")
STYLE = """
:root { color-scheme: light dark; }
body { margin: 0; font: 14px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
h1 { font: 600 16px/1.5 system-ui, sans-serif; margin: 0; padding: 12px 24px;
     border-bottom: 1px solid #8884; }
.highlight pre { margin: 0; padding: 12px 24px; }
.highlight a { color: inherit; text-decoration: none; }
.highlight .linenos { color: #888; padding-right: 16px; user-select: none; }
:target { background: #fe82; }
"""
STYLE += f"{LIGHT}\n@media (prefers-color-scheme: dark) {{ {DARK} }}"


def place(name: str) -> str:
    """Return where the page of a file of the repository lies in the site."""
    return f"source/{name}.html"


def page(root: Path, path: Path) -> str:
    """Return a file of text as HTML."""
    name, text = path.relative_to(root).as_posix(), path.read_text()
    style = f"{'../' * (name.count('/') + 1)}assets/source.css"
    try:
        body = _numbered(highlight(text, get_lexer_for_filename(name), FORMATTER))
    except ClassNotFound:
        body = f"<pre>{escape(text)}</pre>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(name)}</title>'
        f'<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="{style}">'
        f"<h1>{escape(name)}</h1>{body}</html>\n"
    )


def _numbered(html: str) -> str:
    """Return Pygments' lines with the anchors that code hosts use: #L12, where it has #L-12."""
    return re.sub(r'((?:id|name)="|href="#)L-', r"\1L", html)
