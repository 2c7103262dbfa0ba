"""DataLoader(num_workers=…): the same batches from processes that end with their rank."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jobs import ROOT, run_job
from training import alone, simulated

import distgrad as dg
from distgrad import nn, optim
from distgrad.errors import DataError
from distgrad.nn import functional as F
from distgrad.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

JOB = Path(__file__).with_name("jobs") / "loading.py"


class Noisy(Dataset):
    """Samples with random numbers of the shard; it can fail, sleep, and tell who reads it."""

    def __init__(self, n: int = 29, bad: int = -1, slow: int = -1) -> None:
        self.n, self.bad, self.slow, self.offset = n, bad, slow, 0

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Any:
        if i == self.bad:
            raise KeyError(f"sample {i} is no good")
        if i == self.slow:
            time.sleep(30)
        noise = dg.random.normal((3,)).array.astype(np.float32)
        return {"x": noise + i, "y": i % 3, "pid": os.getpid(), "offset": self.offset}


class OwnError(KeyError):
    """An exception that cannot be made again from its arguments."""

    def __init__(self, a: str, b: str) -> None:
        super().__init__(a)


class BadInItsOwnWay(Noisy):
    def __getitem__(self, i: int) -> Any:
        raise OwnError("one", "two")


class Informed(Noisy):
    def __getitem__(self, i: int) -> Any:
        info = get_worker_info()
        return -1 if info is None else info.id * 100 + info.num_workers + 10 * STARTED


class Dice(Noisy):
    """Samples drawn from the generators of others, which know no shard."""

    def __getitem__(self, i: int) -> Any:
        return {"x": [random.random(), np.random.random()]}  # noqa: NPY002 (it is about these)


class Stream(IterableDataset):
    """A stream that cuts itself among the workers, as PyTorch's have to."""

    def __init__(self, n: int = 29, bad: int = -1) -> None:
        self.n, self.bad = n, bad

    def __iter__(self) -> Any:
        info = get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        for i in range(first, self.n, step):
            if i == self.bad:
                raise KeyError(f"sample {i} is no good")
            yield {"x": dg.random.normal((3,)).array, "y": i, "pid": os.getpid()}


class Deadly(Noisy):
    def __getitem__(self, i: int) -> Any:
        os.kill(os.getpid(), self.bad)


STARTED = 0


def start(number: int) -> None:
    global STARTED  # noqa: PLW0603 - the worker process's own
    STARTED += number + 1


def values(loader: Any, *names: str) -> list[Any]:
    found = [[batch[name].array.tolist() for name in names] for batch in loader]
    return found


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_and_random_numbers_are_those_without_workers(workers):
    def body():
        dg.init()
        dg.manual_seed(4)
        plain, read = (
            DataLoader(Noisy(), 8, shuffle=True, num_workers=n, collate_fn=None)
            for n in (0, workers)
        )
        for _ in range(2):
            expected, found = [], []
            for loader, into in ((plain, expected), (read, found)):
                for batch in loader:
                    after = dg.random.normal((2,)).array.tolist()  # the model's own draws
                    into.append((batch["x"].array.tolist(), batch["y"].array.tolist(), after))
            assert found == expected
        pids = {p for batch in read for p in batch["pid"].array.tolist()}
        assert os.getpid() not in pids
        return len(pids)

    assert simulated(2, body) == [workers] * 2


def test_training_has_the_bits_of_one_without_workers():
    def body(workers):
        dg.init(shards=4)
        dg.manual_seed(2)
        model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.4), nn.Linear(8, 3))
        ddp = dg.DistributedDataParallel(model)
        optimizer = optim.Adam(model.parameters(), lr=0.1)
        loader = dg.data.DataLoader(
            Noisy(), 9, shuffle=True, num_workers=workers, collate_fn=dg.data.default_collate
        )
        for _ in range(2):
            for batch in loader:
                optimizer.zero_grad()
                for samples in batch.shards:
                    ddp.backward(F.cross_entropy(model(samples["x"]), samples["y"]))
                optimizer.step()
        return nn.state_sha256(model.state_dict())

    hashes = [
        h for n, w in ((1, 0), (1, 2), (3, 2), (2, 1)) for h in simulated(n, lambda w=w: body(w))
    ]
    assert len(set(hashes)) == 1


def test_arrays_that_arrive_are_writable_and_the_shards_own():
    def body():
        data = dg.data.ArrayDataset(np.arange(12.0).reshape(6, 2), np.arange(6))
        loader = dg.data.DataLoader(data, 3, num_workers=2)
        for batch in loader:
            for x, y in batch.shards:
                assert x.flags.writeable
                assert x.flags.c_contiguous
                assert x.ctypes.data % 16 == 0
                x[...] = -1
                assert y.dtype == np.int64
        assert data.arrays[0].min() == 0
        assert [x.tolist() for b in loader for x, _ in b.shards] == data.arrays[0].reshape(
            2, 3, 2
        ).tolist()

    alone(body)


def test_a_second_walk_over_a_batch_reads_the_same_samples():
    def body():
        data = dg.data.ArrayDataset(np.arange(12))
        for batch in dg.data.DataLoader(data, 4, num_workers=2):
            first, second = ([x.tolist() for (x,) in batch.shards] for _ in range(2))
            assert first == second

    simulated(2, body)


def test_a_seed_that_is_set_in_the_loop_counts_from_the_next_batch_on():
    def body(workers):
        found = []
        dg.manual_seed(1)
        for batch in DataLoader(Noisy(), 8, num_workers=workers, generator=0):
            found.append(batch["x"].array.tolist())
            dg.manual_seed(2)
        return found

    assert alone(lambda: body(2)) == alone(lambda: body(0))


def test_an_exception_in_a_worker_is_raised_with_its_traceback():
    def body():
        batches = iter(DataLoader(Noisy(bad=13), 4, num_workers=2))
        found = [next(batches)["y"].array.tolist() for _ in range(3)]
        assert found[2] == [2, 0, 1, 2]  # the batches before it come
        with pytest.raises(KeyError, match="sample 13 is no good") as caught:
            next(batches)
        text = str(caught.value.__cause__)
        assert "of the DataLoader" in text
        assert "in __getitem__" in text
        assert 'raise KeyError(f"sample {i} is no good")' in text

    alone(body)


def test_an_exception_that_cannot_be_sent_is_told():
    def body():
        list(DataLoader(BadInItsOwnWay(), 4, num_workers=1))

    with pytest.raises(
        DataError, match=r"worker 0 of the DataLoader could not read .*one"
    ) as caught:
        alone(body)
    assert 'raise OwnError("one", "two")' in str(caught.value.__cause__)


def test_workers_see_changes_between_epochs_unless_they_persist():
    def body(persistent):
        data = Noisy(4)
        loader = DataLoader(data, 2, num_workers=2, persistent_workers=persistent)
        found = []
        for epoch in range(2):
            data.offset = epoch
            found.append([batch["offset"].array.tolist() for batch in loader])
        return found

    assert alone(lambda: body(False)) == [[[0, 0]] * 2, [[1, 1]] * 2]
    assert alone(lambda: body(True)) == [[[0, 0]] * 2, [[0, 0]] * 2]


def test_worker_init_fn_and_get_worker_info_tell_the_worker():
    def body():
        assert get_worker_info() is None
        loader = DataLoader(Informed(4), 1, num_workers=2, worker_init_fn=start)
        return [batch.array.tolist() for batch in loader]

    assert alone(body) == [[12], [122], [12], [122]]


class Touching(Noisy):
    """Leaves a file for each sample that was read."""

    def __init__(self, folder: Path, n: int) -> None:
        super().__init__(n)
        self.folder = folder

    def __getitem__(self, i: int) -> Any:
        (self.folder / f"{i}").touch()
        return i


@pytest.mark.parametrize("shards", [1, 4])
def test_workers_read_so_many_shards_ahead_and_no_more(shards, tmp_path):
    def body():
        dg.init(shards=shards)
        data = Touching(tmp_path, 24)
        loader = dg.data.DataLoader(data, shards, num_workers=2, prefetch_factor=2)
        batches = iter(loader)
        first = next(batches)
        expected = {str(i) for i in range(5 if shards == 1 else 8)}
        until = time.monotonic() + 20
        while {p.name for p in tmp_path.iterdir()} < expected and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)
        assert {p.name for p in tmp_path.iterdir()} == expected
        assert [x.tolist() for (x,) in first.shards] == [[i] for i in range(shards)]
        assert [x.tolist() for b in batches for (x,) in b.shards] == [
            [i] for i in range(shards, 24)
        ]

    alone(body)


def test_a_silent_worker_is_named_after_timeout_seconds():
    def body():
        list(DataLoader(Noisy(slow=2), 4, num_workers=2, timeout=0.5))

    with pytest.raises(
        DataError, match=r"worker 0 of the DataLoader \(process \d+\) has read noth"
    ):
        alone(body)


def test_what_cannot_be_sent_is_refused_with_the_cure():
    def body():
        list(DataLoader(Noisy(), 4, num_workers=2, collate_fn=lambda samples: samples))

    message = r"cannot be sent to worker processes: .*lambda.*defined at the top of a module"
    with pytest.raises(DataError, match=message):
        alone(body)


def ended(pids: list[int], seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        alive = []
        for pid in pids:
            with contextlib.suppress(OSError):
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
                alive += [pid] if state not in "ZX" else []
        if not alive:
            return True
        time.sleep(0.05)
    return False


def test_workers_end_with_their_loader():
    def body():
        loader = DataLoader(Noisy(), 4, num_workers=2)
        pids = sorted({p for batch in loader for p in batch["pid"].array.tolist()})
        assert len(pids) == 2
        return pids

    assert ended(alone(body))


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [
        ("plain", 0, "TOTAL 0 780.0"),
        ("break", 0, "TOTAL 0 6.0"),
        ("raise", 1, "RuntimeError: in the loop"),
        ("exit", 1, "of the DataLoader has ended with status 7 before it had read its samples"),
        ("unguarded", 1, "ran in a worker process of a DataLoader, which is no rank: keep the"),
        ("kill", -signal.SIGKILL, ""),
    ],
)
def test_however_the_rank_ends_its_workers_do(how, status, said):
    done = run_job(0, JOB, how, timeout=60)
    assert done.status == status, done.err
    assert said in done.out + done.err
    assert ended(workers_in(done.out))


def workers_in(out: str) -> list[int]:
    lines = [line.split()[1:] for line in out.splitlines() if line.startswith("PIDS")]
    return sorted({int(pid) for _, *pids in lines for pid in pids})


def test_ctrl_c_ends_a_loop_that_waits_and_its_workers():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(JOB), "slow"]
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does
    out, err = process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGINT, 130)
    assert err.count("KeyboardInterrupt") == 1  # the workers say nothing
    assert ended(workers_in(first + out))


def test_under_mpi_ranks_have_workers_and_a_kill_leaves_none():
    done = run_job(3, JOB, "plain")
    assert done.status == 0, done.err
    totals = sorted(line.split() for line in done.out.splitlines() if line.startswith("TOTAL"))
    assert sum(float(t) for _, _, t in totals) == 780
    assert len(workers_in(done.out)) == 6
    killed = run_job(3, JOB, "kill")
    assert killed.status != 0
    assert ended(workers_in(killed.out))


class Sticky:
    """What arrives cannot be made of its pickle."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


class Unsendable(Noisy):
    def __getitem__(self, i: int) -> Any:
        return Sticky() if i % 2 else (lambda: None)


@pytest.mark.parametrize(
    ("index", "error", "message"), [(0, DataError, "lambda"), (1, ValueError, "no number")]
)
def test_samples_that_cannot_be_sent_are_an_error_and_no_hang(index, error, message):
    def body():
        list(DataLoader(Unsendable(), None, sampler=[index], num_workers=1))

    with pytest.raises((error, AttributeError), match=message):
        alone(body)


def test_draws_of_other_generators_are_those_of_the_shard_in_any_worker():
    def drawn(workers: int) -> list[Any]:
        return [[x.tolist() for x in b["x"]] for b in DataLoader(Dice(8), 2, num_workers=workers)]

    one = alone(lambda: drawn(1))
    assert one == alone(lambda: drawn(3))
    assert len({x for batch in one for column in batch for x in column}) == 16


def test_a_killed_worker_is_told_from_one_that_could_not_start_and_the_next_epoch_has_others():
    loader = DataLoader(Deadly(4, bad=signal.SIGKILL), 2, num_workers=1)
    numbers = set()
    for _ in range(2):
        with pytest.raises(DataError, match=r"ended by signal 9 .* memory ran out"):
            list(loader)
        numbers.add(loader._workers._processes[0].pid)
    assert len(numbers) == 2


@pytest.mark.parametrize("size", [1, 3])
def test_a_stream_is_read_ahead_in_its_order_with_the_numbers_of_no_workers(size):
    def body(workers: int) -> Any:
        dg.init()
        dg.manual_seed(4)
        loader = DataLoader(Stream(), 6, num_workers=workers, drop_last=True)
        epochs = [values(loader, "x", "y") for _ in range(2)]
        return epochs, {pid for batch in loader for pid in batch["pid"].array.tolist()}

    plain = simulated(size, lambda: body(0))
    ahead = simulated(size, lambda: body(3))
    assert [epochs for epochs, _ in ahead] == [epochs for epochs, _ in plain]
    for _, pids in ahead:
        assert len(pids) == 1
        assert os.getpid() not in pids
    if size == 1:
        assert [y for _, ys in plain[0][0][0] for y in ys] == list(range(24))


def test_a_stream_may_be_left_fail_and_be_continued():
    loader = DataLoader(Stream(), 4, num_workers=2, persistent_workers=True)
    next(iter(loader))
    assert [b["y"].tolist()[0] for b in loader] == list(range(0, 29, 4))
    state = loader.state_dict() | {"batch": 5}
    loader.load_state_dict(state)
    assert [b["y"].tolist()[0] for b in loader] == [20, 24, 28]
    failing = iter(DataLoader(Stream(bad=9), 4, num_workers=2))
    assert [next(failing)["y"].tolist()[0] for _ in range(2)] == [0, 4]
    with pytest.raises(KeyError, match="sample 9 is no good"):
        next(failing)
