"""The pages of the API reference: every public name with its signature, its docstring, an example.

Examples are run here, while the pages are made, and shown with what they print.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from derived import shown
from example_files import Example
from names import Name, public
from sources import place

from distgrad.autograd import Op

ROOT = Path(__file__).resolve().parents[2]
FUNCTIONS = "distgrad.functions."


class Reference:
    """All pages, by their paths in the site."""

    def __init__(self) -> None:
        self.names = public()
        self.examples = shown(self.names)
        missing = [name for name, (kind, _) in self.examples.items() if not kind]
        if missing:
            raise SystemExit(
                f"public names without an example: {', '.join(missing)}. Write one for each under "
                f"docs/examples (docs/site/example_files.py says how)"
            )
        self.places: dict[str, str] = {}
        """The page of each dotted name that is described."""
        self.sources: set[str] = set()
        """The files that are linked to, as their paths in the repository."""
        self.titles: dict[str, str] = {}
        """The title of each page, in the order of the navigation."""
        self._groups: dict[str, list[Name]] = {}
        for name in self.names:
            page, title = _page(name)
            self.titles.setdefault(page, title)
            self._groups.setdefault(page, []).append(name)
            if not name.alias:
                self.places[name.dotted] = page

    def pages(self) -> Iterator[tuple[str, str]]:
        """Yield path and text of each page."""
        for page, names in self._groups.items():
            yield page, self._text(page, names)

    def index(self) -> str:
        """Return the page that lists all others, with the first line of each."""
        rows = []
        for page, names in self._groups.items():
            described = sum(not name.alias for name in names)
            intro = _intro(names).split("\n")[0]
            rows.append(f"| [{self.titles[page]}]({Path(page).name}) | {intro} | {described} |")
        kinds = [kind for kind, _ in self.examples.values()]
        return (
            f"# API reference\n\n{len(kinds)} public names, of which {kinds.count('alias')} are "
            "second names of others. Each has an example, run when this site was built. The search "
            "field finds a name as it is written in code. [Ops](../ops.md) lists signatures and "
            "orders of differentiation, [From PyTorch](../from-pytorch.md) what PyTorch's names "
            "are here, [the command line](command-line.md) the verbs of `distgrad`.\n\n"
            "| module | what is in it | names |\n|---|---|---|\n" + "\n".join(rows) + "\n"
        )

    def _text(self, page: str, names: Sequence[Name]) -> str:
        parts = [f"# {self.titles[page]}\n\n{_intro(names)}\n"]
        aliases = [name for name in names if name.alias]
        # Errors last: nobody opens a page for them first.
        described = sorted((n for n in names if not n.alias), key=lambda n: _is_error(n.value))
        parts += [self._entry(name) for name in described]
        if aliases:
            listed = ", ".join(self._link(name, page) for name in aliases)
            parts.append(f"\n## Names of things described elsewhere\n\n{listed}.\n")
        return "\n".join(parts)

    def _link(self, name: Name, page: str) -> str:
        target = self.places[name.home]
        up = "" if target == page else Path(target).name
        return f"[`{name.name}`]({up}#{name.home})"

    def _entry(self, name: Name) -> str:
        kind = _kind(name.value)
        lines = [f"## `{name.name}` {{ #{name.dotted} }}", ""]
        lines += [f"*{kind}* &nbsp;·&nbsp; {self._source(name)}", ""]
        if signature := _signature(name):
            lines += [_code(signature, "signature"), ""]
        lines += [_prose(_docstring(name.value)), ""]
        if inspect.isclass(name.value):
            lines += _members(name.value)
        for example in self.examples[name.dotted][1]:
            lines += [_shown(example), ""]
        return "\n".join(lines)

    def _source(self, name: Name) -> str:
        """Return a link to the lines that define a thing; its dotted name where there are none."""
        value = inspect.unwrap(name.value.function if isinstance(name.value, Op) else name.value)
        if isinstance(value, FunctionType):
            path, line = Path(value.__code__.co_filename), value.__code__.co_firstlineno
        elif inspect.isclass(value) and (own := sys.modules[value.__module__].__file__):
            path, line = Path(own), _classes(own).get(value.__qualname__, 1)
        else:
            return f"`{name.dotted}`"
        if not path.is_relative_to(ROOT / "distgrad"):  # NumPy's may lie in a .venv in ROOT
            return f"`{name.dotted}`"
        file = path.relative_to(ROOT).as_posix()
        self.sources.add(file)
        return f"[{file}:{line}](../{place(file)}#L{line})"


@cache
def _classes(file: str) -> dict[str, int]:
    """Return the line of each class of a file."""
    body = ast.parse(Path(file).read_text()).body
    return {node.name: node.lineno for node in body if isinstance(node, ast.ClassDef)}


def _page(name: Name) -> tuple[str, str]:
    """Return the path of a name's page, and its title."""
    home = str(getattr(name.value, "__module__", ""))
    if name.module == "distgrad" and home.startswith(FUNCTIONS):
        group = home.removeprefix(FUNCTIONS).split(".")[0]
        if name.name.endswith("_") and not name.name.endswith("__"):
            group = "in_place"
        title = group.replace("_", " ")
        return f"reference/distgrad.{group}.md", f"distgrad: {title}"
    return f"reference/{name.module}.md", name.module


def _intro(names: Sequence[Name]) -> str:
    """Return what the module's docstring says of all of them."""
    homes = {str(getattr(n.value, "__module__", "")) for n in names}
    if names[0].module == "distgrad" and all(h.startswith(FUNCTIONS) for h in homes):
        if names[0].name.endswith("_"):
            return "Functions that write their result into their first argument, and return it."
        return _prose((sys.modules[homes.pop()].__doc__ or "").strip())
    return _prose((importlib.import_module(names[0].module).__doc__ or "").strip())


def _is_error(value: Any) -> bool:
    return inspect.isclass(value) and issubclass(value, BaseException)


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return "exception" if _is_error(value) else "class"
    if isinstance(value, Op):
        return "op"
    return "function" if callable(value) else "constant"


def _documented(value: Any) -> bool:
    """Whether a docstring is the thing's own, and not that of the type of a constant."""
    return inspect.isclass(value) or inspect.isroutine(value) or isinstance(value, Op)


def _docstring(value: Any) -> str:
    doc = (inspect.getdoc(value) or "") if _documented(value) else ""
    if str(getattr(value, "__module__", "distgrad")).startswith("distgrad"):
        return doc
    return f"NumPy's. {doc.partition(chr(10) * 2)[0]}"  # which has pages of its own


def _signature(name: Name) -> str:
    if not _documented(name.value):
        return f"{name.name} = {name.value!r}"[:200]
    if isinstance(name.value, Op):
        return "\n".join(f"{name.name}: {signature}" for signature in name.value.signatures)
    try:
        signature = inspect.signature(name.value)
    except (TypeError, ValueError):
        return ""
    parameters = [_parameter(p) for p in signature.parameters.values()]
    kinds = [p.kind for p in signature.parameters.values()]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parameters.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    if inspect.Parameter.POSITIONAL_ONLY in kinds:
        last = len(kinds) - 1 - kinds[::-1].index(inspect.Parameter.POSITIONAL_ONLY)
        parameters.insert(last + 1, "/")
    result = "" if inspect.isclass(name.value) else _annotation(signature.return_annotation, " -> ")
    line = f"{name.name}({', '.join(parameters)}){result}"
    if len(line) <= 88:
        return line
    return f"{name.name}(\n" + "".join(f"    {p},\n" for p in parameters) + f"){result}"


def _parameter(p: inspect.Parameter) -> str:
    stars = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    text = stars + p.name + _annotation(p.annotation, ": ")
    if p.default is p.empty:
        return text
    default = re.sub(r" at 0x[0-9a-f]+", "", repr(p.default))
    default = re.sub(
        r"<(?:class|function) '?([\w.]+?)'?>", lambda m: m[1].rpartition(".")[2], default
    )
    default = re.sub(r"<(\w+\.\w+): .*?>", r"\1", default)
    return f"{text}={default}" if p.annotation is p.empty else f"{text} = {default}"


def _annotation(annotation: Any, before: str) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return before + re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Za-z])", "", text)


def _members(kind: type) -> list[str]:
    """Return a table of the methods and attributes that a class defines itself, documented ones."""
    rows = []
    for name, member in sorted(vars(kind).items()):
        value = getattr(member, "__func__", member)  # of a classmethod, a staticmethod
        own = inspect.isfunction(value) and value.__qualname__.startswith(kind.__qualname__)
        doc = inspect.getdoc(value) if own or isinstance(value, property) else None
        if doc and not name.startswith("_"):
            call = "" if isinstance(value, property) else "()"
            first = " ".join(doc.split("\n\n")[0].split()).replace("|", "\\|")
            rows.append(f"| `{name}{call}` | {_prose(first)} |")
    if not rows:
        return []
    table = ["| method | |", "|---|---|", *rows, ""]
    if len(rows) <= 12:
        return table
    return [f'??? note "{len(rows)} methods and properties"', "", *(f"    {r}" for r in table), ""]


def _prose(doc: str) -> str:
    """Return a docstring as Markdown: ``code`` in one pair of backticks, prompts as blocks."""
    return "\n\n".join(map(_paragraph, doc.split("\n\n")))


def _paragraph(text: str) -> str:
    if text.lstrip().startswith(">>> "):
        return f"```pycon\n{inspect.cleandoc(text)}\n```"
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([<*_])", r"\\\1", p) for p in pieces)


def _shown(example: Example) -> str:
    note = f"{example.note[0].upper()}{example.note[1:]}:\n\n" if example.note else ""
    return f"{note}{_code(example.whole)}\n\n{_code(example.run(), 'result')}"


def _code(code: str, kind: str = "") -> str:
    language = "text" if kind == "result" else "python"
    mark = f"``` {{ .{language} .{kind} }}" if kind else f"```{language}"
    return f"{mark}\n{code}\n```"
