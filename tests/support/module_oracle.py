"""A module of PyTorch as the oracle of ours: state, outputs, gradients and second gradients.

As in ``oracle``, PyTorch computes in float64 whatever our dtype is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from oracle import RTOL, assert_close, torch

import distgrad as dg
from distgrad import Tensor
from distgrad.autograd import grad


def check_module(ours: Any, theirs: Any, arrays: Any, call: Any, *, second: bool = True) -> None:
    """Compare ``call(ours, *Tensors)`` with ``call(theirs, *torch tensors)`` after moving weights.

    ``call`` returns one result or a tuple, None in it is left out. Floating-point arrays and all
    parameters are differentiated; ``ours`` takes the dtype of the first array. The weights move
    from PyTorch to us, and then from us to another PyTorch module, which has to say the same.
    """
    share_state(ours, theirs)
    ours.to(arrays[0].dtype)
    theirs.double()
    for p in theirs.parameters():
        p.requires_grad_()
    expected = _theirs(theirs, arrays, call, second)
    for mode in (dg.enable_grad, dg.reference_kernels):
        with mode():
            found = _ours(ours, arrays, call, second)
        assert [n for n, _ in found] == [n for n, _ in expected]
        for (name, a), (_, b) in zip(found, expected, strict=True):
            assert a.dtype == arrays[0].dtype, (name, a.dtype)
            # Layer norms of few numbers are ill-conditioned, their second derivatives most of all.
            loose = 4 * RTOL[str(a.dtype)] if name.startswith("second gradient") else None
            assert_close(a, b, f"{name} ({mode.__name__})", loose)


def share_state(ours: Any, theirs: Any) -> None:
    """Give ``ours`` the weights of ``theirs``, and take other ones back the other way."""
    state = theirs.state_dict()
    found = [(n, a.shape) for n, a in ours.state_arrays().items()]
    assert found == [(n, tuple(t.shape)) for n, t in state.items()]
    rng = np.random.default_rng(len(found))
    for p in ours.parameters():
        p.data += rng.normal(0, 0.1, p.shape).astype(p.dtype)
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_arrays().items()})
    for p in ours.parameters():
        p.data[...] = 0
    ours.load_state_dict(theirs.state_dict())


def _is_float(x: Any) -> bool:
    return x is not None and x.dtype.kind == "f"


def _direction(shape: tuple[int, ...], salt: int) -> Any:
    return np.random.default_rng([salt, *shape]).normal(size=shape)


def _flat(results: Any) -> list[Any]:
    if results is None:
        return []
    if isinstance(results, tuple | list):
        return [r for part in results for r in _flat(part)]
    return [results]


def _ours(module: Any, arrays: Any, call: Any, second: bool) -> list[tuple[str, Any]]:
    tensors = [Tensor(x, requires_grad=True) if _is_float(x) else x for x in arrays]
    names = [f"input {i}" for i, t in enumerate(tensors) if isinstance(t, Tensor)]
    leaves = [t for t in tensors if isinstance(t, Tensor)]
    names += [n for n, _ in module.named_parameters()]
    leaves += [p for _, p in module.named_parameters()]
    results = _flat(call(module, *tensors))
    out = [(f"value {i}", r.data) for i, r in enumerate(results)]

    def projected(values: list[Any], salt: int) -> Any:
        return sum(
            np.sum(v * _direction(v.shape, salt + i).astype(v.dtype))
            for i, v in enumerate(values)
            if v is not None and v.requires_grad
        )

    def arrays_of(grads: Any) -> list[Any]:
        return [
            np.zeros(t.shape, t.dtype) if g is None else g.data
            for g, t in zip(grads, leaves, strict=True)
        ]

    grads = grad(projected(results, 1), leaves, create_graph=second, allow_unused=True)
    out += zip([f"gradient of {n}" for n in names], arrays_of(grads), strict=True)
    if second:
        again = grad(projected(grads, 100), leaves, allow_unused=True)
        out += zip([f"second gradient of {n}" for n in names], arrays_of(again), strict=True)
    return out


def _theirs(module: Any, arrays: Any, call: Any, second: bool) -> list[tuple[str, Any]]:
    def tensor(x: Any) -> Any:
        if _is_float(x):
            return torch.tensor(np.array(x, np.float64), requires_grad=True)
        return None if x is None else torch.tensor(np.array(x))

    tensors = [tensor(x) for x in arrays]
    names = [f"input {i}" for i, x in enumerate(arrays) if _is_float(x)]
    leaves = [t for t, x in zip(tensors, arrays, strict=True) if _is_float(x)]
    names += [n for n, _ in module.named_parameters()]
    leaves += [p for _, p in module.named_parameters()]
    results = _flat(call(module, *tensors))
    out = [(f"value {i}", r.detach().numpy()) for i, r in enumerate(results)]

    def projected(values: list[Any], salt: int) -> Any:
        return sum(
            (v * torch.from_numpy(np.asarray(_direction(tuple(v.shape), salt + i)))).sum()
            for i, v in enumerate(values)
            if v is not None and v.requires_grad
        )

    def arrays_of(grads: Any) -> list[Any]:
        return [
            np.zeros(tuple(t.shape)) if g is None else g.detach().numpy()
            for g, t in zip(grads, leaves, strict=True)
        ]

    grads = torch.autograd.grad(
        projected(results, 1), leaves, create_graph=second, allow_unused=True
    )
    out += zip([f"gradient of {n}" for n in names], arrays_of(grads), strict=True)
    if second:
        again = torch.autograd.grad(projected(grads, 100), leaves, allow_unused=True)
        out += zip([f"second gradient of {n}" for n in names], arrays_of(again), strict=True)
    return out
