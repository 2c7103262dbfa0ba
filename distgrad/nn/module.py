"""Module: a tree of parameters and buffers that computes, with PyTorch's names.

Knows no layer and no rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from distgrad.autograd.apart import apart
from distgrad.autograd.handle import RemovableHandle
from distgrad.autograd.mode import call_observer, recomputing
from distgrad.autograd.parts import PartialGradient, clear_, writing
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import DistgradError, GradError
from distgrad.nn import hooks, state, where
from distgrad.nn.convert import asked_dtype
from distgrad.nn.hooks import Hook
from distgrad.nn.parameter import Parameter, Uninitialized
from distgrad.nn.tree import BUFFER, MODULE, PARAMETER, Tree

__all__ = ["Module", "Parameter"]

M = TypeVar("M", bound="Module")
_observed = call_observer.get


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
        self._state_hooks: dict[int, Hook] = {}
        # Lent by the bridge: who takes a batch's statistics, and the differentiable sum.
        self._observer: Callable[[Module, Mapping[str, Array]], None] | None = None
        self._sum_over_ranks: Callable[[Tensor], Tensor] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every concrete module defines it."""
        raise TypeError(f"{type(self).__name__} has no forward(); define one")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward``, and the hooks if there are any.

        Errors: TypeError for a module whose ``__init__`` was not called. What the call raises has a
        note that names the module in the model.
        """
        try:
            registered = self._hooks
        except AttributeError:
            self._made()
            raise
        try:
            if registered or _observed() is not None:
                return hooks.call(self, registered, args, kwargs)
            return self.forward(*args, **kwargs)
        except Exception as error:
            where.note(error, self, args)
            raise

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

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Convert floating-point parameters and buffers to a dtype; call it before training.

        ``to(dtype)``, ``to("cpu")``, ``to("cpu", dtype)`` or ``to(tensor)``, whose dtype is taken.
        Errors: GradError if a DistributedDataParallel holds the parameters, DistgradError for
        another device.
        """
        dtype = asked_dtype(args, kwargs)
        if dtype is None:
            return self
        for name, p in self.named_parameters():
            if p._listener is not None:
                raise GradError(
                    f"'{name}' lives in the buckets of a DistributedDataParallel; convert the "
                    f"model before you make that"
                )
        for _, t in [*self.named_parameters(), *self.named_buffers()]:
            if isinstance(t, Uninitialized):
                t.retype(dtype)
            elif t.dtype.kind == "f":
                t.array = t.array.astype(dtype)
                t.grad = t._place = None
        return self

    def cpu(self: M) -> M:
        """Return the module: it is there."""
        return self

    def cuda(self: M, device: Any = None) -> M:
        """Errors: DistgradError, always: there are no GPUs, nor what xpu, ipu and mtia name."""
        return self.to("cuda")

    xpu = ipu = mtia = cuda

    def share_memory(self: M) -> M:
        """Errors: DistgradError, always: ranks are processes with a copy each."""
        raise DistgradError(
            "share_memory: ranks hold a copy each, which DistributedDataParallel keeps equal; "
            "leave it out"
        )

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing, as there is no compiler here; for repeated steps see ``dg.capture``."""

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call ``fn`` on every module, children first (for initialisation)."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    @apart
    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or fill them with zeros."""
        for p in self.parameters():
            if set_to_none or p.grad is None:
                p.grad = None
            else:
                p.grad = p.grad if isinstance(p.grad, PartialGradient) else Tensor(p.grad.array)
                clear_(p.grad)

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

    def state_dict(self, prefix: str = "", keep_vars: bool = False) -> dict[str, Any]:
        """Return names and Tensors of parameters and buffers, in PyTorch's names and layouts.

        They share the model's memory and stand outside the tape; with ``keep_vars`` they are the
        parameters themselves. ``safetensors.numpy.save_file(model.state_dict(), path)`` writes a
        file that PyTorch's ``safetensors.torch.load_file`` reads; ``dg.save`` does so, too.
        """
        self._run_state_hooks(hooks.STATE_PRE, prefix, keep_vars)
        own: dict[str, Any] = {}
        for kind in (PARAMETER, BUFFER):
            for name, tensor in self._own(kind):
                if name not in self._transient:
                    own[prefix + name] = tensor if keep_vars else tensor.detach()
        for name, child in self._own(MODULE):
            own.update(child.state_dict(prefix=f"{prefix}{name}.", keep_vars=keep_vars))
        self._run_state_hooks(hooks.STATE_POST, own, prefix, {})
        return own

    def state_arrays(self) -> dict[str, Array]:
        """Return the arrays of ``state_dict``, which are the live ones."""
        return {name: tensor.array for name, tensor in self.state_dict().items()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> state.IncompatibleKeys:
        """Copy a state (arrays, Tensors, PyTorch's tensors) into parameters and buffers, in place.

        ``safetensors.numpy.load_file(path)`` reads a state that PyTorch saved. A shared parameter
        may stand in it under one of its names. Everything is checked before anything is changed.
        With ``assign`` parameters and buffers take over the state's dtypes (copies of its arrays).
        Returns the names that are missing and unexpected. Errors: ShapeError naming these (if
        ``strict``) or the first tensor of another shape or kind of number.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"{type(self).__name__}.load_state_dict takes a mapping of names to arrays, such "
                f"as state_dict() or dg.load(path); got {state_dict!r}"
            )
        given = dict(state_dict)
        modules = list(self.named_modules())
        for path, module in modules:
            prefix = f"{path}." if path else ""
            module._run_state_hooks(hooks.LOAD_PRE, given, prefix, {}, strict, [], [], [])
            module._before_load(given, prefix)
        if assign:
            state.retype(self.state_dict(keep_vars=True), given)
        with writing(self.parameters()):
            found = state.load(self.state_arrays(), given, strict)
        for _, module in modules:
            module._run_state_hooks(hooks.LOAD_POST, found)
        return found

    def _before_load(self, state_dict: dict[str, Any], prefix: str) -> None:
        """Lazy layers take their shapes from the state, models give it their own names."""

    def _run_state_hooks(self, kind: str, *args: Any) -> None:
        for hook in list(self._state_hooks.values()):
            if hook.kind == kind:
                hook.function(self, *args)

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

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Errors: DistgradError, always: PyTorch itself asks for the full one."""
        raise DistgradError("write register_full_backward_hook, which sees whole gradients")

    def register_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before this module's state is read."""
        return hooks.add(self._state_hooks, Hook(hooks.STATE_PRE, hook), False)

    def register_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, {})`` after; it may change the dictionary."""
        return hooks.add(self._state_hooks, Hook(hooks.STATE_POST, hook), False)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, {}, strict, [], [], [])`` before loading.

        It may change the dictionary, which is a copy; the lists are PyTorch's, and not read.
        """
        return hooks.add(self._state_hooks, Hook(hooks.LOAD_PRE, hook), False)

    def register_load_state_dict_post_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after loading."""
        return hooks.add(self._state_hooks, Hook(hooks.LOAD_POST, hook), False)

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

    def half(self: M) -> M:
        """``to(np.float16)``."""
        return self.to(np.float16)

    def bfloat16(self: M) -> M:
        """Errors: DistgradError, always: NumPy has no such numbers."""
        raise DistgradError("NumPy has no bfloat16: write half() for float16, or leave it out")

    def type(self: M, dst_type: Any) -> M:
        """``to(dst_type)``."""
        return self.to(dst_type)

    def double(self: M) -> M:
        """``to(np.float64)``."""
        return self.to(np.float64)
