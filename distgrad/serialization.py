"""``save`` and ``load``: nested Python values with arrays, in one safetensors file, never a pickle.

The file's tensors are named by their places; its metadata holds the structure as JSON. Any program
that reads safetensors gets at the arrays; nothing in a file is ever run.
"""

from __future__ import annotations

import errno
import json
import math
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from distgrad.arguments import explained
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.checkpoint import strict
from distgrad.checkpoint.manifest import DTYPES, is_name
from distgrad.errors import CheckpointError
from distgrad.files import open_regular, replacing, shown, size_of
from distgrad.nn import Module

Target: TypeAlias = "str | os.PathLike[str] | BinaryIO"

_KEY = "distgrad"
_VERSION = 1
_WITH_COMPLEX = 2  # the version that files have which hold complex128
_CODES = {name: f"{np.dtype(name).kind.upper()}{np.dtype(name).itemsize * 8}" for name in DTYPES}
_DTYPES = {code: name for name, code in _CODES.items()} | {"BOOL": "bool", "C64": "complex64"}
_STRUCTURE = "the structure of what is to be saved"
_HALF = "BF16"  # the upper half of a float32, which NumPy has not: read as that
_CONVERT = (
    "from safetensors.torch import save_file; save_file({k: v.contiguous() for k, v in "
    "torch.load('FILE').items()}, 'FILE.safetensors')"
)


@explained
def save(obj: Any, f: Target) -> None:
    """Write ``obj`` to the file ``f`` (a path, or a file opened for binary writing).

    ``obj`` is a Tensor, array, number, string, None, or dicts, lists and tuples of these, nested at
    will: a state_dict, an optimizer's, ``{"model": …, "optimizer": …, "epoch": 3}``. Parameters are
    saved as Tensors. Arrays that are the same memory seen alike are written, and loaded, as one;
    other views are loaded as arrays of their own.
    A path is written whole or not at all, by a rename. Any rank may call it: of several that write
    to one path, the last is read, and each sees a whole file after its own call. ``if rank == 0``
    saves the others the work. Errors: CheckpointError for what cannot be saved (a Module: save its
    ``state_dict()``), or a path that cannot be written.
    """
    arrays: dict[str, Array] = {}
    writer = _Writer(arrays)
    structure = {"version": _VERSION, "value": writer.spelled(obj)}
    if writer.complexes:
        structure |= {"version": _WITH_COMPLEX, "complex128": writer.complexes}
    strict.check_depth(structure, _STRUCTURE)
    text = json.dumps(structure, allow_nan=False)
    strict.check_bounds(text.encode(), _STRUCTURE)
    # Imported here: `import distgrad` must stay light.
    from safetensors.numpy import save as to_bytes  # noqa: PLC0415

    data = to_bytes({k: np.asarray(a, order="C") for k, a in arrays.items()}, {_KEY: text})
    if not isinstance(f, str | os.PathLike):
        f.write(data)
        return
    try:
        # Resolved: a link stays one.
        with replacing(Path(f).resolve(), durable=True) as file:
            file.write(data)
    except OSError as error:
        cure = "free some room" if error.errno == errno.ENOSPC else "choose another path"
        raise CheckpointError(
            f"{shown(f)} cannot be written ({len(data):,} bytes): {error.strerror or error}; "
            f"{cure}. What stood there before is untouched"
        ) from error


@explained
def load(f: Target, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Return what ``save`` has written; of any other safetensors file a dict of its Tensors.

    Tensors come as Tensors that require no gradients, arrays as arrays, tuples as tuples; bfloat16
    as float32. ``map_location`` may be "cpu", a dict that maps to it, or a function, which is not
    called; ``weights_only`` is always meant. Errors:
    CheckpointError for a file that is missing, damaged, or of another kind (for a PyTorch pickle it
    says how to convert it).
    """
    del weights_only  # nothing else is ever loaded
    places = map_location.values() if isinstance(map_location, Mapping) else [map_location]
    if not all(p is None or callable(p) or str(p) in ("cpu", "cpu:0") for p in places):
        raise CheckpointError(
            f"map_location={map_location!r}: there are no GPUs here; leave it out"
        )
    name = shown(f) if isinstance(f, str | os.PathLike) else "the open file"
    raw = _content(f, name)
    header, start = _header(raw, name)
    metadata = header.pop("__metadata__", {})
    arrays = _arrays(raw, start, header, name)
    if not isinstance(metadata, dict) or _KEY not in metadata:
        return {key: Tensor(array) for key, array in arrays.items()}
    found = strict.parse(str(metadata[_KEY]).encode(), f"{name}: its structure")
    if not isinstance(found, dict) or found.get("version") not in (_VERSION, _WITH_COMPLEX):
        raise CheckpointError(f"{name} was written by a newer distgrad: install that one")
    try:
        for key in found.get("complex128", ()):
            arrays[key] = arrays[key].view(np.complex128)[..., 0]
        return _built(found["value"], arrays, {})
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{name} is damaged: its structure is not one: {error}") from error


# -- writing --------------------------------------------------------------------------------------


class _Writer:
    """Spells a value as JSON: plain ones as they are, all else as {kind: …}; collects arrays."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.arrays = arrays
        self.complexes: list[str] = []  # of complex128, which the format lacks: pairs of float64
        # By memory; the array is held, too, so that its memory is not used for another.
        self.known: dict[object, tuple[str, Array]] = {}

    def spelled(self, value: Any, *path: object) -> Any:
        """Return ``value`` as JSON. Errors: CheckpointError, naming the place."""
        if len(path) > strict.MOST_LEVELS:
            raise CheckpointError(
                f"{_place(path[:3])}… nests lists and dicts more than {strict.MOST_LEVELS} deep: "
                f"does one hold itself?"
            )
        if isinstance(value, Tensor | np.ndarray | np.generic):
            return self._array(value, path)
        if isinstance(value, Mapping):
            return {"dict": [[_key(k, path), self.spelled(v, *path, k)] for k, v in value.items()]}
        if isinstance(value, list | tuple):
            kind = "tuple" if isinstance(value, tuple) else "list"
            return {kind: [self.spelled(v, *path, i) for i, v in enumerate(value)]}
        return _plain(value, path)

    def _array(self, value: Any, path: tuple[object, ...]) -> dict[str, str]:
        data = np.asarray(value.array if isinstance(value, Tensor) else value)
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        kind = "tensor" if isinstance(value, Tensor) else kind
        if isinstance(value, np.ma.MaskedArray):
            raise CheckpointError(
                f"{_place(path)} is a masked array, whose mask would be lost: save its data and "
                f"its mask, or x.filled(…)"
            )
        known = {*_DTYPES.values(), "complex128"}
        if data.dtype.name not in known or not data.dtype.isnative:
            raise CheckpointError(
                f"{_place(path)} is an array of {data.dtype!r}, which a file cannot hold: convert "
                f"it to one of {', '.join(sorted(known))} in native byte order"
            )
        interface = data.__array_interface__
        where = interface["data"][0] if data.size else id(data)
        same = where, data.shape, data.strides, data.dtype.str
        if same not in self.known:
            name = self._name(path)
            self.known[same] = name, data
            if data.dtype == np.complex128:
                self.complexes.append(name)
                pairs = np.ascontiguousarray(data).reshape(-1).view(np.float64)
                data = pairs.reshape(*data.shape, 2)
            self.arrays[name] = data
        return {kind: self.known[same][0]}

    def _name(self, path: tuple[object, ...]) -> str:
        """Return the tensor's name in the file: of a state_dict its key, as other programs do."""
        name = "/".join(map(str, path)) or "value"
        name = name if is_name(name) else ascii(name)
        while name in self.arrays or name == "__metadata__":
            name += "~"
        return name


def _plain(value: Any, path: tuple[object, ...]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": str(float(value))}
    if isinstance(value, complex):
        return {"complex": [str(value.real), str(value.imag)]}
    name = type(value).__name__
    if isinstance(value, Module):
        raise CheckpointError(
            f"{_place(path)} is a Module ({name}), whose code a file cannot hold: save its "
            f"state_dict(), and load that into a model which the program makes: "
            f"model.load_state_dict(dg.load(path))"
        )
    hint = "save its state_dict()" if hasattr(value, "state_dict") else "save what it is made of"
    raise CheckpointError(
        f"{_place(path)} is a {name}, which cannot be saved: Tensors, arrays, numbers, strings, "
        f"None, and dicts, lists and tuples of them can; {hint}"
    )


def _key(key: object, path: tuple[object, ...]) -> object:
    if isinstance(key, bool | int | str):
        return key
    raise CheckpointError(f"{_place(path)} has the key {key!r}: keys are strings or whole numbers")


def _place(path: tuple[object, ...]) -> str:
    return "what is to be saved" + "".join(f"[{key!r}]" for key in path)


# -- reading --------------------------------------------------------------------------------------


def _content(f: Target, name: str) -> bytes:
    if not isinstance(f, str | os.PathLike):
        return f.read()
    try:
        with open_regular(f) as file:
            return file.read(size_of(file))
    except OSError as error:
        raise CheckpointError(f"{name} cannot be read: {error.strerror or error}") from error


def _header(raw: bytes, name: str) -> tuple[dict[str, Any], int]:
    """Return a safetensors file's header and where its data begin."""
    (length,) = struct.unpack("<Q", raw[:8]) if len(raw) >= 8 else (0,)
    if not 2 <= length <= len(raw) - 8 or raw[8:9] != b"{":
        raise CheckpointError(f"{name} {_foreign(raw, name)}")
    header = strict.parse(raw[8 : 8 + length], f"{name}: its header")
    return header, 8 + length  # "{" begins a mapping


def _foreign(raw: bytes, name: str) -> str:
    """Return what a file is that is no safetensors file, and what to do."""
    is_zip = raw[:4] == b"PK\x03\x04"
    if raw[:1] == b"\x80" or (is_zip and b"data.pkl" in raw):
        return (
            f"is a pickle, as torch.save writes it, which could run any code and is not "
            f"read here. Where PyTorch is installed this converts a state_dict (of a larger "
            f"checkpoint: the state_dict in it) to a file that dg.load reads: "
            f"{_CONVERT.replace('FILE', name)}"
        )
    if is_zip or raw[:6] == b"\x93NUMPY":
        return "is NumPy's: read it with np.load(path, allow_pickle=False)"
    return (
        "is no file of dg.save and no safetensors file (or it was cut short): load a copy, or "
        "write it anew"
    )


def _arrays(raw: bytes, start: int, header: dict[str, Any], name: str) -> dict[str, Array]:
    arrays, spans = {}, []
    for key, entry in header.items():
        try:
            begin, end = entry["data_offsets"]
            arrays[key] = _array_at(raw, start, entry["dtype"], entry["shape"], begin, end)
        except (LookupError, TypeError, ValueError) as error:
            text = f"{name} is damaged, or cut short: in {strict.shown(key)}: {error}"
            raise CheckpointError(text) from error
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise CheckpointError(f"{name} is damaged: its arrays overlap or leave holes")
        position = end
    if start + position != len(raw):
        raise CheckpointError(f"{name} is damaged: there is more in it than its header lists")
    return arrays


def _array_at(raw: bytes, start: int, code: Any, shape: Any, begin: Any, end: Any) -> Array:
    if any(type(n) is not int or n < 0 for n in (*shape, begin, end)):
        raise ValueError(f"bytes {begin} to {end} for a shape of {shape}")
    if code != _HALF and code not in _DTYPES:
        raise ValueError(f"{code} is a kind of number that NumPy has not")
    dtype = np.dtype("uint16" if code == _HALF else _DTYPES[code])
    count = math.prod(shape)
    if end - begin != count * dtype.itemsize or start + end > len(raw):
        raise ValueError(f"bytes {begin} to {end} for {code} of {shape}")
    flat = np.frombuffer(raw, dtype.newbyteorder("<"), count, start + begin)
    if code == _HALF:
        return (flat.astype(np.uint32) << np.uint32(16)).view(np.float32).reshape(shape)
    return flat.astype(dtype).reshape(shape)


def _built(value: Any, arrays: dict[str, Array], tensors: dict[str, Tensor]) -> Any:
    """Return what ``_Writer.spelled`` has spelled. Errors: LookupError, TypeError, ValueError."""
    if isinstance(value, list):
        raise TypeError("a list stands alone")
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()

    def items() -> list[Any]:
        return [_built(v, arrays, tensors) for v in held]

    kinds: dict[str, Callable[[], Any]] = {
        "array": lambda: arrays[held],
        "scalar": lambda: arrays[held][()],
        "tensor": lambda: tensors.setdefault(held, Tensor(arrays[held])),
        "float": lambda: float(held),
        "complex": lambda: complex(float(held[0]), float(held[1])),
        "dict": lambda: {k: _built(v, arrays, tensors) for k, v in held},
        "list": items,
        "tuple": lambda: tuple(items()),
    }
    return kinds[kind]()
