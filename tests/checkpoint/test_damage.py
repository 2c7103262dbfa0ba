"""A damaged checkpoint is never used, always named, and never hides an older whole one."""

import json
import shutil

import numpy as np
import pytest

from distgrad import checkpoint
from distgrad.checkpoint import manifest as manifest_module
from distgrad.checkpoint.manifest import ArraySpec, File, Manifest
from distgrad.errors import CheckpointError

FILES = ["manifest.json", "model.safetensors", "optimizer.safetensors"]


def content(step):
    weights = np.arange(12, dtype=np.float32).reshape(3, 4) * step
    return {"model": {"w": weights}, "optimizer": {"m": weights[0] + 1, "t": np.array(step)}}


def save(folder, step, **options):
    meta = {"epoch": step}
    return checkpoint.save(folder, step=step, arrays=content(step), meta=meta, **options)


def assert_is(found, step):
    assert found.step == step
    assert found.meta == {"epoch": step}
    for section, named in content(step).items():
        for name, array in named.items():
            np.testing.assert_array_equal(found.arrays[section][name], array)


def unexpected(message):
    raise AssertionError(message)


@pytest.fixture
def three(tmp_path):
    for step in (1, 20, 300):
        save(tmp_path, step)
    return tmp_path


def test_newest_takes_the_highest_step(three):
    save(three, 1_000_000)  # seven digits: by number, not by name
    assert_is(checkpoint.newest(three, warn=unexpected), 1_000_000)


def test_newest_of_no_folder_or_an_empty_one_is_none(tmp_path):
    assert checkpoint.newest(tmp_path, warn=unexpected) is None
    assert checkpoint.newest(tmp_path / "absent", warn=unexpected) is None


def test_newest_of_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match=r"file cannot be read.*name another folder"):
        checkpoint.newest(tmp_path / "file", warn=unexpected)


def test_strangers_in_the_folder_are_left_alone(three):
    (three / "step-000999").write_text("a file")
    (three / "step-9").mkdir()
    (three / "notes").mkdir()
    assert_is(checkpoint.newest(three, warn=unexpected), 300)
    save(three, 301, keep=1)
    names = {path.name for path in three.iterdir()}
    assert names == {"step-000301", "step-000999", "step-9", "notes"}


@pytest.mark.parametrize("name", FILES)
def test_every_flipped_bit_is_noticed(tmp_path, name):
    path = save(tmp_path, 3)
    whole = (path / name).read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        (path / name).write_bytes(damaged)
        with pytest.raises(CheckpointError, match=f"step-000003 cannot be used: {name} is damaged"):
            checkpoint.load(path)
    (path / name).write_bytes(whole)
    assert_is(checkpoint.load(path), 3)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("keep", [0, 0.5, -1])
def test_a_cut_file_is_noticed(tmp_path, name, keep):
    path = save(tmp_path, 3)
    whole = (path / name).read_bytes()
    (path / name).write_bytes(whole[: int(keep * len(whole)) if keep >= 0 else -1])
    reason = "is damaged" if name == "manifest.json" else r"has [\d,]+ bytes; [\d,]+ were written"
    with pytest.raises(CheckpointError, match=f"{name} {reason}"):
        checkpoint.load(path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_noticed(tmp_path, name):
    path = save(tmp_path, 3)
    (path / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        checkpoint.load(path)


def test_a_file_of_another_checkpoint_is_noticed(three):
    shutil.copy(three / "step-000020" / "model.safetensors", three / "step-000300")
    with pytest.raises(CheckpointError, match=r"step-000300.*model.safetensors is damaged"):
        checkpoint.load(three / "step-000300")


@pytest.mark.parametrize("name", FILES)
def test_newest_skips_a_damaged_one_and_says_which_and_why(three, name):
    (three / "step-000300" / name).write_bytes(b"")
    said = []
    assert_is(checkpoint.newest(three, warn=said.append), 20)
    assert len(said) == 1
    assert said[0].startswith("skipped: ")
    assert "step-000300" in said[0]
    assert name in said[0]


def test_newest_warns_by_default(three):
    (three / "step-000300" / "manifest.json").unlink()
    with pytest.warns(UserWarning, match=r"skipped: .*step-000300.*manifest.json is missing"):
        checkpoint.newest(three)


def test_if_none_is_whole_newest_names_them_all(three):
    for path in three.iterdir():
        (path / "model.safetensors").unlink()
    said = []
    with pytest.raises(CheckpointError, match=r"(?s)none of the 3 .*000300.*000020.*000001"):
        checkpoint.newest(three, warn=said.append)
    assert len(said) == 3


def rewrite_manifest(path, change):
    document = json.loads((path / "manifest.json").read_bytes())
    del document["sha256"]
    change(document)
    text = json.dumps(document, indent=1).removesuffix("\n}")
    (path / "manifest.json").write_bytes(manifest_module._seal(text.encode()))


@pytest.mark.parametrize(("key", "value"), [("version", 2), ("format", "something else")])
def test_another_format_is_named(tmp_path, key, value):
    path = save(tmp_path, 3)
    rewrite_manifest(path, lambda document: document.update({key: value}))
    with pytest.raises(CheckpointError, match=r"use the distgrad that wrote it"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"v": ArraySpec("float32", (3, 4))},
        {"w": ArraySpec("float32", (4, 3))},
        {"w": ArraySpec("int32", (3, 4))},
        {"w": ArraySpec("float32", (3, 4)), "b": ArraySpec("float32", ())},
        {},
    ],
)
def test_other_tensors_than_the_manifest_lists_are_noticed(tmp_path, tensors):
    path = save(tmp_path, 3)
    manifest = Manifest.from_bytes((path / "manifest.json").read_bytes())
    model = manifest.files["model"]
    files = {**manifest.files, "model": File(model.size, model.sha256, tensors)}
    forged = Manifest(manifest.step, manifest.meta, files)
    (path / "manifest.json").write_bytes(forged.to_bytes())
    with pytest.raises(CheckpointError, match="does not hold the tensors that the manifest lists"):
        checkpoint.load(path)
