"""Settings of ops that are given as Tensors, as users have their indices and masks."""

from __future__ import annotations

import numpy as np
import pytest
from op_cases import OPS, cases

import distgrad as dg
from distgrad.autograd.op import Op


def with_arrays():
    """Yield every op with a call that has an array among its settings."""
    for op in OPS:
        for inputs, settings in cases(op):
            if any(isinstance(s, np.ndarray) for s in settings.values()):
                yield pytest.param(op, inputs, settings, id=op.name)
                break


CALLS = list(with_arrays())


def test_there_are_such_ops():
    assert {"getitem", "take", "add_at"} <= {case.id for case in CALLS}


@pytest.mark.parametrize(("op", "inputs", "settings"), CALLS)
@pytest.mark.parametrize("captured", [False, True], ids=["eager", "captured"])
def test_bodies_and_twins_are_given_arrays(op, inputs, settings, captured, monkeypatch):
    given = []

    def seen(*_, **settings):
        given.append(settings)

    monkeypatch.setattr(op, "fused", seen)
    monkeypatch.setattr(op, "asked_from", 0)
    names = [k for k, s in settings.items() if isinstance(s, np.ndarray)]
    fixed = {k: s for k, s in settings.items() if k not in names}

    def step(inputs, arrays):
        tensors = dict(zip(names, map(dg.tensor, arrays), strict=True))
        return op(*inputs, **fixed, **tensors)

    wanted = Op.long(op, *inputs, **settings)
    given.clear()
    for _ in range(3 if captured else 1):
        step = dg.capture(step) if captured and not given else step
        found = step([np.asarray(x) for x in inputs], [settings[k] for k in names])
        for a, b in zip(_several(found), _several(wanted), strict=True):
            assert a.array.tobytes() == b.array.tobytes()
    assert given
    for settings_seen in given:
        assert all(type(settings_seen[k]) is np.ndarray for k in names)


def _several(result):
    return result if isinstance(result, tuple) else (result,)
