"""Walks ops of PyTorch's op_db as function, method and in place: what is right and what is not."""

from __future__ import annotations

import itertools
import types
import warnings
from collections.abc import Callable, Iterator
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

NAMES = {name_of(op): op for op in OP_DB}
MOST_SAMPLES = {
    torch.float64: 20,
    torch.float32: 3,
    torch.int64: 6,
    torch.bool: 4,
    torch.complex128: 6,
}
"""The dtypes to compare in, and how many samples of each."""

OURS = types.SimpleNamespace(
    **{name: getattr(family, name) for family in FAMILIES for name in family.__all__}, **IN_PLACE
)
# Where op_db calls its function with the arguments in another order.
CALLED: dict[str, Callable[..., Any]] = {
    "where": lambda x, condition, other: find(NAMES["where"], [OURS, dg])(condition, x, other),
    "einsum": lambda tensors, equation: find(NAMES["einsum"], [OURS, dg])(equation, *tensors),
    "polygamma": lambda x, n: find(NAMES["polygamma:polygamma_n_0"], [OURS, dg])(n, x),
    "nn.functional.embedding_bag": lambda weight, index, **named: dg.nn.functional.embedding_bag(
        index, weight, **named
    ),
    "nn.functional.embedding": lambda weight, index, **named: dg.nn.functional.embedding(
        index, weight, **named
    ),
}
RANDOM = {
    *("bernoulli", "cauchy", "exponential", "geometric", "log_normal", "multinomial", "normal"),
    *("rand_like", "randint", "randint_like", "randn", "randn_like", "uniform"),
    *(f"nn.functional.{n}" for n in ("dropout", "dropout2d", "dropout3d", "alpha_dropout")),
    *("nn.functional.feature_alpha_dropout", "nn.functional.rrelu"),
}
"""Of these the shapes and dtypes are compared: the numbers are others than PyTorch's."""
_LINEAR_ALGEBRA = {
    *("linalg", "matrices", "decompositions", "factors", "systems", "fft", "special", "signal")
}
BY_RULE = "means one thing in NumPy and another in PyTorch"


def ours_of(op: Any) -> Callable[..., Any] | None:
    """Our function by PyTorch's name, or the method where PyTorch has that alone."""
    if op.name in CALLED:
        return CALLED[op.name] if find(op, [OURS, dg]) else None
    if op.name in RANDOM and hasattr(Tensor, f"{op.name}_") and not find(op, [OURS, dg]):
        return lambda x, *args, **named: getattr(x.clone(), f"{op.name}_")(*args, **named)
    if op.name.endswith("_") and not op.name.startswith("_"):
        return lambda x, *args, **named: getattr(x.clone(), op.name)(*args, **named)
    found = find(op, [OURS, dg])
    if found is not None and callable(found):
        return found
    method = getattr(Tensor, op.name, None)
    if isinstance(method, property):
        return method.fget
    return method if callable(method) else None


def of_matrices(made: Any) -> bool:
    """Whether a function or family is linear algebra's, which test_op_db_linalg.py walks."""
    module = getattr(made, "__module__", None) or getattr(made, "__name__", "")
    return module.rpartition(".")[2] in _LINEAR_ALGEBRA


def wrong(op: Any) -> list[str]:
    """What differs from PyTorch, in words: of values, gradients, the method, the one in place."""
    ours = ours_of(op)
    if ours is None:
        return ["missing"]
    found = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for dtype, most in MOST_SAMPLES.items():
            if dtype not in op.supported_dtypes("cpu"):
                continue
            if op.name.startswith("nn.functional.") and dtype != torch.float64:
                continue
            for sample, expected in _samples(op, dtype, most):
                for said in _differences(op, sample, expected, ours):
                    found.append(f"{dtype} ({in_words(sample)}) {said}")
    return found


def _samples(op: Any, dtype: Any, most: int) -> Iterator[tuple[Any, Any]]:
    """Calls that PyTorch answers, with its result."""
    differentiable = op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
    torch.manual_seed(0)
    drawn = op.sample_inputs("cpu", dtype, requires_grad=differentiable)
    for sample in itertools.islice(drawn, most):
        try:
            expected = _called(op, op.op, sample)
        except (RuntimeError, NotImplementedError):
            continue
        if getattr(sample.input, "ndim", 0) <= 64:  # NumPy has no more axes
            yield sample, expected


def _differences(op: Any, sample: Any, expected: Any, ours: Callable[..., Any]) -> list[str]:
    if isinstance(expected, bool | int | float | complex):
        return _of_numbers(sample, expected, ours)
    try:
        said = verdict(op, sample, expected, ours)
    except RuntimeError as error:
        # The values agreed; PyTorch's gradient is zeros that it never made.
        said = "ok" if "ZeroTensor" in str(error) else f"not compared: {error}"
    if op.name in RANDOM:
        return [said] * (not said.startswith(("ok", "value", "gradient")))
    if "has no gradient to" in said:  # a refusal: PyTorch's comes in the backward pass
        said = verdict(op, _detached(sample), expected.detach(), ours)
    return [said] * (said != "ok") + _variants(op, sample, ours)


def _of_numbers(sample: Any, expected: Any, ours: Callable[..., Any]) -> list[str]:
    first, rest, named = _converted((sample.input, sample.args, sample.kwargs), {})
    found = ours(first, *rest, **named)
    return [] if type(found) is type(expected) and found == expected else [f"value: {found!r}"]


def _detached(sample: Any) -> Any:
    return sample.transform(lambda t: t.detach() if isinstance(t, torch.Tensor) else t)


def _variants(op: Any, sample: Any, ours: Callable[..., Any]) -> list[str]:
    """What the method and the twin in place do otherwise than the function."""
    first, rest, named = _converted((sample.input, sample.args, sample.kwargs), {})
    if not isinstance(first, Tensor):
        return []
    found = []
    with dg.no_grad():
        try:
            wanted = arrays(ours(first, *rest, **named))
        except CLEAR:
            return []
        name = getattr(op.method_variant, "__name__", "__")
        if not name.startswith(("__", "<")):
            found.append(_compared(wanted, first, name, rest, named))
        twin = getattr(op.inplace_variant, "__name__", "__")
        own = first.dtype
        if (
            not twin.startswith(("__", "<"))
            and wanted[0].shape == first.shape
            and np.can_cast(wanted[0].dtype, own, "same_kind")
        ):
            in_place = [wanted[0].astype(own)]
            found.append(_compared(in_place, Tensor(np.array(first.data)), twin, rest, named))
    return [said for said in found if said]


def _compared(wanted: list[Any], x: Tensor, name: str, rest: Any, named: Any) -> str:
    try:
        found = arrays(getattr(x, name)(*rest, **named))
    except TypeError as error:
        return "" if BY_RULE in str(error) else f"x.{name}: {error}"
    except Exception as error:
        return f"x.{name}: {type(error).__name__}: {error}"
    same = len(found) == len(wanted) and all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
        for a, b in zip(found, wanted, strict=True)
    )
    return "" if same else f"x.{name}: another result than the function's"


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
    said = []
    with np.errstate(all="ignore"):
        try:
            said = [f"({args}) {text}" for args, text in refusals(op, ours)]
        except ValueError as error:
            if "number of dimensions" not in str(error):  # more axes than NumPy has
                raise
    return [text for text in said if ") unclear" in text and not text.startswith("(2, 3)")]
