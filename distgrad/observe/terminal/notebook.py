"""A training in a notebook: one output of the cell, which is written anew; no widgets needed."""

from __future__ import annotations

import html
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from distgrad.observe.terminal import words
from distgrad.observe.terminal.status import Status
from distgrad.observe.terminal.table import Row, table_lines

_COLUMNS = 110  # of the words in a cell's output


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython: Any = sys.modules.get("IPython")  # whoever is in a notebook has imported it
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class Notebook:
    """The output of a cell: the live line, and at the end the table in its place."""

    interval, live = 0.25, True

    def __init__(self) -> None:
        self._output: Any = None

    def show(self, status: Status) -> None:
        """Write the output anew."""
        line = words.live_line(status, _COLUMNS, ascii_only=False, color=False, bar=False).plain
        bar = ""
        if status.total:
            bar = f'<progress max="{status.total}" value="{status.step}"></progress> '
        self._put({"text/plain": line, "text/html": f"{bar}<code>{html.escape(line)}</code>"})

    def evaluated(self, status: Status) -> None:
        """Write the output anew, with the result."""
        self.show(status)

    def say(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Put the table in the place of the live line."""
        cells = "".join(
            f'<tr><th style="text-align: left">{html.escape(row.name)}</th>'
            f'<td style="text-align: left; white-space: pre-line">{_value(row)}</td></tr>'
            for row in rows
        )
        caption = f'<caption style="text-align: left">{html.escape(title)}</caption>'
        text = "\n".join(table_lines(title, rows, _COLUMNS))
        self._put({"text/plain": text, "text/html": f"<table>{caption}{cells}</table>"})
        self._output = None

    def close(self, *, failed: bool) -> None:
        """Nothing: the last line stays, or the table comes."""

    def _put(self, data: Mapping[str, str]) -> None:
        display: Any = import_module("IPython.display").display  # there, as there is a notebook
        if self._output is None:
            self._output = display(data, raw=True, display_id=True)
        else:
            self._output.update(data, raw=True)


def _value(row: Row) -> str:
    value = html.escape(row.value)
    return f"<code>{value}</code>" if row.command else value
