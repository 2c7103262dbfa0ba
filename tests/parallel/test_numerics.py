"""BLAS threads, the self-test and the comparison of numerics across ranks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info
from training import alone

import distgrad as dg
from distgrad import blas
from distgrad.parallel import numerics


def threads() -> list[int]:
    return [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def _threads_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*numerics._ENVIRONMENT, "DISTGRAD_THREADS_AUTO"):
        monkeypatch.delenv(name, raising=False)
    before = threads()
    yield
    numerics.set_threads(before[0], 1)


def after_init(**settings: Any) -> list[int]:
    """Start from two threads, make a world, and return what there are then.

    In a fresh context, not on a simulated rank: threadpoolctl lets one thread decide.
    """
    numerics.set_threads(2, 1)
    alone(lambda: dg.init(**settings))
    return threads()


def test_shards_mean_one_blas_thread() -> None:
    assert after_init(shards=2) == [1]


def test_the_user_may_ask_for_more() -> None:
    assert after_init(shards=2, threads=2) == [2]


def test_the_environment_is_the_users_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    numerics.set_threads(2, 1)
    before = threads()
    alone(lambda: dg.init(shards=2))
    assert threads() == before == [2]


def test_what_the_launcher_chose_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    monkeypatch.setenv("DISTGRAD_THREADS_AUTO", "1")
    assert after_init(shards=2) == [1]


def test_a_blas_that_computes_nonsense_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "array_equal", lambda a, b: False)
    with pytest.raises(dg.LaunchError, match=r"wrong float32 matrix product.*OPENBLAS_CORETYPE"):
        numerics.self_test()


FOREIGN = """
import ctypes, json, shutil, sys
from threadpoolctl import threadpool_info
from distgrad.parallel import numerics

before = numerics.fingerprint()["BLAS"]
[own] = [i["filepath"] for i in threadpool_info() if i["user_api"] == "blas"]
# A file of its own, as SciPy brings one.
ctypes.CDLL(shutil.copy(own, sys.argv[1] + "/libopenblas-of-another-package.so"))
loaded = [i for i in threadpool_info() if i["user_api"] == "blas"]
numerics.set_threads(2, 1)
threads = [i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"]
after = [
    {**i, "num_threads": before[0]["num_threads"]} for i in numerics.fingerprint()["BLAS"]
]
print(json.dumps([before == after, len(loaded), threads]))
"""


def test_a_blas_that_another_package_loaded_does_not_count_but_is_limited(tmp_path: Path) -> None:
    if len(threads()) != 1:
        pytest.skip("more than one BLAS is loaded here already")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FOREIGN, str(tmp_path)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert json.loads(done.stdout or "null") == [True, 2, [2, 2]], done.stderr


@pytest.mark.parametrize("own_is_known", [True, False])
def test_the_order_in_which_libraries_were_loaded_does_not_count(
    monkeypatch: pytest.MonkeyPatch, own_is_known: bool
) -> None:
    own = next(i for i in threadpool_info() if i["user_api"] == "blas")
    other = {**own, "filepath": "/elsewhere/libopenblas.so", "version": "0.2.20"}
    if not own_is_known:
        monkeypatch.setattr(blas, "file", lambda: None)
    seen = []
    for loaded in ([own, other], [other, own]):
        monkeypatch.setattr(numerics, "threadpool_info", lambda loaded=loaded: loaded)
        seen.append(numerics.fingerprint()["BLAS"])
    assert seen[0] == seen[1]
    assert len(seen[0]) == (1 if own_is_known else 2)
    assert own["version"] in [i["version"] for i in seen[0]]


def test_ranks_with_different_numerics_are_told() -> None:
    other = {**numerics.fingerprint(), "NumPy": "1.0"}
    with pytest.warns(RuntimeWarning, match=r"ranks 0 and 2 compute with different NumPy: .* 1.0"):
        numerics.compare([numerics.fingerprint(), numerics.fingerprint(), other], rank=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        numerics.compare([numerics.fingerprint(), other], rank=1)  # rank 0 speaks for all


@pytest.mark.parametrize(
    ("variables", "asked", "wanted"),
    [
        ({}, None, 0),
        ({}, 3, 3),
        ({"OMP_NUM_THREADS": "4"}, None, 4),
        ({"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "2"}, None, 2),
        ({"OMP_NUM_THREADS": "4"}, 3, 3),
        ({"OMP_NUM_THREADS": "many"}, None, 0),
        ({"OMP_NUM_THREADS": "4", "DISTGRAD_THREADS_AUTO": "1"}, None, 0),
    ],
)
def test_threads_are_wanted_that_the_argument_or_else_the_users_environment_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], asked: int | None, wanted: int
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert numerics.threads_asked_for(asked) == wanted
