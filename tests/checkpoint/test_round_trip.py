"""What goes into a checkpoint comes out of it, bit for bit."""

import math
import os
import stat
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from distgrad import checkpoint
from distgrad.checkpoint.manifest import DTYPES, Manifest
from distgrad.errors import CheckpointError


def ramp(shape, dtype, start=0):
    count = math.prod(shape)
    values = np.arange(start, start + count)
    return (values % 2 if dtype == "bool" else values).astype(dtype).reshape(shape)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (3,), (2, 3, 5)])
def test_each_dtype_and_shape_comes_back(tmp_path, dtype, shape):
    array = ramp(shape, dtype, start=7)
    path = checkpoint.save(tmp_path, step=1, arrays={"model": {"a": array}}, meta={})
    back = checkpoint.load(path).arrays["model"]["a"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("view", [np.s_[::2, 1:], np.s_[::-1], np.s_[:, ::-3], np.s_[..., 0]])
def test_a_view_is_stored_by_its_values_not_its_memory(tmp_path, view):
    array = np.arange(42.0).reshape(6, 7)[view]
    transposed = np.arange(6, dtype=np.int16).reshape(2, 3).T
    path = checkpoint.save(tmp_path, step=1, arrays={"m": {"v": array, "t": transposed}}, meta={})
    back = checkpoint.load(path).arrays["m"]
    np.testing.assert_array_equal(back["v"], array)
    np.testing.assert_array_equal(back["t"], [[0, 3], [1, 4], [2, 5]])


def test_nan_payloads_and_negative_zero_keep_their_bits(tmp_path):
    bits = np.array([0x7FF8000000000123, 0x8000000000000000, 0x7FF0000000000000], np.uint64)
    array = bits.view(np.float64)
    path = checkpoint.save(tmp_path, step=1, arrays={"m": {"a": array}}, meta={})
    assert checkpoint.load(path).arrays["m"]["a"].tobytes() == bits.tobytes()


def test_names_keep_their_characters_and_order(tmp_path):
    names = ["größe.β", "第一層.weight", "a b/c\n\"'", "", "z", "a"]
    arrays = {name: np.full(i + 1, i, np.float32) for i, name in enumerate(names)}
    sections = {"model": arrays, "optimizer": {}, "EMA-2_x": {"β": np.float64(2.5)}}
    path = checkpoint.save(tmp_path / "größe ✓", step=1, arrays=sections, meta={"größe": "第"})
    back = checkpoint.load(path)
    assert list(back.arrays) == list(sections)
    assert list(back.arrays["model"]) == names
    assert back.arrays["EMA-2_x"]["β"].shape == ()  # a NumPy scalar comes back as a 0-d array
    assert back.arrays["EMA-2_x"]["β"] == 2.5
    assert back.meta == {"größe": "第"}


def test_the_files_are_ordinary_safetensors(tmp_path):
    array = ramp((3, 4), "float32", start=5)
    path = checkpoint.save(tmp_path, step=123, arrays={"model": {"fc.weight": array}}, meta={})
    assert path == tmp_path / "step-000123"
    assert sorted(p.name for p in path.iterdir()) == ["manifest.json", "model.safetensors"]
    by_library = safetensors.numpy.load_file(path / "model.safetensors")
    np.testing.assert_array_equal(by_library["fc.weight"], array)


def test_file_modes_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        path = checkpoint.save(tmp_path, step=1, arrays={"m": {"a": np.ones(3)}}, meta={})
    finally:
        os.umask(old)
    assert {stat.S_IMODE(p.stat().st_mode) for p in path.iterdir()} == {0o640}


def test_the_checkpoint_says_its_path_step_and_meta(tmp_path):
    meta = {"epoch": 3, "position": [1, {"x": None}], "done": False}
    path = checkpoint.save(str(tmp_path), step=1_234_567, arrays={}, meta=meta)
    back = checkpoint.load(str(path))
    assert (back.path, back.step, back.meta, back.arrays) == (path, 1_234_567, meta, {})


keys = st.text().filter(lambda key: key != "$float")
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**300), 2**300)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(keys, json_values, max_size=5))
def test_meta_round_trips_exactly(meta):
    back = Manifest.from_bytes(Manifest(step=0, meta=meta, files={}).to_bytes()).meta
    assert repr(back) == repr(meta)  # repr tells 1 from 1.0 and True, and 0.0 from -0.0


def test_meta_holds_nan_and_infinities_as_strict_json(tmp_path):
    meta = {"best": math.inf, "worst": -math.inf, "loss": [math.nan, -0.0, 5e-324, 0.1]}
    path = checkpoint.save(tmp_path, step=1, arrays={}, meta=meta)
    assert repr(checkpoint.load(path).meta) == repr(meta)
    text = (path / "manifest.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"betas": (0.9, 0.999)}, r"meta\['betas'\] is a tuple.*list\(\)"),
        ({"a": [{"n": np.int64(3)}]}, r"meta\['a'\]\[0\]\['n'\] is a int64.*\.item\(\)"),
        ({"a": {1: 2}}, r"meta\['a'\] has the key 1; keys must be"),
        ({"$float": "nan"}, r"meta has the key '\$float'"),
        ({"x": b"raw"}, r"meta\['x'\] is a bytes"),
        ({"x": np.ones(2)}, r"meta\['x'\] is a ndarray.*arrays belong into `arrays`"),
        ({"x": 10**5000}, r"meta\['x'\] is an integer of 16610 bits.*hexadecimal"),
    ],
)
def test_meta_that_would_not_come_back_is_refused(tmp_path, meta, message):
    if "integer of" in message and not hasattr(__import__("sys"), "get_int_max_str_digits"):
        pytest.skip("this Python writes integers of any length")
    with pytest.raises(CheckpointError, match=message):
        checkpoint.save(tmp_path, step=1, arrays={}, meta=meta)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"m": {"w": np.ones(2, complex)}}, r"m: 'w' is dtype\('complex128'\).*float32"),
        ({"m": {"w": np.array([None])}}, r"m: 'w' is dtype\('O'\)"),
        ({"m": {"w": np.ones(2, ">f4")}}, r"m: 'w' is dtype\('>f4'\).*native byte order"),
        ({"m": {"w": 3.0}}, r"m: 'w' is a float: store np.asarray"),
        ({"m": {"__metadata__": np.ones(1)}}, r"'__metadata__' is no name"),
        ({"m": {"\udc80": np.ones(1)}}, r"'\\udc80' is no name"),
        ({"../m": {}}, r"section '../m' cannot be a file name"),
        ({"": {}}, r"section '' cannot be a file name"),
    ],
)
def test_arrays_that_would_not_come_back_are_refused(tmp_path, sections, message):
    with pytest.raises(CheckpointError, match=message):
        checkpoint.save(tmp_path, step=1, arrays=sections, meta={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"step": -1}, {"step": 1.0}, {"step": True}, {"keep": 0}])
def test_a_step_or_keep_out_of_range_is_refused(tmp_path, wrong):
    with pytest.raises(CheckpointError, match=next(iter(wrong))):
        checkpoint.save(tmp_path, **{"step": 1, "arrays": {}, "meta": {}, **wrong})


def test_no_module_of_the_package_unpickles():
    for file in Path(checkpoint.__file__).parent.glob("*.py"):
        assert "import pickle" not in file.read_text()
