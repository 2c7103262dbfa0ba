"""Predictions beside real steps: short jobs on few ranks, their costs fitted, steps planned."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distgrad.comm import launchers
from distgrad.errors import LaunchError
from distgrad.plan.model import load
from distgrad.plan.network import Machine, fit
from distgrad.plan.predict import predict
from distgrad.plan.profile import Bucket, Profile

WITHIN = 0.15
"""The error that a prediction may have."""
ONE_NODE: tuple[dict[str, Any], ...] = ({"algorithm": "ring"}, {"algorithm": "shared"}, {"zero": 1})
Launch = Callable[[int], Sequence[str]]


@dataclass(frozen=True)
class Trial:
    """One step, in seconds."""

    name: str
    ranks: int
    settings: str
    measured: float
    predicted: float
    """Both are medians over rounds."""
    error: float
    """Of the prediction, as a part of what was measured: the median over the same rounds."""


def on_this_machine(model: str | None, optimizer: str, *, steps: int = 5) -> list[Trial]:
    """Run jobs on 1 to 4 ranks, as many as there are cores but at least 2; return their steps.

    ``model`` is FILE.py:FUNCTION; None: a small one. Errors: LaunchError for one without a loss, or
    for a job that fails.
    """
    if model is not None and load(model)[1] is None:
        raise LaunchError(
            f"'{model}' returns no loss to run steps with; let it return (model, loss), or leave "
            f"it out: --check then takes a small model of its own"
        )
    most = max(2, min(4, launchers.cores()))
    found = []
    for ranks in range(1, most + 1):
        settings = ONE_NODE if ranks > 1 else ONE_NODE[:1]
        found += run(local, ranks, model, optimizer, settings, steps=steps)
    return found


def local(ranks: int) -> list[str]:
    """Return the start of a command that runs a script on so many ranks of this machine."""
    return [sys.executable, "-m", "distgrad", "run", "--threads", "1", "-n", str(ranks)]


def run(
    launch: Launch,
    ranks: int,
    model: str | None,
    optimizer: str,
    settings: Sequence[dict[str, Any]],
    *,
    steps: int,
    name: str = "",
) -> list[Trial]:
    """Run one job and predict its steps, one with each of DistributedDataParallel's settings.

    ``launch`` returns the command before the script. Errors: LaunchError for a job that fails.
    """
    said = {"model": model, "optimizer": optimizer, "settings": settings, "steps": steps}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "trial.py"  # not in the package: its folder hides nothing then
        script.write_text("from distgrad.plan.trial import main\n\nmain()\n")
        done = subprocess.run(
            [*launch(ranks), str(script), json.dumps(said)],
            capture_output=True,
            text=True,
            check=False,
            env=dict(os.environ),
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"costs"')]
    if done.returncode or not lines:
        raise LaunchError(
            f"the trial on {ranks} ranks failed (status {done.returncode}); its job said:\n"
            f"{done.stderr.strip()[-2000:]}"
        )
    return compare(json.loads(lines[-1]), settings, name or model or "a small MLP")


def compare(found: Mapping[str, Any], settings: Sequence[dict[str, Any]], name: str) -> list[Trial]:
    """Predict the steps of a trial from its costs and its profile."""
    machine = machine_of(found["nodes"], found["costs"])
    profiles = [profile_of(each["profile"]).slower(each["slowest"]) for each in found["rounds"]]
    trials = []
    for i, chosen in enumerate(settings):
        zero, algorithm = chosen.get("zero", 0), chosen.get("algorithm", "auto")
        planned = [predict(p, machine, zero=zero, algorithm=algorithm) for p in profiles]
        measured = [each["steps"][i] for each in found["rounds"]]
        errors = [p.step / m - 1 for p, m in zip(planned, measured, strict=True)]
        spelled = f"{planned[0].strategy}, {planned[0].algorithm}"
        middle = statistics.median(measured), statistics.median(p.step for p in planned)
        trials.append(Trial(name, machine.ranks, spelled, *middle, statistics.median(errors)))
    return trials


def machine_of(nodes: Sequence[int], costs: Mapping[str, Any]) -> Machine:
    """Fit a machine to the sums that were timed on its ranks, ``nodes[i]`` on node i.

    What was not timed keeps its default. Errors: LaunchError for nodes that differ.
    """
    if len(set(nodes)) > 1:
        raise LaunchError(f"a plan is made for equal nodes, and these have {[*nodes]} ranks")
    machine = Machine(len(nodes), nodes[0])
    p = machine.ranks
    if p == 1:
        return machine
    gamma = costs["gamma"]
    machine = replace(machine, gamma=gamma)
    if "shared" in costs["sums"]:
        # Of n bytes a rank adds (p-1)/p n, and hands out as much, at a third of the work.
        line = fit(costs["sums"]["shared"])
        added = 4 / 3 * (p - 1) / p
        memory = line.rate / (1.5 * added * p)
        machine = replace(machine, memory=memory, gamma=min(gamma, line.rate / added))
        machine = replace(machine, call=max(0.0, line.start - 3 * machine.inside_latency))
    # 2 (p-1) rounds of n / p bytes, and the question before them.
    line, rounds = fit(costs["sums"]["ring"]), 2 * (p - 1)
    late = max(0.0, (line.start - machine.call) / (rounds + 1) - machine.overhead)
    rate = max(0.0, (line.rate - machine.adding((p - 1) / p)) * p / rounds)
    if machine.nodes == 1:
        return replace(machine, inside_latency=min(late, 1e-4), inside_beta=rate)
    return replace(machine, latency=late, beta=max(0.0, rate - machine.wire_copy))


def profile_of(found: dict[str, Any]) -> Profile:
    """Return the profile that JSON carried."""
    buckets = tuple(Bucket(**b | {"parameters": tuple(b["parameters"])}) for b in found["buckets"])
    ready = tuple((name, at) for name, at in found["ready"])
    sizes = tuple((name, size) for name, size in found["sizes"])
    reads = tuple((name, at) for name, at in found["reads"])
    exact = {"buckets": buckets, "ready": ready, "sizes": sizes, "reads": reads}
    return Profile(**found | exact | {"times": tuple(found["times"])})


def table(trials: Sequence[Trial]) -> str:
    """Return the trials as text, and how many predictions are within 15 %."""
    lines = [
        f"{t.name} on {t.ranks}, {t.settings}: measured {t.measured * 1e3:,.2f} ms, predicted "
        f"{t.predicted * 1e3:,.2f} ms ({t.error:+.1%})"
        for t in trials
    ]
    good = sum(abs(t.error) <= WITHIN for t in trials)
    worst = max(abs(t.error) for t in trials)
    said = f"{good} of {len(trials)} predictions within {WITHIN:.0%}; the worst is {worst:.1%} off"
    return "\n".join([*lines, said])
