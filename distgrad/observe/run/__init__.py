"""The run folder: what a training leaves on disk, written while it runs, read by anybody."""

from distgrad.observe.run.read import Part, RunReader, RunRecord, read_run

__all__ = ["Part", "RunReader", "RunRecord", "read_run"]
