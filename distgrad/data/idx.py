"""The idx format of the MNIST family, plain or gzipped: http://yann.lecun.com/exdb/mnist."""

import gzip
import math
import os
import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from distgrad.arguments import explained
from distgrad.errors import DataError
from distgrad.files import open_regular, shown, size_of

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_BLOCK = 1 << 20
_MOST_DIMENSIONS = 64  # NumPy has no more
_MOST_BYTES = 2**63 - 1
# gzip can pack zeros a thousandfold; what large file of samples shrinks to a hundredth?
_DENSEST = 100
_SMALL = 1 << 25  # bytes that are unpacked however small the file


@explained
def read_idx(path: str | os.PathLike[str], *, most: int | None = None) -> NDArray[Any]:
    """Return the array in an idx file, in native byte order.

    Raises DataError, naming the file, if it cannot be read, is damaged, cut short or too long, if
    the array has more than ``most`` bytes, or if a gzipped file claims to hold a hundred times its
    size and more than 32 MiB; no more memory is taken than for the array.
    """
    try:
        with open_regular(path) as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            size = size_of(raw)
            if not is_gzip:
                return _parse(raw, size, most)
            with gzip.open(raw) as file:
                unpacked: Any = file  # a GzipFile reads like any file
                return _parse(unpacked, max(_SMALL, _DENSEST * size), most)
    except (OSError, EOFError, zlib.error, DataError, MemoryError) as error:
        raise DataError(f"{shown(path)} cannot be read as an idx file: {error}") from error


def _parse(file: BinaryIO, room: int, most: int | None) -> NDArray[Any]:
    dtype, shape = _header(file)
    # NumPy wants even an empty array's other dimensions to multiply to what a word can hold.
    if math.prod(n for n in shape if n) * dtype.itemsize > _MOST_BYTES:
        raise DataError(f"its header says {shape}, which no array can have")
    expected = math.prod(shape) * dtype.itemsize
    says = f"its header says {shape}, {expected:,} bytes"
    if most is not None and expected > most:
        raise DataError(f"{says}; {most:,} are the most that are wanted here")
    if expected > room:
        raise DataError(f"{says}; it holds fewer, or is packed to deceive: no more than {room:,}")
    data = np.empty(expected, np.uint8)
    found = 0
    while block := file.read(min(_BLOCK, expected - found)):
        data[found : found + len(block)] = np.frombuffer(block, np.uint8)
        found += len(block)
    if found < expected:
        raise DataError(f"{says}; it holds {found:,}")
    if file.read(1):  # gzip checks its CRC at the end
        raise DataError(f"{says}; it holds more")
    return data.view(dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(file: BinaryIO) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise DataError(f"it starts with {magic!r}, not with the magic number of an idx file")
    dtype, dimensions = np.dtype(_DTYPES[magic[2]]), magic[3]
    if dimensions > _MOST_DIMENSIONS:
        raise DataError(f"its header says {dimensions} dimensions; NumPy has {_MOST_DIMENSIONS}")
    header = file.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DataError("its header is cut short")
    return dtype, tuple(int(size) for size in np.frombuffer(header, ">u4"))
