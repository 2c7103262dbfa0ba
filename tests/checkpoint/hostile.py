"""Checkpoints as nobody should write them; test_hostile.py reads them, this is no test itself.

Each case is a name and a function that damages the checkpoint in a folder: step 3, one section
``model`` with ``w`` (float32, 3 x 4), ``b`` (float32, 3) and ``t`` (int64, 0-d). Seals and hashes
are made anew, so that nothing but the check that is meant can notice.
"""

import hashlib
import json
import os
import socket
import stat
import struct
from pathlib import Path

import numpy as np
import pytest

from distgrad import checkpoint
from distgrad.checkpoint import manifest

ARRAYS = {
    "w": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.arange(3, dtype=np.float32) + 5,
    "t": np.array(7),
}
META = {"epoch": 3, "lr": 0.5}
SPARSE = 6 << 30


def save(folder, step):
    return checkpoint.save(folder, step=step, arrays={"model": ARRAYS}, meta=META)


def put(path, raw):
    (path / "manifest.json").write_bytes(raw)


def seal(body):
    return manifest._seal(body if isinstance(body, bytes) else body.encode())


def document(path):
    found = json.loads((path / "manifest.json").read_bytes())
    del found["sha256"]
    return found


def forge(path, found):
    put(path, seal(json.dumps(found).removesuffix("}")))


def change(*where, to=None, without=False):
    """Return a case that puts ``to`` at a place in the manifest, or deletes what is there."""

    def case(path):
        found = inner = document(path)
        for key in where[:-1]:
            inner = inner[key]
        if without:
            del inner[where[-1]]
        else:
            inner[where[-1]] = to
        forge(path, found)

    return case


def raw(content):
    return lambda path: put(path, content)


def sealed(body):
    return lambda path: put(path, seal(body))


def value_in_meta(text):
    """Return a case with this very JSON as a value in meta."""

    def case(path):
        found = document(path)
        found["meta"] = "HERE"
        body = json.dumps(found).removesuffix("}").replace('"HERE"', '{"x": ' + text + "}")
        put(path, seal(body))

    return case


def renamed(section):
    """Return a case whose section has another name, and a file there if one can lie there."""

    def case(path):
        found = document(path)
        found["files"][section] = found["files"].pop("model")
        forge(path, found)
        try:
            target = path / f"{section}.safetensors"
            if not target.is_absolute() or path.parent in target.parents:
                os.rename(path / "model.safetensors", target)
        except (OSError, ValueError):
            pass  # no file can have this name

    return case


def outside(path):
    """The section lies beside the checkpoints and is named by its absolute path."""
    renamed(str(path.parent / "model"))(path)


HEADER = {
    "t": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]},
    "b": {"dtype": "F32", "shape": [3], "data_offsets": [8, 20]},
    "w": {"dtype": "F32", "shape": [3, 4], "data_offsets": [20, 68]},
}
DATA = ARRAYS["t"].tobytes() + ARRAYS["b"].tobytes() + ARRAYS["w"].tobytes()


def header(text=None, *, length=None, data=DATA, **changes):
    """Return a case with another header in the section's file, which the manifest vouches for."""

    def case(path):
        table = {**HEADER, **changes}
        table = {k: {**HEADER.get(k, {}), **v} for k, v in table.items() if v is not None}
        content = (json.dumps(table) if text is None else text).encode()
        size = len(content) if length is None else length
        content = struct.pack("<Q", size % 2**64) + content + data
        (path / "model.safetensors").write_bytes(content)
        found = document(path)
        found["files"]["model"]["bytes"] = len(content)
        found["files"]["model"]["sha256"] = hashlib.sha256(content).hexdigest()
        forge(path, found)

    return case


def in_place(name, make):
    """Return a case where something else than a file bears the name."""

    def case(path):
        os.rename(path / name, path.parent / "stolen")
        make(path / name)

    return case


def listening(path):
    before = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.fchdir(before)
        os.close(before)


def zero_device(path):
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        pytest.skip("making a device needs root")


def sparse(path):
    path.touch()
    os.truncate(path, SPARSE)


def sparse_and_vouched_for(path):
    """Six GiB of nothing, and a manifest that lists them."""
    os.truncate(path / "model.safetensors", SPARSE)
    found = document(path)
    entry = found["files"]["model"]
    entry["bytes"], entry["tensors"] = SPARSE, {"w": ["uint8", [SPARSE - 8 - 200]]}
    forge(path, found)


def unreadable(path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path.touch(mode=0)


THINGS = {
    "missing": lambda path: None,
    "empty": Path.touch,
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "socket": listening,
    "device": zero_device,
    "link out": lambda path: path.symlink_to(path.parent.parent / "stolen"),
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "sparse": sparse,
    "unreadable": unreadable,
}

MODEL = ("files", "model")
SPEC = (*MODEL, "tensors", "w")
DEEP = 100_000
HUGE = "9" * 5000
NOT_OBJECTS = [None, True, 0, "x", [], {"$float": "nan"}]
DTYPES = ["object", "O", "<f4", "complex64", "float128", "V4", "int32", "float64", "uint8", "F32"]
DTYPES += ["float32\0", "\ud800", "datetime64[s]", "", None, 4, [], {}]
NOT_SHAPES = [None, 12, "34", {}, [3.0, 4], [True, 12], [-3, -4], [[3], [4]], [3, None], [10**4000]]
OTHER_SHAPES = [[12], [4, 3], [3], [], [0], [3, 5], [2**63], [2**62, 2**62], [0, 2**62, 2**62]]
OTHER_SHAPES += [[0] * 65, [1] * 60 + [3, 4] + [1] * 3, [2**31] * 64]
PATHS = ["../model", "../../model", "./model", "/etc/model", "", ".", "..", "a/../model", "~"]
NAMES = ["a\nb", "a\0b", "\ud800", "größe", "m" * 201, "m" * 5000, "model ", " ", "-\t", "*"]
NOT_PAIRS = [None, 20, [], [20], [20, 68, 68], [20.0, 68], ["20", "68"], [True, 49], {"0": 20}]
OTHER_PAIRS = [[68, 20], [0, 48], [8, 56], [21, 69], [-48, 0], [2**63, 2**63 + 48], [-28, 20]]
NOT_COUNTS = [None, True, -1, 1.5, 3.0, "3", [3], {}, {"$float": "inf"}, 2**63, 10**4000]

CASES = {
    **{f"step {v!r:.20}": change("step", to=v) for v in [*NOT_COUNTS, 4]},
    **{f"meta {v!r}": change("meta", to=v) for v in NOT_OBJECTS},
    **{f"format {v!r}": change("format", to=v) for v in [None, 1, "x", [], {}, "\ud800\n"]},
    **{f"version {v!r}": change("version", to=v) for v in [None, 2, "1", [], {}]},
    **{f"files {v!r}": change("files", to=v) for v in NOT_OBJECTS},
    **{f"section {v!r}": change(*MODEL, to=v) for v in [*NOT_OBJECTS, {}]},
    **{f"bytes {v!r:.20}": change(*MODEL, "bytes", to=v) for v in NOT_COUNTS},
    **{f"bytes {v}": change(*MODEL, "bytes", to=v) for v in (0, 7, 8, 76, 6 << 30, 2**63 - 1)},
    **{
        f"sha256 {v!r:.70}": change(*MODEL, "sha256", to=v)
        for v in (None, 0, "", [], "0" * 64, "A" * 64, "a" * 63, "a" * 65, "g" * 64, "٣" * 64)
    },
    **{f"tensors {v!r}": change(*MODEL, "tensors", to=v) for v in [*NOT_OBJECTS, {}]},
    **{
        f"spec {v!r}": change(*SPEC, to=v)
        for v in [*NOT_OBJECTS, ["float32"], ["float32", [3, 4], 1], [["float32"], [3, 4]]]
    },
    **{f"dtype {v!r}": change(*SPEC, to=[v, [3, 4]]) for v in DTYPES},
    **{f"shape {v!r:.40}": change(*SPEC, to=["float32", v]) for v in [*NOT_SHAPES, *OTHER_SHAPES]},
    **{f"no {key}": change(key, without=True) for key in ("step", "meta", "files", "format")},
    **{
        f"no {key} of a file": change(*MODEL, key, without=True)
        for key in ("bytes", "sha256", "tensors")
    },
    "one key too many": change("more", to=1),
    "one key of a file too many": change(*MODEL, "more", to=1),
    "one tensor less": change(*SPEC, without=True),
    "one tensor more": change(*MODEL, "tensors", "v", to=["float32", [0]]),
    "a tensor called __metadata__": change(*MODEL, "tensors", "__metadata__", to=["bool", [0]]),
    "a tensor called by half a character": change(*MODEL, "tensors", "\ud800", to=["bool", [0]]),
    "a section without a file": change("files", "more", to={"bytes": 1}),
    "a section elsewhere": outside,
    **{f"section called {name!r:.30}": renamed(name) for name in [*PATHS, *NAMES]},
    "not a byte": raw(b""),
    "zeros": raw(bytes(300)),
    "all ones": raw(b"\xff" * 300),
    "a page of HTML": raw(b"<html>404</html>" * 20),
    "a pickle": raw(b"\x80\x04K\x01." * 60),
    "a seal alone": sealed(b""),
    "a list": sealed("[1"),
    "nothing before the seal": sealed("{"),
    "not JSON": sealed("{'format': 1"),
    "a comma too many": sealed('{"format": 1,'),
    "a comment": sealed('{"format": 1 /* one */'),
    "text after the end": sealed("{} {"),
    "UTF-16": sealed('{"format": 1'.encode("utf-16")),
    "UTF-32": sealed('{"format": 1'.encode("utf-32-be")),
    "a byte order mark": sealed(b"\xef\xbb\xbf" + b'{"format": 1'),
    "Latin 1": sealed('{"größe": 1'.encode("latin-1")),
    "a cut character": sealed(b'{"format": "\xc3'),
    "a key twice": sealed('{"format": 1, "format": 1'),
    "a key twice, deep inside": value_in_meta('[{"a": 1, "a": 2}]'),
    "a NUL in a string": value_in_meta('"\0"'),
    "a line end in a string": value_in_meta('"\n"'),
    "a bad escape": value_in_meta(r'"\x41"'),
    "NaN": value_in_meta("NaN"),
    "minus infinity": value_in_meta("-Infinity"),
    "a float too large": value_in_meta("1e999"),
    "a float of a megabyte": value_in_meta("0." + "1" * 1_000_000),
    "an integer too long": value_in_meta(HUGE),
    "a negative integer too long": value_in_meta("-" + HUGE),
    "a float by an unknown name": value_in_meta('{"$float": "many"}'),
    "a float by a list": value_in_meta('{"$float": []}'),
    "a float by a number": value_in_meta('{"$float": 1.5}'),
    "a float and more": value_in_meta('{"$float": "nan", "x": 1}'),
    "lists too deep": value_in_meta("[" * 150 + "]" * 150),
    "objects too deep": value_in_meta('{"a":' * 150 + "1" + "}" * 150),
    "lists deeper than the stack": value_in_meta("[" * DEEP + "]" * DEEP),
    "objects deeper than the stack": value_in_meta('{"a":' * DEEP + "1" + "}" * DEEP),
    "lists that never end": value_in_meta("[" * DEEP),
    "a million numbers": value_in_meta("[" + "1," * 1_000_000 + "1]"),
    "a million lists": value_in_meta("[" + "[]," * 1_000_000 + "[]]"),
    "as many objects as are taken": change(
        "meta", to={"x": [{"a": [{}]} for _ in range(49_000)], "$float": "nan"}
    ),
    "a string as long as is taken": value_in_meta(
        '["\\ud83d\\ude00' + "a" * 8_300_000 + '", 1e999]'
    ),
    "a string too long": value_in_meta('"' + "a" * (9 << 20) + '"'),
    **{f"manifest: {name}": in_place("manifest.json", make) for name, make in THINGS.items()},
    **{f"section: {name}": in_place("model.safetensors", make) for name, make in THINGS.items()},
    "section: sparse and vouched for": sparse_and_vouched_for,
    "header: its length is 2^64 - 1": header(length=-1),
    "header: its length is 2^63": header(length=2**63),
    "header: its length is 0": header(length=0),
    "header: one byte more": header(length=len(json.dumps(HEADER)) + 1),
    "header: nothing": header(""),
    "header: two NULs": header("\0\0"),
    "header: not JSON": header("{'t': 1}"),
    "header: a list": header("[1, 2]"),
    "header: null": header("null"),
    "header: empty": header("{}"),
    "header: a key twice": header(json.dumps(HEADER).replace('"b"', '"w"')),
    "header: too deep": header("[" * DEEP + "]" * DEEP),
    "header: too many values": header("[" + "1," * 300_000 + "1]"),
    "header: too long": header('"' + "a" * (9 << 20) + '"'),
    "header: an integer too long": header(b=None, w={"data_offsets": [0, 10**4000]}),
    "header: one tensor less": header(t=None),
    "header: one tensor more": header(more=HEADER["b"]),
    "header: metadata": header(__metadata__={"format": "np"}),
    "header: another name": header(json.dumps(HEADER).replace('"b"', '"B"')),
    **{f"header: an entry {v!r}": header(json.dumps({**HEADER, "b": v})) for v in NOT_OBJECTS},
    **{
        f"header: dtype {v!r}": header(w={"dtype": v})
        for v in (None, 1, [], "F64", "I32", "U32", "f32", "BF16", "F8_E4M3", "F32\0", "")
    },
    **{
        f"header: shape {v!r:.30}": header(w={"shape": v})
        for v in (None, 12, "34", [12], [4, 3], [3, 4, 1], [3.5, 4], [-3, -4], [10**4000])
    },
    **{
        f"header: offsets {v!r:.40}": header(w={"data_offsets": v})
        for v in [*NOT_PAIRS, *OTHER_PAIRS]
    },
    "header: two arrays in one place": header(b={"data_offsets": [20, 32]}),
    "header: an empty array": header(b={"data_offsets": [8, 8]}),
    "a byte more than the header says": header(data=DATA + b"x"),
    "a byte less than the header says": header(data=DATA[:-1]),
    "no data": header(data=b""),
}
