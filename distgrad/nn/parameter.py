"""Parameters and buffers: tensors that belong to a module, also before their shape is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from distgrad.autograd.anomaly import users_line
from distgrad.autograd.dtypes import get_default_dtype
from distgrad.autograd.mode import recorder
from distgrad.autograd.tensor import Tensor, TensorLike
from distgrad.autograd.types import Array, DTypeLike, Shape
from distgrad.errors import CaptureError, ShapeError


class _Misspelt:
    """A name that would be taken for a new attribute, and have no effect."""

    def __init__(self, meant: str) -> None:
        self.meant = meant

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, parameter: object, owner: type | None = None) -> Any:
        raise AttributeError(self.name)  # what is missing gets a text of its own

    def __set__(self, parameter: object, value: object) -> None:
        raise AttributeError(f"Parameter has no {self.name!r}: did you mean {self.meant}?")


class Parameter(Tensor):
    """A tensor that a module trains; requires gradients unless told otherwise.

    It takes attributes of your own, such as marks for an optimizer's groups
    (``p._no_weight_decay = True``); copies have them too.
    """

    # The dictionary of those attributes; and a slot, unused, by which Python knows a layout of its
    # own: without, no object could change between this class and one of (a mixin, Parameter).
    __slots__ = ("__dict__", "_layout")

    require_grad = _Misspelt("requires_grad")
    require_grads = _Misspelt("requires_grad")
    requires_grads = _Misspelt("requires_grad")
    requires_gradient = _Misspelt("requires_grad")

    def __init__(self, data: TensorLike, requires_grad: bool = True) -> None:
        if recorder() is not None:
            raise CaptureError(
                f"{users_line()}: a Parameter is made inside a captured step, whose replays would "
                f"make none; write p.copy_(…) to one that is there, inside dg.no_grad()"
            )
        # Contiguous and its own: the optimizer works on flat views of it.
        array = data.array if isinstance(data, Tensor) else Tensor(data).array
        super().__init__(np.array(array, order="C"), requires_grad)

    def __getstate__(self) -> Any:
        return super().__getstate__(), vars(self)

    def __setstate__(self, state: Any) -> None:
        own, marks = state
        super().__setstate__(own)
        vars(self).update(marks)


class Buffer(Tensor):
    """A tensor that a module keeps and does not train: assigning it registers a buffer.

    It is saved with the model if ``persistent``.
    """

    __slots__ = ("persistent",)

    persistent: bool

    def __init__(self, data: TensorLike, *, persistent: bool = True) -> None:
        super().__init__(data)
        self.persistent = persistent

    def __getstate__(self) -> Any:
        return super().__getstate__(), self.persistent

    def __setstate__(self, state: Any) -> None:
        own, self.persistent = state
        super().__setstate__(own)


class Uninitialized(Tensor):
    """A tensor of a lazy layer whose shape the first forward pass tells.

    Everything that needs the shape or the values raises ShapeError; ``materialize`` makes an
    ordinary one of it, the same object.
    """

    __slots__ = ()

    becomes: type[Tensor] = Tensor

    @property
    def array(self) -> Array:
        """Errors: ShapeError, always."""
        raise ShapeError(
            "a parameter of a lazy layer has no shape yet: call the model once, on inputs like "
            "those to come, before its state is read or an optimizer, DistributedDataParallel or "
            "an initializer gets its parameters"
        )

    @array.setter
    def array(self, array: Array) -> None:
        if array.size:
            raise ShapeError(
                "a parameter of a lazy layer has no shape yet: materialize(shape) gives it one, "
                "and so does a call of the model"
            )
        _array.__set__(self, array)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that it will have."""
        dtype: np.dtype[Any] = _array_of(self).dtype
        return dtype

    def materialize(self, shape: Shape, device: Any = None, dtype: DTypeLike | None = None) -> None:
        """Become an ordinary tensor of zeros of ``shape``."""
        array = np.zeros(shape, self.dtype if dtype is None else dtype)
        self.__class__ = self.becomes  # type: ignore[assignment]
        self.array = array

    def retype(self, dtype: DTypeLike) -> None:
        """Change the dtype that it will have."""
        self.array = np.zeros(0, dtype)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Say whether it will require gradients."""
        self.requires_grad = requires_grad
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __getstate__(self) -> Any:
        return self.dtype, self.requires_grad, getattr(self, "__dict__", {})

    def __setstate__(self, state: Any) -> None:
        dtype, requires_grad, marks = state
        Tensor.__setstate__(self, (np.zeros(0, dtype), None, requires_grad))
        if marks:  # of a parameter
            vars(self).update(marks)


class UninitializedParameter(Uninitialized, Parameter):
    """A parameter of a lazy layer before the first forward pass. Errors: ShapeError when read."""

    __slots__ = ()

    becomes = Parameter

    def __init__(
        self, requires_grad: bool = True, device: Any = None, dtype: DTypeLike | None = None
    ) -> None:
        Tensor.__init__(self, np.zeros(0, get_default_dtype() if dtype is None else dtype))
        self.requires_grad = requires_grad


class UninitializedBuffer(Uninitialized):
    """A buffer of a lazy layer before the first forward pass. Errors: ShapeError when read."""

    __slots__ = ()

    def __init__(
        self, requires_grad: bool = False, device: Any = None, dtype: DTypeLike | None = None
    ) -> None:
        Tensor.__init__(self, np.zeros(0, get_default_dtype() if dtype is None else dtype))
        self.requires_grad = requires_grad


# The slot behind ``array``, which the property above hides.
_array: Any = Tensor.__dict__["array"]


def _array_of(tensor: Tensor) -> Array:
    array: Array = _array.__get__(tensor)
    return array


def is_lazy(tensor: object) -> bool:
    """Return whether ``tensor`` is a lazy layer's and has no shape yet."""
    return isinstance(tensor, Uninitialized)
