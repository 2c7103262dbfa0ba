"""Signals that ask a training to stop: which came, what is remembered, whom they do not reach."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from jobs import run_job

import distgrad as dg
from distgrad import nn, optim
from distgrad.nn import functional as F
from distgrad.perrank import isolated


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Give Ctrl-C its usual meaning, also where the tests run in the background."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


def trained(
    at: Callable[[dg.TrainState], None], *, steps: int = 6, resume: bool = False, **settings: Any
) -> dg.Trainer:
    """Train in this process, calling ``at`` after every step."""
    dg.init(shards=2)
    dg.manual_seed(0)
    model = nn.Linear(3, 2)
    stop = settings.pop("stop", ())
    trainer = dg.Trainer(
        model,
        optim.SGD(model.parameters(), lr=0.1),
        F.cross_entropy,
        callbacks=[at],
        progress=False,
        **settings,
    )
    x = np.sin(np.arange(24, dtype=np.float32)).reshape(8, 3)
    loader = dg.data.DataLoader(dg.data.ArrayDataset(x, np.arange(8) % 2), 4)
    try:
        trainer.fit(loader, max_steps=steps, stop=stop, resume=resume)
    except dg.Interrupted as error:
        trainer.error = error  # type: ignore[attr-defined]
    return trainer


def sends(number: int, at: int = 2) -> Callable[[dg.TrainState], None]:
    return lambda state: os.kill(os.getpid(), number) if state.step == at else None


def nothing(state: dg.TrainState) -> None:
    pass


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGTERM, "SIGTERM"),
        (signal.SIGUSR1, "SIGUSR1"),
        (signal.SIGINT, "Ctrl-C (SIGINT)"),
    ],
)
def test_stopped_names_the_signal_that_came(
    number: int, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = isolated(lambda: trained(sends(number))).state
    assert (state.step, state.stopped) == (3, name)
    assert f"{name}: stopped at step 3; nothing was saved" in capsys.readouterr().out


def test_of_several_signals_ctrl_c_is_the_one_that_counts() -> None:
    def at(state: dg.TrainState) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            sends(number)(state)

    assert isolated(lambda: trained(at)).state.stopped == "Ctrl-C (SIGINT)"


def test_ctrl_c_is_a_keyboard_interrupt_for_those_who_catch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py"])  # of which nobody knows whether it can resume
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    error = isolated(lambda: trained(sends(signal.SIGINT), checkpoint=str(tmp_path))).error
    assert isinstance(error, KeyboardInterrupt)
    assert str(error).startswith(f"saved step 3 to {tmp_path}; resume with fit(resume=True)")
    assert error.code == 130


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_every_handler_is_back_after_fit(number: int) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    isolated(lambda: trained(sends(number)))
    after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    assert before == after


def test_ctrl_c_that_comes_after_the_last_step_still_ends_the_program() -> None:
    trainer = isolated(lambda: trained(sends(signal.SIGINT, at=6)))
    assert trainer.state.step == 6
    assert isinstance(trainer.error, dg.Interrupted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_after_the_last_step_finds_fit_ended_as_it_asked(number: int) -> None:
    trainer = isolated(lambda: trained(sends(number, at=6)))
    assert trainer.state.stopped == "6 steps"


def test_the_second_ctrl_c_does_what_it_did_before_fit() -> None:
    def at(state: dg.TrainState) -> None:
        sends(signal.SIGINT)(state)
        sends(signal.SIGINT)(state)

    with pytest.raises(KeyboardInterrupt) as caught:
        isolated(lambda: trained(at))
    assert type(caught.value) is KeyboardInterrupt


def test_ctrl_c_does_nothing_to_a_process_that_ignores_it() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    state = isolated(lambda: trained(sends(signal.SIGINT))).state
    assert (state.step, state.stopped) == (6, "6 steps")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_criterion_sees_the_step_after_which_a_signal_stops(number: int, tmp_path: Path) -> None:
    def memory(at: Callable[[dg.TrainState], None], folder: str, resume: bool = False) -> Any:
        plateau = dg.LossPlateau(1000)
        folder = str(tmp_path / folder)
        isolated(lambda: trained(at, stop=[plateau], checkpoint=folder, resume=resume))
        return plateau.state_dict()

    undisturbed = memory(nothing, "a")
    assert memory(sends(number), "b") != undisturbed
    assert memory(nothing, "b", resume=True) == undisturbed


JOB = Path(__file__).parent / "jobs" / "forks.py"


@pytest.mark.parametrize(("how", "said"), [("TERM", "-15"), ("INT", "1 at the 2nd")])
def test_a_child_that_fit_has_forked_ends_by_signals_as_ever(how: str, said: str) -> None:
    job = run_job(0, JOB, how)
    assert f"ended with {said}\n6 steps" in job.out, job.err


def test_a_pool_that_fit_has_made_does_its_work_for_the_step_that_ctrl_c_ends() -> None:
    job = run_job(0, JOB, "pool")
    assert "squares [0, 1, 4, 9, 16]" in job.out, job.err
    assert "stopped at step 3" in job.out
    assert job.status == 130


def test_uncaught_it_ends_a_process_with_130_and_no_traceback() -> None:
    code = "import distgrad as dg; raise dg.Interrupted('saved')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_whoever_waits_for_the_end_waits_for_no_pictures(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("distgrad.observe.run.run.can_draw", lambda: True)
    monkeypatch.setattr("distgrad.observe.run.run.draw_plots", lambda run: drawn.append(run.ended))
    folder = tmp_path / "a"
    isolated(lambda: trained(sends(signal.SIGTERM), run=folder))
    assert drawn == []
    assert dg.observe.read_run(folder).parts[0].ended_by == "SIGTERM"
    isolated(lambda: trained(lambda state: None, run=folder, resume=True))
    assert drawn == [True]
