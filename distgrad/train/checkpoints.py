"""Saving and resuming a training run: rank 0 touches the disk, all ranks agree on the outcome."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from distgrad import checkpoint
from distgrad.autograd.types import Array
from distgrad.comm import Communicator
from distgrad.errors import CheckpointError, DistgradError
from distgrad.nn import Module
from distgrad.optim import Optimizer
from distgrad.parallel import World

Arrays = dict[str, dict[str, Array]]


def save(
    world: World,
    folder: str,
    step: int,
    model: Module,
    optimizer: Optimizer,
    meta: Mapping[str, Any],
    keep: int,
) -> None:
    """Write one checkpoint; call it on every rank. Errors: CheckpointError, on every rank."""
    error = ""
    if world.rank == 0:
        arrays, settings = _pack(optimizer.state_dict())
        try:
            checkpoint.save(
                folder,
                step=step,
                arrays={"model": model.state_dict(), "optimizer": arrays},
                meta={**meta, "optimizer": settings, "shards": world.shards},
                keep=keep,
            )
        except CheckpointError as caught:
            error = str(caught)
    _agree(world, error)


def begin(world: World, folder: str, *, fresh: bool) -> None:
    """Check, before the first step, that the run can be saved into ``folder``.

    Errors: CheckpointError, on every rank, if it cannot be written, or if a ``fresh`` run finds
    another one in it: a later resume would take the newest of both for its continuation.
    """
    error = ""
    if world.rank == 0:
        try:
            checkpoint.prepare(folder)
            if fresh and checkpoint.exists(folder):
                error = (
                    f"{folder} holds checkpoints of an earlier run; continue it with resume=True "
                    f"(--resume), or name another folder"
                )
        except CheckpointError as caught:
            error = str(caught)
    _agree(world, error)


def _agree(world: World, error: str) -> None:
    """Raise rank 0's error on every rank."""
    heard = world.comm.broadcast_bytes(error.encode()).decode()
    if heard:
        raise CheckpointError(heard)


def resume(world: World, folder: str, model: Module, optimizer: Optimizer, say: Any) -> Any:
    """Load the newest valid checkpoint on every rank and return its meta, or None if none exists.

    Only rank 0 reads, so the folder may be on its node alone. Damaged checkpoints are skipped and
    named through ``say``. Errors: CheckpointError, on every rank.
    """
    found: checkpoint.Checkpoint | None = None
    header: dict[str, Any] = {}
    if world.rank == 0:
        try:
            found = checkpoint.newest(folder, warn=say)
            if found is not None:
                table = {
                    s: [[n, list(a.shape), a.dtype.str] for n, a in section.items()]
                    for s, section in found.arrays.items()
                }
                header = {"meta": found.meta, "table": table, "path": found.path.name}
        except CheckpointError as error:
            header = {"error": str(error)}
    header = json.loads(world.comm.broadcast_bytes(json.dumps(header).encode()))
    if "error" in header:
        raise CheckpointError(header["error"])
    if not header:
        return None
    arrays = _share(world.comm, None if found is None else found.arrays, header["table"])
    _check_shards(world, header)
    where = header["path"]
    try:
        checkpoint.restore_into(arrays["model"], model.state_dict())
        optimizer.load_state_dict(_unpack(arrays["optimizer"], header["meta"]["optimizer"]))
    except DistgradError as error:
        raise CheckpointError(f"cannot resume from {where}: {error}") from error
    say(f"resumed from {where}")
    return header["meta"]


def _check_shards(world: World, header: Mapping[str, Any]) -> None:
    saved = header["meta"]["shards"]
    if saved != world.shards and world.canonical:
        raise CheckpointError(
            f"{header['path']} was written with shards={saved} and this run has "
            f"shards={world.shards}, which would change the bits; use --shards {saved}"
        )


def _share(
    comm: Communicator, arrays: Mapping[str, Mapping[str, Array]] | None, table: Mapping[str, Any]
) -> Arrays:
    """Send rank 0's arrays to all ranks."""
    result: Arrays = {}
    for section, entries in table.items():
        result[section] = {}
        for name, shape, dtype in entries:
            array = np.empty(shape, dtype)
            if arrays is not None:
                array[...] = arrays[section][name]
            comm.broadcast(array, name=name)
            result[section][name] = array
    return result


def _pack(state: Mapping[str, Any]) -> tuple[dict[str, Array], dict[str, Any]]:
    """Split an optimizer's state_dict into arrays and JSON."""
    arrays: dict[str, Array] = {}
    numbers: dict[str, dict[str, Any]] = {}
    for number, entries in state["state"].items():
        numbers[str(number)] = {}
        for name, value in entries.items():
            if isinstance(value, np.ndarray):
                arrays[f"{number}.{name}"] = value
            else:
                numbers[str(number)][name] = _number(value)
    # As JSON has it: a tuple (AdamW's betas) becomes a list.
    groups = json.loads(json.dumps(state["param_groups"], default=_number))
    return arrays, {"state": numbers, "param_groups": groups}


def _number(value: Any) -> Any:
    """A NumPy number, as a learning rate may be, as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _unpack(arrays: Mapping[str, Array], settings: Mapping[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(n): dict(v) for n, v in settings["state"].items()}
    for key, value in arrays.items():
        number, name = key.split(".", 1)
        state[int(number)][name] = value
    return {"state": state, "param_groups": settings["param_groups"]}
