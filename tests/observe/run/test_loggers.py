"""Loggers: what hears of a run, and TensorBoard's files."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from training import alone, simulated

import distgrad as dg
from distgrad.errors import DistgradError
from distgrad.observe import Run, TensorBoardLogger


class Heard:
    """A logger that keeps what it is told."""

    def __init__(self):
        self.told = []

    def log_hyperparams(self, params):
        self.told.append(dict(params))

    def log_metrics(self, metrics, step):
        self.told.append((step, dict(metrics)))

    def finalize(self, status):
        self.told.append(status)


def test_a_logger_hears_configuration_and_metrics_on_rank_0_alone(tmp_path):
    def body():
        logger, world = Heard(), dg.init()
        settings = {"lr": 0.1, "model": {"width": 8, "sizes": [1, 2]}}
        with Run(tmp_path / "a", configuration=settings, loggers=[logger], plots=False) as run:
            run.log(2, {"loss": 1.5 + world.rank}, epoch=3)
        return logger.told

    first, *others = simulated(3, body)
    flat = {"lr": 0.1, "model/width": 8, "model/sizes": [1, 2]}
    assert first == [flat, (2, {"loss": 1.5}), "success"]
    assert others == [[], []]


def test_a_logger_hears_that_a_run_has_failed(tmp_path):
    logger = Heard()

    def body():
        with Run(tmp_path / "a", loggers=[logger]):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        alone(body)
    assert logger.told == [{}, "failed"]


def test_two_methods_make_a_logger_and_one_does_not(tmp_path):
    class Two:
        def log_hyperparams(self, params):
            pass

        def log_metrics(self, metrics, step):
            pass

    class One:
        def log_metrics(self, metrics, step):
            pass

    def body():
        with Run(tmp_path / "a", loggers=[Two()], plots=False) as run:
            run.log(1, {"loss": 1.0})

    alone(body)
    with pytest.raises(DistgradError, match=r"a One is no logger: it needs the methods log_hyper"):
        Run(tmp_path / "b", loggers=[One()])


# TensorBoard's packages warn while they are imported, and stay in memory: a process of their own.
READ = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
found = EventAccumulator(sys.argv[1]).Reload()
scalars = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
print(json.dumps([scalars, found.Tags()["tensors"]]))
"""
WRITE = """
import sys
from distgrad.observe import Run, TensorBoardLogger
folder, resume = sys.argv[1], len(sys.argv) > 2
logger = TensorBoardLogger(folder + "/tensorboard")
settings = {"lr": 0.5, "none": None}
with Run(folder, configuration=settings, loggers=[logger], resume=resume, plots=False) as run:
    for step in (3, 4) if resume else (1, 2, 3):
        run.log(step, {"loss": 8.0 * step if resume else 1 / step, "worst": float("nan")})
print([name for name in ("torch", "tensorflow") if name in sys.modules])
"""


def test_tensorboard_reads_what_was_logged_and_drops_what_was_superseded(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")

    def run(code, *arguments):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert run(WRITE, tmp_path / "a").strip() == "[]"
    run(WRITE, tmp_path / "a", "--resume")
    scalars, tensors = json.loads(run(READ, tmp_path / "a" / "tensorboard"))
    assert scalars["loss"] == [[1, 1.0], [2, 0.5], [3, 24.0], [4, 32.0]]
    assert [math.isnan(value) for _, value in scalars["worst"]] == [True] * 4
    assert tensors == ["_hparams_/session_start_info"]


def test_without_tensorboard_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DistgradError, match=r"pip install 'distgrad\[tensorboard\]'"):
        TensorBoardLogger("runs/a/tensorboard")
