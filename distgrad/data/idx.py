"""The idx format of the MNIST family, plain or gzipped: http://yann.lecun.com/exdb/mnist."""

import gzip
import math
import os
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from distgrad.errors import DataError

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return the array in an idx file, in native byte order.

    Raises DataError, naming the file, if it cannot be read, is damaged, cut short or too long.
    """
    try:
        with open(path, "rb") as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not is_gzip:
                return _parse(raw)
            with gzip.open(raw) as file:
                return _parse(file)  # type: ignore[arg-type]  # a GzipFile reads like any file
    except (OSError, EOFError, zlib.error, DataError) as error:
        raise DataError(f"{path} cannot be read as an idx file: {error}") from error


def _parse(file: BinaryIO) -> NDArray[Any]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise DataError(f"it starts with {magic!r}, not with the magic number of an idx file")
    dtype, dimensions = np.dtype(_DTYPES[magic[2]]), magic[3]
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError("its header is cut short")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    expected = math.prod(shape) * dtype.itemsize
    data = file.read(expected + 1)  # one more, to see the end; gzip checks its CRC there
    if len(data) != expected:
        found = "more" if len(data) > expected else f"{len(data):,}"
        raise DataError(f"its header says {shape}, {expected:,} bytes; it holds {found}")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
