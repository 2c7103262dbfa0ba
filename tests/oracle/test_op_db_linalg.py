"""PyTorch's own samples of linear algebra, Fourier transforms and special functions: same results.

What differs by convention stands in DIFFERENCES, with its reason.
"""

from __future__ import annotations

import types

import pytest
from op_db import OP_DB, find, name_of, refusals, torch, verdicts

from distgrad.functions import decompositions, fft, linalg, matrices, signal, special, windows
from distgrad.ops.linalg import H

# Variants of op_db that call the function in their own way.
CALLED = {
    "linalg.lstsq:grad_oriented": lambda a, b, driver: linalg.lstsq(a, b, driver=driver)[:2],
    "linalg.pinv:singular": lambda a, b: linalg.pinv(a @ H(b.conj())),
    "einsum": lambda operands, equation: matrices.einsum(equation, operands),
    "svd_lowrank": lambda a, b, q, M: decompositions.svd_lowrank(a @ H(b), q, M=M),
    "pca_lowrank": lambda a, b, q, center: decompositions.pca_lowrank(a @ H(b), q, center),
}

NO_LDL = "NumPy has no LDLᴴ; the AttributeError says what to use"
NO_TABLES = "no table of coefficients to machine precision yet; scipy.special has it for arrays"
NOT_HERE = {
    **{f"linalg.ldl_{name}": NO_LDL for name in ("factor", "factor_ex", "solve")},
    **dict.fromkeys(("special.airy_ai", "special.bessel_y0", "special.bessel_y1"), NO_TABLES),
    **dict.fromkeys((f"special.modified_bessel_k{i}" for i in (0, 1)), NO_TABLES),
    **dict.fromkeys((f"special.scaled_modified_bessel_k{i}" for i in (0, 1)), NO_TABLES),
    "special.ndtri": "made with the gamma family, and tested there",
    "special.polygamma": "made with the gamma family, and tested there",
}

FREE_SIGNS = "the vectors' signs are free; PyTorch's come from random numbers"
DIFFERENCES: dict[str, dict[str, str]] = {
    "cov": {"value: differs by ": "whole and float32 weights multiply to float64, as in NumPy"},
    "svd_lowrank": {"value: ": FREE_SIGNS},
    "pca_lowrank": {"value: ": FREE_SIGNS},
    "special.bessel_j0": {"value: differs by ": "PyTorch's is exact to six digits, ours to 15"},
    "special.bessel_j1": {"value: differs by ": "PyTorch's is exact to six digits, ours to 15"},
}
"""By name, what a verdict that differs begins with, and why."""

ACCEPTED: dict[str, str] = {
    f"signal.windows.{name}": "windows are computed in float64 and rounded, to float16 too"
    for name in windows.__all__
}
"""Where a call that PyTorch refuses has a result here, and why."""

NESTED = types.SimpleNamespace(
    linalg=linalg, fft=fft, special=special, signal=types.SimpleNamespace(windows=windows)
)


def public(module):
    """What a module says is its own: not what it imports."""
    return types.SimpleNamespace(**{name: getattr(module, name) for name in module.__all__})


PLACES = [NESTED, *map(public, (matrices, decompositions, signal, special))]
PREFIXES = ("linalg.", "fft.", "signal.", "special.")
BESIDE_SPECIAL = {"exp2", "expm1", "i0", "log1p", "log_softmax", "logit", "logsumexp", "sinc"}
BESIDE_SPECIAL |= {"erf", "erfc", "round", "softmax", "xlogy"}
"""PyTorch's samples of what torch.special has by the same name."""


def named(name):
    beside = name in BESIDE_SPECIAL or any(hasattr(place, name) for place in PLACES[1:-1])
    return name not in NOT_HERE and (beside or name.startswith(PREFIXES))


OPS_HERE = [op for op in OP_DB if named(op.name)]


def ours_of(op):
    return CALLED.get(name_of(op)) or find(op, PLACES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["real", "complex"])
@pytest.mark.parametrize("op", OPS_HERE, ids=name_of)
def test_values_and_gradients_are_pytorchs(op, dtype):
    if dtype not in op.supported_dtypes("cpu"):
        pytest.skip("PyTorch has no samples of this dtype")
    ours = ours_of(op)
    assert ours is not None, f"there is no {op.name}"
    known = DIFFERENCES.get(name_of(op), {})
    for sample, verdict in verdicts(op, ours, dtype):
        if not verdict.startswith(tuple(known)):
            assert verdict == "ok", sample


@pytest.mark.parametrize("op", OPS_HERE, ids=name_of)
def test_what_pytorch_refuses_is_refused_with_a_clear_error(op):
    ours = ours_of(op)
    for sample, verdict in refusals(op, ours):
        if not (verdict == "accepted" and op.name in ACCEPTED):
            assert verdict == "ok", sample


def test_every_difference_is_still_one():
    names = {name_of(op) for op in OPS_HERE} | {op.name for op in OPS_HERE}
    assert names >= {*DIFFERENCES, *ACCEPTED, *CALLED}
