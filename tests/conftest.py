"""Fixtures all tests share: the worlds in which a test's body can run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from distgrad.comm import Communicator, connect, run_ranks
from distgrad.comm.worlds.local import LocalTransport

pytest_plugins = ["roads"]
os.environ["DISTGRAD_TUNING"] = "off"  # what this user has measured is no part of a test


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Take back what a test has set for its process, as the command line's verbs do."""
    before, argv, main = dict(os.environ), sys.argv, sys.modules["__main__"]
    yield
    sys.argv, sys.modules["__main__"] = argv, main
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class Ranks:
    """A world of one kind and size; ``size`` is None where mpirun decides."""

    kind: str
    size: int | None

    def run(
        self,
        body: Callable[[Communicator], Any],
        *,
        schedule: int | None = None,
        timeout: float = 20.0,
    ) -> list[Any]:
        """Run ``body(comm)`` on every rank; return the results of the ranks of this process.

        The body asserts on the rank it runs on. Under MPI each process is one rank.
        """

        def whole() -> Any:
            return body(Communicator(connect(), timeout=timeout))

        if self.kind == "local":
            return [body(Communicator(LocalTransport(), timeout=timeout))]
        if self.kind == "simulated":
            assert self.size is not None
            return run_ranks(self.size, whole, schedule=schedule)
        return [whole()]


ALL_WORLDS = [
    pytest.param(Ranks("local", 1), id="local"),
    pytest.param(Ranks("simulated", 2), id="simulated-2"),
    pytest.param(Ranks("simulated", 3), id="simulated-3"),
    pytest.param(Ranks("simulated", 4), id="simulated-4"),
    pytest.param(Ranks("mpi", None), id="mpi", marks=pytest.mark.mpi),
]


@pytest.fixture(params=ALL_WORLDS)
def ranks(request: pytest.FixtureRequest) -> Ranks:
    """Every world: local, simulated 2, 3 and 4, and MPI's where mpirun started the tests."""
    return request.param


@pytest.fixture(params=ALL_WORLDS[1:])
def several_ranks(request: pytest.FixtureRequest) -> Ranks:
    """Every world of more than one rank; a body run by mpirun -n 1 is skipped."""
    world: Ranks = request.param
    if world.kind == "mpi" and connect().size == 1:
        pytest.skip("needs more than one rank")
    return world


@pytest.fixture
def simulated() -> Callable[[int], Ranks]:
    """A simulated world of the size asked for."""
    return lambda size: Ranks("simulated", size)


@pytest.fixture
def world_of_mpi() -> Ranks:
    """MPI's world, for tests marked ``mpi``."""
    return Ranks("mpi", None)
