"""One dictionary of parts: what is split for a checkpoint comes back, and what is foreign is named.

The checkpoints here are whole, with valid seals: it is what they say that does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import checkpoint, nn, optim
from distgrad.comm import run_ranks
from distgrad.nn import functional as F
from distgrad.train.parts import OWN, pack, unpack

# -- splitting and joining ----------------------------------------------------------------------

STATES = [
    {},
    {"step": 3, "loss": float("inf"), "name": "x", "none": None, "flag": True},
    {"0.weight": np.arange(6.0).reshape(2, 3), "a/b": np.ones(2), "c~1d": np.zeros(0)},
    {"state": {0: {"step": 2, "m": np.arange(3)}, 4: {"m": np.array(7, np.int64)}}},
    {"averages": [np.arange(2), {"deep": (np.ones((1, 0, 2)), 5)}], "groups": [{"lr": 0.1}]},
    {"group": {"lr": np.float32(0.1), "betas": (0.9, 0.999)}},
]


def plain(value: Any) -> Any:
    """What JSON makes of everything but arrays, and arrays as something that can be compared."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, value.tobytes()]
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


@pytest.mark.parametrize("state", STATES)
def test_a_state_that_is_split_comes_back(state: dict[str, Any]) -> None:
    arrays, rest = pack(state)
    joined = unpack(arrays, json.loads(json.dumps(rest)))
    assert plain(joined) == plain(state)


def test_arrays_of_a_model_keep_their_names_in_the_file() -> None:
    arrays, _ = pack(nn.Sequential(nn.Linear(2, 3)).state_dict())
    assert set(arrays) == {"0.weight", "0.bias"}


@pytest.mark.parametrize("name", ["a/b", "list/9", "list/x", "number/x", "a/b/c"])
def test_an_array_without_a_place_is_named(name: str) -> None:
    with pytest.raises(dg.CheckpointError, match=f"no place for its array '{name}'"):
        unpack({name: np.ones(1)}, {"list": [1], "number": 5})


# -- runs ---------------------------------------------------------------------------------------


def data() -> dg.data.ArrayDataset:
    i = np.arange(40)
    x = np.sin(np.outer(i + 1, np.arange(1, 7))).astype(np.float32)
    return dg.data.ArrayDataset(x, (i * i) % 3)


def fit(folder: Path, steps: int, *, resume: bool = False, **settings: Any) -> dg.Trainer:
    dg.init(shards=4)
    dg.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3))
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    make = settings.pop("also", None)
    also, callbacks = make(model, optimizer) if make else (None, [])
    trainer = dg.Trainer(
        model,
        optimizer,
        F.cross_entropy,
        schedule=optim.WarmupCosineLR(optimizer, 3, 30),
        clip_norm=optim.AutoClip(30),
        checkpoint=str(folder),
        best="loss",
        also_saved=also,
        callbacks=callbacks,
        progress=False,
        **settings,
    )
    loader = dg.data.DataLoader(data(), 12, shuffle=True, seed=2)
    held_out = dg.data.DataLoader(data(), 20)
    stop = [dg.LossPlateau(1000)]
    trainer.fit(loader, max_steps=steps, stop=stop, resume=resume, evaluate=held_out)
    return trainer


def averages(model: nn.Module, _: Any) -> tuple[dict[str, Any], list[Any]]:
    ema = optim.ExponentialMovingAverage(model.parameters(), 0.9)
    swa = optim.AveragedModel(model)
    return {"ema": ema, "swa": swa}, [
        lambda state: (ema.update(), swa.update_parameters(model)),
    ]


def other_model(model: nn.Module, _: Any) -> tuple[dict[str, Any], list[Any]]:
    twin = nn.Linear(6, 5)

    def follow(state: Any) -> None:
        twin.weight.array[...] = 0.5 * twin.weight.array + model[0].weight.array  # type: ignore

    return {"twin": twin}, [follow]


def plateau(_: Any, optimizer: Any) -> tuple[dict[str, Any], list[Any]]:
    reduce = optim.ReduceLROnPlateau(optimizer, patience=1)
    return {"reduce": reduce}, [lambda state: reduce.step(state.loss)]


@pytest.mark.parametrize("make", [averages, other_model, plateau])
def test_a_users_own_parts_are_saved_and_resumed(make: Any, tmp_path: Path) -> None:
    def bits(folder: str, steps: int, resume: bool = False) -> Any:
        trainer = fit(tmp_path / folder, steps, resume=resume, also=make)
        return {n: plain(dict(p.state_dict())) for n, p in trainer.also_saved.items()}

    undisturbed = run_ranks(1, lambda: bits("a", 9))[0]
    assert run_ranks(3, lambda: bits("b", 5)) != [undisturbed] * 3
    assert run_ranks(2, lambda: bits("b", 9, resume=True)) == [undisturbed] * 2


def test_a_users_model_of_another_dtype_is_refused_not_converted(tmp_path: Path) -> None:
    def twin(dtype: Any) -> Callable[[Any, Any], Any]:
        return lambda model, optimizer: ({"twin": nn.Linear(2, 2).to(dtype)}, [])

    run_ranks(1, lambda: fit(tmp_path, 2, also=twin(np.float32)))
    with pytest.raises(dg.CheckpointError, match=r"step-000002.*'weight' is float32 in it and flo"):
        run_ranks(3, lambda: fit(tmp_path, 4, resume=True, also=twin(np.float64)))


@pytest.mark.parametrize("name", [*OWN, "a b", "", "../x"])
def test_a_name_that_cannot_be_saved_under_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(dg.DistgradError, match=r"also_saved=.*choose another name.*none of model"):
        run_ranks(1, lambda: fit(tmp_path, 1, also=lambda m, o: ({name: o}, [])))


def test_an_object_without_a_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(dg.DistgradError, match=r"also_saved=\{'x'.*ndarray has no state_dict"):
        run_ranks(1, lambda: fit(tmp_path, 1, also=lambda m, o: ({"x": np.ones(1)}, [])))


def test_a_part_that_was_not_saved_is_named(tmp_path: Path) -> None:
    run_ranks(1, lambda: fit(tmp_path, 2))
    with pytest.raises(dg.CheckpointError, match=r"step-000002: 'ema', 'swa' is missing.*also_sav"):
        run_ranks(3, lambda: fit(tmp_path, 4, resume=True, also=averages))


def test_a_saved_part_that_the_run_has_not_is_named(tmp_path: Path) -> None:
    run_ranks(1, lambda: fit(tmp_path, 2, also=averages))
    with pytest.raises(dg.CheckpointError, match=r"holds 'ema', 'swa', which this run has not"):
        run_ranks(3, lambda: fit(tmp_path, 4, resume=True))


def test_ranks_with_other_parts_are_told_so(tmp_path: Path) -> None:
    def on_one(model: nn.Module, optimizer: Any) -> tuple[dict[str, Any], list[Any]]:
        return averages(model, optimizer) if dg.current_world().rank == 1 else ({}, [])

    def body() -> None:
        fit(tmp_path, 2, also=on_one)

    with pytest.raises(dg.MismatchError, match=r"also_saved=\): ranks 0, 2 have.*make the Trainer"):
        run_ranks(3, body)


def test_a_checkpoint_of_the_first_layout_is_resumed(tmp_path: Path) -> None:
    undisturbed = run_ranks(1, lambda: nn.state_sha256(fit(tmp_path / "a", 9).model.state_dict()))
    run_ranks(1, lambda: fit(tmp_path / "b", 5))
    rewrite(tmp_path / "b", first_layout)
    resumed = run_ranks(
        3, lambda: nn.state_sha256(fit(tmp_path / "b", 9, resume=True).model.state_dict())
    )
    assert resumed == undisturbed * 3


def first_layout(arrays: dict[str, Any], meta: dict[str, Any]) -> None:
    parts = meta.pop("parts")
    del parts["model"]
    for group in parts["optimizer"]["state"].values():
        for name in [n for n, value in group.items() if value is None]:
            del group[name]
    meta |= parts
    moved = arrays["optimizer"].items()
    arrays["optimizer"] = {n.removeprefix("state/").replace("/", "."): a for n, a in moved}


# -- whole checkpoints that say something else ------------------------------------------------


def rewrite(folder: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Change what the newest checkpoint says, and seal it again."""
    found = checkpoint.newest(folder)
    assert found is not None
    arrays, meta = {s: dict(named) for s, named in found.arrays.items()}, found.meta
    change(arrays, meta)
    checkpoint.save(folder, step=found.step, arrays=arrays, meta=meta)


def keys(tree: Any, *path: str) -> list[tuple[str, ...]]:
    """Return the paths of all keys."""
    if not isinstance(tree, dict):
        return []
    return [p for k in tree for p in [(*path, k), *keys(tree[k], *path, k)]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run_ranks(1, lambda: fit(folder, 2, also=averages))
    return folder


MISSING = object()


def set_at(tree: Any, path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree[key]
    if value is MISSING:
        del tree[path[-1]]
    else:
        tree[path[-1]] = value


def heard(folder: Path, whole: Path, change: Callable[[Any, Any], None]) -> set[str]:
    """Return what three ranks say when they resume a copy of ``whole`` that was changed."""
    found = checkpoint.newest(whole)
    assert found is not None
    checkpoint.save(folder, step=found.step, arrays=found.arrays, meta=found.meta)
    rewrite(folder, change)
    said = []

    def body() -> None:
        try:
            fit(folder, 3, resume=True, also=averages)
            said.append("resumed")
        except dg.CheckpointError as error:
            said.append(str(error))

    run_ranks(3, body)
    assert len(said) == 3
    return set(said)


PATHS = [
    ("shards",),
    ("parts",),
    *(("parts", name) for name in (*OWN, "ema", "swa")),
    *(("parts", "state", n) for n in ("step", "epoch", "loss", "evaluation", "skipped")),
    *(("parts", "loader", n) for n in ("epoch", "batch", "seed", "shuffle", "samples")),
    *(("parts", "optimizer", n) for n in ("state", "param_groups")),
    *(("parts", "schedule", n) for n in ("last_epoch", "base_lrs")),
    ("parts", "clip", "norms"),
    *(("parts", "best_evaluation", n) for n in ("value", "step", "seen")),
    *(("parts", "criteria", "0 LossPlateau", n) for n in ("best", "best_step", "mean")),
    ("parts", "ema", "averages"),
    ("parts", "ema", "num_updates"),
]


AS_GOOD_AS_ANY = {
    *((name, "1.5") for name in ("loss", "best", "mean", "value")),
    *((name, "1.5") for name in ("last_epoch", "num_updates")),  # counters, read with int()
    ("criteria", "{'x': {}}"),  # those of this run are new then
    ("swa", "{'x': {}}"),  # which is all arrays, and ignores x
}


@pytest.mark.parametrize("value", [MISSING, "nonsense", [[]], {"x": {}}, 1.5])
@pytest.mark.parametrize("path", PATHS, ids="/".join)
def test_every_rank_is_told_what_a_foreign_checkpoint_lacks(
    path: tuple[str, ...], value: Any, whole: Path, tmp_path: Path
) -> None:
    said = heard(tmp_path, whole, lambda arrays, meta: set_at(meta, path, value))
    assert len(said) == 1
    if (path[-1], str(value)) in AS_GOOD_AS_ANY:
        assert said == {"resumed"}
    else:
        text = next(iter(said))
        assert "cannot resume from step-000002: " in text
        assert any(name in text for name in (*path, "is missing", "the state has no")), text


@pytest.mark.parametrize("section", ["model", "optimizer", "ema", "swa"])
def test_a_section_that_is_gone_or_another_is_named(
    section: str, whole: Path, tmp_path: Path
) -> None:
    def gone(arrays: Any, meta: Any) -> None:
        del arrays[section]

    def other(arrays: Any, meta: Any) -> None:
        arrays[section] = {"a/b/c": np.ones(3)}

    for change in (gone, other):
        said = heard(tmp_path / change.__name__, whole, change)
        assert len(said) == 1
        assert "cannot resume from step-000002" in next(iter(said))


def test_a_checkpoint_of_another_program(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, step=7, arrays={"net": {"w": np.ones(3)}}, meta={"lr": 1})
    with pytest.raises(dg.CheckpointError, match=r"'clip', 'criteria'.*missing.*another program"):
        run_ranks(3, lambda: fit(tmp_path, 9, resume=True))
