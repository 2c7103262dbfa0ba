"""The Tensor: a NumPy array that remembers how it was computed. Knows no op by name.

NumPy is the namespace: ``np.tanh(t)``, ``np.sum(t, axis=1)`` and ``a @ t`` arrive here through
NumPy's protocols and are looked up in the tables that ``@op`` fills.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Protocol, TypeAlias

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from distgrad.autograd import faster
from distgrad.autograd.apart import apart, count_of, keeps_form
from distgrad.autograd.device import CPU, device
from distgrad.autograd.dtypes import get_default_dtype, of_one_number
from distgrad.autograd.handle import RemovableHandle
from distgrad.autograd.layout import Mover, Place
from distgrad.autograd.methods import FUNCTIONS, METHODS, UFUNCS, Methods
from distgrad.autograd.mode import grad_enabled, watching
from distgrad.autograd.node import Node
from distgrad.autograd.types import Array, DTypeLike
from distgrad.autograd.unfit import array_of, no_numbers
from distgrad.errors import GradError
from distgrad.kinds import ARRAY
from distgrad.missing import missing

TensorLike: TypeAlias = Annotated["Tensor | Array | float | int | bool | Sequence[Any]", ARRAY]

# How NumPy's functions reach the ops; this one is for what ``np.add.reduce`` does.
REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {}


class GradListener(Protocol):
    """Who wants to know about a leaf's gradient: the bridge to the wire implements it."""

    early: bool
    """Whether a transfer can use the time in which a layer's other gradients are computed: its
    leaves come first then, and are told of while their values are still read; and ``poll``."""

    def backward_started(self) -> float:
        """Called once a backward pass that reaches a listened leaf; returns the root's weight."""

    def grad_ready(self, leaf: Tensor) -> None:
        """The last consumer of ``leaf`` has run: its gradient of this pass is final."""

    def poll(self) -> None:
        """Called again and again while the pass goes on, if ``early``."""

    def backward_finished(self) -> None:
        """The pass is over; leaves that were not reached got no gradient."""

    def optimizer_stepped(self, optimizer: object) -> None:
        """``optimizer`` has moved the parameters."""

    def compare(self, name: str, value: float) -> None:
        """Raise unless all ranks have the same ``value``, on which an optimizer decides."""


class Size(int):
    """The number of elements, as NumPy's ``size``; called, the shape, as PyTorch's ``size()``."""

    _shape: tuple[int, ...]

    def __new__(cls, data: Array) -> Size:
        """Count the elements of ``data``."""
        size = super().__new__(cls, data.size)
        size._shape = data.shape
        return size

    def __call__(self, dim: int | None = None) -> Any:
        """Return the lengths of all axes, or of axis ``dim``."""
        return self._shape if dim is None else self._shape[dim]


class Tensor(Methods, NDArrayOperatorsMixin):
    """An array with an optional gradient; semantics follow ``torch.Tensor``.

    ``array`` is the NumPy array (shared, never copied, when one is given); ``data`` a Tensor of it
    outside the tape, as PyTorch's. ``grad`` is a Tensor of the same shape or None. Only
    floating-point tensors can require gradients.
    """

    __slots__ = (
        "__weakref__",
        "_hooks",
        "_index",
        "_listener",
        "_movers",
        "_node",
        "_place",
        "array",
        "grad",
        "requires_grad",
    )
    __array_priority__ = 1000.0

    array: Array
    grad: Tensor | None
    requires_grad: bool
    _node: Node | None
    _index: int
    _place: Place | None
    _listener: GradListener | None
    _hooks: dict[int, Callable[[Tensor], Any]] | None
    _movers: list[Mover]  # the optimizers that hold it; unset if there is none

    def __init__(self, data: TensorLike, requires_grad: bool = False) -> None:
        array = data if type(data) is np.ndarray else _as_array(data)
        if array is not data and watching.get() is not None and _written_out(data):
            array = _made_of(data)
        if array.dtype.kind not in "fibuc":
            raise no_numbers(data)
        self.array = array
        self.grad = None
        self._node = None
        self._index = 0
        self._place = None
        self._listener = None
        self._hooks = None
        self.requires_grad = False
        if requires_grad:
            if type(requires_grad) is int and type(data) is int:
                # Tensor(3, 4): PyTorch's old way to ask for a shape.
                self.array = np.zeros((data, requires_grad), get_default_dtype())
            elif type(requires_grad) is int:
                raise TypeError(f"Tensor(data, requires_grad): got {requires_grad}; write True")
            else:
                self.requires_grad_()

    # -- what it is ---------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        shape: tuple[int, ...] = self.array.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype."""
        dtype: np.dtype[Any] = self.array.dtype
        return dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    @property
    def size(self) -> Size:
        """The number of elements (NumPy's); called, the lengths: ``t.size()``, ``t.size(0)``."""
        return Size(self.array)

    @property
    def device(self) -> device:
        """``device("cpu")``, always."""
        return CPU

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user, not by an operation that was recorded."""
        return self._node is None

    def __len__(self) -> int:
        return len(self.array)

    def __repr__(self) -> str:
        body = np.array2string(self.array, separator=", ", prefix="Tensor(")
        parts = [body, f"dtype={self.array.dtype}"] if self.array.dtype != np.float32 else [body]
        if self._node is not None:
            parts.append(f"op={self._node.op.name}")
        elif self.requires_grad:
            parts.append("requires_grad=True")
        return f"Tensor({', '.join(parts)})"

    def __format__(self, spec: str) -> str:
        # f"{loss:.4f}": a number is formatted as one, as in PyTorch.
        return format(self.item(), spec) if spec and self.ndim == 0 else super().__format__(spec)

    # A tensor is a key by identity (as in PyTorch), though == compares elements.
    __hash__ = object.__hash__

    def __contains__(self, value: object) -> bool:
        return bool((self.array == (value.array if isinstance(value, Tensor) else value)).any())

    def __bool__(self) -> bool:
        return bool(self.array)

    def __float__(self) -> float:
        return float(self.array.item())  # of one element, on whatever axes

    def __int__(self) -> int:
        return int(self.array.item())

    def __index__(self) -> int:
        return self.array.__index__()

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("a 0-d tensor cannot be iterated over")
        return (self[i] for i in range(count_of(self)))

    # -- leaving the tape ---------------------------------------------------------------------

    def item(self) -> Any:
        """Return the only element as a Python number."""
        return self.array.item()

    def numpy(self, *, force: bool = False) -> Array:
        """Return the array itself; changes in place are seen by the tensor, not by the tape.

        Errors: GradError where gradients are required, which the array would cut in silence,
        unless ``force`` says that it is meant.
        """
        if self.requires_grad and not force:
            raise GradError(
                "numpy() of a Tensor that requires gradients would silently cut the gradient; "
                "write .detach().numpy() if that is meant"
            )
        return self.array

    @property
    def data(self) -> Tensor:
        """The same memory as a Tensor outside the tape; what is assigned takes its place."""
        return output(self.array, None, 0)

    @data.setter
    def data(self, value: TensorLike) -> None:
        self.array = value if type(value) is np.ndarray else _as_array(value)

    @property
    def grad_fn(self) -> Node | None:
        """What it was computed by; None for what was made outside the tape."""
        return self._node

    def detach(self) -> Tensor:
        """Return a tensor that shares the data and stands outside the tape."""
        return Tensor(self.array)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        if self.requires_grad:
            raise GradError(
                "a Tensor that requires gradients was turned into a plain array, which would "
                "silently cut the gradient; write .detach().numpy() if that is meant, or use np.* "
                "functions on the Tensor itself (np.stack or np.concatenate for np.array([…]), "
                "np.r_ and np.c_)"
            )
        return np.array(self.array, dtype=dtype, copy=copy)

    # -- copying ------------------------------------------------------------------------------

    def __getstate__(self) -> tuple[Array, Tensor | None, bool]:
        """What copy.deepcopy and pickle take over: no bucket, no listener, no hooks, no tape."""
        if self._node is not None:
            raise GradError("only leaves can be copied or pickled; call .detach() first")
        return self.array, self.grad, self.requires_grad

    def __setstate__(self, state: tuple[Array, Tensor | None, bool]) -> None:
        self.array, self.grad, self.requires_grad = state
        self._node = self._place = self._listener = self._hooks = None
        self._index = 0

    # -- gradients ----------------------------------------------------------------------------

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Turn gradients for this leaf on or off, in place.

        Errors: GradError for a dtype that is not floating point, or turning it off on a non-leaf.
        """
        if requires_grad and self.array.dtype.kind not in "fc":
            raise GradError(
                f"only floating-point tensors can require gradients; this one is "
                f"{self.array.dtype}{of_one_number(self) or ': use .astype(np.float32)'}"
            )
        if not requires_grad and self._node is not None:
            raise GradError("requires_grad can be turned off only on leaves; use .detach()")
        self.requires_grad = requires_grad
        return self

    def backward(
        self,
        gradient: TensorLike | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        """Add the gradient of this tensor to ``grad`` of every leaf it was computed from.

        ``gradient`` has this tensor's shape; it may be left out for a single element. ``inputs``
        names the tensors whose ``grad`` is wanted, instead of all leaves.
        Errors: GradError if nothing was recorded or the graph was freed by an earlier pass.
        """
        METHODS["backward"](self, gradient, retain_graph, create_graph, inputs)

    def register_hook(self, hook: Callable[[Tensor], Any]) -> RemovableHandle:
        """Call ``hook(gradient)`` with this tensor's whole gradient in every backward pass.

        What it returns, if not None, takes the gradient's place (same shape). Several hooks run in
        the order of registration. Under DistributedDataParallel the gradient is that of the current
        shard, weighted, before it is summed over the ranks. Returns a handle with ``remove()``.
        Errors: GradError if the tensor requires no gradient.
        """
        if not self.requires_grad:
            raise GradError(
                "register_hook on a tensor that requires no gradient: it would never be called; "
                "call requires_grad_() first"
            )
        node = self._node
        if node is None:
            self._hooks = {} if self._hooks is None else self._hooks
            return RemovableHandle(self._hooks, hook)
        node.hooks = {} if node.hooks is None else node.hooks
        return RemovableHandle(node.hooks.setdefault(self._index, {}), hook)

    def retain_grad(self) -> None:
        """Keep ``grad`` of a tensor that is not a leaf, too. Errors: as ``register_hook``."""
        if self._node is None and self.requires_grad:
            return
        hooks = (self._node.hooks or {}).get(self._index, {}) if self._node is not None else {}
        if any(getattr(hook, "retains", False) for hook in hooks.values()):
            return
        this = weakref.ref(self)

        def keep(gradient: Tensor) -> None:
            tensor = this()
            if tensor is not None:
                tensor.accumulate_(gradient)

        keep.retains = True  # type: ignore[attr-defined]  # runs after the user's hooks
        self.register_hook(keep)

    def accumulate_(self, gradient: Tensor) -> None:
        """Add ``gradient`` (same shape) to ``grad`` in place; the first one fills the buffer."""
        if self.grad is not None:
            if self.grad._node is not None or gradient.requires_grad:
                self.grad = self.grad + gradient
            else:
                np.add(self.grad.array, gradient.array, out=self.grad.array)
        elif gradient.requires_grad:
            self.grad = gradient
        elif (place := self._place) is not None:
            np.copyto(place.gradient, gradient.array)
            self.grad = Tensor(place.gradient)
        else:
            # A copy: the array may be the gradient of another tensor too (a + b).
            self.grad = Tensor(np.array(gradient.array))

    # -- NumPy's protocols --------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "__call__" and not kwargs and (short := UFUNCS.get(ufunc)) is not None:
            return short(*inputs)
        table = UFUNCS if method == "__call__" else REDUCTIONS if method == "reduce" else {}
        call = table.get(ufunc)
        if kwargs.get("out") is not None:
            return _in_place(ufunc, method, inputs, kwargs)
        if call is None:
            suffix = "" if method == "__call__" else f".{method}"
            raise _missing(f"np.{ufunc.__name__}{suffix}")
        return call(*inputs, **kwargs)

    def __array_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> Any:
        call = FUNCTIONS.get(func)
        if call is None:
            raise _missing(f"{func.__module__}.{func.__name__}".replace("numpy", "np"))
        if kwargs.get("out") is not None:
            raise _no_out(f"np.{func.__name__}")
        return call(*args, **kwargs)

    def __setitem__(self, index: Any, value: TensorLike) -> None:
        """Write in place; on the tape the tensor stands for its new value from here on.

        Errors: GradError for a leaf that requires gradients, and a view on the tape.
        """
        if grad_enabled.get() and (
            self.requires_grad or (isinstance(value, Tensor) and value.requires_grad)
        ):
            self._refuse_leaf("x[index] = value")
            self._become(METHODS["index_put"](self, index, value), "x[index] = value")
        else:
            _put(self, index, value)

    def __getitem__(self, index: Any) -> Tensor:
        result: Tensor = METHODS["__getitem__"](self, index=index)
        return result

    def __getattr__(self, name: str) -> Any:
        # Only what is nowhere else arrives here.
        raise missing("Tensor", name, type(self))


@apart
def _put(own: Tensor, index: Any, value: Any) -> None:
    plain = value.array if isinstance(value, Tensor) else value
    a, key = own._to_write(), _plain_index(index)
    if type(key) is np.ndarray and key.dtype == np.bool_ and key.size >= faster.MANY:
        put_ = faster.twin("put_")
        if put_ is not None and put_(a, key, plain):
            return
    a[key] = plain


def _as_array(data: TensorLike) -> Array:
    if type(data) is float:
        return np.array(data, get_default_dtype())
    if isinstance(data, Tensor):
        return data.array
    if isinstance(data, np.ndarray | np.generic):
        return np.asarray(data)
    array = array_of(data)
    # Python floats carry no precision of their own: the default's, as in PyTorch.
    return array.astype(get_default_dtype()) if array.dtype == np.float64 else array


@apart
@keeps_form
def _made_of(data: TensorLike) -> Array:
    return _as_array(data)


def _written_out(data: Any) -> bool:
    """Whether it is Python's numbers, in lists or alone: the same at every call of a program."""
    if isinstance(data, list | tuple):
        return all(map(_written_out, data))
    return isinstance(data, int | float | complex)


def _missing(name: str) -> GradError:
    return GradError(
        f"{name} is not an operation distgrad can differentiate yet; compute it from the ops of "
        f"docs/ops.md, declare it with @distgrad.op (docs/adding-an-op.md shows how, it takes a "
        f"few lines), or apply it to tensor.detach().numpy() if no gradient is needed"
    )


def _in_place(ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """``np.add(a, b, out=c)``: allowed where nothing is recorded."""
    outs = kwargs["out"]
    if grad_enabled.get() and any(
        isinstance(x, Tensor) and x.requires_grad for x in (*inputs, *outs)
    ):
        raise _no_out(f"np.{ufunc.__name__}")
    return _written(ufunc, method, inputs, kwargs, outs)


@apart
def _written(
    ufunc: np.ufunc, method: str, inputs: Sequence[Any], kwargs: dict[str, Any], outs: Sequence[Any]
) -> Any:
    arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
    memory = tuple([x._to_write() if isinstance(x, Tensor) else x for x in outs])
    results = getattr(ufunc, method)(*arrays, **{**kwargs, "out": memory})
    if len(outs) == 1:
        return outs[0]
    # Where no place was given for one of several results it has made its own.
    return tuple([Tensor(r) if o is None else o for o, r in zip(outs, results, strict=True)])


def _no_out(name: str) -> GradError:
    return GradError(
        f"{name} in place (out=…) would overwrite values that backward needs; write x = x + y, or "
        f"change tensors inside dg.no_grad()"
    )


def _plain_index(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(_plain_index(i) for i in index)
    return index.array if isinstance(index, Tensor) else index


_new = object.__new__
_ndarray = np.ndarray


def output(value: Any, node: Node | None, index: int) -> Tensor:
    """Wrap the result ``index`` of a recorded op (the short way into a Tensor)."""
    tensor: Tensor = _new(Tensor)
    tensor.array = value if type(value) is _ndarray else np.asarray(value)
    tensor.grad = None
    tensor._index = index
    tensor._place = None
    tensor._listener = None
    tensor._hooks = None
    tensor._node = node
    tensor.requires_grad = node is not None
    return tensor


def outputs(values: Sequence[Any], node: Node | None) -> tuple[Tensor, ...]:
    """Wrap the results of a recorded op that has several; those of whole numbers stand outside."""
    tensors = [output(v, None, i) for i, v in enumerate(values)]
    for tensor in tensors:
        if node is not None and tensor.array.dtype.kind in "fc":
            tensor._node, tensor.requires_grad = node, True
    return tuple(tensors)
