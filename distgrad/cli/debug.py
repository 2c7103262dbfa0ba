"""``distgrad debug``: all ranks as threads of this process, so that a debugger can stop them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from distgrad.cli import job
from distgrad.comm import run_ranks

HELP = "run N ranks inside one process, under a debugger"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("--schedule", type=int, metavar="SEED", help="draw the order ranks run in")
    job.add_timeline(parser)
    job.add_options(parser)


def work(options: argparse.Namespace) -> int:
    """Run the script on every rank; return the exit status."""
    job.check(options)
    os.environ |= job.told(options) | job.timeline(options)
    scope: dict[str, Any] = {"__name__": "__main__"}
    if options.module is None:
        path, words = Path(options.script), [options.script, *options.args]
        sys.path.insert(0, str(path.resolve().parent))
    else:
        spec = job.check_module(options.module[0])
        path = Path(spec.origin or "")
        words = [str(path), *options.module[1:]]
        scope |= {"__spec__": spec, "__package__": spec.parent}
        sys.path.insert(0, os.getcwd())
    scope["__file__"] = str(path)
    # The script's own future statements count, not this file's.
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    sys.argv = words

    def script() -> None:
        # Each rank has the script's globals for itself, as separate processes would.
        exec(code, {**scope})

    run_ranks(options.n, script, schedule=options.schedule, report=True)
    return 0
