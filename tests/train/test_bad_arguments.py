"""The Trainer's methods, each argument given what it cannot be: named, and nothing is trained."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import distgrad as dg
from distgrad import ShapeError, nn, optim
from distgrad.arguments import kinds_of
from distgrad.nn import functional as F
from distgrad.nn import state_sha256

NONSENSE = ["x", -1, 1.5, None, float("nan"), object(), {}, [1], (3,), np.ones(2), abs, 1j]
NONSENSE += [nn.Linear(2, 2), [nn.ReLU()], True]
METHODS = {
    name: {**kinds_of(method)}
    for name, method in vars(dg.Trainer).items()
    if not name.startswith("_") and inspect.isfunction(method) and kinds_of(method)
}


def loader():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 4)).astype("f4"), rng.integers(0, 3, 24)
    return dg.data.DataLoader(dg.data.ArrayDataset(x, y), global_batch_size=8, seed=0)


def trainer():
    model = nn.Linear(4, 3)
    sgd = optim.SGD(model.parameters(), lr=0.1)
    return dg.Trainer(model, sgd, F.cross_entropy, progress=False)


def test_the_walk_meets_all_that_takes_data():
    assert {"fit", "evaluate", "predict", "lr_find"} <= set(METHODS)


@pytest.mark.parametrize(
    ("name", "argument"), [(n, a) for n, kinds in METHODS.items() for a in kinds if n != "step"]
)
def test_nonsense_is_named_before_the_first_step(name, argument):
    t, data = trainer(), loader()
    before = state_sha256(t.model.state_arrays())
    kind = METHODS[name][argument]
    wrong = [value for value in NONSENSE if not kind.holds(value)]
    assert len(wrong) >= 8
    for value in wrong:
        given = {"loader": data, argument: value}
        with pytest.raises((TypeError, ShapeError)) as caught:
            getattr(t, name)(**given)
        assert str(caught.value).startswith(f"Trainer.{name}: {argument} is {kind.words}; got ")
    assert state_sha256(t.model.state_arrays()) == before
    assert (t.state.step, data.epoch, data.batch) == (0, 0, 0)


def test_data_of_another_library_are_named():
    class Loader:
        def __iter__(self):
            yield np.ones((8, 4), "f4"), np.ones(8, int)

    for method in ("fit", "evaluate", "predict"):
        with pytest.raises(TypeError, match=r"loader is a distgrad\.data\.DataLoader; got "):
            getattr(trainer(), method)(Loader())
