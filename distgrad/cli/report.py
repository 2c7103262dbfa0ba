"""``distgrad report``: run folders as one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path

from distgrad import __version__
from distgrad.files import shown
from distgrad.observe.run.layout import REPORT

HELP = "make one HTML page of one run or several: curves, gradients, time, settings"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run's folder; of several the curves are overlaid"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help=f"(default: {REPORT} in the first run's folder)",
    )


def work(options: argparse.Namespace) -> int:
    """Write the page and say where it is; return the exit status."""
    from distgrad.observe.report import write_report  # noqa: PLC0415 (other verbs start without)

    path = Path(options.output) if options.output else Path(options.runs[0]) / REPORT
    size = write_report(options.runs, path, __version__)
    print(f"report: {shown(path)} ({size / 1e6:.1f} MB); open it in a browser")
    return 0
