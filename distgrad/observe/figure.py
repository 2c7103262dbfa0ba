"""A figure of matplotlib's, which is imported when the first one is drawn."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from distgrad.errors import DistgradError


def new_figure(what: str, width: float, height: float) -> Any:
    """Return an empty figure, in inches, for ``savefig``. Errors: DistgradError without matplotlib.

    ``what`` names in the error what was to be drawn.
    """
    try:
        figures = import_module("matplotlib.figure")
        agg = import_module("matplotlib.backends.backend_agg")
    except ImportError as error:
        raise DistgradError(
            f"{what} needs matplotlib, which is not installed: pip install 'distgrad[plot]'"
        ) from error
    figure = figures.Figure(figsize=(width, height), dpi=120, layout="constrained")
    agg.FigureCanvasAgg(figure)  # no pyplot: its global state is the user's
    return figure
