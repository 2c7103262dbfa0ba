"""Whatever lies in a checkpoint folder: a CheckpointError, soon, in little memory, and skipped."""

import importlib.util
import os
import random
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from distgrad import checkpoint
from distgrad.checkpoint import strict
from distgrad.errors import CheckpointError

_spec = importlib.util.spec_from_file_location("hostile", Path(__file__).with_name("hostile.py"))
hostile = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hostile)

MOST_MEMORY = 64_000_000  # bytes beyond the file
MOST_TIME = 3.0  # seconds of this process's own


def size_on_disk(path):
    """The bytes of the folder's files, holes left out."""
    return sum(file.lstat().st_blocks * 512 for file in path.iterdir()) if path.is_dir() else 0


def refused(path):
    """Return the message, after the time and the memory that it took were measured."""
    began = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    assert time.process_time() - began < MOST_TIME
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError):
            checkpoint.load(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY + size_on_disk(path)
    return str(caught.value)


def test_the_list_is_as_long_as_promised():
    assert len(hostile.CASES) >= 100


@pytest.mark.parametrize("name", hostile.CASES, ids=ascii)
def test_it_is_a_checkpoint_error_and_the_older_one_is_taken(tmp_path, name):
    hostile.save(tmp_path, 1)
    path = hostile.save(tmp_path, 3)
    hostile.CASES[name](path)
    message = refused(path)
    assert message.startswith(f"checkpoint {path} cannot be used: ")
    assert "manifest.json" in message or "safetensors" in message
    assert message.isprintable()
    assert len(message) < 1000
    said = []
    found = checkpoint.newest(tmp_path, warn=said.append)
    assert found.step == 1
    assert said == [f"skipped: {message}"]


@pytest.mark.parametrize("value", [0, 1, "text", [1, [2]], {"a": {"$": None}}])
def test_what_is_forged_without_damage_is_read(tmp_path, value):
    path = hostile.save(tmp_path, 3)
    hostile.change("meta", to={"x": value})(path)
    assert checkpoint.load(path).meta == {"x": value}
    hostile.header()(path)  # another order than the library's
    found = checkpoint.load(path).arrays["model"]
    for name, array in hostile.ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "a" * 5000, "absent", "file", "pipe"])
def test_what_is_no_folder_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=r"name another folder|folder cannot be read"):
        checkpoint.load(tmp_path / name)
    if name == "absent":
        assert checkpoint.newest(tmp_path / name) is None
        return
    with pytest.raises(CheckpointError, match="name another folder"):
        checkpoint.newest(tmp_path / name)
    with pytest.raises(CheckpointError, match="name another folder"):
        checkpoint.exists(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"name another folder|choose"):
        checkpoint.save(tmp_path / name, step=1, arrays={}, meta={})
    with pytest.raises(CheckpointError, match=r"name another folder|choose"):
        checkpoint.prepare(tmp_path / name)


def test_a_folder_whose_name_no_terminal_can_show_is_quoted(tmp_path):
    path = hostile.save(tmp_path / "a\nb\udc80", 3)
    (path / "manifest.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"a\\nb\\udc80/step-000003' cannot be used"
    ) as caught:
        checkpoint.load(path)
    str(caught.value).encode()


def test_a_link_to_a_whole_checkpoint_is_followed_and_only_the_link_deleted(tmp_path):
    path = hostile.save(tmp_path / "archive", 3)
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / path.name).symlink_to(path)
    assert checkpoint.newest(runs).step == 3
    checkpoint.save(runs, step=4, arrays={}, meta={}, keep=1)
    assert os.listdir(runs) == ["step-000004"]
    assert checkpoint.load(path).step == 3


@pytest.mark.parametrize("seed", range(3))
def test_random_damage_is_an_error_or_leaves_what_was_saved(tmp_path, seed):
    rng = random.Random(seed)
    path = hostile.save(tmp_path, 3)
    files = {name: (path / name).read_bytes() for name in ("manifest.json", "model.safetensors")}
    refusals = 0
    for _ in range(100):
        name = rng.choice(list(files))
        damaged = bytearray(files[name])
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(len(damaged) + 1)
            kind = rng.choice(["flip", "cut", "insert", "swap"])
            if kind == "flip" and at < len(damaged):
                damaged[at] ^= 1 << rng.randrange(8)
            elif kind == "cut":
                del damaged[at : at + rng.choice([1, 8, 1000])]
            elif kind == "insert":
                damaged[at:at] = rng.randbytes(rng.choice([1, 8, 100]))
            else:
                damaged[at : at + 4] = damaged[at : at + 4][::-1]
        (path / name).write_bytes(damaged)
        if name == "manifest.json" and rng.random() < 0.7:  # past the seal, to what is behind it
            body = bytes(damaged).rpartition(b',\n "sha256"')[0]
            hostile.put(path, hostile.seal(body))
        try:
            found = checkpoint.load(path)
        except CheckpointError:
            refusals += 1
        else:
            assert found.step == 3
            for key, array in hostile.ARRAYS.items():
                np.testing.assert_array_equal(found.arrays["model"][key], array)
        (path / name).write_bytes(files[name])
    assert refusals > 50


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return {"x": value}


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (nested(strict.MOST_LEVELS - 2), "nests lists and dicts more than 100 deep"),
        (
            {"x": list(range(strict.MOST_VALUES))},
            r"200,000 are the most: keep long lists in arrays",
        ),
        ({"x": "a" * strict.MOST_BYTES}, r"8,388,608 and 200,000 are the most"),
        ({"x": -(10**4299)}, "hexadecimal"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path, meta, message):
    with pytest.raises(CheckpointError, match=message):
        checkpoint.save(tmp_path, step=1, arrays={}, meta=meta)
    assert os.listdir(tmp_path) == []


def test_what_just_fits_is_read_back(tmp_path):
    for meta in (nested(strict.MOST_LEVELS - 3), {"x": -(10**4298), "y": 10**4299 - 1}):
        path = checkpoint.save(tmp_path, step=2**63 - 1, arrays={}, meta=meta)
        assert checkpoint.load(path).meta == meta


def test_more_arrays_than_can_be_read_back_are_not_written(tmp_path):
    arrays = {"m": {str(i): np.zeros(()) for i in range(30_000)}}
    with pytest.raises(CheckpointError, match=r"header of a section has .* fewer arrays"):
        checkpoint.save(tmp_path, step=1, arrays=arrays, meta={})
    assert os.listdir(tmp_path) == []
