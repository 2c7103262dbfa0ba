"""The physics-informed network: its equation, its exact solution, its training on any ranks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pinn
import pytest
from jobs import ROOT, run_job
from training import alone, simulated

import distgrad as dg
from distgrad import optim

SCRIPT = ROOT / "examples/pinn.py"
SMALL = ("--points", "240", "--layers", "2", "--width", "12", "--global-batch-size", "60")
FAST = ("--lr", "5e-3", "--muon-lr", "0.02", "--steps", "30", "--every", "10")


def model(layers: int = 2, width: int = 12, seed: int = 3) -> pinn.Burgers:
    dg.manual_seed(seed)
    return pinn.Burgers(layers, width)


def central(f, t, x, h=1e-4):
    """u, u_t, u_x and u_xx by central differences."""
    u = f(t, x)
    u_t = (f(t + h, x) - f(t - h, x)) / (2 * h)
    u_x = (f(t, x + h) - f(t, x - h)) / (2 * h)
    return u, u_t, u_x, (f(t, x + h) - 2 * u + f(t, x - h)) / h**2


def test_the_residual_is_that_of_central_differences() -> None:
    net = model().to(np.float64)
    t, x = np.random.default_rng(0).uniform(0.1, 0.9, (2, 50))
    u, u_t, u_x, u_xx = central(lambda t, x: net.u(t, x).array, t, x)
    expected = u_t + u * u_x - pinn.NU * u_xx
    np.testing.assert_allclose(net(t, x).array, expected, rtol=0, atol=1e-6)


def test_the_exact_solution_fulfils_the_equation_and_its_conditions() -> None:
    t, x = np.random.default_rng(1).uniform(0.2, 0.8, (2, 50))  # the shock is at x = 0
    u, u_t, u_x, u_xx = central(pinn.exact, t, x)
    np.testing.assert_allclose(u_t + u * u_x, pinn.NU * u_xx, rtol=0, atol=1e-6)
    line = np.linspace(-1, 1, 33)
    np.testing.assert_allclose(
        pinn.exact(np.zeros(33), line), -np.sin(np.pi * line), rtol=0, atol=1e-14
    )
    for edge in (-1.0, 1.0):
        np.testing.assert_allclose(pinn.exact(t, np.full(50, edge)), 0, atol=1e-12)


def test_the_network_fulfils_the_conditions_untrained() -> None:
    net = model().to(np.float64)
    line, ones = np.linspace(-1, 1, 33), np.ones(33)
    np.testing.assert_allclose(net.u(0 * ones, line).array, -np.sin(np.pi * line), atol=1e-14)
    np.testing.assert_allclose(net.u(np.linspace(0, 1, 33), -ones).array, 0, atol=1e-14)


def test_the_network_is_odd_in_x() -> None:
    net = model().to(np.float64)
    t, x = np.random.default_rng(2).uniform(0, 1, (2, 20))
    assert np.abs(net.u(t, x).array + np.sin(np.pi * x)).max() > 0.01  # it is not the sine alone
    np.testing.assert_allclose(net.u(t, -x).array, -net.u(t, x).array, rtol=0, atol=1e-14)


def test_collocation_points_are_a_latin_hypercube() -> None:
    t, x = pinn.collocation(40, seed=0).arrays
    assert sorted((40 * t).astype(int)) == list(range(40))
    assert sorted((40 * (x + 1) / 2).astype(int)) == list(range(40))


def gradients() -> list[bytes]:
    """The bytes of all gradients of the first three batches, each after a step of Adam."""
    dg.init(shards=4)
    net = model()
    optimizer = optim.Adam(net.parameters(), lr=1e-2)
    ddp = dg.DistributedDataParallel(net, bucket_mb=0.001)
    loader = dg.data.DataLoader(pinn.collocation(90, seed=0), 30, shuffle=True)
    found = []
    for batch in loader:  # shards of 8 and 7 points
        optimizer.zero_grad()
        for t, x in batch.shards:
            residual = net(t, x)
            ddp.backward((residual * residual).mean())
        found += [p.grad.array.tobytes() for p in net.parameters()]
        optimizer.step()
    return found


@pytest.mark.parametrize("size", [2, 3, 4])
def test_gradients_through_second_derivatives_have_the_bits_of_one_process(size: int) -> None:
    expected = alone(gradients)
    assert any(np.frombuffer(g, np.float32).any() for g in expected)
    assert simulated(size, gradients) == [expected] * size


def test_the_script_learns_and_has_the_same_bits_on_four_ranks() -> None:
    outputs = []
    for ranks in (0, 4):
        job = run_job(ranks, SCRIPT, *SMALL, *FAST, "--json")
        assert job.status == 0, job.err
        reports = [line for line in job.out.splitlines() if line.startswith("step ")]
        result = json.loads(job.out.splitlines()[-1])
        assert result.pop("ranks") == max(ranks, 1)
        outputs.append((reports, result))
    assert outputs[0] == outputs[1]
    assert [line.split(":")[0] for line in reports] == ["step 1", "step 10", "step 20", "step 30"]
    losses = [float(line.split()[3].rstrip(",")) for line in reports]
    assert losses[-1] < 0.5 * losses[0]


def test_a_run_that_was_stopped_and_goes_on_with_two_ranks_ends_with_the_same_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = ["pinn.py", *SMALL, "--steps", "6", "--every", "2", "--accumulate", "2"]
    monkeypatch.setattr(sys, "argv", short)
    alone(pinn.main)
    straight = capsys.readouterr().out.splitlines()[-1]
    assert straight.startswith("sha256 ")

    def save_and_stop(state: dict[str, object], path: str) -> None:
        save(state, path)
        if state["step"] == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("distgrad.observe.run.run.can_draw", lambda: False)  # it takes seconds
    save, file = dg.save, ["--checkpoint", str(tmp_path / "burgers.safetensors")]
    file += ["--run", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", [*short, *file])
    monkeypatch.setattr(dg, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        alone(pinn.main)
    monkeypatch.setattr(dg, "save", save)
    monkeypatch.setattr(sys, "argv", [*short, *file, "--resume"])
    capsys.readouterr()
    for run in (lambda: simulated(2, pinn.main), lambda: alone(pinn.main)):  # then nothing is left
        run()
        assert capsys.readouterr().out.splitlines()[-1] == straight
    kept = dg.observe.read_run(tmp_path / "run")
    assert kept.series("loss")[0].tolist() == [1, 2, 3, 4, 5, 6]
    assert [part.first_step for part in kept.parts] == [0, 2, 6]


def test_the_plot_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pinn.plot(model(), str(tmp_path / "burgers.png"))
    assert (tmp_path / "burgers.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--steps", "0"), "--steps 0: train for at least one"),
        (("--layers", "1"), "--layers 1: Muon trains what is between two of them"),
        (("--accumulate", "0"), "--accumulate 0: a step takes at least one batch"),
        (("--resume",), "--resume needs --checkpoint FILE"),
        (("--plot", "/nowhere/a.png"), "--plot /nowhere/a.png: there is no such folder"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    option: tuple[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["pinn.py", *option])
    with pytest.raises(SystemExit):
        pinn.arguments()
    assert message in capsys.readouterr().err


def test_a_plot_without_matplotlib_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pinn.py", "--plot", "a.png"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        pinn.arguments()
    assert "--plot needs matplotlib: pip install 'distgrad[plot]'" in capsys.readouterr().err
