"""Every function of ``dg.checkpoint``, each argument given what it cannot be: it is named."""

from __future__ import annotations

import inspect
import os

import numpy as np
import pytest

from distgrad import DistgradError, checkpoint, nn

NONSENSE = [None, "x", b"x", 3, -1, 1.5, float("nan"), object(), [], {}, [1], abs, np.ones(2)]
NONSENSE += [{"a": 3}, {3: {}}, {"m": np.ones(2)}, {"m": {"a": "x"}}, {"m": {3: np.ones(2)}}]
NONSENSE += [nn.Linear(2, 2)]


def right(folder):
    weights = {"w": np.ones(3)}
    return {
        "exists": {"folder": folder},
        "load": {"folder": folder / "step-000001"},
        "newest": {"folder": folder, "warn": None},
        "prepare": {"folder": folder},
        "restore_into": {"arrays": weights, "target": {"w": np.zeros(3)}, "origin": "it"},
        "save": {"folder": folder, "step": 2, "arrays": {"m": weights}, "meta": {}, "keep": 3},
    }


def test_no_function_is_missing_here(tmp_path):
    functions = {n for n in checkpoint.__all__ if inspect.isfunction(getattr(checkpoint, n))}
    assert functions == set(right(tmp_path))
    for name, arguments in right(tmp_path).items():
        assert set(arguments) == {*inspect.signature(getattr(checkpoint, name)).parameters}


@pytest.mark.parametrize("name", [n for n in checkpoint.__all__ if n != "Checkpoint"])
def test_nonsense_is_taken_or_named_and_leaves_what_there_is(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs"
    checkpoint.save(folder, step=1, arrays={"m": {"w": np.arange(3.0)}}, meta={})
    for argument in right(folder)[name]:
        for value in NONSENSE:
            error = raised(name, {**right(folder)[name], argument: value})
            if isinstance(error, TypeError):
                assert str(error).startswith(f"{name}: {argument} is "), (argument, value, error)
                assert "; got " in str(error)
    np.testing.assert_array_equal(
        checkpoint.load(folder / "step-000001").arrays["m"]["w"], [0, 1, 2]
    )
    for path in os.listdir(folder):
        assert checkpoint.load(folder / path).meta == {}


def raised(name, arguments):
    try:
        getattr(checkpoint, name)(**arguments)
    except (DistgradError, TypeError) as error:
        return error
    return None
