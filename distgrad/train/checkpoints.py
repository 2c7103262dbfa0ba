"""Saving and resuming a training run: rank 0 touches the disk, all ranks agree on the outcome.

It walks the run's parts and knows none of them.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from distgrad import checkpoint
from distgrad.autograd.types import Array
from distgrad.comm import Communicator
from distgrad.errors import CheckpointError, DistgradError
from distgrad.nn import Module
from distgrad.parallel import World
from distgrad.parallel.agreement import compare
from distgrad.tracing import traced
from distgrad.train.parts import Parts, PerRank, Stateful, Weights, pack, unpack

Arrays = Mapping[str, Mapping[str, Array]]

_FOREIGN = "another program wrote it: name another folder"


@traced("checkpoint")
def save(world: World, folder: str, step: int, parts: Parts, keep: int) -> None:
    """Write one checkpoint of ``parts``; call it on every rank.

    The parts' ``state_dict`` is called on every rank (ranks that share parameters out gather them);
    where a part's state differs between ranks, its ``gather(world)``. Errors: CheckpointError, on
    every rank.
    """
    error = ""
    gathered = {n: part.gather(world) for n, part in parts.items() if isinstance(part, PerRank)}
    states = {n: part.state_dict() for n, part in parts.items() if not gathered.get(n)}
    if world.rank == 0:
        packed = {n: pack(gathered.get(n) or states[n]) for n in parts}
        meta = {"shards": world.shards, "parts": {name: rest for name, (_, rest) in packed.items()}}
        arrays = {name: arrays for name, (arrays, _) in packed.items() if arrays}
        try:
            checkpoint.save(folder, step=step, arrays=arrays, meta=meta, keep=keep)
        except CheckpointError as caught:
            error = str(caught)
    _agree(world, error)


def begin(world: World, folder: str | None, parts: Parts, *, resume: bool, step: int) -> None:
    """Look at the folder before the first step, and continue what is in it if asked to.

    Only rank 0 reads, so the folder may be on its node alone. Errors: CheckpointError, on every
    rank, if it cannot be written, if what is in it is not of these parts, or if a new run (of
    ``step`` 0) finds another's in it: a later resume would take the newest of both.
    """
    if folder is None:
        if resume:
            raise DistgradError("resume=True needs the folder: Trainer(run=…) or (checkpoint=…)")
        return
    compare(world, {"Trainer(schedule=, clip_norm=, also_saved=)": list(parts)})
    error = ""
    if world.rank == 0:
        try:
            checkpoint.prepare(folder)
            if not resume and not step and checkpoint.exists(folder):
                error = (
                    f"{folder} holds checkpoints of an earlier run; continue it with resume=True "
                    f"(--resume), or name another folder"
                )
        except CheckpointError as caught:
            error = str(caught)
    _agree(world, error)
    if resume:
        path = _resume(world, folder, parts)
        nothing = f"no checkpoint in {folder} yet: starting from the beginning"
        world.print(f"resumed from {path}" if path else nothing)


def best_of(folder: str) -> str:
    """Return the folder, within that of the checkpoints, of the best one."""
    return os.path.join(folder, "best")


def load_weights(world: World, folder: str, model: Module) -> str:
    """Give ``model`` the weights of the newest checkpoint in ``folder``; return its name, or "".

    Errors: CheckpointError, on every rank.
    """
    return _resume(world, folder, {"model": Weights(model)}, others=True)


def _resume(world: World, folder: str, parts: Parts, *, others: bool = False) -> str:
    """Let all parts continue from the newest checkpoint that is whole; return its name, or "".

    Damaged ones are skipped and named. There may be ``others`` in it.
    """
    arrays: Arrays | None = None
    header: dict[str, Any] = {}
    if world.rank == 0:
        try:
            found = checkpoint.newest(folder, warn=world.print)
            if found is not None:
                arrays, rests = _read(world, found, parts, others)
                table = {s: [_spec(n, a) for n, a in named.items()] for s, named in arrays.items()}
                header = {"rests": rests, "table": table, "path": found.path.name}
        except CheckpointError as error:
            header = {"error": str(error)}
    header = json.loads(world.comm.broadcast_bytes(json.dumps(header).encode(), name="checkpoint"))
    if "error" in header:
        raise CheckpointError(header["error"]).everywhere()
    if not header:
        return ""
    arrays = _share(world.comm, arrays, header["table"])
    for name, part in parts.items():
        state = unpack(arrays.get(name, {}), header["rests"][name])
        _load(name, part, state, header["path"])
    return str(header["path"])


def _agree(world: World, error: str) -> None:
    """Raise rank 0's error on every rank."""
    heard = world.comm.broadcast_bytes(error.encode(), name="checkpoint").decode()
    if heard:
        raise CheckpointError(heard).everywhere()


def _read(
    world: World, found: checkpoint.Checkpoint, parts: Parts, others: bool
) -> tuple[Arrays, dict[str, Any]]:
    """Return the states in a checkpoint, arrays apart, if they are those of ``parts``.

    With ``others`` more may be in it, which is left out. Errors: CheckpointError saying what is
    missing, or there and not of this run.
    """
    path = found.path.name
    arrays: Arrays = found.arrays
    shards, rests = found.meta.get("shards"), found.meta.get("parts")
    if rests is None:
        arrays, rests = _first_layout(arrays, found.meta)
    if not isinstance(rests, dict):
        raise CheckpointError(
            f"cannot resume from {path}: its 'parts' are no mapping; if {_FOREIGN}"
        )
    missing, extra = sorted(set(parts) - set(rests)), sorted({*rests, *arrays} - set(parts))
    if missing:
        raise CheckpointError(
            f"cannot resume from {path}: {_listed(missing)} is missing in it; make the Trainer as "
            f"it was when this was saved (schedule=, clip_norm=, also_saved=); if {_FOREIGN}"
        )
    if others:
        arrays = {n: arrays[n] for n in parts if n in arrays}
        rests = {n: rests[n] for n in parts}
    elif extra:
        raise CheckpointError(
            f"cannot resume from {path}: it holds {_listed(extra)}, which this run has not; make "
            f"the Trainer as it was when this was saved (schedule=, clip_norm=, also_saved=)"
        )
    for name, rest in rests.items():
        if not isinstance(rest, dict):
            raise CheckpointError(f"cannot resume from {path}: '{name}' is {rest!r}; if {_FOREIGN}")
        try:
            unpack(arrays.get(name, {}), copy.deepcopy(rest))
        except CheckpointError as error:
            text = f"cannot resume from {path}: in '{name}' {error}; if {_FOREIGN}"
            raise CheckpointError(text) from None
    _check_shards(world, path, shards)
    return arrays, rests


def _check_shards(world: World, path: str, saved: Any) -> None:
    if type(saved) is not int:
        raise CheckpointError(
            f"cannot resume from {path}: shards={saved!r} in it is no number; if {_FOREIGN}"
        )
    if saved != world.shards and world.canonical:
        raise CheckpointError(
            f"{path} was written with shards={saved} and this run has shards={world.shards}, "
            f"which would change the bits; use --shards {saved}"
        )


def _first_layout(arrays: Arrays, meta: Mapping[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """Return what a checkpoint of the layout before ``parts`` would hold in the present one."""
    rests = {k: v for k, v in meta.items() if k != "shards" and v is not None}
    named = dict(arrays)
    if "model" in named:
        rests["model"] = {}
    if "optimizer" in named:  # its arrays were called "0.exp_avg"
        named["optimizer"] = {
            "state/" + name.replace(".", "/", 1): a for name, a in named["optimizer"].items()
        }
    return named, rests


def _spec(name: str, array: Array) -> list[Any]:
    return [name, list(array.shape), array.dtype.str]


def _share(comm: Communicator, arrays: Arrays | None, table: Mapping[str, Any]) -> Arrays:
    """Send rank 0's arrays to all ranks."""
    result: dict[str, dict[str, Array]] = {}
    for section, entries in table.items():
        result[section] = {}
        for name, shape, dtype in entries:
            array = np.empty(shape, dtype)
            if arrays is not None:
                array[...] = arrays[section][name]
            comm.broadcast(array, name=name)
            result[section][name] = array
    return result


def _load(name: str, part: Stateful, state: Any, path: str) -> None:
    """Let a part continue from ``state``. Errors: CheckpointError, the same on every rank."""
    try:
        part.load_state_dict(state)
    except DistgradError as error:
        raise CheckpointError(f"cannot resume from {path}: {error}") from error
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"cannot resume from {path}: '{name}' in it is no state of this run's "
            f"{type(part).__name__} ({type(error).__name__}: {error}); if {_FOREIGN}"
        ) from error


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names))
