"""``distgrad bench --tune``: what it measures, where it keeps it, and who finds it again."""

import json
import os
import subprocess
import sys

import pytest
from jobs import LAUNCHER, ROOT, mpirun

import distgrad as dg
from distgrad import cli
from distgrad.cli import bench_tune
from distgrad.comm import run_ranks
from distgrad.comm.algorithms import tree
from distgrad.comm.tuning import Tuning
from distgrad.parallel.ddp import BUCKET_MB

SHOW = "import distgrad as dg; w = dg.init(); w.print(w.comm.transport.state.tuning)"


@pytest.fixture
def start(tmp_path):
    mpirun(2)  # or skip
    environ = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHER)}
    environ |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environ["DISTGRAD_TUNING"] = str(tmp_path / "new" / "t.json")

    def run(*command):
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_what_a_job_measures_the_next_one_finds(start, tmp_path):
    arguments = ["--tune", "--rounds", "1", "--sizes", "1K", "4K"]
    told = start(sys.executable, "-m", "distgrad", "bench", "-n", "2", *arguments).stdout
    path = tmp_path / "new" / "t.json"
    assert f"kept in {path}" in told
    (entry,) = json.loads(path.read_text())["tunings"]
    for name, value in entry["measured"].items():
        (line,) = [x for x in told.splitlines() if x.startswith(name)]
        assert ("not used" in line) == (value is None)
    assert entry["measured"]["bucket_mb"] > 0
    script = tmp_path / "show.py"
    script.write_text(SHOW)
    shown = start(*mpirun(2), sys.executable, str(script))
    assert shown.stdout.strip() == repr(Tuning(**entry["measured"]))
    assert "Tuning(" in shown.stdout
    one = start(*mpirun(3), sys.executable, str(script))
    assert one.stdout.strip() == repr(Tuning())


def test_ranks_apart_have_all_thresholds_measured_alike(monkeypatch):
    monkeypatch.setattr(tree, "HALVING_RANKS", 3)
    monkeypatch.setattr(bench_tune, "_WIDTH", 8)
    found = run_ranks(3, lambda: bench_tune.tune(dg.init(), [64, 1024], 1), nodes=[1, 1, 1])
    assert found == [found[0]] * 3
    assert None not in (found[0].ring_bytes, found[0].halving_bytes, found[0].bucket_mb)


def test_what_is_not_used_between_these_ranks_is_not_measured(monkeypatch):
    monkeypatch.setattr(bench_tune, "_WIDTH", 8)
    found = run_ranks(3, lambda: bench_tune.tune(dg.init(), [64], 1))[0]
    assert (found.ring_bytes, found.halving_bytes) == (None, None)
    apart = run_ranks(3, lambda: bench_tune.tune(dg.init(), [64], 1), nodes=[1, 1, 1])[0]
    assert apart.ring_bytes is not None
    assert apart.halving_bytes is None  # of 8 ranks and more


@pytest.mark.parametrize(
    ("small", "large", "bytes_"),
    [
        ([1, 1, 1], [1, 1, 1], 0),
        ([1, 2, 3], [2, 3, 2], 400),
        ([1, 2, 3], [2, 3, 4], 800),
        ([3, 2, 1], [1, 3, 2], 0),
        ([0.96, 1, 1], [1, 1, 1], 0),
    ],
)
def test_the_threshold_is_where_the_small_ones_choice_stops_being_faster(small, large, bytes_):
    sizes = [100, 200, 400]
    found = bench_tune.threshold(
        dict(zip(sizes, small, strict=True)), dict(zip(sizes, large, strict=True))
    )
    assert found == bytes_


def test_the_default_bucket_gives_way_to_a_clearly_faster_one_alone():
    assert bench_tune.best_bucket({1.0: 0.96, BUCKET_MB: 1.0, 8.0: 1.2}) == BUCKET_MB
    assert bench_tune.best_bucket({1.0: 0.9, BUCKET_MB: 1.0, 8.0: 0.8}) == 8.0


def test_tuning_with_nowhere_to_keep_it_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("DISTGRAD_TUNING", "off")
    for name in [k for k in os.environ if k.startswith(LAUNCHER)]:
        monkeypatch.delenv(name)
    assert cli.main(["bench", "-n", "2", "--tune"]) == 2
    assert "--tune with DISTGRAD_TUNING=off has nowhere to keep" in capsys.readouterr().err


def test_tuning_writes_no_figures(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("DISTGRAD_TUNING", str(tmp_path / "t.json"))
    for name in [k for k in os.environ if k.startswith(LAUNCHER)]:
        monkeypatch.delenv(name)
    assert cli.main(["bench", "-n", "2", "--tune", "--json", str(tmp_path / "a")]) == 2
    assert "leave --json and --plot out" in capsys.readouterr().err
