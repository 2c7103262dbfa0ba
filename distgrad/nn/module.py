"""Module: a tree of parameters and buffers that computes, with PyTorch's names.

Knows no layer and no rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from distgrad.autograd.handle import RemovableHandle
from distgrad.autograd.mode import recomputing
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import GradError
from distgrad.nn import hooks, state
from distgrad.nn.hooks import Hook
from distgrad.nn.parameter import Parameter
from distgrad.nn.tree import BUFFER, MODULE, PARAMETER, Tree

__all__ = ["Module", "Parameter"]

M = TypeVar("M", bound="Module")


class Module(Tree["Module"]):
    """A layer or model: assign Parameters and Modules as attributes and write ``forward``."""

    training: bool = True
    statistics: tuple[str, ...] = ()
    """Names of buffers that follow the batches (BatchNorm's running mean and variance)."""
    needs_every_rank: bool = False
    """Whether its forward pass sums over all ranks; the bridge then lends ``_sum_over_ranks``."""

    def __init__(self) -> None:
        super().__init__()
        self._hooks: dict[int, Hook] = {}
        # Lent by the bridge: who takes a batch's statistics, and the differentiable sum.
        self._observer: Callable[[Module, Mapping[str, Array]], None] | None = None
        self._sum_over_ranks: Callable[[Tensor], Tensor] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every concrete module defines it."""
        raise TypeError(f"{type(self).__name__} has no forward(); define one")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward``, and the hooks if there are any.

        Errors: TypeError for a module whose ``__init__`` was not called.
        """
        try:
            registered = self._hooks
        except AttributeError:
            self._made()
            raise
        if registered:
            return hooks.call(self, list(registered.values()), args, kwargs)
        return self.forward(*args, **kwargs)

    # -- switches -----------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Set training mode for this module and all below it."""
        self.training = mode
        # Through train of each: a module that keeps a part of itself frozen overrides it.
        for child in self.children():
            child.train(mode)
        return self

    def eval(self: M) -> M:
        """Set evaluation mode: dropout off, batch-norm uses its running statistics."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or train (True) all parameters."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def to(self: M, dtype: Any) -> M:
        """Convert floating-point parameters and buffers to ``dtype``; call it before training.

        Errors: GradError if a DistributedDataParallel holds the parameters.
        """
        for name, p in self.named_parameters():
            if p._listener is not None:
                raise GradError(
                    f"'{name}' lives in the buckets of a DistributedDataParallel; convert the "
                    f"model before you make that"
                )
        for _, t in [*self.named_parameters(), *self.named_buffers()]:
            if t.dtype.kind == "f":
                t.array = t.array.astype(dtype)
                t.grad = t._place = None
        return self

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call ``fn`` on every module, children first (for initialisation)."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.parameters():
            p.grad = None

    # -- running statistics -------------------------------------------------------------------

    def observe(self, statistics: Mapping[str, Array]) -> None:
        """Hand the statistics of a batch on: to the bridge if it collects them, else apply them."""
        if recomputing.get():
            return  # seen in the forward pass that is being run again
        if self._observer is None:
            self.apply_statistics(statistics)
        else:
            self._observer(self, statistics)

    def apply_statistics(self, statistics: Mapping[str, Array]) -> None:
        """Let the running buffers follow ``statistics``; modules that observe define it."""
        raise TypeError(f"{type(self).__name__} observes statistics but does not apply them")

    def __getstate__(self) -> dict[str, Any]:
        """What copy.deepcopy and pickle take over: all but what the bridge has lent."""
        return vars(self) | {"_observer": None, "_sum_over_ranks": None}

    # -- state --------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "") -> dict[str, Array]:
        """Return names and arrays of parameters and buffers, in PyTorch's names and layouts.

        The arrays are the live ones, not copies. ``safetensors.numpy.save_file(model.state_dict(),
        path)`` writes a file that PyTorch's ``safetensors.torch.load_file`` reads.
        """
        own: dict[str, Array] = {}
        for kind in (PARAMETER, BUFFER):
            for name, tensor in self._own(kind):
                if name not in self._transient:
                    own[prefix + name] = tensor.array
        for name, child in self._own(MODULE):
            own.update(child.state_dict(prefix=f"{prefix}{name}."))
        return own

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> state.IncompatibleKeys:
        """Copy a state (arrays, Tensors, PyTorch's tensors) into parameters and buffers, in place.

        ``safetensors.numpy.load_file(path)`` reads a state that PyTorch saved. A shared parameter
        may stand in it under one of its names. Everything is checked before anything is changed.
        Returns the names that are missing and unexpected. Errors: ShapeError naming these (if
        ``strict``) or the first tensor of another shape or kind of number.
        """
        return state.load(self.state_dict(), state_dict, strict)

    # -- hooks --------------------------------------------------------------------------------

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before ``forward``; what it returns replaces ``args``.

        ``with_kwargs``: ``hook(module, args, kwargs)``, which may return (args, kwargs).
        """
        return hooks.add(self._hooks, Hook(hooks.FORWARD_PRE, hook, with_kwargs), prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after ``forward``; what it returns is the output.

        ``with_kwargs``: ``hook(module, args, kwargs, output)``. ``always_call``: after an error
        too, with None as output.
        """
        wanted = Hook(hooks.FORWARD, hook, with_kwargs, always_call)
        return hooks.add(self._hooks, wanted, prepend)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when the gradients to a call's outputs are known.

        ``grad_output`` is a tuple, with None for an output that has no gradient; a tuple that the
        hook returns takes its place.
        """
        return hooks.add(self._hooks, Hook(hooks.BACKWARD_PRE, hook), prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when a call's gradients are known.

        Both are tuples, ``grad_input`` over the positional arguments, with None for what has no
        gradient; a tuple that the hook returns takes the place of ``grad_input``.
        """
        return hooks.add(self._hooks, Hook(hooks.BACKWARD, hook), prepend)

    # -- printing -----------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return the settings shown between the parentheses."""
        return ""

    def _child_reprs(self) -> list[tuple[str, str]]:
        """Return names and texts of what is shown below the settings."""
        names = [n for n, kind in self._made().items() if kind == MODULE]
        return [(n, repr(vars(self)[n])) for n in names]

    def __repr__(self) -> str:
        settings = self.extra_repr().split("\n") if self.extra_repr() else []
        children = [f"({n}): {text}" for n, text in self._child_reprs()]
        if not children and len(settings) < 2:
            return f"{type(self).__name__}({''.join(settings)})"
        inner = "\n".join([*settings, *children]).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {inner}\n)"

    # -- names that hide built-ins stand last -------------------------------------------------

    def float(self: M) -> M:
        """``to(np.float32)``."""
        return self.to(np.float32)

    def double(self: M) -> M:
        """``to(np.float64)``."""
        return self.to(np.float64)
