"""Module: a tree of parameters and buffers with PyTorch's names. Knows no layer and no rank."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from distgrad.autograd.mode import recomputing
from distgrad.autograd.tensor import Array, Tensor, TensorLike
from distgrad.errors import ShapeError

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A tensor that a module trains; requires gradients unless told otherwise."""

    __slots__ = ()

    def __init__(self, data: TensorLike, requires_grad: bool = True) -> None:
        # Contiguous and its own: the optimizer works on flat views of it.
        array = data.data if isinstance(data, Tensor) else Tensor(data).data
        super().__init__(np.array(array, order="C"), requires_grad)


class Module:
    """A layer or model: assign Parameters and Modules as attributes and write ``forward``."""

    training: bool = True
    statistics: tuple[str, ...] = ()
    """Names of buffers that follow the batches (BatchNorm's running mean and variance)."""

    def __init__(self) -> None:
        self._buffer_names: list[str] = []
        self._observer: Callable[[Module, Mapping[str, Array]], None] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every concrete module defines it."""
        raise TypeError(f"{type(self).__name__} has no forward(); define one")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward``. Errors: TypeError for a module whose ``__init__`` was not called."""
        self._check_made()
        return self.forward(*args, **kwargs)

    def register_buffer(self, name: str, tensor: Tensor) -> None:
        """Add state that is saved with the model and not trained."""
        self._buffer_names.append(name)
        setattr(self, name, tensor)

    # -- walking the tree ---------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, module) for the direct submodules, in order of assignment."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def children(self) -> Iterator[Module]:
        """Yield the direct submodules."""
        return (m for _, m in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield (dotted name, module) for this module and all below it, each once."""
        seen: set[int] = set()
        for name, module in self._walk(prefix):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it, each once."""
        return (m for _, m in self.named_modules())

    def _check_made(self) -> None:
        if "_buffer_names" not in vars(self):
            raise TypeError(f"{type(self).__name__}.__init__ must call super().__init__() first")

    def _walk(self, prefix: str) -> Iterator[tuple[str, Module]]:
        self._check_made()
        yield prefix, self
        for name, child in self.named_children():
            yield from child._walk(f"{prefix}.{name}" if prefix else name)

    def _named_tensors(self, prefix: str, parameters: bool) -> Iterator[tuple[str, Tensor]]:
        for path, module in self._walk(prefix):
            for name, value in vars(module).items():
                wanted = (
                    isinstance(value, Parameter)
                    if parameters
                    else name in module._buffer_names and isinstance(value, Tensor)
                )
                if wanted:
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield (dotted name, parameter); a shared one under its first name only."""
        seen: set[int] = set()
        for name, p in self._named_tensors("", parameters=True):
            if id(p) not in seen and isinstance(p, Parameter):
                seen.add(id(p))
                yield name, p

    def parameters(self) -> Iterator[Parameter]:
        """Yield every parameter once."""
        return (p for _, p in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (dotted name, buffer); a shared one under its first name only."""
        seen: set[int] = set()
        for name, tensor in self._named_tensors("", parameters=False):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor

    # -- switches -----------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Set training mode for this module and all below it."""
        for m in self.modules():
            m.training = mode
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
        """Convert floating-point parameters and buffers to ``dtype``; call it before training."""
        for _, t in [*self.named_parameters(), *self.named_buffers()]:
            if t.dtype.kind == "f":
                t.data = t.data.astype(dtype)
                t.grad = t._grad_buffer = None
        return self

    def apply(self: M, function: Callable[[Module], Any]) -> M:
        """Call ``function`` on every module, children first (for initialisation)."""
        for child in self.children():
            child.apply(function)
        function(self)
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

    # -- state --------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return names and arrays of parameters and buffers, in PyTorch's names and layouts.

        The arrays are the live ones, not copies.
        """
        state: dict[str, Array] = {}
        for path, module in self._walk(""):
            for parameters in (True, False):
                for name, value in vars(module).items():
                    is_buffer = name in module._buffer_names
                    if isinstance(value, Parameter if parameters else Tensor) and (
                        parameters or is_buffer
                    ):
                        state[f"{path}.{name}" if path else name] = value.data
        return state

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copy ``state`` into the parameters and buffers, in place.

        Everything is checked before anything is changed. Errors: ShapeError naming missing and
        unexpected names (if ``strict``) or the first tensor of another shape or kind of number.
        """
        own = self.state_dict()
        missing = [n for n in own if n not in state]
        unexpected = [n for n in state if n not in own]
        if strict and (missing or unexpected):
            raise ShapeError(
                f"the state belongs to another model: missing {missing or 'nothing'}, "
                f"unexpected {unexpected or 'nothing'}; pass strict=False to load what fits"
            )
        given = {
            n: state[n].data if isinstance(state[n], Tensor) else np.asarray(state[n])
            for n in own
            if n in state
        }
        for name, value in given.items():
            mine = own[name]
            if mine.shape != value.shape:
                raise ShapeError(
                    f"'{name}' has shape {mine.shape} in the model and {value.shape} in the state"
                )
            if not np.can_cast(value.dtype, mine.dtype, "same_kind"):
                raise ShapeError(
                    f"'{name}' is {mine.dtype} in the model and {value.dtype} in the state, which "
                    f"it cannot hold; convert it first"
                )
        for name, value in given.items():
            np.copyto(own[name], value)

    # -- printing -----------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return the settings shown between the parentheses."""
        return ""

    def __repr__(self) -> str:
        children = [f"  ({n}): " + repr(c).replace("\n", "\n  ") for n, c in self.named_children()]
        head = f"{type(self).__name__}({self.extra_repr()}"
        return head + ("\n" + "\n".join(children) + "\n)" if children else ")")


def state_sha256(state: Mapping[str, Array]) -> str:
    """Return the SHA-256 over names and bytes of a state_dict, in the sorted order of its keys."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(state[name]).tobytes())
    return digest.hexdigest()
