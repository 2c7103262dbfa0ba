"""Random collectives give what MPI's own do: a short run of the program in jobs/."""

import importlib.util
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "jobs" / "random_collectives.py"


@pytest.mark.mpi
@pytest.mark.parametrize("seed", [1, 2])
def test_random_collectives_are_those_of_mpi(world_of_mpi, seed):
    spec = importlib.util.spec_from_file_location("random_collectives", PROGRAM)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    world_of_mpi.run(lambda comm: program.check(program.pairs_of(comm), 250, seed), timeout=60)
