"""PyTorch's own sample inputs (op_db): ours beside theirs, values and gradients, sample by sample.

Our function is put into PyTorch's graph as one node, so that whatever PyTorch's tests do with a
result before they compare it (which factors are unique, which outputs count) is done to both.
"""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; `sh tests/run.sh --oracle` installs it"
)


def _load() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("torch.testing._internal.common_methods_invocations")
    found: list[Any] = module.op_db
    return found


OP_DB = _load()

RTOL = 1e-8
"""Relative to the largest element: both compute in float64, by algorithms of their own."""

CLEAR = (dg.DistgradError, TypeError, ValueError, IndexError, NotImplementedError)
"""What a call that does not fit may raise."""


def name_of(op: Any) -> str:
    """The name of an OpInfo with its variant's."""
    return f"{op.name}:{op.variant_test_name}" if op.variant_test_name else str(op.name)


def find(op: Any, places: list[Any]) -> Callable[..., Any] | None:
    """Ours by PyTorch's dotted name ("linalg.inv"), in the first of ``places`` that has it."""
    path = op.name.split(".")
    for place in places:
        found = place
        for part in path:
            found = getattr(found, part, None)
        if found is not None:
            return found
    return None


def verdicts(op: Any, ours: Callable[..., Any], dtype: Any) -> Iterator[tuple[str, str]]:
    """For each sample of ``op``: its arguments in words, and "ok" or what differs.

    "refused: …" where ours raises a clear error, "error: …" another, "value: …", "gradient: …" and
    "shape: …" where the results differ, "dtype: …". Samples that PyTorch itself refuses are left
    out.
    """
    differentiable = op.supports_autograd and dtype in op.supported_backward_dtypes("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        for sample in op.sample_inputs("cpu", dtype, requires_grad=differentiable):
            try:
                expected = _called(op, op.op, sample)
            except (RuntimeError, NotImplementedError):
                continue
            yield in_words(sample), verdict(op, sample, expected, ours)


def verdict(op: Any, sample: Any, expected: Any, ours: Callable[..., Any]) -> str:
    """Compare ours with PyTorch's result of one sample (see ``verdicts``)."""
    args = (sample.input, sample.args, sample.kwargs)
    leaves = [t for t in _tensors(args) if t.requires_grad]
    process = sample.output_process_fn_grad
    try:
        found = _called(op, functools.partial(_in_their_graph, ours, expected), sample)
    except CLEAR as error:
        return f"refused: {error}"
    except Exception as error:
        return f"error: {type(error).__name__}: {error}"
    mine, theirs = (_tensors(process(r)) for r in (found, expected))
    if len(mine) != len(theirs):
        return f"shape: {len(mine)} results, PyTorch has {len(theirs)}"
    for a, b in zip(mine, theirs, strict=True):
        if difference := _difference(a, b):
            return difference
    return _compare_gradients(mine, theirs, leaves)


def _called(op: Any, function: Callable[..., Any], sample: Any) -> Any:
    # The wrapper makes of any input one that the op is defined on (Hermitian, triangular).
    return op.gradcheck_wrapper(function, sample.input, *sample.args, **sample.kwargs)


def _compare_gradients(mine: list[Any], theirs: list[Any], leaves: list[Any]) -> str:
    wanted = _gradients(theirs, leaves)
    if isinstance(wanted, str):
        return "ok"  # PyTorch has none here
    found = _gradients(mine, leaves)
    if isinstance(found, str):
        return found
    for a, b, leaf in zip(found, wanted, leaves, strict=True):
        given = [torch.zeros_like(leaf) if x is None else x for x in (a, b)]
        if difference := _difference(*given):
            return f"gradient: {difference}"
    return "ok"


def _gradients(results: list[Any], leaves: list[Any]) -> Any:
    kept = [r for r in results if r.requires_grad]
    if not leaves or not kept:
        return [None] * len(leaves)
    directions = []
    generator = torch.Generator().manual_seed(5)
    for r in kept:
        directions.append(torch.randn(r.shape, dtype=r.dtype, generator=generator))
    try:
        return torch.autograd.grad(kept, leaves, directions, allow_unused=True, retain_graph=True)
    except CLEAR as error:
        return f"gradient refused: {error}"
    except RuntimeError as error:
        return f"gradient error: {error}"


def _difference(a: Any, b: Any) -> str:
    a, b = a.detach().resolve_conj().resolve_neg(), b.detach().resolve_conj().resolve_neg()
    if a.shape != b.shape:
        return f"shape: {tuple(a.shape)}, PyTorch's {tuple(b.shape)}"
    if a.dtype != b.dtype:
        return f"dtype: {a.dtype}, PyTorch's {b.dtype}"
    a, b = a.numpy(), b.numpy()
    if a.dtype.kind not in "fc":
        return "" if np.array_equal(a, b) else "value: other whole numbers"
    finite = np.abs(b[np.isfinite(b)])
    scale = max(1.0, float(finite.max(initial=0.0)))
    rtol = RTOL if a.dtype in (np.float64, np.complex128) else 1e-4
    if np.allclose(a, b, rtol=rtol, atol=rtol * scale, equal_nan=True):
        return ""
    with np.errstate(all="ignore"):
        return f"value: differs by {np.nanmax(np.abs(a - b)):.3g}"


# -- ours as a node of PyTorch's graph ------------------------------------------------------------


class _Ours(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, box: dict[str, Any], *leaves: Any) -> Any:
        results = box["results"]
        ctx.box = box
        found = tuple(torch.from_numpy(np.array(r.data)) for r in results)
        ctx.mark_non_differentiable(
            *[t for t, r in zip(found, results, strict=True) if not r.requires_grad]
        )
        return found

    @staticmethod
    def backward(ctx: Any, *gs: Any) -> Any:
        box = ctx.box
        pairs = [
            (r, Tensor(g.resolve_conj().resolve_neg().numpy()))
            for r, g in zip(box["results"], gs, strict=True)
            if r.requires_grad and g is not None
        ]
        total: Any = sum(np.sum(np.real(r * np.conj(g))) for r, g in pairs)
        found = grad(total, box["leaves"], allow_unused=True)
        return (
            None,
            *[
                None if g is None or leaf is None else torch.from_numpy(np.array(g.data))
                for g, leaf in zip(found, box["leaves"], strict=True)
            ],
        )


def _in_their_graph(ours: Callable[..., Any], expected: Any, *args: Any, **settings: Any) -> Any:
    leaves = [t for t in _tensors((args, settings)) if t.requires_grad]
    twins: dict[int, Tensor] = {}
    result = ours(*_converted(args, twins), **_converted(settings, twins))
    flat = [_as_tensor(r) for r in _leaves_of(result)]
    mine = [twins[id(t)] for t in leaves]
    tensors = iter(_Ours.apply({"results": flat, "leaves": mine}, *leaves) if flat else ())
    return _shaped_like(result, tensors, expected)


def _as_tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(np.asarray(x))


def _leaves_of(result: Any) -> list[Any]:
    if isinstance(result, tuple | list):
        return [leaf for r in result for leaf in _leaves_of(r)]
    return [result]


def _shaped_like(result: Any, tensors: Iterator[Any], expected: Any) -> Any:
    """The results in the containers of ours, but named as PyTorch names them."""
    if not isinstance(result, tuple | list):
        return next(tensors)
    parts = [_shaped_like(r, tensors, None) for r in result]
    named = type(expected).__module__.startswith("torch") and isinstance(expected, tuple)
    return type(expected)(parts) if named and len(parts) == len(expected) else tuple(parts)


DTYPES = {
    getattr(torch, name): np.dtype(numpys)
    for name, numpys in {
        "bool": "bool",
        "uint8": "uint8",
        "int8": "int8",
        "int16": "int16",
        "int32": "int32",
        "int64": "int64",
        "float16": "float16",
        "float32": "float32",
        "float64": "float64",
        "complex64": "complex64",
        "complex128": "complex128",
    }.items()
}


def _converted(value: Any, twins: dict[int, Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        if id(value) not in twins:
            array = np.array(value.detach().resolve_conj().resolve_neg().numpy())
            twins[id(value)] = Tensor(array, requires_grad=value.requires_grad)
        return twins[id(value)]
    if isinstance(value, torch.dtype):
        return DTYPES.get(value, value)
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, dict):
        return {k: _converted(v, twins) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_converted(v, twins) for v in value)
    return tuple(value) if isinstance(value, torch.Size) else value


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [t for v in value for t in _tensors(v)]
    return []


# -- calls that PyTorch refuses -------------------------------------------------------------------


def refusals(op: Any, ours: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """For each call that PyTorch refuses: its arguments, and "ok" if ours raises a clear error.

    "accepted" where it returns something, "unclear: …" for another exception.
    """
    if op.error_inputs_func is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for wrong in op.error_inputs("cpu"):
            sample = wrong.sample_input
            try:
                first, rest, named = _converted((sample.input, sample.args, sample.kwargs), {})
            except TypeError:
                continue  # a dtype or layout that NumPy has not
            try:
                ours(first, *rest, **named)
            except CLEAR:
                yield in_words(sample), "ok"
            except Exception as error:
                yield in_words(sample), f"unclear: {type(error).__name__}: {error}"
            else:
                yield in_words(sample), "accepted"


def in_words(sample: Any) -> str:
    """A sample's arguments, tensors by their shapes."""

    def word(v: Any) -> str:
        if isinstance(v, torch.Tensor):
            return str(tuple(v.shape))
        if isinstance(v, tuple | list):
            return "[" + ", ".join(map(word, v)) + "]"
        return repr(v)

    parts = [word(sample.input), *map(word, sample.args)]
    return ", ".join(parts + [f"{k}={word(v)}" for k, v in sample.kwargs.items()])
