"""The contract between hosts: one SHA-256 of weights and optimizer over TCP, as in one process."""

from __future__ import annotations

import json
import runpy
from functools import cache
from pathlib import Path

import pytest
from hosts import hosts
from training import simulated

JOB = Path(__file__).parent / "jobs" / "strategies.py"


@cache
def reference() -> str:
    """The value of plain trees in one process."""
    trained = runpy.run_path(str(JOB))["trained"]
    (found,) = simulated(1, lambda: trained(algorithm="tree"))
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize("ranks", [[1, 1], [2, 1]])
def test_every_strategy_between_two_hosts_has_the_bits_of_one_process(
    ranks: list[int], tmp_path: Path
) -> None:
    with hosts(2, "1gbit", tmp_path) as cluster:
        done = cluster.run(JOB, ranks=ranks)
    assert done.status == 0, done.out + done.err
    nodes, *found = map(json.loads, done.out.splitlines())
    assert [len(node) for node in nodes] == ranks
    strategies = runpy.run_path(str(JOB))["STRATEGIES"]
    assert found == [[strategy, [reference()]] for strategy in strategies]
