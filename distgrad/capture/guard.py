"""Keeps values from leaving a step that is being recorded: a replay could not follow them.

While anyone records, ``Tensor.array`` is a property. The engine gets the array; everyone else gets
its form (shape, dtype, strides), and an error naming the line as soon as more than that is asked.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from opcode import opmap
from types import FrameType
from typing import Any, NoReturn, TypeAlias

import numpy as np

from distgrad.autograd.anomaly import users_line
from distgrad.autograd.apart import count_of
from distgrad.autograd.mode import recorder
from distgrad.autograd.tensor import Tensor
from distgrad.autograd.types import Array
from distgrad.errors import CaptureError

# Who computes with arrays, or hands them on unread.
_TRUSTED = frozenset(
    f"distgrad.autograd.{name}"
    for name in ("engine", "op", "promotion", "record", "rerun", "saved_check", "short", "walk")
)
_SAME_MEMORY = frozenset({Tensor.detach.__code__, Tensor.data.fget.__code__})  # type: ignore[attr-defined]
_ASSIGNED = Tensor.data.fset.__code__  # type: ignore[attr-defined]
_MAKERS = frozenset(f"distgrad.autograd.{name}" for name in ("short", "tensor"))
"""Who makes new Tensors, which have no gradient yet."""
_SIZE = Tensor.size.fget.__code__  # type: ignore[attr-defined]
Told: TypeAlias = "Callable[..., None]"
"""Who is told which axes' lengths are read."""
_slot: Any = Tensor.__dict__["array"]
_grad: Any = Tensor.__dict__["grad"]
_mutex = threading.Lock()
_guarding = 0
_here = threading.local()


@contextmanager
def guarded() -> Iterator[set[int]]:
    """Guard the values of Tensors inside, in threads that record.

    Yields whose gradients (by ``id`` of the Tensor) were set or dropped inside, by whomever.
    """
    global _guarding  # noqa: PLW0603 (simulated ranks are threads, and record at the same time)
    _here.touched = touched = set[int]()
    with _mutex:
        _guarding += 1
        type.__setattr__(Tensor, "array", property(_read, _write))
        type.__setattr__(Tensor, "grad", property(_read_grad, _set_grad))
    try:
        yield touched
    finally:
        _here.touched = None
        with _mutex:
            _guarding -= 1
            if not _guarding:
                type.__setattr__(Tensor, "array", _slot)
                type.__setattr__(Tensor, "grad", _grad)


def _read(tensor: Tensor) -> Any:
    array = _slot.__get__(tensor)
    recording = recorder()
    if recording is None:
        return array
    asking = sys._getframe(1)
    if asking.f_code in _SAME_MEMORY:
        recording.shared(tensor)
        return array
    if asking.f_globals.get("__name__") in _TRUSTED:
        return array
    told = recording.lengths_told(tensor)
    if told is None or (reader := _reader(asking)) is None:
        return Form(array)
    return OpenForm(array, told, by_axis=asking.f_code is _SIZE and _is_called(reader))


def _reader(frame: FrameType) -> FrameType | None:
    """Return the frame of a user's that asks a Tensor for its lengths; None if a function does.

    Functions of ours look at lengths to check them; what they compute with them op by op they
    find again in each replay.
    """
    asking: FrameType | None = frame
    while asking is not None and _of_distgrad(name := asking.f_globals.get("__name__", "")):
        if asking.f_code is count_of.__code__:
            return asking
        if not name.startswith("distgrad.autograd."):
            return None
        asking = asking.f_back
    return asking


def _is_called(frame: FrameType) -> bool:
    """Whether ``x.size`` stands before brackets in this frame, which ask for one axis."""
    code, at = frame.f_code.co_code, frame.f_lasti
    while at > 0 and code[at] == 0:  # what an instruction keeps for itself, behind it
        at -= 2
    # Before Python 3.12 an instruction of its own; there its number is none of the code's.
    return code[at] == opmap.get("LOAD_METHOD") or (
        code[at] == opmap["LOAD_ATTR"] and sys.version_info >= (3, 12) and bool(code[at + 1] & 1)
    )


def _write(tensor: Tensor, array: Array) -> None:
    array = array.held if isinstance(array, Form) else array
    # ``x.data -= y`` assigns what it has written to.
    if recorder() is not None and not _is_of(tensor, array):
        asking = sys._getframe(1)
        if asking.f_code is _ASSIGNED or not _of_distgrad(asking.f_globals.get("__name__")):
            raise CaptureError(
                f"{users_line()}: what is assigned to x.data or x.array inside a captured step "
                f"would be assigned once; write x.copy_(y) inside dg.no_grad()"
            )
    _slot.__set__(tensor, array)


def _is_of(tensor: Tensor, array: Array) -> bool:
    try:
        return _slot.__get__(tensor) is array
    except AttributeError:  # it is being made
        return False


def _of_distgrad(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] == "distgrad"


def _read_grad(tensor: Tensor) -> Tensor | None:
    grad: Tensor | None = _grad.__get__(tensor)
    recording = recorder()
    if recording is not None:
        recording.gradient_read(tensor, grad)
    return grad


def _set_grad(tensor: Tensor, grad: Tensor | None) -> None:
    touched: set[int] | None = getattr(_here, "touched", None)
    if touched is not None:
        touched.add(id(tensor))
    recording = recorder()
    new = grad is None and sys._getframe(1).f_globals.get("__name__") in _MAKERS
    if recording is None or new:
        _grad.__set__(tensor, grad)
    else:
        recording.apart(_assign, (tensor, grad), {})


def _assign(tensor: Tensor, grad: Tensor | None) -> None:
    tensor.grad = grad


class Form:
    """What may be known of an array while a step is recorded: everything but its values."""

    __slots__ = ("held",)

    def __init__(self, array: Array) -> None:
        self.held = array

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        shape: tuple[int, ...] = self.held.shape
        return shape

    @property
    def dtype(self) -> Any:
        """The dtype."""
        return self.held.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.held.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.held.size

    @property
    def itemsize(self) -> int:
        """The bytes of an element."""
        return self.held.itemsize

    @property
    def nbytes(self) -> int:
        """The bytes of all."""
        return self.held.nbytes

    @property
    def strides(self) -> tuple[int, ...]:
        """The steps in memory."""
        return self.held.strides

    @property
    def flags(self) -> Any:
        """How it lies in memory."""
        return self.held.flags

    @property
    def base(self) -> Any:
        """Whether it is a view."""
        return self.held.base

    def __len__(self) -> int:
        return len(self.held)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__array_interface__":
            raise AttributeError(name)
        refuse_reading()


class OpenForm(Form):
    """The form of an array whose lengths depend on values: it says who asks for which of them."""

    def __init__(self, array: Array, told: Told, *, by_axis: bool) -> None:
        super().__init__(array)
        self._told, self._by_axis = told, by_axis

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return Lengths(self.held.shape, self._told)

    @property
    def size(self) -> int:
        """The number of elements."""
        if not self._by_axis:
            self._told(*range(self.held.ndim))
        return self.held.size

    @property
    def nbytes(self) -> int:
        """The bytes of all."""
        self._told(*range(self.held.ndim))
        return self.held.nbytes

    def __len__(self) -> int:
        self._told(0)
        return len(self.held)


class Lengths(tuple[int, ...]):
    """A shape that says which of its numbers are read."""

    _told: Told

    def __new__(cls, shape: tuple[int, ...], told: Told) -> Lengths:
        """Keep whom to tell."""
        lengths = super().__new__(cls, shape)
        lengths._told = told
        return lengths

    def _all(self) -> tuple[int, ...]:
        self._told(*range(len(self)))
        return tuple(tuple.__iter__(self))

    def __getitem__(self, key: Any) -> Any:
        axes = range(len(self))[key]
        self._told(*(axes if isinstance(axes, range) else (axes,)))
        return tuple.__getitem__(self, key)

    def __iter__(self) -> Iterator[int]:
        for axis in range(len(self)):
            self._told(axis)
            yield tuple.__getitem__(self, axis)

    def __eq__(self, other: object) -> bool:
        return self._all() == other

    def __ne__(self, other: object) -> bool:
        return self._all() != other

    def __add__(self, other: Any) -> Any:
        return self._all() + other

    def __radd__(self, other: Any) -> Any:
        return other + self._all()

    def __hash__(self) -> int:
        return hash(self._all())


_FORMS = frozenset({np.can_cast, np.ndim, np.result_type, np.shape, np.size})
"""NumPy's functions of an array's form alone."""


def _function(self: Form, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
    if function not in _FORMS:
        refuse_reading()
    return function(*[x.held if isinstance(x, Form) else x for x in args], **kwargs)


Form.__array_function__ = _function  # type: ignore[attr-defined]


def _refuse(self: Form, *args: Any, **kwargs: Any) -> NoReturn:
    refuse_reading()


_ASKED = (
    "array array_ufunc bool float int index complex iter getitem setitem contains "
    "eq ne lt le gt ge add sub mul truediv floordiv mod pow matmul and or xor neg abs invert "
    "radd rsub rmul rtruediv rpow rmatmul"
)
for _name in _ASKED.split():
    setattr(Form, f"__{_name}__", _refuse)


def refuse_reading(what: str = "reads the values of a Tensor") -> NoReturn:
    """Raise CaptureError naming the user's line."""
    raise CaptureError(
        f"{users_line()}: {what} inside a captured step, whose replays would go on with what was "
        f"read the first time. Return the Tensor from the function and read it outside, decide by "
        f"it with dg.where, or leave this step uncaptured"
    )
