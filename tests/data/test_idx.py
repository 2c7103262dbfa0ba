"""The idx reader gives the array, or names the file and what is wrong with it."""

import gzip
import struct

import numpy as np
import pytest

from distgrad.data import read_idx
from distgrad.errors import DataError

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx(array):
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 3), ()])
def test_arrays_come_back(tmp_path, dtype, shape, zipped):
    array = (np.arange(np.prod(shape)) * 5 - 7 * (dtype[0] != "u")).astype(dtype).reshape(shape)
    file = tmp_path / "a-file"
    file.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    back = read_idx(file)
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype
    assert back.dtype.isnative


WHOLE = idx(np.arange(200, dtype=np.uint8).reshape(10, 20))
ZIPPED = gzip.compress(WHOLE)
FLIPPED = ZIPPED[:60] + bytes([ZIPPED[60] ^ 4]) + ZIPPED[61:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "magic number"),
        (b"\x80\x04K\x01.", r"starts with b'\\x80\\x04K\\x01'"),
        (b"\0\0\x07\x01" + bytes(9), "magic number"),
        (WHOLE[:9], "header is cut short"),
        (WHOLE[:-1], r"says \(10, 20\), 200 bytes; it holds 199"),
        (WHOLE + b"x", "it holds more"),
        (ZIPPED[:-30], "ended before"),
        (ZIPPED[:5], "ended before"),
        (ZIPPED[:-8] + bytes(4) + ZIPPED[-4:], "CRC check failed"),
        (FLIPPED, ""),
        (None, "No such file"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, message):
    if content is not None:
        (tmp_path / "some-labels").write_bytes(content)
    with pytest.raises(DataError, match=f"some-labels cannot be read as an idx file: .*{message}"):
        read_idx(tmp_path / "some-labels")
