"""Methods of a Tensor beside torch.Tensor's: positions mean PyTorch's, or are refused."""

from __future__ import annotations

import function_calls
import numpy as np
import pytest
from method_calls import NUMPYS, REFUSED, SAME, TENSORS, X
from oracle import assert_close, torch

from distgrad import Tensor, ops

pytestmark = pytest.mark.filterwarnings("ignore:index_reduce\\(\\) is in beta:UserWarning")


def arrays(result):
    """Return what PyTorch and we give back as a list of arrays."""
    if isinstance(result, tuple | list) and not isinstance(result, torch.Size):
        return [a for r in result for a in arrays(r)]
    if isinstance(result, torch.Tensor):
        return [result.detach().numpy()]
    return [result.data if isinstance(result, Tensor) else np.asarray(result)]


def compare(ours, theirs):
    found, wanted = arrays(ours), arrays(theirs)
    assert len(found) == len(wanted)
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b)


def to_torch(x):
    return torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x


def test_only_numpys_methods_are_none_of_pytorchs():
    named = set(SAME) | set(REFUSED) | set(NUMPYS) | TENSORS
    numpys = {"array", "astype", "copy", "ctypes", "tobytes"}
    assert {n for n in named if not hasattr(torch.Tensor, n)} == {"accumulate_", *numpys}


@pytest.mark.parametrize("name", SAME)
def test_positions_mean_what_they_mean_in_pytorch(name):
    for x, arguments in SAME[name]:
        wanted = getattr(to_torch(x), name)(*map(to_torch, arguments))
        compare(getattr(Tensor(x), name)(*arguments), wanted)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *[(n, {"dim": 1}) for n in ("max", "min", "var", "std", "norm", "sum", "mean", "argmax")],
        *[(n, {"dim": -1, "keepdim": True}) for n in ("max", "min", "var", "std", "norm", "all")],
        *[(n, {"dim": (0, 2)}) for n in ("var", "std", "norm", "sum", "mean", "squeeze")],
        *[(n, {"dim": 1, "correction": 0}) for n in ("var", "std")],
        *[(n, {"dim": 1, "unbiased": False}) for n in ("var", "std")],
        *[(n, {"correction": 2}) for n in ("var", "std")],
        *[("norm", {"p": p}) for p in (1, 2, 3, float("inf"), "fro")],
        *[("norm", {"p": p, "dim": 0, "keepdim": True}) for p in (1, 2.5)],
        ("norm", {"p": "nuc", "dim": (0, 1)}),
        *[("squeeze", {"dim": d}) for d in (0, 1, (1, 2))],
        ("transpose", {"dim0": 0, "dim1": 2}),
        ("diagonal", {"offset": 1, "dim1": 0, "dim2": 2}),
        *[(n, {}) for n in ("max", "min", "norm", "squeeze", "var", "std", "median")],
    ],
)
def test_dim_means_pytorchs_result_and_gradient(name, settings):
    data = X[:, 1:2] if name == "squeeze" else X
    x, t = Tensor(data, requires_grad=True), torch.tensor(data, requires_grad=True)
    found, wanted = getattr(x, name)(**settings), getattr(t, name)(**settings)
    compare(found, wanted)
    first = found[0] if isinstance(found, tuple) else found
    if first.dtype.kind == "f":
        assert first.requires_grad
        slope = np.random.default_rng(1).normal(size=first.shape)
        np.sum(first * slope).backward()
        theirs = wanted[0] if isinstance(wanted, tuple) else wanted
        (theirs * torch.from_numpy(np.asarray(slope))).sum().backward()
        assert_close(x.grad.data, t.grad.numpy(), rtol=1e-9)


def test_axis_means_numpys_result():
    for name in ("max", "min", "var", "std", "sum", "mean", "prod", "argmax", "argmin", "all"):
        found = getattr(Tensor(X), name)(axis=1)
        compare(found, torch.from_numpy(np.asarray(getattr(np, name)(X, axis=1))))


def test_the_accuracy_idiom_is_pytorchs():
    labels = np.array([1, 0, 3])
    ours = (Tensor(X[:, 0]).max(dim=1)[1] == labels).sum().item()
    theirs = torch.from_numpy(X[:, 0]).max(dim=1)[1] == torch.from_numpy(labels)
    assert ours == theirs.sum().item()


# -- functions ------------------------------------------------------------------------------------


def ours_of(x):
    """The argument with Tensors for real arrays, as a user would pass them."""
    if isinstance(x, tuple):
        return tuple(map(ours_of, x))
    return Tensor(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def theirs_of(x):
    if isinstance(x, tuple):
        return tuple(map(theirs_of, x))
    return to_torch(x)


@pytest.mark.parametrize("name", function_calls.SAME)
def test_positions_of_a_function_mean_what_they_mean_in_pytorch(name):
    function = getattr(torch, name, None) or getattr(torch.linalg, name)
    for arguments in function_calls.SAME[name]:
        wanted = function(*map(theirs_of, arguments))
        compare(getattr(ops, name)(*map(ours_of, arguments)), wanted)


def test_functions_with_numpys_positions_are_none_of_pytorchs():
    for name in function_calls.NUMPYS:
        assert not hasattr(torch, name), name
        assert not hasattr(torch.linalg, name), name
