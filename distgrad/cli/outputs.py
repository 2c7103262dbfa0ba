"""Files that a verb writes at its end: refused before it measures what it could not keep."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from distgrad.errors import DistgradError


def check_outputs(json: str | None, plot: str | None) -> None:
    """Refuse what could not be written, or not drawn. Errors: DistgradError."""
    for path in filter(None, (json, plot)):
        folder = Path(path).resolve().parent
        if not os.access(folder, os.W_OK) or Path(path).is_dir():
            raise DistgradError(f"'{path}' cannot be written: choose a file in a folder of yours")
    if plot:
        _check_plot(plot)


def _check_plot(path: str) -> None:
    if find_spec("matplotlib") is None:
        raise DistgradError(
            "--plot needs matplotlib, which is not installed: pip install 'distgrad[plot]'"
        )
    ending = Path(path).suffix.removeprefix(".").lower()
    known = import_module("matplotlib.backends.backend_agg").FigureCanvasAgg.filetypes
    if ending not in known:
        raise DistgradError(f"--plot '{path}': choose an ending of {', '.join(sorted(known))}")
