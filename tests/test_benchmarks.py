"""What the benchmarks start runs: a figure that nobody can make again is none."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from training import alone

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
WORKERS = BENCHMARKS / "workers"
sys.path.extend([str(BENCHMARKS), str(WORKERS)])  # as the scripts find each other

NAMES = ["distgrad_rows", "one_core", "product_rows", "rows", "tables", "turns"]
distgrad_rows, one_core, product_rows, rows, tables, turns = map(importlib.import_module, NAMES)
ROWS = rows.ROWS

SMALL_GPT = ["--workload", "gpt", "--layers", "1", "--width", "16", "--batch", "4"]
SMALL_GPT += ["--evaluate", "8", "--text", str(WORKERS.parents[1] / "README.md")]


@pytest.mark.parametrize(
    ("worker", "arguments", "printed"),
    [
        ("distgrad_step.py", ["small", "--steps", "1", "--zero", "1"], '"ms"'),
        ("distgrad_step.py", ["small", "--steps", "1", "--transfer"], '"ms"'),
        ("distgrad_step.py", ["small", "--steps", "1", "--zero", "1", "--transfer"], '"ms"'),
        ("distgrad_step.py", ["small", "--steps", "1", "--meet"], '"ms"'),
        ("compression_micro.py", ["--repeats", "1"], "powerSGD 4"),
        ("../optimizers.py", ["--quick", "--sizes", "small", "--only", "SGD"], "list "),
        ("compression_train.py", ["fp16", "--steps", "2", *SMALL_GPT], '"points"'),
        (
            "../timeline.py",
            ["--rows", "small", "--forms", "captured", "--rounds", "2", "--turn", "0.02"],
            "captured: ",
        ),
    ],
)
def test_a_worker_of_a_benchmark_runs_on_one_rank(worker, arguments, printed):
    path = os.pathsep.join([str(WORKERS.parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(WORKERS / worker), *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout


# -- benchmarks/one_core.py -----------------------------------------------------------------------


def losses(framework, row, form):
    def run():
        step = framework.build(row, form, batch=4)
        return [float(step()) for _ in range(3)]

    return alone(run)  # a worker makes a world of its own


@pytest.mark.parametrize("row", ROWS)
def test_a_row_captured_has_the_losses_of_the_eager_one(row):
    assert losses(distgrad_rows, row, "captured") == losses(distgrad_rows, row, "eager")


@pytest.mark.parametrize("row", rows.MORE)
def test_a_row_of_another_kind_is_the_same_work_under_pytorch(row):
    pytest.importorskip("torch")
    found = losses(importlib.import_module("torch_rows"), row, "eager")
    wanted = losses(distgrad_rows, row, "eager")
    # Dropout draws other numbers in each.
    tolerance = {"rtol": 0.02} if row == "word-lm" else {"rtol": 5e-3, "atol": 1e-4}
    np.testing.assert_allclose(found, wanted, **tolerance)


@pytest.mark.parametrize("peer", ["torch", "jax"])
@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_the_same_work_under_every_framework(row, peer):
    pytest.importorskip(peer)
    found = losses(importlib.import_module(f"{peer}_rows"), row, "eager")
    np.testing.assert_allclose(found, losses(distgrad_rows, row, "eager"), rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("row", [name for name, row in ROWS.items() if row.products])
def test_a_row_has_products_that_can_be_multiplied(row):
    assert product_rows.build(row, "numpy", batch=2)() == 0.0


def one_core_run(*options):
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "one_core.py"), "--turn", "0.01", *options],
        env=turns.environment(1) | {"OPENBLAS_CORETYPE": "Nehalem"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_core_writes_what_it_measured_and_keeps_the_other_rows(tmp_path):
    file = tmp_path / "found.json"
    options = ["--rounds", "2", "--peers", "--json", str(file)]
    for more in (["--rows", "small", "--fresh"], ["--rows", "nano", "--no-fresh", "--markdown"]):
        done = one_core_run(*options, *more)
        assert done.returncode == 0, done.stderr
    assert "OPENBLAS_CORETYPE: unset for the workers" in done.stdout
    assert "| GPT 4L 4H 128, context 64, batch 12 |" in done.stdout
    found = json.loads(file.read_text())
    assert [row["row"] for row in found["rows"]] == ["small", "nano"]
    sides = found["rows"][0]["sides"]
    assert list(sides) == ["distgrad", "distgrad captured", "products"]
    assert len(sides["distgrad"]["rounds_ms"]) == 2
    assert sides["distgrad captured"]["peak_mib"] > 10
    assert sides["distgrad"]["first_fresh_s"] > 0
    assert found["rows"][0]["ratios"]["distgrad"]["products"]["median"] > 1
    assert "Nehalem" not in found["machine"]["versions"]["BLAS"]


def test_one_core_measures_on_all_cores_with_ranks():
    cores = len(os.sched_getaffinity(0))
    if cores == 1:
        pytest.skip("one core is all cores here")
    done = one_core_run("--rounds", "1", "--peers", "--rows", "small", "--cores", "all")
    assert done.returncode == 0, done.stderr
    assert "distgrad captured zero=1 " in done.stdout


def test_one_core_does_not_add_to_a_file_of_another_machine(tmp_path):
    file = tmp_path / "found.json"
    machine = tables.machine() | {"cpu": "an abacus"}
    file.write_text(json.dumps({"machine": machine, "cores": "one", "rows": []}))
    done = one_core_run("--rows", "--json", str(file))
    assert done.returncode
    assert "of another machine or --isa (an abacus)" in done.stderr


def test_a_worker_that_ends_says_why():
    side = turns.Side("jax", "product", "numpy", sys.executable)
    workers, failed = turns.started([side], "no such row", turns.Place(None, 1))
    assert not workers
    assert "no such row" in failed["jax"]


def test_ratios_are_to_the_fastest_peer_and_never_to_the_products():
    times = {"distgrad": [2.0, 3.0, 4.0], "torch": [4.0, 4.0, 4.0], "jax": [9.0, 9.0, 9.0]}
    found = one_core.against("distgrad", times | {"products": [1.0, 1.0, 1.0]})
    assert found["best peer"] == {"median": 0.75, "low": 0.625, "high": 0.875}
    assert found["best peer"] == found["torch"]
    assert found["products"]["median"] == 3.0


def test_a_side_that_does_other_work_is_named():
    found = one_core.other_work({"distgrad": 2.0, "torch": 2.01, "jax": 2.5, "other": float("nan")})
    assert found == {
        "jax": "its third loss is 2.5000, distgrad's 2.0000",
        "other": "its third loss is nan, distgrad's 2.0000",
    }


def test_the_plot_draws_a_row_that_only_one_peer_has(tmp_path):
    pytest.importorskip("matplotlib")
    times = {"distgrad": [2.0, 3.0], "jax": [4.0, 4.0]}
    row = {"row": "small", "title": "MLP", "failed": {}, "ranks": 1}
    row["sides"] = {name: {"ms": ms[0]} for name, ms in times.items()}
    row["ratios"] = {"distgrad": one_core.against("distgrad", times)}
    result = {"machine": tables.machine(), "cores": "one", "rows": [row]}
    tables.plot(result, tmp_path / "ratios.png")
    assert (tmp_path / "ratios.png").stat().st_size > 1000
    assert "| MLP | 2.00 | – | 4.00 | 0.62 (0.56–0.69) |" in tables.markdown(result)
