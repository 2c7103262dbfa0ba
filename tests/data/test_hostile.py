"""Whatever lies in a data file's place or comes down the wire: a DataError, soon, and small."""

import gzip
import http.server
import os
import stat
import struct
import sys
import threading
import time
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from distgrad import data
from distgrad.errors import DataError

download = sys.modules["distgrad.data.download"]
digits = sys.modules["distgrad.data.digits"]
fashion = sys.modules["distgrad.data.fashion_mnist"]

MOST_MEMORY = 64_000_000  # bytes beyond the file
MOST_TIME = 1.0  # seconds of this process's own


def refused(action, path, match):
    """Check that it is a DataError that names the file, within the time and the memory."""
    on_disk = path.lstat().st_blocks * 512 if os.path.lexists(path) else 0
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=match):
            action(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY + on_disk
    assert time.process_time() - began < MOST_TIME


def zero_device(path):
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        os.close(os.open(path, os.O_RDONLY))
    except PermissionError:
        pytest.skip("making a device needs root")


def unreadable(path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path.touch(mode=0)


def sparse(path):
    path.touch()
    os.truncate(path, 6 << 30)


THINGS = {
    "missing": lambda path: None,
    "empty": Path.touch,
    "folder": Path.mkdir,
    "pipe": os.mkfifo,
    "device": zero_device,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "sparse": sparse,
    "unreadable": unreadable,
}


def header(*shape, code=8, dimensions=None):
    count = len(shape) if dimensions is None else dimensions
    return struct.pack(f">HBB{len(shape)}I", 0, code, count, *shape)


def bomb(claimed, unpacked):
    """A gzip file with a header that claims ``claimed`` bytes and so many zeros behind it."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(header(claimed))]
    parts += [packer.compress(bytes(1 << 20)) for _ in range(unpacked >> 20)]
    return b"".join([*parts, packer.flush()])


WHOLE = header(5) + b"abcde"
MANY = 2**32 - 1
IDX = {
    "more than there is": header(6 << 20) + b"abc",
    "six GiB": header(6, 1 << 30) + b"abc",
    "more than a word counts": header(*[MANY] * 3) + b"abc",
    "more than any machine has": header(*[MANY] * 64) + b"abc",
    "more dimensions than NumPy has": header(*[1] * 65) + b"a",
    "255 dimensions": header(*[1] * 255) + b"a",
    "fewer sizes than dimensions": header(5, dimensions=200) + b"abcde",
    "nothing, of an impossible shape": header(0, MANY, MANY, MANY),
    "an unknown type": header(5, code=0x0A) + bytes(10),
    "not a whole number of elements": header(5, code=0x0E) + bytes(39),
    "a gzip header alone": gzip.compress(WHOLE)[:10],
    "no end": gzip.compress(WHOLE)[:-8],
    "a wrong CRC": gzip.compress(WHOLE)[:-8] + bytes(8),
    "garbage after the end": gzip.compress(WHOLE) + b"garbage",
    "twice": gzip.compress(WHOLE) * 2,
    "gzip in gzip": gzip.compress(gzip.compress(WHOLE)),
    "a gzip header without an end": b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * 1_000_000,
    "a bomb that says so": bomb(500 << 20, 500 << 20),
    "a bomb that says it is small": bomb(1000, 100 << 20),
    "a bomb that is smaller than it says": bomb(30 << 20, 20 << 20),
    "a bomb that says more than can be": bomb(MANY, 1 << 20),
    "a pickle": b"\x80\x04K\x01.",
    "a page of HTML": b"<html>404</html>",
}


@pytest.mark.parametrize("name", [*THINGS, *IDX])
def test_an_idx_file(tmp_path, name):
    path = tmp_path / "images\nidx"
    THINGS[name](path) if name in THINGS else path.write_bytes(IDX[name])
    refused(data.read_idx, path, r"images\\nidx' cannot be read as an idx file: ")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "a" * 5000])
def test_a_name_that_no_file_can_have(tmp_path, name):
    refused(lambda _: data.read_idx(tmp_path / name), tmp_path, "cannot be read as an idx file")
    refused(lambda _: data.text_file(tmp_path / name), tmp_path, "cannot be read")


def test_an_array_that_is_larger_than_wanted(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(WHOLE)
    assert data.read_idx(path, most=5).tolist() == list(b"abcde")
    refused(lambda p: data.read_idx(p, most=4), path, r"\(5,\), 5 bytes; 4 are the most")


def test_what_is_packed_well_is_no_bomb(tmp_path):
    path = tmp_path / "masks"
    path.write_bytes(bomb(20 << 20, 20 << 20))
    assert not np.any(data.read_idx(path))


TEXTS = {
    "UTF-16": "größe".encode("utf-16"),
    "a cut character": "grö".encode()[:-1],
    "a surrogate": b"a\xed\xa0\x80",
    "bad far inside": b"a" * 3_000_000 + b"\xff" + b"a" * 3_000_000,
}


@pytest.mark.parametrize("name", [*THINGS, *TEXTS])
def test_a_text_file(tmp_path, name):
    path = tmp_path / "text\n"
    THINGS[name](path) if name in THINGS else path.write_bytes(TEXTS[name])
    position = r"\(byte 3000000: " if "inside" in name else ""
    refused(data.text_file, path, rf"text\\n' .*{position}")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("DISTGRAD_DATA", raising=False)
    folder = tmp_path / "distgrad" / "fashion-mnist"
    folder.mkdir(parents=True)
    return folder


NAME = "train-images-idx3-ubyte.gz"


@pytest.mark.parametrize("thing", [*THINGS, "bomb"])
def test_fashion_mnist_in_a_named_folder(cache, thing):
    for name in fashion._CHECKSUMS:
        (cache / name).write_bytes(gzip.compress(header(0, 28, 28) if "images" in name else WHOLE))
    (cache / NAME).unlink()
    things = {**THINGS, "bomb": lambda path: path.write_bytes(bomb(70 << 20, 70 << 20))}
    things[thing](cache / NAME)
    refused(lambda path: fashion.fashion_mnist(path.parent), cache / NAME, NAME)


@pytest.mark.parametrize("thing", ["empty", "sparse", "unreadable"])
def test_fashion_mnist_in_the_cache(cache, thing):
    for name in fashion._CHECKSUMS:
        THINGS[thing](cache / name)
    source = fashion._Source(system=Path("/nowhere"))
    refused(lambda _: fashion.fashion_mnist(_source=source), cache / NAME, f"{NAME} is damaged: ")


@pytest.fixture
def server(monkeypatch):
    """A server whose answer the test writes."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            with suppress(BrokenPipeError, ConnectionResetError):  # the client has had enough
                self.server.answer(self)

        def log_message(self, format, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(bytes(1 << 16))


def trickle(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.02)


def elsewhere(handler):
    handler.send_response(302)
    handler.send_header("Location", "http://[not-an-address/")
    handler.end_headers()


def to_a_file(handler):
    handler.send_response(302)
    handler.send_header("Location", "file:///etc/passwd")
    handler.end_headers()


def no_http(handler):
    handler.wfile.write(b"\x80\x04K\x01." * 100)


ANSWERS = {
    endless: "sends more than 67,108,864 bytes",
    trickle: "too slow",
    elsewhere: "cannot be downloaded",
    to_a_file: "cannot be downloaded",
    no_http: "cannot be downloaded",
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_down_the_wire(cache, server, monkeypatch, answer):
    server.answer = answer
    if answer is trickle:
        monkeypatch.setattr(download, "_PATIENCE", 0.2)
    source = fashion._Source(url=server.url, system=Path("/nowhere"))
    with pytest.raises(DataError, match=rf"{server.url}.* {ANSWERS[answer]}"):
        fashion.fashion_mnist(_source=source)
    assert os.listdir(cache) == [".lock"]


@pytest.mark.parametrize("content", [b"\xff\n\xff", b"-1\nx", b"9" * 5000, b"1" + bytes(3)])
def test_a_lock_file_with_anything_in_it_is_no_turn(cache, content):
    (cache / ".lock").write_bytes(content)
    source = fashion._Source(url="http://127.0.0.1:1", system=Path("/nowhere"))
    with pytest.raises(DataError, match="cannot be downloaded"):
        fashion.fashion_mnist(_source=source)
    assert (cache / ".lock").read_bytes().startswith(b"1\nhttp://127.0.0.1:1/")


@pytest.mark.parametrize("thing", ["folder", "pipe", "device", "link to a device"])
def test_something_else_than_a_lock_file_is_named(cache, thing):
    THINGS[thing](cache / ".lock")
    source = fashion._Source(url="http://127.0.0.1:1", system=Path("/nowhere"))
    refused(lambda _: fashion.fashion_mnist(_source=source), cache / ".lock", "cannot be stored in")


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04", "cut"])
def test_digits_that_were_lost_or_damaged_are_told(tmp_path, monkeypatch, content):
    path = tmp_path / "digits.npz"
    if content is not None:
        path.write_bytes(digits._FILE.read_bytes()[:-1] if content == "cut" else content)
    monkeypatch.setattr(digits, "_FILE", path)
    refused(lambda _: data.digits(), path, "digits.npz .*install distgrad again")
