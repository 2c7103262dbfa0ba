"""The manifest: what a checkpoint consists of, as JSON under its own seal.

Strict JSON (NaN and infinities are spelled ``{"$float": "nan"}``), every value comes back as it
went in, and what would not is refused. Knows nothing of files and folders.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distgrad.checkpoint import strict
from distgrad.errors import CheckpointError

NAME = "manifest.json"
FORMAT = "distgrad checkpoint"
VERSION = 1
MOST_STEPS = 2**63 - 1

# The dtypes that NumPy and safetensors share and that come back as they were.
_SIZED = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
DTYPES = frozenset(["bool", *_SIZED, "float16", "float32", "float64"])
SECTION = re.compile(r"[A-Za-z0-9_-]{1,200}")
"""A section's name: part of a file name, and never a path."""

_MOST_DIMENSIONS = 64  # NumPy 2 has no more
_MOST = 2**63 - 1  # bytes of a file, elements of an array
_PREFIX = 8  # bytes of a safetensors file before its header: the header's length
_TOO_LONG = 10 ** (strict.MOST_DIGITS - 1)  # one digit less, for the sign

_FLOAT = "$float"
_FLOATS = {repr(value): value for value in (math.nan, math.inf, -math.inf)}
_SEAL = b',\n "sha256": "'
_END = b'"\n}\n'


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """What one array must be: its dtype by NumPy's name, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """The bytes of its elements."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class File:
    """One safetensors file: its size in bytes, its SHA-256, and what is in it."""

    size: int
    sha256: str
    tensors: Mapping[str, ArraySpec]

    @property
    def header(self) -> int:
        """The bytes that are left for the file's header."""
        return self.size - _PREFIX - sum(spec.nbytes for spec in self.tensors.values())


@dataclass(frozen=True)
class Manifest:
    """The table of contents of one checkpoint: ``files`` maps section names to files."""

    step: int
    meta: Mapping[str, Any]
    files: Mapping[str, File]

    def to_bytes(self) -> bytes:
        """Return the sealed JSON; raises CheckpointError for meta that would not come back."""
        document = {
            "format": FORMAT,
            "version": VERSION,
            "step": self.step,
            "meta": _encode(self.meta, "meta"),
            "files": {
                section: {
                    "bytes": file.size,
                    "sha256": file.sha256,
                    "tensors": {
                        name: [spec.dtype, list(spec.shape)] for name, spec in file.tensors.items()
                    },
                }
                for section, file in self.files.items()
            },
        }
        text = json.dumps(document, indent=1, allow_nan=False)
        raw = _seal(text.removesuffix("\n}").encode("ascii"))
        strict.check_bounds(raw, "the manifest")
        return raw

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Manifest":
        """Return the manifest; raises CheckpointError unless every byte is as it was written.

        What it returns is safe to use: every value has the type, range and form that ``to_bytes``
        writes, however the bytes came about.
        """
        body = raw[: -len(_SEAL) - 64 - len(_END)]
        if _seal(body) != raw:
            raise CheckpointError(f"{NAME} is damaged: its bytes do not match its own SHA-256")
        document = strict.parse(raw, NAME, _decode)
        _check(isinstance(document, dict), "all of it", document, "an object")
        found = document.get("format"), document.get("version")
        if found != (FORMAT, VERSION):
            raise CheckpointError(
                f"{NAME} says {strict.shown(found[0])} version {strict.shown(found[1])}; this "
                f"distgrad reads {FORMAT!r} version {VERSION}: use the distgrad that wrote it"
            )
        _check_keys(document, "all of it", "format", "version", "step", "meta", "files", "sha256")
        step, meta, files = document["step"], document["meta"], document["files"]
        _check(_is_count(step, MOST_STEPS), "step", step, "0 or more")
        _check(isinstance(meta, dict), "meta", meta, "an object")
        _check(isinstance(files, dict), "files", files, "an object")
        return cls(step=step, meta=meta, files={s: _file(s, files[s]) for s in files})


def _file(section: str, found: Any) -> File:
    where = f"files[{strict.shown(section)}]"
    _check(SECTION.fullmatch(section), "the section", section, "letters, digits, '_' and '-'")
    _check_keys(found, where, "bytes", "sha256", "tensors")
    size, digest, tensors = found["bytes"], found["sha256"], found["tensors"]
    _check(_is_count(size, _MOST), f"{where} bytes", size, "0 or more")
    is_digest = isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)
    _check(is_digest, f"{where} sha256", digest, "64 hexadecimal digits")
    _check(isinstance(tensors, dict), f"{where} tensors", tensors, "an object")
    file = File(size, digest, {name: _spec(where, name, tensors[name]) for name in tensors})
    _check(2 <= file.header <= strict.MOST_BYTES, f"{where} bytes", size, "what its arrays need")
    return file


def _spec(where: str, name: str, found: Any) -> ArraySpec:
    where = f"{where} {strict.shown(name)}"
    _check(is_name(name), where, name, "a name that safetensors can hold")
    _check(isinstance(found, list) and len(found) == 2, where, found, "[dtype, shape]")
    dtype, shape = found
    _check(isinstance(dtype, str) and dtype in DTYPES, where, dtype, "a dtype with a known size")
    is_shape = isinstance(shape, list) and all(_is_count(n, _MOST) for n in shape)
    _check(is_shape and len(shape) <= _MOST_DIMENSIONS, where, shape, "a shape")
    # NumPy wants even an empty array's other dimensions to multiply to what a word can hold.
    fits = math.prod(n for n in shape if n) <= _MOST // np.dtype(dtype).itemsize
    _check(fits, where, shape, "a shape that fits into memory")
    return ArraySpec(dtype, tuple(shape))


def is_name(name: str) -> bool:
    """Return whether safetensors can hold an array of this name."""
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return name != "__metadata__"


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most  # True is no number here


def _check_keys(found: object, where: str, *keys: str) -> None:
    named = isinstance(found, dict) and found.keys() == set(keys)
    _check(named, where, found, f"an object with {', '.join(keys)}")


def _check(is_right: object, where: str, found: object, wanted: str) -> None:
    if not is_right:
        raise CheckpointError(
            f"{NAME} is not as distgrad writes it: {where} is {strict.shown(found)}; it must be "
            f"{wanted}"
        )


def _seal(body: bytes) -> bytes:
    # The seal is the last member of the object and covers every byte before it; the reader builds
    # the whole file again and compares, so there is no byte that may change unnoticed.
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + _END


def _encode(value: Any, where: str, level: int = 2) -> Any:
    """Return ``value`` in strict JSON types, or say where in meta something is that has none."""
    if level > strict.MOST_LEVELS:
        raise CheckpointError(
            f"meta nests lists and dicts more than {strict.MOST_LEVELS} deep, or holds itself: "
            f"{strict.shown(where)}"
        )
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return _encode_int(int(value), where)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_FLOAT: repr(float(value))}
    if isinstance(value, list):
        return [_encode(item, f"{where}[{i}]", level + 1) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == _FLOAT:
                raise CheckpointError(f"{where} has the key {key!r}; keys must be other strings")
        return {k: _encode(item, f"{where}[{k!r}]", level + 1) for k, item in value.items()}
    raise CheckpointError(
        f"{where} is a {type(value).__name__}, which JSON would not give back as it was: use "
        "None, bool, int, float, str, list or dict; .item() of a NumPy scalar, list() of a tuple; "
        "arrays belong into `arrays`"
    )


def _encode_int(value: int, where: str) -> int:
    if abs(value) >= _TOO_LONG:
        raise CheckpointError(
            f"{where} is an integer of {value.bit_length()} bits, too long for Python to read "
            "in decimal: use a hexadecimal string"
        )
    return value


def _decode(found: dict[str, Any]) -> Any:
    if _FLOAT not in found:
        return found
    name = found[_FLOAT]
    is_float = len(found) == 1 and isinstance(name, str) and name in _FLOATS
    _check(is_float, _FLOAT, found, f"one of {', '.join(_FLOATS)}")
    return _FLOATS[name]
