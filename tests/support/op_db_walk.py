"""Walks ops of PyTorch's op_db as function, method and in place: what is right and what is not."""

from __future__ import annotations

import itertools
import types
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from op_db import (
    CLEAR,
    OP_DB,
    _called,
    _converted,
    find,
    in_words,
    name_of,
    refusals,
    torch,
    verdict,
)

import distgrad as dg
from distgrad import Tensor
from distgrad.functions import FAMILIES, IN_PLACE

MOST_SAMPLES = 20
OURS = types.SimpleNamespace(
    **{name: getattr(family, name) for family in FAMILIES for name in family.__all__}, **IN_PLACE
)
PLACES = [OURS, dg]


def ours_of(op: Any) -> Callable[..., Any] | None:
    """Our function by PyTorch's name, or the method where PyTorch has that alone."""
    found = find(op, PLACES)
    if found is not None and callable(found):
        return found
    method = getattr(Tensor, op.name, None)
    if isinstance(method, property):
        return method.fget
    return method if callable(method) else None


def dtype_of(op: Any) -> Any:
    """The dtype to compare in: float64 where PyTorch has it, else whole numbers, booleans, …."""
    dtypes = op.supported_dtypes("cpu")
    for dtype in (torch.float64, torch.int64, torch.bool, torch.complex128, torch.float32):
        if dtype in dtypes:
            return dtype
    return None


def wrong(op: Any, *, most: int = MOST_SAMPLES) -> list[str]:
    """What differs from PyTorch, in words: of values, gradients, the method, the one in place."""
    ours = ours_of(op)
    if ours is None:
        return ["missing"]
    dtype = dtype_of(op)
    found = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for args, sample, expected in samples(op, dtype, most):
            said = verdict(op, sample, expected, ours)
            if said != "ok":
                found.append(f"({args}) {said}")
            for what, said in variants(op, sample, ours):
                found.append(f"{what} ({args}) {said}")
    return found


def samples(op: Any, dtype: Any, most: int) -> list[tuple[str, Any, Any]]:
    """(arguments in words, sample, PyTorch's result) of calls that PyTorch answers."""
    differentiable = op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
    torch.manual_seed(0)
    drawn = []
    for sample in itertools.islice(
        op.sample_inputs("cpu", dtype, requires_grad=differentiable), most
    ):
        try:
            expected = _called(op, op.op, sample)
        except (RuntimeError, NotImplementedError):
            continue
        drawn.append((in_words(sample), sample, expected))
    return drawn


def variants(op: Any, sample: Any, ours: Callable[..., Any]) -> list[tuple[str, str]]:
    """What the method and the twin in place do otherwise than the function."""
    found = []
    first, rest, named = _converted((sample.input, sample.args, sample.kwargs), {})
    if not isinstance(first, Tensor):
        return []
    with dg.no_grad():
        try:
            wanted = arrays(ours(first, *rest, **named))
        except CLEAR:
            return []
        name = getattr(op.method_variant, "__name__", None)
        if name and not name.startswith("__"):
            found.append((f"x.{name}", _same(wanted, first, name, rest, named)))
        twin = getattr(op.inplace_variant, "__name__", None)
        if twin and not twin.startswith("__") and _fits_in_place(wanted, first):
            copy = Tensor(np.array(first.data))
            found.append(
                (f"x.{twin}", _same([wanted[0].astype(copy.dtype)], copy, twin, rest, named))
            )
    return [(what, said) for what, said in found if said]


def _fits_in_place(wanted: list[Any], x: Tensor) -> bool:
    return wanted[0].shape == x.shape and np.can_cast(wanted[0].dtype, x.dtype, "same_kind")


def _same(wanted: list[Any], x: Tensor, name: str, rest: Any, named: Any) -> str:
    try:
        found = arrays(getattr(x, name)(*rest, **named))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if len(found) != len(wanted):
        return f"{len(found)} results, the function has {len(wanted)}"
    for a, b in zip(found, wanted, strict=True):
        if (
            a.dtype != b.dtype
            or a.shape != b.shape
            or not np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
        ):
            return f"{a.dtype} {a.shape}, the function's {b.dtype} {b.shape}, or other values"
    return ""


def arrays(result: Any) -> list[Any]:
    """A result's arrays, in a row."""
    if isinstance(result, tuple | list):
        return [a for r in result for a in arrays(r)]
    return [result.data if isinstance(result, Tensor) else np.asarray(result)]


def unclear(op: Any) -> list[str]:
    """Calls that PyTorch refuses and that end here in another than a clear error."""
    ours = ours_of(op)
    if ours is None:
        return []
    with np.errstate(all="ignore"):
        return [
            f"({args}) {said}" for args, said in refusals(op, ours) if said.startswith("unclear")
        ]


NAMES = {name_of(op): op for op in OP_DB}
