"""PyTorch as the oracle: values, gradients and second gradients over drawn shapes and strides.

PyTorch computes in float64 whatever our dtype is, so that what is measured is our error alone.
A module that imports this is skipped where PyTorch is not installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, register_random, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; `sh tests/run.sh --oracle` installs it"
)


class _PyTorchsNumbers:
    """PyTorch's generator, as hypothesis seeds others: weights are the same in every run."""

    def seed(self, number: int) -> None:
        torch.manual_seed(number)

    def getstate(self) -> Any:
        return torch.get_rng_state()

    def setstate(self, state: Any) -> None:
        torch.set_rng_state(state)


_numbers = _PyTorchsNumbers()  # hypothesis holds it weakly
register_random(_numbers)

RTOL = {"float32": 1e-5, "float64": 1e-10}
DTYPES = ("float32", "float64")

# Derandomized: the same draws on every machine, so that a red run can be repeated.
drawn = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def shapes(least: int = 0, most: int = 4, min_side: int = 0, max_side: int = 4) -> Any:
    """Draw shapes of ``least`` to ``most`` axes: 0-d and empty ones too, unless excluded."""
    return hnp.array_shapes(
        min_dims=max(least, 1), max_dims=max(most, 1), min_side=max(min_side, 1), max_side=max_side
    ).flatmap(lambda s: _degenerate(s, least, min_side))


def _degenerate(shape: tuple[int, ...], least: int, min_side: int) -> Any:
    choices = [st.just(shape)] * 4
    if least == 0:
        choices.append(st.just(()))
    if min_side == 0:
        choices.append(st.just((*shape[:-1], 0)))
    return st.one_of(choices)


def broadcastable(count: int, most: int = 3) -> Any:
    """Draw ``count`` shapes that broadcast together."""
    return hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=most, max_side=4).map(
        lambda drawn_shapes: drawn_shapes.input_shapes
    )


def _strided(x: Any, layout: str) -> Any:
    """Return an array equal to ``x`` in another memory layout."""
    if layout == "fortran" and x.ndim:
        return np.asfortranarray(x)
    if layout == "reversed" and x.ndim:
        return np.ascontiguousarray(np.flip(x))[(slice(None, None, -1),) * x.ndim]
    if layout == "gaps" and x.ndim:
        wide = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
        wide[(slice(None, None, 2),) * x.ndim] = x
        return wide[(slice(None, None, 2),) * x.ndim]
    return x


LAYOUTS = ("contiguous", "fortran", "reversed", "gaps")


@st.composite
def array(
    draw: Any,
    shape: Any,
    dtype: Any = "float64",
    low: float = -2.0,
    high: float = 2.0,
    distinct: bool = False,
) -> Any:
    """Draw an array of ``shape`` in [low, high), in any memory layout.

    ``shape`` and ``dtype`` may be strategies. ``distinct`` keeps elements apart (for max, sort).
    """
    shape = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    dtype = draw(dtype) if isinstance(dtype, st.SearchStrategy) else dtype
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    if distinct:
        size = int(np.prod(shape))
        x = low + (high - low) * (rng.permutation(size).reshape(shape) + 0.5) / max(size, 1)
    else:
        x = rng.uniform(low, high, shape)
    return _strided(np.asarray(x, dtype), draw(st.sampled_from(LAYOUTS)))


dtypes = st.sampled_from(DTYPES)


def check(
    ours: Callable[..., Any],
    theirs: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    second: bool = True,
    rtol: float | None = None,
) -> None:
    """Compare ``ours(*Tensors)`` with ``theirs(*torch tensors)``, with and without fused twins.

    Floating-point arrays among ``inputs`` are differentiated (once, and again if ``second``);
    other arrays and numbers are handed over as they are. An error counts relative to the largest
    element of the expected array, or to 1 if that is larger.
    """
    expected = _theirs(theirs, inputs, second)
    for mode in (dg.enable_grad, dg.reference_kernels):
        with mode():
            found = _ours(ours, inputs, second)
        assert len(found) == len(expected)
        for name in ("value", "gradient", "second gradient"):
            mine, wanted = [[a for n, a in r if n == name] for r in (found, expected)]
            assert len(mine) == len(wanted), name
            for i, (a, b) in enumerate(zip(mine, wanted, strict=True)):
                assert_close(a, b, f"{name} {i} ({mode.__name__})", rtol)


def assert_close(found: Any, expected: Any, what: str = "", rtol: float | None = None) -> None:
    """Compare one array with PyTorch's, at the tolerance of its own dtype."""
    assert found.shape == expected.shape, (what, found.shape, expected.shape)
    if found.dtype.kind not in "fc":
        np.testing.assert_array_equal(found, expected, err_msg=what)
        return
    precision = np.empty(0, found.dtype).real.dtype.name
    tolerance = RTOL[precision] if rtol is None else rtol
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(1.0, float(finite.max(initial=0.0)))
    np.testing.assert_allclose(
        found, expected, rtol=tolerance, atol=tolerance * scale, err_msg=what
    )


def _is_float(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _direction(shape: tuple[int, ...], salt: int, kind: str) -> Any:
    rng = np.random.default_rng([salt, *shape])
    real = rng.normal(size=shape)
    return real + 1j * rng.normal(size=shape) if kind == "c" else real


def _ours(call: Any, inputs: Sequence[Any], second: bool) -> list[tuple[str, Any]]:
    tensors = [Tensor(x, requires_grad=True) if _is_float(x) else x for x in inputs]
    leaves = [t for t in tensors if isinstance(t, Tensor)]
    result = call(*tensors)
    results = list(result) if isinstance(result, tuple | list) else [result]
    out = [("value", r.data if isinstance(r, Tensor) else np.asarray(r)) for r in results]
    for t in leaves:
        for _, value in out:
            if value.dtype.kind == "f":
                assert value.dtype == t.dtype, f"{t.dtype} in, {value.dtype} out"
    total = _ours_projected(results, 1)
    if not leaves or not total.requires_grad:
        return out
    grads = grad(total, leaves, create_graph=second, allow_unused=True)
    out += [("gradient", _array(g, t)) for g, t in zip(grads, leaves, strict=True)]
    if second:
        again = _ours_projected([g for g in grads if g is not None], 2)
        if again.requires_grad:
            seconds = grad(again, leaves, allow_unused=True)
        else:
            seconds = [None] * len(leaves)
        out += [("second gradient", _array(g, t)) for g, t in zip(seconds, leaves, strict=True)]
    return out


def _ours_projected(results: Sequence[Any], salt: int) -> Any:
    total: Any = Tensor(np.zeros((), np.float64))
    for i, r in enumerate(results):
        if not isinstance(r, Tensor) or not r.requires_grad:
            continue
        d = _direction(r.shape, salt + 10 * i, r.dtype.kind)
        if r.dtype.kind == "c":
            total = total + np.sum(np.real(r) * d.real.astype(np.real(r).dtype))
            total = total + np.sum(np.imag(r) * d.imag.astype(np.imag(r).dtype))
        else:
            total = total + np.sum(r * d.astype(r.dtype))
    return total


def _array(g: Any, like: Any) -> Any:
    return np.zeros(like.shape, like.dtype) if g is None else g.data


def _to_torch(x: Any) -> Any:
    if _is_float(x):
        return torch.tensor(np.array(x, np.float64), requires_grad=True)
    return torch.from_numpy(np.array(x)) if isinstance(x, np.ndarray) else x


def _theirs(call: Any, inputs: Sequence[Any], second: bool) -> list[tuple[str, Any]]:
    tensors = [_to_torch(x) for x in inputs]
    leaves = [t for t, x in zip(tensors, inputs, strict=True) if _is_float(x)]
    result = call(*tensors)
    results = list(result) if isinstance(result, tuple | list) else [result]
    out = [("value", _numpy(r)) for r in results]
    total = _theirs_projected(results, 1)
    if not leaves or not total.requires_grad:
        return out
    grads = torch.autograd.grad(total, leaves, create_graph=second, allow_unused=True)
    out += [("gradient", _torch_array(g, t)) for g, t in zip(grads, leaves, strict=True)]
    if second:
        again = _theirs_projected([g for g in grads if g is not None], 2)
        if again.requires_grad:
            seconds = torch.autograd.grad(again, leaves, allow_unused=True)
        else:
            seconds = [None] * len(leaves)
        out += [
            ("second gradient", _torch_array(g, t)) for g, t in zip(seconds, leaves, strict=True)
        ]
    return out


def _theirs_projected(results: Sequence[Any], salt: int) -> Any:
    total = torch.zeros((), dtype=torch.float64)
    for i, r in enumerate(results):
        if not r.requires_grad:
            continue
        d = torch.from_numpy(
            np.asarray(_direction(tuple(r.shape), salt + 10 * i, "c" if r.is_complex() else "f"))
        )
        product = r.real * d.real + r.imag * d.imag if r.is_complex() else r * d
        total = total + product.sum()
    return total


def _torch_array(g: Any, like: Any) -> Any:
    return np.zeros(tuple(like.shape)) if g is None else _numpy(g)


def _numpy(t: Any) -> Any:
    return t.detach().resolve_conj().resolve_neg().numpy(force=True)
