"""Run: what a training leaves in a folder while it goes on."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distgrad.comm import gather_json
from distgrad.errors import DistgradError
from distgrad.nn import Module, state_sha256
from distgrad.observe.gradients import GradientHealth
from distgrad.observe.gradients.problems import Problem
from distgrad.observe.run.configuration import as_json, flat
from distgrad.observe.run.facts import begun, parameters, peak_memory
from distgrad.observe.run.layout import COLUMNS
from distgrad.observe.run.loggers import Logger
from distgrad.observe.run.plots import can_draw, draw_plots
from distgrad.observe.run.read import read_run
from distgrad.observe.run.table import write_table
from distgrad.observe.run.writer import RunWriter
from distgrad.observe.time import Shares, TimeSplit
from distgrad.parallel import World, current_world

_RESERVED = frozenset(COLUMNS)


class Run:
    """Writes what a training does and was into ``folder``, which ``distgrad report`` reads.

    ``with Run("runs/a") as run:`` around the training, on every rank; rank 0 writes. ``run.log``
    adds what was measured. The folder also gets the ``configuration`` (a dict, an
    argparse.Namespace, a dataclass), command, versions, environment, state of git, hosts and peak
    memory; with a ``model`` the number of its parameters and their hash at the end; metrics.csv
    and, if matplotlib is there and ``plots`` are wanted, pictures. Lines are on disk after two
    seconds, so a kill loses no more. ``loggers`` hear the same numbers on rank 0. A folder that has
    a run is refused unless ``resume``, which adds a part to its history. Entering and leaving are
    collective; each time the block is entered is a part. With ``None`` for a folder, which a
    program's option may give, nothing is kept.
    Errors: DistgradError for a folder that has a run or cannot be written, on every rank; for a
    configuration or a number that JSON cannot hold; for loggers without a folder.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        *,
        world: World | None = None,
        model: Module | None = None,
        configuration: object = None,
        loggers: Sequence[Logger] = (),
        resume: bool = False,
        plots: bool = True,
    ) -> None:
        self._folder = None if folder is None else Path(folder)
        self.model, self.resume, self.plots = model, resume, plots
        self.ended_by: str | None = None
        """Why the part ends, if something else than the end of the block ends it."""
        self.hurried = False
        """Whether the part has to end soon, without pictures: a later end draws them."""
        self.loggers = [_checked(logger) for logger in loggers]
        if loggers and folder is None:
            raise DistgradError("Run(None, loggers=…): they hear what a folder keeps; name one")
        self._world = world
        self._own, self._more = as_json(configuration), dict[str, Any]()
        self._writer: RunWriter | None = None
        self._inside = False
        self._first_step: int | None = None
        self._total_steps: int | None = None
        self._step = 0
        self._following: list[tuple[list[Any], Callable[..., None]]] = []

    # -- what the training says -------------------------------------------------------------------

    def log(self, step: int, values: Mapping[str, Any], *, epoch: int | None = None) -> None:
        """Add what was measured at ``step``, the number of steps done: numbers by name.

        Call it on every rank with what is true of the whole batch, such as a ShardSum's result;
        rank 0's values are written.
        """
        if not self._inside:
            raise DistgradError("run.log outside its block: write `with run:` around the training")
        step = operator.index(step)
        if self._first_step is None:
            self.begins(max(0, step - 1))
        self._step = step
        if self._writer is not None:
            numbers = {_name(name): _number(name, value) for name, value in values.items()}
            self._writer.metrics(step, epoch, numbers)
            for logger in self.loggers:
                logger.log_metrics(numbers, step)

    def begins(self, first_step: int, total_steps: int | None = None) -> None:
        """Say how many steps had been done when this part began, and how many there will be.

        Without it the first step that is logged tells. What earlier parts logged of later steps is
        superseded: they are done again.
        """
        if self._first_step is None:
            self._first_step = self._step = first_step
        self._total_steps = total_steps
        if self._writer is not None:
            self._writer.part |= self._extent()
            self._writer.save()

    def flush(self) -> None:
        """Hand all lines over to the system now, before a checkpoint or a long pause."""
        if self._writer is not None:
            self._writer.write()

    def follow(self, source: TimeSplit | GradientHealth) -> None:
        """Write down what a TimeSplit or a GradientHealth finds, until the block is left."""
        if not isinstance(source, TimeSplit | GradientHealth):
            raise DistgradError(
                f"run.follow takes a TimeSplit or a GradientHealth; got a {type(source).__name__}"
            )
        if not self._inside:
            raise DistgradError("run.follow outside its block: call it within `with run:`")
        hear = self._hear_time if isinstance(source, TimeSplit) else self._hear_health
        listeners: list[Any] = source.listeners
        if hear not in listeners:  # a second fit in the same block
            listeners.append(hear)
            self._following.append((listeners, hear))

    def configure(self, **more: object) -> None:
        """Add to the configuration; the user's settings of the same names stay."""
        self._more |= as_json(more)
        if self._writer is not None:
            self._writer.facts["configuration"] = self.configuration
            self._writer.save()
            self._tell_configuration()

    @property
    def folder(self) -> Path:
        """Where it is kept. Errors: DistgradError if it is not: ``Run(None)``."""
        if self._folder is None:
            raise DistgradError("this Run has no folder: it was made as Run(None)")
        return self._folder

    @property
    def kept(self) -> bool:
        """Whether it has a folder."""
        return self._folder is not None

    @property
    def configuration(self) -> dict[str, Any]:
        """The settings, as JSON has them."""
        return {**self._more, **self._own}

    @property
    def inside(self) -> bool:
        """Whether its block has been entered."""
        return self._inside

    # -- a part -----------------------------------------------------------------------------------

    def __enter__(self) -> Run:
        if self._inside:
            raise DistgradError(f"the block of the run in {self._folder} was entered twice")
        if not self.kept:
            self._inside = True
            return self
        world = self._world = self._world or current_world()
        part = begun(world, self.model)
        part |= self._extent()
        error = ""
        if world.rank == 0:
            try:
                self._writer = RunWriter(self.folder, self.configuration, part, resume=self.resume)
            except DistgradError as caught:
                error = str(caught)
        if heard := world.comm.broadcast_bytes(error.encode(), name="run folder").decode():
            raise DistgradError(heard).everywhere()
        self._inside, self.resume = True, True  # the next part continues this one
        self.ended_by, self.hurried = None, False
        self._tell_configuration()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        for listeners, hear in self._following:
            listeners.remove(hear)
        self._following.clear()
        self._inside, self._first_step, self._total_steps = False, None, None
        if not self.kept:
            return
        writer, self._writer = self._writer, None
        if error is not None:
            if writer is not None:
                writer.close(f"{type(error).__name__}: {error}")
                self._finalize("failed")
            return
        found = self._found_at_the_end()
        if writer is not None:
            writer.part |= found
            writer.close(self.ended_by or "completed")
            self._finalize("success")
            record = read_run(self.folder)
            write_table(record)
            if self.plots and not self.hurried and can_draw():
                draw_plots(record)

    def _extent(self) -> dict[str, int | None]:
        first = self._first_step
        last = None if first is None else self._step
        return {"first_step": first, "last_step": last, "total_steps": self._total_steps}

    def _found_at_the_end(self) -> dict[str, Any]:
        """Return what all ranks have to say; collective."""
        world = self._world
        assert world is not None
        peaks = gather_json(world.comm, peak_memory(), "run folder")
        # Ranks that share parameters out gather them: on every rank, like the hash.
        state = None if self.model is None else self.model.state_dict()
        sha256 = state_sha256(state) if state is not None and world.rank == 0 else None
        return {"peak_memory": peaks, "hash": sha256, "parameters": parameters(self.model)}

    def _tell_configuration(self) -> None:
        if self._writer is not None:
            for logger in self.loggers:
                logger.log_hyperparams(flat(self.configuration))

    def _finalize(self, status: str) -> None:
        for logger in self.loggers:
            finalize = getattr(logger, "finalize", None)
            if finalize is not None:
                finalize(status)

    # -- what it follows --------------------------------------------------------------------------

    def _hear_time(self, steps: int, shares: Shares) -> None:
        if self._writer is not None and steps:
            self._writer.time(self._step, steps, [_split(shares, rank) for rank in shares.ranks])

    def _hear_health(
        self, step: int, layers: Mapping[str, float], problems: Sequence[Problem]
    ) -> None:
        if self._writer is not None:
            # GradientHealth counts from 0, as observe() does; a run counts the steps done.
            self._writer.health(step + 1, dict(layers), [str(problem) for problem in problems])


def _split(shares: Shares, share: Any) -> list[float]:
    """Return a rank's seconds: all, waiting, transfer, hidden, data."""
    _, waiting, transfer = (part * share.seconds for part in shares.of(share)[:3])
    data = vars(share).get("data", 0.0)
    return [float(s) for s in (share.seconds, waiting, transfer, share.hidden, data)]


def _checked(logger: object) -> Logger:
    if not isinstance(logger, Logger):
        raise DistgradError(
            f"a {type(logger).__name__} is no logger: it needs the methods log_hyperparams(params) "
            f"and log_metrics(metrics, step)"
        )
    return logger


def _name(name: object) -> str:
    if not isinstance(name, str) or name in _RESERVED:
        raise DistgradError(
            f"run.log: {name!r} cannot be the name of what was measured: it is no text, or one of "
            f"{', '.join(COLUMNS)}; choose another"
        )
    return name


def _number(name: str, value: Any) -> float:
    if type(value) is float or type(value) is int:
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DistgradError(
            f"run.log: '{name}' is {value!r:.60}, a {type(value).__name__}, where one number is "
            f"due; sum or average it first"
        ) from None
