"""``grad`` and ``backward`` with PyTorch's arguments, over those of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from distgrad.autograd import engine
from distgrad.autograd.methods.calls import METHODS
from distgrad.autograd.mode import enable_grad
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.errors import GradError


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
    *,
    gradient: Any = None,
) -> tuple[Any, ...]:
    """Return the gradients of ``outputs`` (their sum) to each of ``inputs``, leaving ``.grad`` be.

    The arguments are torch.autograd.grad's. ``grad_outputs`` (or ``gradient``) is one for a single
    output, a sequence for several. With ``create_graph`` the results are recorded and can be
    differentiated again. What does not lead to ``inputs`` is not computed, and keeps its graph.
    Errors: GradError if an input was not used, unless ``allow_unused`` (then None stands there) or
    ``materialize_grads`` (then zeros do).
    """
    if not only_inputs:
        raise GradError("grad: only_inputs=False was removed from PyTorch too; call backward()")
    if is_grads_batched:
        raise GradError(
            "grad: is_grads_batched is not supported; call grad once for each row, with "
            "retain_graph=True, or take dg.jacobian"
        )
    if grad_outputs is not None and gradient is not None:
        raise GradError("grad: grad_outputs and gradient are two names of one argument; pass one")
    if materialize_grads and allow_unused is False:
        raise GradError("grad: allow_unused=False contradicts materialize_grads=True")
    seed = gradient if grad_outputs is None else grad_outputs
    if isinstance(outputs, Tensor) and isinstance(seed, tuple | list) and len(seed) == 1:
        seed = seed[0]
    elif not isinstance(outputs, Tensor) and isinstance(seed, Tensor | np.ndarray):
        # One tensor for a list of one, as PyTorch takes it; else the rows are meant.
        seed = [seed] if len(outputs) == 1 and seed.shape == outputs[0].shape else seed
    found = engine.grad(
        outputs,
        [inputs] if isinstance(inputs, Tensor) else inputs,
        gradient=seed,
        retain_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
        allow_unused=bool(allow_unused) or materialize_grads,
    )
    if materialize_grads:
        wanted = [inputs] if isinstance(inputs, Tensor) else inputs
        found = [
            Tensor(np.zeros(x.shape, x.dtype)) if g is None else g
            for g, x in zip(found, wanted, strict=True)
        ]
    return tuple(found)


def backward(
    tensors: Tensor | Sequence[Tensor],
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Add the gradients of ``tensors`` (their sum) to ``grad`` of the leaves, or of ``inputs``.

    ``grad_tensors`` is one for a single tensor, a sequence for several; left out for numbers.
    """
    if isinstance(tensors, Tensor):
        seed = grad_tensors
        if isinstance(seed, tuple | list) and len(seed) == 1:
            seed = seed[0]
        tensor_backward(tensors, seed, retain_graph, create_graph, inputs)
        return
    seeds = [None] * len(tensors) if grad_tensors is None else list(grad_tensors)
    if create_graph and any(isinstance(g, Tensor) and g.requires_grad for g in seeds):
        raise GradError(
            "backward of several tensors takes grad_tensors for constants; with create_graph pass "
            ".detach() of them, or call backward for each tensor"
        )
    seeds = [g.detach() if isinstance(g, Tensor) else g for g in seeds]
    with enable_grad():
        parts = [t if g is None else np.sum(t * g) for t, g in zip(tensors, seeds, strict=True)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
    tensor_backward(total, None, retain_graph, create_graph, inputs)


def tensor_backward(
    root: Tensor,
    gradient: TensorLike | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """What ``Tensor.backward`` calls."""
    keep = create_graph if retain_graph is None else retain_graph
    if inputs is None:
        engine.backward(root, gradient, retain_graph=keep, create_graph=create_graph)
        return
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if not wanted:
        raise GradError("backward: inputs is empty; leave it out for all leaves")
    if any(x._listener is not None for x in wanted):
        raise GradError(
            "backward(inputs=…) would go past the ranks: gradients of parameters under "
            "DistributedDataParallel are summed by a plain backward(); call that, or "
            "dg.autograd.grad for a local gradient"
        )
    found = engine.grad(
        root,
        wanted,
        gradient=gradient,
        retain_graph=keep,
        create_graph=create_graph,
        allow_unused=True,
    )
    for x, g in zip(wanted, found, strict=True):
        if g is not None:
            x.accumulate_(g)


METHODS["backward"] = tensor_backward
