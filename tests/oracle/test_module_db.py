"""PyTorch's own samples for its modules: repr, state, outputs, gradients and refusals are equal."""

from __future__ import annotations

import pytest
from module_db import DB, check, errors, raised, samples, settings_of
from oracle import torch

from distgrad import DistgradError

DTYPES = (torch.float64, torch.float32)

# What we take and PyTorch refuses, by module and the beginning of PyTorch's words.
TAKEN = {
    ("NLLLoss", "expected scalar type"): "class weights of any dtype are taken in the input's",
    **{
        (kind, "RNN input dtype"): "two dtypes are promoted, as in NumPy"
        for kind in ("RNN", "LSTM", "GRU")
    },
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", DB)
def test_a_module_does_what_pytorchs_does(name):
    for dtype in DTYPES:
        for training in (True, False):
            for sample in samples(DB[name], dtype, training):
                try:
                    check(name, sample, dtype, training)
                except AssertionError as error:
                    where = f"{dtype}, training={training}, {settings_of(sample)}"
                    raise AssertionError(f"{where}: {error}") from error


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in DB if DB[n].module_error_inputs_func])
def test_what_pytorch_refuses_is_refused(name):
    for dtype in DTYPES:
        for sample in errors(DB[name], dtype, True):
            ours, theirs = raised(name, sample)
            assert theirs is not None
            if not any(n == name and str(theirs).startswith(words) for n, words in TAKEN):
                # Our own words, not those of NumPy from somewhere below.
                named = isinstance(ours, TypeError) and str(ours).startswith(f"{name}: ")
                assert named or isinstance(ours, DistgradError), (ours, theirs)


def test_every_module_of_the_list_is_compared(capsys):
    with capsys.disabled():
        print(f"\n{len(DB)} modules of PyTorch's list are compared")
    assert len(DB) == 114
