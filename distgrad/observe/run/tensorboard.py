"""TensorBoard's event files, by the package tensorboard alone: no TensorFlow, no PyTorch."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from distgrad.errors import DistgradError


class TensorBoardLogger:
    """Writes TensorBoard's event files into ``folder``; ``tensorboard --logdir`` shows them.

    After a resume TensorBoard drops what an earlier part has logged of the same steps.
    Errors: DistgradError without the package tensorboard.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise DistgradError(
                "TensorBoardLogger needs the package tensorboard, which is not installed: "
                "pip install 'distgrad[tensorboard]'"
            )
        self.folder = os.fspath(folder)
        self._writer: Any = None
        self._purged = False

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Show the configuration under HPARAMS."""
        make = import_module("tensorboard.plugins.hparams.summary_v2").hparams_pb
        plain = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in params.items()}
        self._add(summary=make(plain))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Show each number under SCALARS."""
        if not self._purged:  # an earlier part may have come further
            log = import_module("tensorboard.compat.proto.event_pb2").SessionLog
            self._add(step=step, session_log=log(status=log.START))
            self._purged = True
        proto = import_module("tensorboard.compat.proto.summary_pb2").Summary
        values = [proto.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        self._add(step=step, summary=proto(value=values))

    def finalize(self, status: str) -> None:
        """Write all there is and close the file; what comes later begins another one."""
        if self._writer is not None:
            self._writer.close()
        self._writer, self._purged = None, False

    def _add(self, **what: Any) -> None:
        """Add one event; the first one makes the file, so that ranks that log nothing make none."""
        if self._writer is None:
            writer = import_module("tensorboard.summary.writer.event_file_writer")
            self._writer = writer.EventFileWriter(self.folder, flush_secs=10)
        event = import_module("tensorboard.compat.proto.event_pb2").Event
        self._writer.add_event(event(wall_time=time.time(), **what))
