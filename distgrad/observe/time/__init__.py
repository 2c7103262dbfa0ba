"""Where the time of a distributed training goes, and who holds the others up."""

from distgrad.observe.time.split import TimeSplit
from distgrad.observe.time.table import Share, Shares

__all__ = ["Share", "Shares", "TimeSplit"]
