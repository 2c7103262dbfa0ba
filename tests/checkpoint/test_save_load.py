"""dg.save and dg.load: nested values in one file without code, written whole or not at all."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from training import simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import CheckpointError
from distgrad.serialization import load, save

VALUES: dict[str, Any] = {
    "none": None,
    "numbers": [1, -(2**80), 0.1, True, 1 + 2j],
    "text": "Grüße \ud800 \0 'x' [0]",
    "tuple": ((), (1, (2,)), [[]], {}),
    "keys": {0: "zero", "0": "text", True: 1, "": 2, "a/b": 3},
    "infinite": [math.inf, -math.inf],
    "number": np.float32(0.1),
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return isinstance(b, dict) and [*a] == [*b] and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize("name", VALUES)
def test_plain_values_come_back_as_they_were(name, tmp_path):
    save(VALUES[name], tmp_path / "f")
    assert same(load(tmp_path / "f"), VALUES[name])
    save(math.nan, tmp_path / "f")
    assert math.isnan(load(tmp_path / "f"))


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int8", "uint16", "int64", "float16", "float32", "float64", "complex64", "complex128"],
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (3, 4)])
def test_arrays_and_tensors_come_back_to_the_bit(dtype, shape, tmp_path):
    array = np.asarray(np.arange(math.prod(shape)).reshape(shape) + 0.3).astype(dtype)
    save([array, dg.Tensor(array.T)], tmp_path / "f")
    found, tensor = load(tmp_path / "f")
    assert type(found) is np.ndarray
    assert type(tensor) is dg.Tensor
    assert not tensor.requires_grad
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
    np.testing.assert_array_equal(tensor.array, array.T)
    assert found.flags.writeable


def trained() -> tuple[nn.Module, optim.Optimizer]:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    x = np.sin(np.arange(15, dtype=np.float32)).reshape(5, 3)
    for _ in range(3):
        optimizer.zero_grad()
        (model(x) ** 2).mean().backward()
        optimizer.step()
    return model, optimizer


def test_a_checkpoint_of_model_and_optimizer_continues(tmp_path):
    model, optimizer = trained()
    save(
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3},
        tmp_path / "ck.pt",
    )
    found = load(tmp_path / "ck.pt", map_location="cpu", weights_only=True)
    assert found["epoch"] == 3
    other, second = trained()
    for p in other.parameters():
        p.array[...] = 0
    other.load_state_dict(found["model"])
    second.load_state_dict(found["optimizer"])
    assert nn.state_sha256(other.state_dict()) == nn.state_sha256(model.state_dict())
    for m, o in ((model, optimizer), (other, second)):
        o.zero_grad()
        (m(np.ones((4, 3), np.float32)) ** 2).mean().backward()
        o.step()
    assert nn.state_sha256(other.state_dict()) == nn.state_sha256(model.state_dict())


def test_parameters_come_back_as_tensors(tmp_path):
    parameter = nn.Parameter(np.ones(3, np.float32))
    save({"p": parameter}, tmp_path / "f")
    found = load(tmp_path / "f")["p"]
    assert type(found) is dg.Tensor
    assert not found.requires_grad


def test_shared_memory_stays_shared_and_is_written_once(tmp_path):
    w = dg.Tensor(np.arange(1000, dtype=np.float32))
    save({"a": w, "b": w, "c": w.array, "d": w.array[:500]}, tmp_path / "f")
    found = load(tmp_path / "f")
    assert found["a"] is found["b"]
    assert found["a"].array is found["c"]
    assert not np.shares_memory(found["c"], found["d"])
    assert os.path.getsize(tmp_path / "f") < 7000


def test_a_state_dict_is_read_by_other_programs_under_its_keys(tmp_path):
    state = trained()[0].state_dict()
    save(state, tmp_path / "f.safetensors")
    found = load_file(tmp_path / "f.safetensors")
    assert found.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(found[key], array)


def test_names_that_meet_are_kept_apart(tmp_path):
    value = {
        "a/b": np.ones(2),
        "a": {"b": np.zeros(2)},
        "__metadata__": np.ones(1),
        0: [np.ones(3)],
    }
    save(value, tmp_path / "f")
    found = load(tmp_path / "f")
    assert found["a/b"].tolist() == [1, 1]
    assert found["a"]["b"].tolist() == [0, 0]
    assert found["__metadata__"].tolist() == [1]


def test_another_programs_file_is_a_dict_of_tensors(tmp_path):
    save_file({"w": np.arange(6.0).reshape(2, 3)}, tmp_path / "f", {"format": "pt"})
    found = load(tmp_path / "f")
    assert found["w"].array.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_bfloat16_is_read_as_float32(tmp_path):
    header = json.dumps({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    halves = np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16
    data = struct.pack("<Q", len(header)) + header + halves.astype("<u2").tobytes()
    assert load(io.BytesIO(data))["w"].array.tolist() == [1.5, -2.0]


def test_open_files_are_taken(tmp_path):
    with open(tmp_path / "f", "wb") as file:
        save([1, np.ones(2)], file)
    with open(tmp_path / "f", "rb") as file:
        assert load(file)[1].tolist() == [1, 1]


class Thing:
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (nn.Linear(2, 2), r"saved is a Module \(Linear\).* save its state_dict\(\)"),
        ({"m": [nn.ReLU()]}, r"saved\['m'\]\[0\] is a Module \(ReLU\)"),
        (optim.SGD([nn.Parameter([1.0])], lr=0.1), r"is a SGD, .*; save its state_dict\(\)"),
        ({"a": Thing()}, r"\['a'\] is a Thing, which cannot be saved"),
        ({(1, 2): 3}, r"has the key \(1, 2\): keys are strings or whole numbers"),
        ({1.5: 3}, r"has the key 1.5"),
        ([np.array(["a"])], r"\[0\] is an array of dtype\('<U1'\), which a file cannot hold"),
        (np.array([Thing()]), "an array of dtype"),
        (np.zeros(2, ">f4"), "native byte order"),
        ([0] * 300_000, "keep long lists in arrays"),
    ],
)
def test_what_cannot_be_saved_is_named_and_leaves_the_file(value, message, tmp_path):
    save("before", tmp_path / "f")
    with pytest.raises(CheckpointError, match=message):
        save(value, tmp_path / "f")
    assert load(tmp_path / "f") == "before"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.parametrize("call", ["fsync", "replace"])  # the data, and the name at the end
def test_a_write_that_fails_leaves_what_was_there(call, tmp_path, monkeypatch):
    save("before", tmp_path / "f")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(CheckpointError, match=r"cannot be written .*No space left.*; free some"):
        save("after", tmp_path / "f")
    monkeypatch.undo()
    assert load(tmp_path / "f") == "before"
    assert os.listdir(tmp_path) == ["f"]
    with pytest.raises(CheckpointError, match="nowhere/f cannot be written"):
        save(1, tmp_path / "nowhere" / "f")


def written(value: Any) -> bytes:
    file = io.BytesIO()
    save(value, file)
    return file.getvalue()


@pytest.mark.parametrize("cut", [0, 5, 8, 40, -1])
def test_a_file_that_was_cut_short_is_an_error(cut):
    whole = written({"a": np.arange(5.0), "b": 3})
    with pytest.raises(CheckpointError, match=r"cut short|not JSON"):
        load(io.BytesIO(whole[:cut]))


def test_no_damaged_byte_is_more_than_an_error_or_another_value():
    whole = written({"a": np.arange(3.0), "b": [1, (2.5, "x")], "c": np.ones(2, np.float32)})
    rng = np.random.default_rng(1)
    for i in range(len(whole)):
        damaged = bytearray(whole)
        damaged[i] = rng.integers(256)
        with contextlib.suppress(CheckpointError):
            load(io.BytesIO(bytes(damaged)))


def test_structures_that_no_save_wrote_are_errors(tmp_path):
    for value in ([1], {"list": 3}, {"spam": 1}, {}, {"array": "none"}, {"complex": ["x", 1]}):
        text = json.dumps({"version": 1, "value": value})
        save_file({"a": np.ones(1)}, tmp_path / "f", {"distgrad": text})
        with pytest.raises(CheckpointError, match="its structure is not one"):
            load(tmp_path / "f")
    for names in (["none"], [1], 3, [["a"]]):
        text = json.dumps({"version": 2, "value": {"array": "a"}, "complex128": names})
        save_file({"a": np.ones(3)}, tmp_path / "f", {"distgrad": text})
        with pytest.raises(CheckpointError, match="its structure is not one"):
            load(tmp_path / "f")
    save_file({}, tmp_path / "f", {"distgrad": json.dumps({"version": 3, "value": 1})})
    with pytest.raises(CheckpointError, match="by a newer distgrad"):
        load(tmp_path / "f")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_pickle_is_refused_with_the_way_to_convert_it(protocol, tmp_path):
    (tmp_path / "m.pt").write_bytes(pickle.dumps({"a": 1}, protocol=protocol))
    message = r"m\.pt is a pickle, as torch.save writes it.*save_file\(.*m\.pt\.safetensors"
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "m.pt")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_numpys_files_are_told_from_others(name, tmp_path):
    (np.save if name == "a.npy" else np.savez)(tmp_path / name, np.ones(2))
    with pytest.raises(CheckpointError, match=r"is NumPy's: read it with np\.load"):
        load(tmp_path / name)


def test_a_missing_file_and_another_device_are_errors(tmp_path):
    with pytest.raises(CheckpointError, match="gone cannot be read: No such file"):
        load(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="map_location='cuda': there are no GPUs here"):
        load(tmp_path / "gone", map_location="cuda")


def test_ranks_that_all_save_to_one_path_leave_one_whole_file(tmp_path):
    path = tmp_path / "f"

    def body():
        rank = dg.init().rank
        for i in range(5):
            save({"rank": rank, "w": np.full(1000, rank)}, path)
            found = load(path)  # each sees a whole file after its own call
            assert (found["w"] == found["rank"]).all(), i
        return rank

    simulated(3, body)
    assert os.listdir(tmp_path) == ["f"]


def test_one_rank_may_save_alone(tmp_path):
    def body():
        world = dg.init(timeout=5)
        if world.rank == 0:
            save("mine", tmp_path / "f")
        world.comm.barrier()
        return load(tmp_path / "f")

    assert simulated(3, body) == ["mine"] * 3


@pytest.mark.mpi
def test_under_mpi_ranks_may_save_to_one_path(tmp_path_factory):
    world = dg.current_world()
    folder = Path(
        world.comm.broadcast_bytes(str(tmp_path_factory.mktemp("saved")).encode()).decode()
    )
    for i in range(20):
        save({"rank": world.rank, "w": np.full(5000, world.rank + i)}, folder / "f")
        found = load(folder / "f")
        assert (found["w"] == found["w"][0]).all()
    world.comm.barrier()
    assert os.listdir(folder) == ["f"]
    with safe_open(folder / "f", "np") as file:
        assert file.keys() == ["w"]


def test_complex128_is_pairs_of_float64_for_other_programs(tmp_path):
    value = np.array([[1 + 2j, 3 - 4j]])
    save({"a": dg.Tensor(value), "b": np.float64(1.5)}, tmp_path / "f")
    np.testing.assert_array_equal(load_file(tmp_path / "f")["a"], [[[1, 2], [3, -4]]])
    assert load(tmp_path / "f")["a"].numpy().flags.writeable


def test_what_cannot_be_loaded_is_not_saved(tmp_path):
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    loop: list[Any] = []
    loop.append(loop)
    for value, said in ((deep, "more than 100 deep"), (loop, "does one hold itself")):
        with pytest.raises(CheckpointError, match=said):
            save(value, tmp_path / "f")
    with pytest.raises(CheckpointError, match="whose mask would be lost"):
        save(np.ma.array([1, 2], mask=[0, 1]), tmp_path / "f")
    assert not os.listdir(tmp_path)


def test_places_that_mean_the_cpu_are_taken(tmp_path):
    save(1, tmp_path / "f")
    for place in ({"cuda:0": "cpu"}, lambda storage, location: storage, dg.device("cpu")):
        assert load(tmp_path / "f", map_location=place) == 1
    with pytest.raises(CheckpointError, match="no GPUs here"):
        load(tmp_path / "f", map_location={"cuda:0": "cuda:1"})


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path):
    save(1, tmp_path / "f")
    os.chmod(tmp_path / "f", 0o600)
    save(2, tmp_path / "f")
    assert os.stat(tmp_path / "f").st_mode & 0o777 == 0o600
    assert load(tmp_path / "f") == 2
