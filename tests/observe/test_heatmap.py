"""The layer × step picture."""

import struct
import subprocess
import sys

import numpy as np
import pytest

import distgrad as dg
from distgrad import nn, optim
from distgrad.observe.gradients.heatmap import draw_heat_map


def size_of(path):
    """Return the width and height of a PNG; the signature and header are checked."""
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert head[12:16] == b"IHDR"
    return struct.unpack(">II", head[16:24])


def norms(layers, steps):
    return 10.0 ** np.sin(np.outer(np.arange(layers) + 1, np.arange(steps) + 1))


def names(layers):
    return [f"encoder.blocks.{i}.attention.project" for i in range(layers)]


@pytest.fixture
def matplotlib():
    return pytest.importorskip("matplotlib", reason="the picture needs distgrad[plot]")


@pytest.mark.usefixtures("matplotlib")
def test_a_health_draws_a_png_of_a_sensible_size(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    health = dg.GradientHealth(model, every=1)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        np.sum(np.square(model(np.ones((2, 3), np.float32)))).backward()
        optimizer.step()
        health.observe()
    health.heat_map(tmp_path / "health.png")
    assert size_of(tmp_path / "health.png") == (1200, 360)


@pytest.mark.usefixtures("matplotlib")
@pytest.mark.parametrize("layers", [1, 3, 80])
@pytest.mark.parametrize("steps", [1, 3, 1000])
def test_every_number_of_layers_and_steps_is_drawn(tmp_path, layers, steps):
    values = norms(layers, steps)
    values[0, 0] = np.inf
    marks = [{0: "nonfinite"} if i == 0 else {} for i in range(steps)]
    path = tmp_path / "map.png"
    draw_heat_map(path, names(layers), list(range(0, 10 * steps, 10)), values, marks)
    width, height = size_of(path)
    assert width == 1200
    assert height == max(360, int(120 * (1.6 + 0.24 * layers)))


@pytest.mark.usefixtures("matplotlib")
def test_problems_change_the_picture(tmp_path):
    pictures = []
    for kind in (None, "vanishing", "exploding", "dead", "nonfinite"):
        marks = [{} if kind is None or step < 3 else {1: kind} for step in range(8)]
        draw_heat_map(tmp_path / "map.png", names(4), list(range(8)), norms(4, 8), marks)
        pictures.append((tmp_path / "map.png").read_bytes())
    assert len(set(pictures)) == 5


def test_drawing_leaves_pyplot_and_its_backend_alone(tmp_path, matplotlib):
    code = (
        "import sys, numpy as np; from distgrad.observe.gradients.heatmap import draw_heat_map; "
        "assert 'matplotlib' not in sys.modules; "
        f"draw_heat_map({str(tmp_path / 'a.png')!r}, ['a'], [0], np.ones((1, 1)), [{{}}]); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(dg.DistgradError, match=r"pip install 'distgrad\[plot\]'"):
        draw_heat_map(tmp_path / "a.png", ["a"], [0], np.ones((1, 1)), [{}])


def test_without_steps_there_is_nothing_to_draw(tmp_path):
    health = dg.GradientHealth(nn.Linear(1, 1))
    with pytest.raises(dg.DistgradError, match="no step was observed yet"):
        health.heat_map(tmp_path / "a.png")
