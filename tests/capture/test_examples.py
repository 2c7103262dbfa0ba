"""The examples' training, captured: the hash of the eager one, on one rank and on three."""

from __future__ import annotations

import sys

import char_gpt
import pinn
import pytest
import train
from training import alone, simulated

SHORT = {
    "train.py": (train, ["--steps", "12", "--model", "cnn"]),
    "char_gpt.py": (
        char_gpt,
        [
            "--steps",
            "6",
            "--layers",
            "2",
            "--heads",
            "2",
            "--width",
            "16",
            "--context",
            "16",
            "--dropout",
            "0.1",
            "--sample",
            "0",
        ],
    ),
    "pinn.py": (
        pinn,
        [
            *["--points", "90", "--layers", "3", "--width", "8", "--steps", "6"],
            "--global-batch-size",
            "30",
        ],
    ),
}


@pytest.mark.parametrize("name", SHORT)
def test_its_hash_is_that_of_the_eager_step(name, monkeypatch, capsys):
    module, settings = SHORT[name]
    hashes = []
    for extra, run in ((), alone), (("--capture",), alone), (("--capture",), in_three):
        monkeypatch.setattr(sys, "argv", [name, *settings, *extra])
        run(module.main)
        out = capsys.readouterr().out
        hashes.append(next(x for x in out.splitlines() if x.startswith("sha256 ")))
    assert hashes[1:] == [hashes[0]] * 2


def in_three(body):
    return simulated(3, body)
