"""Four hosts, one behind a slow link: the weights are right, and the summary names the host."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
from pathlib import Path

import pytest
from hosts import hosts
from training import simulated

JOB = Path(__file__).parent / "jobs" / "four_hosts.py"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("slow", "steps"), [("host2", 25), (None, 50)])  # seconds, each
def test_a_host_with_a_slow_network_is_named_and_the_bits_are_those_of_the_simulation(
    slow, steps, tmp_path
):
    with hosts(4, "1gbit", tmp_path) as cluster:
        if slow is not None:
            cluster.shape(slow, "100mbit")
        done = cluster.run(JOB, str(steps))
    assert done.status == 0, done.out + done.err
    train = runpy.run_path(str(JOB))["train"]
    assert re.findall(r"weights (\w+)", done.out) == [
        h for h, _ in simulated(4, lambda: train(steps))
    ]
    assert re.findall(r"^ +(\d)  (host\d)", done.out, re.M) == [
        (f"{i}", f"host{i}") for i in range(4)
    ]
    accused = re.findall(r"the network of hosts? (.*) is slow: (\d+) Mbit/s", done.out)
    assert [name for name, _ in accused] == ([] if slow is None else [slow]), done.out
    assert "tested 4 networks" in done.out
    if slow is not None:
        assert 50 < int(accused[0][1]) < 150


def namespaces():
    """Return those of this process: others may have hosts of their own."""
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    return re.findall(rf"^distgrad-{os.getpid()}-\w+", listed, re.M)


def test_hosts_are_gone_also_after_a_failure(tmp_path):
    within = []

    def fail():
        with hosts(3, "1gbit", tmp_path):
            within.extend(namespaces())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(within) == 3 + 1  # a switch, too
    assert namespaces() == []
