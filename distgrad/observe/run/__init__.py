"""The run folder: what a training leaves on disk, written while it runs, read by anybody."""

from distgrad.observe.run.loggers import Logger
from distgrad.observe.run.read import Part, RunReader, RunRecord, read_run
from distgrad.observe.run.run import Run
from distgrad.observe.run.tensorboard import TensorBoardLogger

__all__ = ["Logger", "Part", "Run", "RunReader", "RunRecord", "TensorBoardLogger", "read_run"]
