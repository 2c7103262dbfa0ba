"""One section: a safetensors file of named arrays, which must be what the manifest lists.

The format is https://huggingface.co/docs/safetensors: eight bytes with the length of a JSON header,
the header, and the elements. Read here, not by the library, because the manifest already says what
must come: nothing is parsed that it does not list, and the arrays share the memory that was read.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from distgrad import files
from distgrad.checkpoint import strict
from distgrad.checkpoint.manifest import DTYPES, ArraySpec, File
from distgrad.errors import CheckpointError

Arrays = dict[str, NDArray[Any]]

_CODES = {name: f"{np.dtype(name).kind.upper()}{np.dtype(name).itemsize * 8}" for name in DTYPES}
_CODES["bool"] = "BOOL"


def write(named: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of a section; raises CheckpointError for more names than can be read."""
    # Imported here: `import distgrad` must stay light. save(), not save_file(): that one takes a
    # rename and file modes of its own. It reads memory as it lies, hence order="C".
    from safetensors.numpy import save  # noqa: PLC0415

    data: bytes = save({name: np.asarray(array, order="C") for name, array in named.items()})
    header = data[8 : 8 + int.from_bytes(data[:8], "little")]
    strict.check_bounds(header, "the header of a section")
    return data


def read(file: BinaryIO, name: str, expected: File) -> Arrays:
    """Return the arrays in an open file, read-only, in the manifest's order.

    Raises CheckpointError, naming the file, unless it is the one that ``expected`` describes; no
    more of it is read than that.
    """
    size = files.size_of(file)
    if size != expected.size:
        raise CheckpointError(
            f"{name} has {size:,} bytes; {expected.size:,} were written (cut short?)"
        )
    start = file.read(8)
    if int.from_bytes(start, "little") != expected.header:
        raise _other(name, "its header has another length")
    header = file.read(expected.header)
    data = _read_into_memory(file, name, size - len(start) - len(header))
    digest = hashlib.sha256(start)
    digest.update(header)
    digest.update(data.data)
    if digest.hexdigest() != expected.sha256:
        raise CheckpointError(f"{name} is damaged: its bytes do not match their SHA-256")
    return _views(data, name, header, expected)


def _read_into_memory(file: BinaryIO, name: str, size: int) -> NDArray[np.uint8]:
    try:
        data = np.empty(size, np.uint8)
    except (MemoryError, ValueError) as error:
        raise CheckpointError(f"{name} needs {size:,} bytes of memory: {error}") from error
    if file.readinto(data) != size:  # type: ignore[attr-defined]  # BinaryIO does not list it
        raise CheckpointError(f"{name} became shorter while it was read")
    return data


def _views(data: NDArray[np.uint8], name: str, header: bytes, expected: File) -> Arrays:
    found = strict.parse(header, f"{name}: its header")
    if not isinstance(found, dict) or found.keys() != expected.tensors.keys():
        raise _other(name, "its header names others")
    spans = {key: _span(name, key, found[key], spec) for key, spec in expected.tensors.items()}
    position = 0
    for begin, end in sorted(spans.values()):
        if begin != position:
            raise _other(name, "its arrays overlap or leave holes")
        position = end  # the last one is the end of the data: the manifest counted their bytes
    return {key: _view(data, *spans[key], spec) for key, spec in expected.tensors.items()}


def _view(data: NDArray[np.uint8], begin: int, end: int, spec: ArraySpec) -> NDArray[Any]:
    little = np.dtype(spec.dtype).newbyteorder("<")
    array = data[begin:end].view(little).reshape(spec.shape).astype(spec.dtype, copy=False)
    array.flags.writeable = False
    return array


def _span(name: str, key: str, found: Any, spec: ArraySpec) -> tuple[int, int]:
    wanted = {"dtype": _CODES[spec.dtype], "shape": list(spec.shape)}
    if not isinstance(found, dict) or found.keys() != {*wanted, "data_offsets"}:
        raise _other(name, f"the entry of {strict.shown(key)} has other keys")
    offsets = found["data_offsets"]
    is_pair = isinstance(offsets, list) and [type(n) for n in offsets] == [int, int]
    is_same = {**found, "data_offsets": 0} == {**wanted, "data_offsets": 0}
    if not is_pair or not is_same or offsets[1] - offsets[0] != spec.nbytes:
        raise _other(name, f"{strict.shown(key)} is {strict.shown(found)} in it")
    return offsets[0], offsets[1]


def _other(name: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"{name} is damaged: it does not hold the tensors that the manifest lists ({why})"
    )
