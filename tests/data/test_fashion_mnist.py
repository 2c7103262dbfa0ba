"""Fashion-MNIST is found, or downloaded once and whole, or the error says how to provide it."""

import errno
import gzip
import hashlib
import http.server
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from distgrad.data import fashion_mnist
from distgrad.errors import DataError

# The modules: the package shows the function under the first one's name.
download = sys.modules["distgrad.data.download"]
module = sys.modules["distgrad.data.fashion_mnist"]

ROOT = Path(__file__).parents[2]


def made_up(n, images):
    """A small file of the family; image i is filled with i and its row number, its label is i."""
    if images:
        pixels = np.add.outer(np.arange(n), np.arange(28)).astype(np.uint8)
        body = np.repeat(pixels, 28).tobytes()
        return struct.pack(">IIII", 0x803, n, 28, 28) + body
    return struct.pack(">II", 0x801, n) + bytes(i % 10 for i in range(n))


PLAIN = {
    name: made_up(12 if name.startswith("train") else 5, images="images" in name)
    for name in module._CHECKSUMS
}
FILES = {name: gzip.compress(data, mtime=0) for name, data in PLAIN.items()}
CHECKSUMS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}
NAMES = sorted(FILES)


class Server(http.server.ThreadingHTTPServer):
    """Serves FILES on loopback while the gate is open; ``trouble[name]`` says what goes wrong."""

    daemon_threads = True

    def __init__(self):
        self.asked, self.trouble, self.gate = [], {}, threading.Event()
        self.gate.set()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/files"

    def handle_error(self, request, client_address):
        pass  # a client that was killed is part of the test


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.rpartition("/")[2]
        self.server.asked.append(name)
        self.server.gate.wait(30)
        trouble, data = self.server.trouble.get(name), FILES[name]
        if trouble == "404":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if trouble in ("cut", "hang"):
            data = data[: len(data) // 2]
        elif trouble == "flip":
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.wfile.write(data)
        if trouble == "hang":
            self.wfile.flush()
            time.sleep(20)

    def log_message(self, format, *arguments):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, nothing given, no proxy between us and the loopback server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("DISTGRAD_DATA", raising=False)
    return tmp_path / "cache" / "distgrad" / "fashion-mnist"


def source(url="http://127.0.0.1:1", system="/nowhere"):
    return module._Source(url=url, checksums=CHECKSUMS, system=Path(system))


def fill(folder, files=FILES, plain=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / (name.removesuffix(".gz") if plain else name)).write_bytes(data)
    return folder


def assert_is_made_up(found):
    for half, n in zip(found, (12, 5), strict=True):
        images, labels = half.arrays
        assert (images.shape, images.dtype) == ((n, 1, 28, 28), np.float32)
        assert (labels.shape, labels.dtype) == ((n,), np.int64)
        np.testing.assert_array_equal(labels, np.arange(n) % 10)
        rows = np.arange(n)[:, None] + np.arange(28)
        np.testing.assert_allclose(images[:, 0, :, 3], rows / 255, rtol=1e-6)


def test_it_is_found_in_the_folder_that_is_named(tmp_path):
    assert_is_made_up(fashion_mnist(fill(tmp_path / "here")))
    assert_is_made_up(fashion_mnist(str(fill(tmp_path / "plain", PLAIN, plain=True))))


@pytest.mark.parametrize("below", ["fashion-mnist", "."])
def test_it_is_found_in_distgrad_data(tmp_path, monkeypatch, below):
    fill(tmp_path / "given" / below)
    monkeypatch.setenv("DISTGRAD_DATA", str(tmp_path / "given"))
    assert_is_made_up(fashion_mnist(_source=source()))


def test_it_is_found_where_debian_puts_it(tmp_path):
    assert_is_made_up(fashion_mnist(_source=source(system=fill(tmp_path / "system"))))


def test_the_cache_goes_before_debian_and_distgrad_data_before_the_cache(
    tmp_path, cache, monkeypatch
):
    broken = dict.fromkeys(FILES, b"broken")
    fill(tmp_path / "system", broken)
    fill(cache)
    assert_is_made_up(fashion_mnist(_source=source(system=tmp_path / "system")))
    fill(cache, broken)
    fill(tmp_path / "given")
    monkeypatch.setenv("DISTGRAD_DATA", str(tmp_path / "given"))
    assert_is_made_up(fashion_mnist(_source=source()))


def test_a_named_folder_without_it_is_an_error_not_a_search(tmp_path, cache):
    fill(cache)
    few = dict(list(FILES.items())[:3])
    with pytest.raises(DataError, match=rf"some does not hold Fashion-MNIST: {NAMES[1]} not there"):
        fashion_mnist(fill(tmp_path / "some", few), _source=source())


def test_it_is_downloaded_into_the_cache_once(cache, server, capfd):
    for _ in range(2):
        assert_is_made_up(fashion_mnist(_source=source(server.url)))
    assert sorted(server.asked) == NAMES
    assert sorted(os.listdir(cache)) == [".lock", *NAMES]
    assert re.search(r"train-images-idx3-ubyte.gz .* (\d+)/\1 bytes", capfd.readouterr().err)


def test_only_what_is_missing_is_downloaded(cache, server):
    fill(cache, {name: FILES[name] for name in NAMES[:3]})
    assert_is_made_up(fashion_mnist(_source=source(server.url)))
    assert server.asked == NAMES[3:]


THREE_WAYS = r".*DISTGRAD_DATA.*apt install dataset-fashion-mnist.*network.*copy .*Looked in: "


@pytest.mark.parametrize("options", [{}, {"download": False}])
def test_without_files_and_network_the_three_ways_are_named(cache, options):
    reason = "switched off" if options else "cannot be downloaded: .*refused"
    with pytest.raises(DataError, match=r"(?s)" + reason + THREE_WAYS + f".*{cache}"):
        fashion_mnist(_source=source(), **options)
    assert options == {} or not cache.exists()


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("404", "cannot be downloaded: HTTP Error 404"),
        ("cut", "cut short|IncompleteRead"),
        ("flip", "has SHA-256 .* instead of .*the download was damaged"),
    ],
)
def test_a_bad_download_is_named_and_never_stored(cache, server, trouble, message):
    server.trouble = {"t10k-images-idx3-ubyte.gz": trouble}
    with pytest.raises(DataError, match=rf"t10k-images-idx3-ubyte.gz ({message})|{message}"):
        fashion_mnist(_source=source(server.url))
    left = set(os.listdir(cache))
    assert "t10k-images-idx3-ubyte.gz" not in left
    assert left <= {".lock", *NAMES}
    server.trouble = {}
    assert_is_made_up(fashion_mnist(_source=source(server.url)))


def test_a_silent_server_is_given_up(server, monkeypatch):
    monkeypatch.setattr(download, "_SILENCE", 0.2)
    server.trouble = dict.fromkeys(NAMES, "hang")
    with pytest.raises(DataError, match=r"cannot be downloaded: .*timed out"):
        fashion_mnist(_source=source(server.url))


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_in_the_cache_is_named_with_the_cure(cache, name):
    fill(cache)
    (cache / name).write_bytes(FILES[name][:-3])
    with pytest.raises(DataError, match=f"{cache / name} is damaged.*delete it"):
        fashion_mnist(_source=source())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", FILES["train-labels-idx1-ubyte.gz"], "not uint8 images of"),
        ("t10k-labels-idx1-ubyte.gz", FILES["train-labels-idx1-ubyte.gz"], "each of the 5 images"),
        ("t10k-labels-idx1-ubyte.gz", made_up(5, False)[:-1] + b"\x0a", "not one label 0 to 9"),
        ("t10k-images-idx3-ubyte.gz", b"<html>404</html>", "magic number"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path, name, content, message):
    folder = fill(tmp_path / "mine")
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} .*{message}"):
        fashion_mnist(folder)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch, server):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be stored in .*file.*set XDG_CACHE_HOME"):
        fashion_mnist(_source=source(server.url))


def test_a_full_disk_is_told_from_a_bad_network(cache, server, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot be stored in .*No space left.*free some room"):
        fashion_mnist(_source=source(server.url))
    assert os.listdir(cache) == [".lock"]


SCRIPT = """
import json, sys
from pathlib import Path
from distgrad.data import fashion_mnist
download, module = sys.modules["distgrad.data.download"], sys.modules["distgrad.data.fashion_mnist"]
download._SAY_AFTER = 0.1
source = module._Source(sys.argv[1], json.loads(sys.argv[2]), Path("/nowhere"))
train, test = fashion_mnist(_source=source)
print(train.arrays[0].sum(), len(test))
"""


class Process:
    """Another process that wants the data; what it says goes to files, to be read meanwhile."""

    def __init__(self, server, folder):
        folder.mkdir()
        self.output, self.errors = folder / "output", folder / "errors"
        with self.output.open("w") as output, self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, server.url, json.dumps(CHECKSUMS)],
                stdout=output,
                stderr=errors,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def says_it_waits(self):
        return self.errors.read_text().count("waiting for another process to download") == 1

    def wait(self):
        return self.process.wait(timeout=60)


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def three(server, tmp_path):
    """Start three at once; open the gate when one has asked the server and the others wait."""
    server.gate.clear()
    processes = [Process(server, tmp_path / f"process {i}") for i in range(3)]
    wait_until(lambda: sum(process.says_it_waits() for process in processes) == 2)
    wait_until(lambda: server.asked)
    server.gate.set()
    return processes


def test_of_three_processes_one_downloads_and_the_others_wait_and_say_so(server, tmp_path):
    processes = three(server, tmp_path)
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len({process.output.read_text() for process in processes}) == 1
    assert sorted(server.asked) == NAMES


def test_who_waited_for_a_failing_download_fails_with_it(server, tmp_path):
    server.trouble = dict.fromkeys(NAMES, "404")
    for process in three(server, tmp_path):
        assert process.wait() == 1
        assert "HTTP Error 404" in process.errors.read_text()
        assert "DISTGRAD_DATA" in process.errors.read_text()
    assert len(server.asked) == 1
    server.trouble = {}  # whoever comes later tries again
    assert_is_made_up(fashion_mnist(_source=source(server.url)))


def test_a_killed_download_leaves_nothing_that_is_read(server, cache, tmp_path):
    server.trouble = {"train-labels-idx1-ubyte.gz": "hang"}
    process = Process(server, tmp_path / "process")
    part = cache / ".train-labels-idx1-ubyte.gz.part"
    wait_until(part.exists)
    process.process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (cache / "train-labels-idx1-ubyte.gz").exists()
    server.trouble = {}
    assert_is_made_up(fashion_mnist(_source=source(server.url)))
    assert sorted(os.listdir(cache)) == [".lock", *NAMES]


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir(),
    reason="Debian's package dataset-fashion-mnist is not installed",
)
def test_a_child_forked_during_a_download_does_not_keep_the_lock(tmp_path, monkeypatch):
    with download._lock(tmp_path / ".lock", "it"):
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
    monkeypatch.setattr(download, "_PATIENCE", 0.0)
    try:
        with download._lock(tmp_path / ".lock", "it") as turn:
            assert turn.number == 0
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_debians_files_are_the_official_ones_but_for_the_gzip_header():
    train, test = fashion_mnist("/usr/share/datasets/fashion-mnist")
    assert (len(train), len(test)) == (60_000, 10_000)
    np.testing.assert_array_equal(np.bincount(train.arrays[1]), np.full(10, 6000))
    # Debian packed with gzip -n; the official header holds the name and the time besides.
    name = "t10k-labels-idx1-ubyte"
    stripped = Path(f"/usr/share/datasets/fashion-mnist/{name}.gz").read_bytes()
    packed = struct.pack("<4sIBB", b"\x1f\x8b\x08\x08", 1504176627, 0, 3)
    official = packed + name.encode() + b"\0" + stripped[10:]
    assert hashlib.sha256(official).hexdigest() == module._CHECKSUMS[f"{name}.gz"]
