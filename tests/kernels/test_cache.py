"""Compiled kernels are kept where nobody else can write; no state of the cache ends a run."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest

pytest.importorskip("numba")

from distgrad.kernels import cache, jit
from distgrad.kernels.cache import Store, Turn, cache_folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache of this test's own, as a new process finds it."""
    begin_anew(tmp_path, monkeypatch)
    return tmp_path


def begin_anew(folder, monkeypatch):
    monkeypatch.setattr(jit, "_store", Store(folder))
    monkeypatch.setattr(jit, "_turn", Turn(folder))


def double(x):
    for i in range(x.size):
        x[i] = x[i] * 2


def hits():
    """Compile a kernel or load it, check what it computes, and return how often it was loaded."""
    kernel = jit.kernel(double)
    x = np.arange(3.0)
    kernel(x)
    assert x.tolist() == [0, 2, 4]
    return sum(kernel.stats.cache_hits.values())


def kept(folder):
    [path] = folder.glob("*double*")
    return path


def quietly(action):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return action()


def test_a_kernel_is_compiled_once_and_then_loaded(folder):
    assert [quietly(hits) for _ in range(3)] == [0, 1, 1]


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1  # somewhere in the machine code
    path.write_bytes(raw)


def cut(share):
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def replaced(make):
    def change(path):
        path.unlink()
        make(path)

    return change


DAMAGE = {
    "empty": cut(0),
    "cut in the seal": cut(0.001),
    "cut": cut(0.5),
    "flipped": flip,
    "a pipe": replaced(os.mkfifo),
    "a link": replaced(lambda path: path.symlink_to("/dev/zero")),
    "sparse": lambda path: os.truncate(path, 6 << 30),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_mends(folder, damage):
    hits()
    DAMAGE[damage](kept(folder))
    with pytest.warns(RuntimeWarning, match=r"compiled anew: .*double"):
        assert hits() == 0
    assert quietly(hits) == 1


def test_a_kernel_of_other_sources_is_compiled_anew_without_a_word(folder, monkeypatch):
    hits()
    with monkeypatch.context() as other:
        other.setattr(cache, "_sources", lambda: b"x" * 32)
        assert quietly(hits) == 0
    assert quietly(hits) == 0
    assert len(list(folder.glob("*double*"))) == 1


def test_where_nothing_can_be_kept_that_is_said_once_and_the_run_goes_on(folder):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        with pytest.warns(RuntimeWarning, match=r"not kept: .*free some room, or set DISTGRAD_C"):
            assert hits() == 0
        assert quietly(hits) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_folder_in_a_files_place_costs_a_word_not_the_run(folder):
    hits()
    path = kept(folder)
    path.unlink()
    path.mkdir()
    with pytest.warns(RuntimeWarning) as seen:
        assert hits() == 0
    assert "it is a folder, not a regular file" in str(seen[0].message)
    assert "compiled kernels are not kept" in str(seen[1].message)


def multiplier(factor):
    def multiply(x):
        for i in range(x.size):
            x[i] = x[i] * factor

    return multiply


def raiser(inner):
    def twice(x):
        inner(x)
        inner(x)

    return twice


def test_kernels_of_one_factory_are_kept_apart(folder):
    """Whether they differ by a number, an array's middle, or a kernel that they call."""

    def middle(value):
        table = np.ones(3000)
        table[1500] = value

        def multiply_by_the_middle(x):
            for i in range(x.size):
                x[i] = x[i] * table[1500]

        return multiply_by_the_middle

    def result(function):
        x = np.arange(3.0)
        jit.kernel(function)(x)
        return x.tolist()

    for _ in range(2):  # compiled, then loaded
        assert result(multiplier(2.0)) == [0, 2, 4]
        assert result(multiplier(3.0)) == [0, 3, 6]
        assert result(middle(5.0)) == [0, 5, 10]
        assert result(middle(7.0)) == [0, 7, 14]
        assert result(raiser(jit.kernel(multiplier(2.0)))) == [0, 4, 8]
        assert result(raiser(jit.kernel(multiplier(3.0)))) == [0, 9, 18]
    assert len(list(folder.glob("*multipl*"))) == 4
    assert len(list(folder.glob("*twice*"))) == 2


FACTOR = 1.0


def changed(x):
    return np.sqrt(x) * FACTOR


@pytest.mark.parametrize(
    "differ", [{"names": ("np", "square", "FACTOR")}, {"FACTOR": 2.0}], ids=["name", "number"]
)
def test_kernels_are_kept_apart_by_what_is_global_in_what_they_call(folder, differ):
    """A formula may be anybody's: its file is not among the sources that are looked at."""
    numba = pytest.importorskip("numba")
    code, more = changed.__code__, {k: v for k, v in differ.items() if k != "names"}
    other = code.replace(co_names=differ.get("names", code.co_names))
    of_each = [
        FunctionType(code, {**globals()}, "changed"),
        FunctionType(other, {**globals(), **more}, "changed"),
    ]

    def applier(inner):
        def apply(x):
            for i in range(x.size):
                x[i] = inner(x[i])

        return apply

    for _ in range(2):  # compiled, then loaded
        found = []
        for function in of_each:
            x = np.array([4.0])
            jit.exact_kernel(applier(numba.njit(function)))(x)
            found.append(x[0])
        assert found == [2.0, 4.0 if more else 16.0]


def test_a_kernel_that_calls_itself_has_a_name_of_its_own(folder):
    @jit.kernel
    def faculty(n):
        return 1 if n < 2 else n * faculty(n - 1)

    assert faculty(5) == 120


@pytest.mark.parametrize("umask", [0, 0o002, 0o022])
def test_whatever_the_umask_nobody_else_can_write_a_kept_kernel(folder, umask):
    before = os.umask(umask)
    try:
        hits()
    finally:
        os.umask(before)
    assert stat.S_IMODE(kept(folder).stat().st_mode) == 0o600
    assert quietly(hits) == 1


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_kept_kernel_that_others_can_write_is_not_run_and_is_replaced(folder, mode):
    hits()
    kept(folder).chmod(mode)
    with pytest.warns(RuntimeWarning, match=r"compiled anew: .*double.* by other users"):
        assert hits() == 0
    assert quietly(hits) == 1


HOLD = """
import sys
from pathlib import Path
from distgrad.kernels.cache import Turn
with Turn(Path(sys.argv[1])).taken():
    print("taken", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(folder):
    """A process that has the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "taken\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_that_a_stopped_process_holds_is_waited_for_once_and_named(
    folder, holder, monkeypatch
):
    monkeypatch.setattr(cache, "_PATIENCE", 0.2)
    holder.send_signal(signal.SIGSTOP)
    while "T" not in Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[0]:
        time.sleep(0.01)
    said = rf"{folder}/lock, has been held for 0 s by process {holder.pid} \(.*-c.*stopped: this"
    with pytest.warns(RuntimeWarning, match=said):
        assert hits() == 0
    assert quietly(hits) == 1  # without the lock, and still kept


def test_a_killed_process_gives_the_lock_back(folder, holder):
    holder.kill()
    assert quietly(hits) == 0


@pytest.fixture
def child():
    """Fork a process that sleeps with whatever is open; it is ended after the test."""
    begun = []

    def fork():
        begun.append(os.fork())
        if begun[-1] == 0:
            time.sleep(60)
            os._exit(0)

    yield fork
    for process in begun:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def test_a_child_forked_while_a_kernel_compiles_does_not_keep_the_lock(folder, monkeypatch, child):
    with Turn(folder).taken():
        child()
    monkeypatch.setattr(cache, "_PATIENCE", 0.0)
    assert quietly(hits) == 0


def test_the_number_of_a_process_elsewhere_blames_nobody_here(folder, monkeypatch):
    monkeypatch.setattr(cache, "_PATIENCE", 0.1)
    with open(folder / "lock", "wb") as lock:
        lock.write(f"{os.getppid()} node-17/pid:[4026531836]".encode())
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.warns(RuntimeWarning, match=r"not to be seen from here \(it wrote .*node-17"):
            hits()


def test_who_holds_the_lock_may_not_be_known(folder, monkeypatch):
    monkeypatch.setattr(cache, "_PATIENCE", 0.1)
    with open(folder / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.warns(RuntimeWarning, match=r"by a process that is not to be seen from here"):
            hits()


def test_a_file_system_without_locks_is_told(folder, monkeypatch):
    def refuse(lock, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(RuntimeWarning, match=r"cannot be taken: .*not implemented.*DISTGRAD_CACHE"):
        hits()


@pytest.fixture
def root(monkeypatch):
    """A folder below which only the test decides who may write."""
    with tempfile.TemporaryDirectory() as name:
        monkeypatch.setenv("DISTGRAD_CACHE", str(Path(name) / "a" / "b"))
        yield Path(name).resolve()


@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077, 0o277])
@pytest.mark.parametrize("given", [True, False])
def test_whatever_the_umask_the_folder_is_private_and_used(root, monkeypatch, umask, given):
    if not given:
        monkeypatch.delenv("DISTGRAD_CACHE")
        monkeypatch.setattr(tempfile, "tempdir", str(root / "a"))
    before = os.umask(umask)
    try:
        found = quietly(cache_folder)
        again = quietly(cache_folder)
    finally:
        os.umask(before)
    assert found == again
    parts = [part for part in (found, *found.parents) if root in part.parents]
    assert len(parts) == 3
    assert {stat.S_IMODE(part.stat().st_mode) for part in parts} == {0o700}


def test_off_keeps_none_and_makes_no_folder(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setenv("DISTGRAD_CACHE", "off")
    assert quietly(cache_folder) is None
    assert not [*root.iterdir()]


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702, 0o777, 0o1777])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_folder_that_others_can_write_is_refused(root, mode, depth):
    found = cache_folder()
    part = [found, *found.parents][depth]
    part.chmod(mode)
    if depth and mode == 0o1777:
        assert quietly(cache_folder) == found  # sticky, as /tmp: others cannot touch what is mine
        return
    with pytest.warns(
        RuntimeWarning, match=rf"not kept: {part} can be written by .*chmod go-w {part};"
    ):
        assert cache_folder() is None


@pytest.mark.parametrize("depth", [0, 1])
def test_a_folder_that_belongs_to_others_is_refused(root, depth):
    if os.geteuid() != 0:
        pytest.skip("giving a folder away needs root")
    found = cache_folder()
    part = [found, *found.parents][depth]
    os.chown(part, 12345, -1)
    with pytest.warns(RuntimeWarning, match=rf"{part} belongs to another user \(number 12345\)"):
        assert cache_folder() is None


def test_a_link_to_a_folder_that_others_can_write_is_refused(root):
    (root / "open").mkdir()
    (root / "open").chmod(0o777)
    (root / "a").symlink_to(root / "open")
    with pytest.warns(RuntimeWarning, match=rf"{root}/open can be written by other users"):
        assert cache_folder() is None


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda p: p.symlink_to("/dev/null")])
def test_a_lock_that_is_no_file_is_refused(root, make):
    found = cache_folder()
    (found / "lock").unlink()
    make(found / "lock")
    with pytest.warns(RuntimeWarning, match="compiled kernels are not kept: .*DISTGRAD_CACHE"):
        assert cache_folder() is None


def test_a_machine_without_a_folder_for_temporary_files_is_told(root, monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.delenv("DISTGRAD_CACHE")
    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.warns(RuntimeWarning, match="are not kept: .*No usable temp.*DISTGRAD_CACHE"):
        assert cache_folder() is None


def test_without_sources_nothing_tells_versions_apart_and_nothing_is_kept(root, monkeypatch):
    monkeypatch.setattr(cache, "__file__", str(root / "distgrad.zip" / "kernels" / "cache.py"))
    cache._sources.cache_clear()
    with pytest.warns(RuntimeWarning, match="are not kept: .*holds no sources of the kernels"):
        assert cache_folder() is None


def test_a_folder_that_cannot_be_made_is_told(root, monkeypatch):
    (root / "a").write_text("a file")
    with pytest.warns(RuntimeWarning, match="compiled kernels are not kept: .*DISTGRAD_CACHE"):
        assert cache_folder() is None
