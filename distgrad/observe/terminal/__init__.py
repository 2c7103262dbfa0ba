"""What a training looks like on a terminal, in a log and through a launcher."""

from distgrad.observe.terminal.command import distgrad_command, resuming, typed
from distgrad.observe.terminal.displays import (
    Display,
    choose,
    displayed,
    obey,
    surroundings,
)
from distgrad.observe.terminal.marks import Reader
from distgrad.observe.terminal.screen import begin_line
from distgrad.observe.terminal.status import Status
from distgrad.observe.terminal.table import Row

__all__ = [
    "Display",
    "Reader",
    "Row",
    "Status",
    "begin_line",
    "choose",
    "displayed",
    "distgrad_command",
    "obey",
    "resuming",
    "surroundings",
    "typed",
]
