"""The manifest: what a checkpoint consists of, as JSON under its own seal.

Strict JSON (NaN and infinities are spelled ``{"$float": "nan"}``), every value comes back as it
went in, and what would not is refused. Knows nothing of files and folders.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distgrad.errors import CheckpointError

NAME = "manifest.json"
FORMAT = "distgrad checkpoint"
VERSION = 1

# The dtypes that NumPy and safetensors share and that come back as they were.
_SIZED = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
DTYPES = frozenset(["bool", *_SIZED, "float16", "float32", "float64"])

_FLOAT = "$float"
_SEAL = b',\n "sha256": "'
_END = b'"\n}\n'


@dataclass(frozen=True)
class Tensor:
    """What one array must be: its dtype by NumPy's name, and its shape."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class File:
    """One safetensors file: its size in bytes, its SHA-256, and what is in it."""

    size: int
    sha256: str
    tensors: Mapping[str, Tensor]


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
                        name: [tensor.dtype, list(tensor.shape)]
                        for name, tensor in file.tensors.items()
                    },
                }
                for section, file in self.files.items()
            },
        }
        text = json.dumps(document, indent=1, allow_nan=False)
        return _seal(text.removesuffix("\n}").encode("ascii"))

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Manifest":
        """Return the manifest; raises CheckpointError unless every byte is as it was written."""
        body = raw[: -len(_SEAL) - 64 - len(_END)]
        if _seal(body) != raw:
            raise CheckpointError(f"{NAME} is damaged: its bytes do not match its own SHA-256")
        document = json.loads(raw)
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise CheckpointError(
                f"{NAME} says {document['format']!r} version {document['version']!r}; this "
                f"distgrad reads {FORMAT!r} version {VERSION}: use the distgrad that wrote it"
            )
        files = {
            section: File(
                size=entry["bytes"],
                sha256=entry["sha256"],
                tensors={n: Tensor(d, tuple(s)) for n, (d, s) in entry["tensors"].items()},
            )
            for section, entry in document["files"].items()
        }
        return cls(step=document["step"], meta=_decode(document["meta"]), files=files)


def _seal(body: bytes) -> bytes:
    # The seal is the last member of the object and covers every byte before it; the reader builds
    # the whole file again and compares, so there is no byte that may change unnoticed.
    return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + _END


def _encode(value: Any, where: str) -> Any:
    """Return ``value`` in strict JSON types, or say where in meta something is that has none."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return _encode_int(int(value), where)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {_FLOAT: repr(float(value))}
    if isinstance(value, list):
        return [_encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == _FLOAT:
                raise CheckpointError(f"{where} has the key {key!r}; keys must be other strings")
        return {key: _encode(item, f"{where}[{key!r}]") for key, item in value.items()}
    raise CheckpointError(
        f"{where} is a {type(value).__name__}, which JSON would not give back as it was: use "
        "None, bool, int, float, str, list or dict; .item() of a NumPy scalar, list() of a tuple; "
        "arrays belong into `arrays`"
    )


def _encode_int(value: int, where: str) -> int:
    try:
        str(value)
    except ValueError as error:
        raise CheckpointError(
            f"{where} is an integer of {value.bit_length()} bits, too long for Python to write "
            "in decimal: use a hexadecimal string"
        ) from error
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, dict):
        if value.keys() == {_FLOAT}:
            return float(value[_FLOAT])
        return {key: _decode(item) for key, item in value.items()}
    return value
