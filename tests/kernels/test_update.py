"""The compiled updates against their formulas called with arrays: the same bits, wherever cut."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from optimizer_cases import WHOLE
from update_cases import CASES, IDS, formulas, given, make, run

from distgrad import Tensor, kernels, nn, optim
from distgrad.autograd import reference_kernels
from distgrad.optim import update

pytest.importorskip("numba", reason="numba is not installed: there are no twins")
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f4", "f8"])
every_case = pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
SIZE = 1003


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name in found:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


@both_dtypes
@every_case
def test_the_twin_has_the_bits_of_the_reference(name, settings, dtype):
    optimizer = make(name, settings)
    for size in (SIZE, 64, 1, 0):
        arrays, grads = given(optimizer, size, dtype)
        found = run(optimizer, arrays, grads, [])
        with reference_kernels():
            assert_same(found, run(optimizer, arrays, grads, []))


@both_dtypes
@every_case
def test_a_slice_has_the_bits_of_the_same_elements_in_the_whole(name, settings, dtype):
    optimizer = make(name, settings)
    arrays, grads = given(optimizer, 203, dtype)
    whole = run(optimizer, arrays, grads, [])
    for cuts in ([1, 2, 5], [31, 67, 130], [64, 128, 192], [0, 100, 100, 203], [*range(1, 203)]):
        assert_same(run(optimizer, arrays, grads, cuts), whole)


@both_dtypes
@every_case
def test_nan_and_infinity_travel_as_in_the_reference(name, settings, dtype):
    optimizer = make(name, settings)
    arrays, grads = given(optimizer, 61, dtype)
    grads[0][[3, 40]], grads[1][[4, 60]], grads[1][5] = np.nan, np.inf, -np.inf
    arrays["value"][[6, 7]] = np.nan, np.inf
    with np.errstate(all="ignore"):
        found = run(optimizer, arrays, grads, [])
        with reference_kernels():
            assert_same(found, run(optimizer, arrays, grads, []))
    others = np.setdiff1d(np.arange(61), [3, 4, 5, 6, 7, 40, 60])
    assert np.isfinite(found["value"][others]).all()
    # The sign of a NaN is none, and Rprop clips what is no number of steps.
    assert np.isnan(found["value"][6])


@pytest.fixture
def compiled(monkeypatch):
    """The formulas that were given to the twin."""
    seen, twin = [], kernels.twin

    def remember(formula, *arguments):
        seen.append(formula)
        twin("move_")(formula, *arguments)

    monkeypatch.setattr(kernels, "twin", lambda name: remember if name == "move_" else twin(name))
    return seen


def test_every_formula_is_among_the_cases(compiled):
    for name, settings in CASES:
        optimizer = make(name, settings)
        arrays, grads = given(optimizer, 5, np.float32)
        run(optimizer, arrays, grads, [])
        assert len(compiled) >= len(grads), f"{name} has no compiled update"
        assert {*compiled[-len(grads) :]} == {compiled[-1]}
    for name in WHOLE:
        p = nn.Parameter(np.ones((3, 1) if name == "Muon" else 3, np.float32))
        p.grad = Tensor(np.ones(p.shape, np.float32))
        getattr(optim, name)([p]).step()
    assert {*compiled} == formulas()


@pytest.mark.parametrize("name", WHOLE)
def test_steps_of_whole_parameters_have_the_bits_of_the_reference(name):
    found = []
    for reference in (False, True):
        p = nn.Parameter(np.linspace(-1, 1, 34, dtype=np.float32).reshape(17, 2).T)
        optimizer = getattr(optim, name)([p], lr=0.1)
        rng = np.random.default_rng(1)
        for _ in range(3):
            p.grad = Tensor(rng.normal(size=p.shape).astype(np.float32))
            if reference:
                with reference_kernels():
                    optimizer.step()
            else:
                optimizer.step()
        found.append(p.array.copy())
    np.testing.assert_array_equal(*found)


def test_what_a_fresh_momentum_buffer_holds_does_not_matter():
    optimizer = make("SGD", {"momentum": 0.9, "dampening": 0.5})
    arrays, grads = given(optimizer, SIZE, np.float32)
    wanted = run(optimizer, arrays, grads, [])
    arrays["momentum_buffer"].fill(np.nan)
    assert_same(run(optimizer, arrays, grads, []), wanted)


BITS = """
import hashlib, numpy as np
from distgrad import Tensor, clip_grad_norm_, nn, optim

digest, rng = hashlib.sha256(), np.random.default_rng(0)
for make in (optim.AdamW, optim.Rprop):
    params = [nn.Parameter(rng.normal(size=n).astype(np.float32)) for n in (3, 1001, 20_011)]
    optimizer = make(params, lr=0.1)
    for _ in range(3):
        for p in params:
            p.grad = Tensor(rng.normal(size=p.shape).astype(np.float32))
        digest.update(repr(clip_grad_norm_(params, 1.0)).encode())
        optimizer.step()
    for p in params:
        digest.update(p.array.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of this kind")
def test_the_bits_of_steps_and_norms_do_not_depend_on_the_processor():
    found = {
        subprocess.run(
            [sys.executable, "-c", BITS],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for settings in ({}, {"NUMBA_CPU_NAME": "x86-64"}, {"DISTGRAD_FUSED": "0"})
    }
    assert len(found) == 1


def test_other_dtypes_and_reference_kernels_do_without_the_twin(compiled):
    value, grad = np.ones(5, np.float16), np.ones(5, np.float16)
    update.mix_(value, 1.0, grad, -0.5)
    np.testing.assert_array_equal(value, np.full(5, 0.5, np.float16))
    assert compiled == []


def test_there_is_no_twin_while_kernels_are_asked_for():
    assert kernels.twin("move_") is not None
    with reference_kernels():
        assert kernels.twin("move_") is None
